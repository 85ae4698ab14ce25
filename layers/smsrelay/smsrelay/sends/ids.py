"""Message ids, fingerprints of bodies, and correlation ids of log lines."""

import hashlib
import hmac
import json
import re
import secrets
from datetime import UTC, datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Final, NamedTuple

from smsrelay.errors import NotJsonError

if TYPE_CHECKING:  # functions that only create ids don't load it
    from smsrelay.messages.strict_json import Document

_DIGITS: Final = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"  # Crockford's base 32: no similar digits
_LENGTH, _RANDOM_BITS = 26, 80
_ROOT = re.compile(r"(?:^|;)Root=(1-[0-9a-f]{8}-[0-9a-f]{24})(?:;|$)")
# Callers can choose the root, so the pattern allows hexadecimal digits only, and no words.


class Identity(NamedTuple):
    message_id: str
    fingerprint: str


def identify(client: str, key: str, document: "Document") -> Identity:
    """Return the identity of the request that `client` posts under `key`, valid or not."""
    return Identity(message_id(client, key), fingerprint(document, key))


def message_id(client: str, key: str) -> str:
    """Return the id of the message that `client` posts under the idempotency key `key`.

    The same pair always has the same id, so that the first write of a message locks it: a second
    request with the same key finds the first one's item. `client` is empty for a queue message
    that names no client: the parameter `DefaultClient` must not change its id.
    """
    digest = hashlib.sha256(f"{len(client)}:{client}{key}".encode()).digest()
    return _encoded(int.from_bytes(digest[:16]))


def possible_message_ids(client: str, key: str) -> tuple[str, str]:
    """Return the ids that a client's message with this key can have.

    The second is the id of a queue message that named no client. It can belong to another client:
    compare the client of the stored message.
    """
    return message_id(client, key), message_id("", key)


def fingerprint(document: "Document", key: str) -> str:
    """Return an HMAC-SHA256 of the posted JSON, to compare bodies under one idempotency key.

    `idempotencyKey`, the order of members, spaces and escapes don't matter. The HMAC's key is the
    idempotency key, which is not stored: otherwise the phone number of a finished send could be
    found by trying all numbers. Raises `NotJsonError`.
    """
    value = document.value
    if isinstance(value, dict):
        value = {name: member for name, member in value.items() if name != "idempotencyKey"}
    try:
        canonical = json.dumps(value, sort_keys=True, separators=(",", ":"), default=_fraction)
    except RecursionError:
        raise NotJsonError("nested too deeply") from None
    # The decoded document has only the last value of a duplicate name.
    places = "".join(refusal.pointer for refusal in document.refusals)
    return hmac.digest(key.encode(), f"{canonical}{places}".encode(), "sha256").hex()


def _fraction(number: Decimal) -> dict[str, str]:
    """Keep a fraction as it is written, so that 1.5, 1.50 and "1.5" differ."""
    return {"fraction": str(number)}


def new_id() -> str:
    """Create the id of a message without a key, or of a write: a ULID, so that ids sort by time."""
    milliseconds = int(datetime.now(UTC).timestamp() * 1_000)
    return _encoded(milliseconds << _RANDOM_BITS | secrets.randbits(_RANDOM_BITS))


def correlation_id(trace: str | None) -> str | None:
    """Return the root of AWS's trace header (`X-Amzn-Trace-Id`, `AWSTraceHeader`); None: no root.

    API Gateway adds the header if the caller sent none, and SQS passes on the one of its sender.
    """
    match = _ROOT.search(trace or "")
    return match and match[1]


def _encoded(number: int) -> str:
    """Encode 128 bits as a ULID."""
    return "".join(_DIGITS[number >> 5 * place & 31] for place in reversed(range(_LENGTH)))
