"""Ids of messages, fingerprints of bodies, and the id that a request's log lines share."""

import hashlib
import hmac
import json
import re
import secrets
from datetime import UTC, datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Final, NamedTuple

from smsrelay.errors import NotJsonError

if TYPE_CHECKING:  # functions that only make new ids need no requests
    from smsrelay.messages.strict_json import Document

_DIGITS: Final = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"  # Crockford's base 32: nothing looks alike
_LENGTH, _RANDOM_BITS = 26, 80
_ROOT = re.compile(r"(?:^|;)Root=(1-[0-9a-f]{8}-[0-9a-f]{24})(?:;|$)")
# What a caller may choose is neither a number nor a word: nothing personal can stand in it.


class Identity(NamedTuple):
    message_id: str
    fingerprint: str


def identify(client: str, key: str, document: "Document") -> Identity:
    """The identity of the request that `client` posts under `key`; it need not be valid."""
    return Identity(message_id(client, key), fingerprint(document, key))


def message_id(client: str, key: str) -> str:
    """The id of the message that `client` posts under the idempotency key `key`.

    The same pair always has the same id, so that the first write of a message is its lock: a second
    request with the same key meets the item of the first. `client` is empty for a queue message
    that names no client: the parameter `DefaultClient` must not change its id.
    """
    digest = hashlib.sha256(f"{len(client)}:{client}{key}".encode()).digest()
    return _encoded(int.from_bytes(digest[:16]))


def possible_message_ids(client: str, key: str) -> tuple[str, str]:
    """The ids that a client's message with this key can have.

    The second one is that of a queue message that named no client. It can be another client's
    message: whose it is, only the stored message says.
    """
    return message_id(client, key), message_id("", key)


def fingerprint(document: "Document", key: str) -> str:
    """Tell the bodies that are posted under one idempotency key apart.

    An HMAC-SHA256 of the JSON as posted, without `idempotencyKey`. The order of members, spaces
    and escapes don't count. The HMAC's key is the idempotency key, which is not stored: otherwise
    the number of a finished send could be found by trying all numbers. Raises `NotJsonError`.
    """
    content = document.value
    if isinstance(content, dict):
        content = {name: value for name, value in content.items() if name != "idempotencyKey"}
    try:
        canonical = json.dumps(content, sort_keys=True, separators=(",", ":"), default=_fraction)
    except RecursionError:
        raise NotJsonError("nested too deeply") from None
    # A name that occurs twice has one value in the decoded document.
    places = "".join(refusal.pointer for refusal in document.refusals)
    return hmac.digest(key.encode(), f"{canonical}{places}".encode(), "sha256").hex()


def _fraction(number: Decimal) -> dict[str, str]:
    """A fraction as it is written: 1.5, 1.50 and "1.5" differ."""
    return {"fraction": str(number)}


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
