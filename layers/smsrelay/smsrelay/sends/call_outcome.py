"""Derives the outcome of an upstream call from its response or its failure. Pure.

docs/delivery-guarantees.md has the table. Only responses in the API's own format are trusted:
gateways between the relay and the API respond too, even after the API has accepted a call.
"""

import json
import re
from collections.abc import Iterable, Mapping
from email.utils import parsedate_to_datetime
from enum import Enum, StrEnum
from http import HTTPStatus
from typing import Any, NamedTuple

from smsrelay.messages.strict_json import finite_number, json_object, utf8_safe

MAX_ERRORS = 20
MAX_ERRORS_BYTES = 16_384
"""The total bytes of a response's error messages: the item also has a body of up to 350,000."""
MAX_TOKEN_ID_BYTES = 1_024  # half the limit of an index key in the ledger
BLOCKED = 50200  # the platform's error code of a 429 that lasts until Salesforce Support ends it
_WRONG_ROUTE: Mapping[int, str] = {403: "forbidden"} | dict.fromkeys(
    (405, 407, 421, 425), "wrong-route"
)
"""The statuses of a wrong route to the API, with their reasons; they affect every message."""
_CAN_REJECT = set(range(400, 500)) - {HTTPStatus.REQUEST_TIMEOUT}
WRONG_ROUTE_REASONS = frozenset(_WRONG_ROUTE.values())
NOT_FOUND = "not-found"
"""The reason of a 404, which affects only the message id in the path."""


class OutcomeKind(Enum):
    ACCEPTED = "accepted"
    REJECTED = "rejected"  # the same call would be rejected again
    NOT_SENT = "not-sent"  # certainly not sent: the call can be retried
    UNKNOWN = "unknown"  # the send may have gone out


class Failure(StrEnum):
    """Why there is no response."""

    NO_TOKEN = "no-token"  # noqa: S105 - there was no access token to call with # nosec B105
    NO_CONNECTION = "no-connection"  # refused, no address, TLS handshake, no free connection
    CONNECT_TIMEOUT = "connect-timeout"
    WRITE_FAILED = "write-failed"
    READ_FAILED = "read-failed"
    READ_TIMEOUT = "read-timeout"
    PROTOCOL_ERROR = "protocol-error"


_BEFORE_THE_REQUEST = {Failure.NO_TOKEN, Failure.NO_CONNECTION, Failure.CONNECT_TIMEOUT}


class Outcome(NamedTuple):
    """The outcome of a call, with the evidence.

    `reason` is a stable code, `errors` has the upstream's error messages, `retry_after` the seconds
    that it asks to wait. `token_id` is None if an accepted call's response has no readable one.
    """

    kind: OutcomeKind
    reason: str
    status: int | None = None
    token_id: str | None = None
    errors: tuple[str, ...] = ()
    retry_after: float | None = None
    error_code: int | None = None
    """The platform's error code; only the API itself and its gateway send one."""

    @property
    def is_from_api(self) -> bool:
        """Whether the API itself responded, not a gateway between the relay and the API."""
        return self.kind in _GIVEN_BY_API or self.error_code is not None


_GIVEN_BY_API = {OutcomeKind.ACCEPTED, OutcomeKind.REJECTED}
OUT_OF_TIME = Outcome(OutcomeKind.NOT_SENT, "out-of-time")
"""The deadline passed before the first byte of the request was sent."""


def of_failure(failure: Failure) -> Outcome:
    kind = OutcomeKind.NOT_SENT if failure in _BEFORE_THE_REQUEST else OutcomeKind.UNKNOWN
    return Outcome(kind, failure.value)


def of_response(status: int, headers: Mapping[str, str], body: bytes, now: float) -> Outcome:
    """Return the outcome of a call that got a response.

    `headers` has lower-case names. `body` can be incomplete: the status counts without it. `now`
    is in seconds since the epoch, for a `Retry-After` that is a date.
    """
    text = body.decode("utf-8-sig", "replace")
    document = _document(text)
    if HTTPStatus.OK <= status < HTTPStatus.MULTIPLE_CHOICES:
        return _of_success(status, document, text)
    code, errors = _error_code(document), _errors(document)
    retry_after = _retry_after(headers.get("retry-after"), document, now)
    kind, reason = _of_status(status, code, has_errors=_has_errors(document))
    if kind is OutcomeKind.REJECTED:
        errors = errors or (f"The upstream answered {status} and gave no reason.",)
    return Outcome(kind, reason, status, None, errors, retry_after, code)


def _of_success(status: int, document: Mapping[str, Any], text: str) -> Outcome:
    token_id = _token_id(document, text)
    if token_id is not None:
        return Outcome(OutcomeKind.ACCEPTED, "accepted", status, token_id)
    if "tokenId" in document:
        return Outcome(OutcomeKind.ACCEPTED, "accepted-without-token", status)
    return Outcome(OutcomeKind.UNKNOWN, "unexpected-success", status)


def _of_status(status: int, code: int | None, *, has_errors: bool) -> tuple[OutcomeKind, str]:  # noqa: PLR0911 - the table
    match status:
        case HTTPStatus.UNAUTHORIZED:
            return OutcomeKind.NOT_SENT, "unauthorised"
        case HTTPStatus.TOO_MANY_REQUESTS:
            return OutcomeKind.NOT_SENT, "blocked" if code == BLOCKED else "throttled"
        case HTTPStatus.SERVICE_UNAVAILABLE if code is not None:
            return OutcomeKind.NOT_SENT, "unavailable"
        case _ if status in _WRONG_ROUTE:
            return OutcomeKind.NOT_SENT, _WRONG_ROUTE[status]
        case HTTPStatus.NOT_FOUND:
            return OutcomeKind.NOT_SENT, NOT_FOUND
    if status in _CAN_REJECT and (has_errors or code is not None):
        return OutcomeKind.REJECTED, "refused"
    # The send may have gone out before the failure. With a 408 too: it should mean that the request
    # did not arrive in time, but some servers also send it when they are slow themselves.
    is_server_error = status // 100 == 5  # noqa: PLR2004 - the class of the status
    return OutcomeKind.UNKNOWN, "server-error" if is_server_error else "unexpected-status"


def error_messages_of(body: bytes) -> tuple[str, ...]:
    """Return the error messages of a refusal, in any of the upstream's formats."""
    return _errors(_document(body.decode("utf-8", "replace")))


def _document(text: str) -> dict[str, Any]:
    """Return the JSON object in the body; empty if it has none."""
    # The reference's example of a success has a trailing comma.
    return json_object(text) or json_object(_LAST_COMMA.sub("}", text))


def fit_errors(errors: Iterable[str]) -> tuple[str, ...]:
    """Limit the error messages to `MAX_ERRORS_BYTES` of UTF-8 in total; the last may be cut."""
    remaining = MAX_ERRORS_BYTES
    kept: list[str] = []
    for error in errors:
        text = error.encode()[:remaining].decode(errors="ignore")
        remaining -= len(error.encode())
        if text:
            kept.append(text)
        if remaining <= 0:
            break
    return tuple(kept)


_LAST_COMMA = re.compile(r",\s*\}\s*\Z")
_TOKEN_ID = re.compile(r'\s*\{[^{}\[\]]*?"tokenId"\s*:\s*"((?:[^"\\]|\\.)+)"')


def _token_id(document: Mapping[str, Any], text: str) -> str | None:
    token_id = document.get("tokenId")
    if not document and (match := _TOKEN_ID.match(text)):
        document = json_object(f'{{"tokenId":"{match[1]}"}}')  # the body ended after it
        token_id = document.get("tokenId")
    if isinstance(token_id, int) and not isinstance(token_id, bool):
        token_id = str(token_id)
    if not isinstance(token_id, str) or not token_id.strip():
        return None
    token_id = utf8_safe(token_id)
    return token_id if len(token_id.encode()) <= MAX_TOKEN_ID_BYTES else None


def _errors(document: Mapping[str, Any]) -> tuple[str, ...]:
    if _has_errors(document):
        words = [
            entry if isinstance(entry, str) else json.dumps(entry, ensure_ascii=False)
            for entry in document["errors"][:MAX_ERRORS]
        ]
    else:
        parts = [document.get(name) for name in ("message", "error", "error_description")]
        words = [": ".join(part for part in parts if isinstance(part, str) and part)]
    return tuple(utf8_safe(word) for word in words if word)


def _has_errors(document: Mapping[str, Any]) -> bool:
    errors = document.get("errors")
    return isinstance(errors, list) and bool(errors)


def _error_code(document: Mapping[str, Any]) -> int | None:
    code = document.get("errorcode")
    if isinstance(code, str) and re.fullmatch(r"[0-9]{1,9}", code):
        return int(code)
    return code if isinstance(code, int) and not isinstance(code, bool) else None


def _retry_after(header: str | None, document: Mapping[str, Any], now: float) -> float | None:
    """Return the seconds of `Retry-After` (a number or a date), else of the body's `retryAfter`."""
    for value in (header, document.get("retryAfter")):
        if value is None:
            continue
        if (seconds := finite_number(value)) is not None:
            return max(0.0, seconds)
        try:
            return max(0.0, parsedate_to_datetime(str(value)).timestamp() - now)
        except (ValueError, OverflowError):
            continue
    return None
