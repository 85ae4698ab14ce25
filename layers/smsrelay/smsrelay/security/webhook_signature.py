"""Signatures by the Standard Webhooks specification, and the secrets that they are made with."""

import json
import re
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Final

MAX_SECRETS: Final = 2
"""Secrets of a client that count at a time: the current one, and the one before it."""
_SECRET = re.compile(r"whsec_[A-Za-z0-9+/]{32,100}={0,2}")
"""At least 24 bytes, as the specification has it."""
# The three parts of what is signed are joined by full stops: one within the id or the time would
# let somebody cut it elsewhere.
_ID = re.compile(r"[!-\-/-~]{1,255}")
_TIME = re.compile(r"[0-9]{1,12}")
_DUMMY_SECRET: Final = "whsec_" + "A" * 44


def parse_secrets(value: str) -> Sequence[str]:
    """What a secret's value says: `{"current": "whsec_…", "previous": "whsec_…"}`, or one alone.

    Anything that is not a secret of the specification is left out.
    """
    try:
        fields = json.loads(value)
    except ValueError:
        fields = {"current": value.strip()}
    if not isinstance(fields, dict):
        return ()
    candidates = (fields.get("current"), fields.get("previous"))
    return tuple(
        secret for secret in candidates if isinstance(secret, str) and _SECRET.fullmatch(secret)
    )


def verify_signature(headers: Mapping[str, str], body: bytes, secrets: Sequence[str]) -> bool:
    """Whether a webhook is signed with one of the secrets, now or within five minutes of it.

    It takes as long with no secret as with all, and with the wrong one as with the right one.
    """
    named = _ID.fullmatch(headers.get("webhook-id", "")) is not None
    timed = _TIME.fullmatch(headers.get("webhook-timestamp", "")) is not None
    padded = [*secrets, *[_DUMMY_SECRET] * MAX_SECRETS][:MAX_SECRETS]
    checked = [_verifies(secret, headers, body) for secret in padded]
    return named and timed and any(checked[: len(secrets)])


def _verifies(secret: str, headers: Mapping[str, str], body: bytes) -> bool:
    # Imported here: every other function does without it.
    from standardwebhooks import Webhook, WebhookVerificationError  # noqa: PLC0415

    try:
        Webhook(secret).verify(body, dict(headers), json_parse=False)
    except (WebhookVerificationError, ValueError):  # a malformed signature, or a body of no text
        return False
    return True


def signature_headers(secrets: Sequence[str], name: str, at: int, body: bytes) -> Mapping[str, str]:
    """The headers of a webhook of our own; with two secrets a receiver may know either.

    `name` is the webhook's id, the same at each try; `at` is in seconds since the epoch.
    """
    from standardwebhooks import Webhook  # noqa: PLC0415 - as above

    moment, text = datetime.fromtimestamp(at, UTC), body.decode()
    signatures = " ".join(Webhook(secret).sign(name, moment, text) for secret in secrets)
    return {"webhook-id": name, "webhook-timestamp": str(at), "webhook-signature": signatures}
