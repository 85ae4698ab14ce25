"""Verifies and creates signatures of the Standard Webhooks specification."""

import json
import re
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Final

MAX_SECRETS: Final = 2
"""The most valid secrets of a client: the current and the previous one."""
_SECRET = re.compile(r"whsec_[A-Za-z0-9+/]{32,100}={0,2}")
"""At least 24 bytes, as the specification requires."""
# The id, the time and the body are signed as one text, joined by full stops. An id or time with a
# full stop would make the parts ambiguous.
_ID = re.compile(r"[!-\-/-~]{1,255}")
_TIME = re.compile(r"[0-9]{1,12}")
_DUMMY_SECRET: Final = "whsec_" + "A" * 44


def parse_secrets(value: str) -> Sequence[str]:
    """Parse a secret's value: `{"current": "whsec_…", "previous": "whsec_…"}`, or one secret alone.

    Values that are not secrets of the specification are left out.
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


def verify_signature(headers: Mapping[str, str], body: str, secrets: Sequence[str]) -> bool:
    """Whether a webhook is signed with one of the secrets, at most five minutes from now.

    The time of this check does not depend on the number of secrets, or on which one is right.
    """
    named = _ID.fullmatch(headers.get("webhook-id", "")) is not None
    timed = _TIME.fullmatch(headers.get("webhook-timestamp", "")) is not None
    padded = [*secrets, *[_DUMMY_SECRET] * MAX_SECRETS][:MAX_SECRETS]
    checked = [_verifies(secret, headers, body) for secret in padded]
    return named and timed and any(checked[: len(secrets)])


def _verifies(secret: str, headers: Mapping[str, str], body: str) -> bool:
    # Imported here because most functions don't need it.
    from standardwebhooks import Webhook, WebhookVerificationError  # noqa: PLC0415

    try:
        Webhook(secret).verify(body, dict(headers), json_parse=False)
    # ValueError: a malformed signature, or half of a surrogate pair in the body.
    except (WebhookVerificationError, ValueError):
        return False
    return True


def signature_headers(secrets: Sequence[str], name: str, at: int, body: bytes) -> Mapping[str, str]:
    """Return the headers of a callback, signed with each secret: a receiver may have either one.

    `name` is the webhook's id, the same in each attempt; `at` is in seconds since the epoch.
    """
    from standardwebhooks import Webhook  # noqa: PLC0415 - as above

    moment, text = datetime.fromtimestamp(at, UTC), body.decode()
    signatures = " ".join(Webhook(secret).sign(name, moment, text) for secret in secrets)
    return {"webhook-id": name, "webhook-timestamp": str(at), "webhook-signature": signatures}
