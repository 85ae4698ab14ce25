"""Ids of messages, and the id that the log lines of one request share."""

import hashlib
import re
import secrets
from datetime import UTC, datetime
from typing import Final

from pydantic_core import PydanticCustomError

from smsrelay.messages.request import validate_key

_DIGITS: Final = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"  # Crockford's base 32: nothing looks alike
_LENGTH, _RANDOM_BITS = 26, 80
_ROOT = re.compile(r"(?:^|;)Root=(1-[0-9a-f]{8}-[0-9a-f]{24})(?:;|$)")
# What a caller may choose is neither a number nor a word: nothing personal can stand in it.


def message_id(client: str, key: str) -> str:
    """The id of the message that `client` posts under the idempotency key `key`.

    `client` is empty for a queue message that names no client: the parameter `DefaultClient` must
    not change its id. The same pair always has the same id, so that the first write of a message
    is its lock: a second request with the same key meets the item of the first. 26 characters,
    like a ULID.
    """
    digest = hashlib.sha256(f"{len(client)}:{client}{key}".encode()).digest()
    return _encoded(int.from_bytes(digest[:16]))


def key_in(document: object) -> str | None:
    """The valid idempotency key in a decoded request; None: there is none."""
    key = document.get("idempotencyKey") if isinstance(document, dict) else None
    try:
        return validate_key(key) if isinstance(key, str) else None
    except PydanticCustomError:
        return None


def new_message_id() -> str:
    """The id of a message that has no idempotency key: a ULID, so ids sort by time."""
    milliseconds = int(datetime.now(UTC).timestamp() * 1_000)
    return _encoded(milliseconds << _RANDOM_BITS | secrets.randbits(_RANDOM_BITS))


def correlation_id(trace: str | None) -> str | None:
    """The root of a trace as AWS writes it (`X-Amzn-Trace-Id`, `AWSTraceHeader`); None: no such.

    API Gateway makes one where the caller gave none, and SQS hands on that of who sent it.
    """
    match = _ROOT.search(trace or "")
    return match and match[1]


def _encoded(number: int) -> str:
    """128 bits as a ULID is written."""
    return "".join(_DIGITS[number >> 5 * place & 31] for place in reversed(range(_LENGTH)))
