"""What became of one call of the upstream: a pure function of its response or its failure.

The rule (docs/delivery-guarantees.md): `ACCEPTED` and `REJECTED` are what the upstream said,
`NOT_SENT` is certain and may be tried again, and `UNKNOWN` is everything that nobody can know.
"""

import json
import re
from collections.abc import Iterable, Mapping
from email.utils import parsedate_to_datetime
from enum import Enum, StrEnum
from http import HTTPStatus
from typing import Any, NamedTuple

from smsrelay.messages.strict_json import utf8_safe

MAX_ERRORS = 20
MAX_ERRORS_BYTES = 16_384
"""Bytes of a response's error messages together. They are stored beside a body of up to 350,000."""
MAX_TOKEN_BYTES = 1_024  # an index of the ledger takes twice as many
BLOCKED = 50200  # the platform's error code of a 429 that only its support can end


class OutcomeKind(Enum):
    """Whether the upstream took the call."""

    ACCEPTED = "accepted"
    REJECTED = "rejected"  # for good: the same call would be refused again
    NOT_SENT = "not-sent"  # for certain: the same call may be tried again
    UNKNOWN = "unknown"


class Failure(StrEnum):
    """Why there is no response, named by what it says about the request."""

    NO_TOKEN = "no-token"  # noqa: S105 - there was no access token to call with # nosec B105
    NO_CONNECTION = "no-connection"  # refused, no address, TLS handshake, no free connection
    CONNECT_TIMEOUT = "connect-timeout"
    WRITE_FAILED = "write-failed"
    READ_FAILED = "read-failed"
    READ_TIMEOUT = "read-timeout"
    PROTOCOL_ERROR = "protocol-error"


_BEFORE_THE_REQUEST = {Failure.NO_TOKEN, Failure.NO_CONNECTION, Failure.CONNECT_TIMEOUT}


class Outcome(NamedTuple):
    """What became of a call, with the evidence.

    `reason` is a stable code, `errors` the upstream's own words, `retry_after` the seconds that
    it asked to wait. `token_id` is None when an accepted call's answer held none that is readable.
    """

    kind: OutcomeKind
    reason: str
    status: int | None = None
    token_id: str | None = None
    errors: tuple[str, ...] = ()
    retry_after: float | None = None

    @property
    def unauthorised(self) -> bool:
        """Whether another access token might help."""
        return self.status == HTTPStatus.UNAUTHORIZED


def of_failure(failure: Failure) -> Outcome:
    """The outcome of a call that got no response."""
    kind = OutcomeKind.NOT_SENT if failure in _BEFORE_THE_REQUEST else OutcomeKind.UNKNOWN
    return Outcome(kind, failure.value)


def of_response(status: int, headers: Mapping[str, str], body: bytes, now: float) -> Outcome:
    """The outcome of a call that got a response.

    Args:
        status: HTTP status.
        headers: Of the response; looked up by lower-case name.
        body: As much of it as could be read: a status that arrived stays true without its body.
        now: Seconds since the epoch, for a `Retry-After` that is a date.
    """
    text = body.decode("utf-8-sig", "replace")
    document = _document(text)
    errors = _errors(document)
    if HTTPStatus.OK <= status < HTTPStatus.MULTIPLE_CHOICES:
        token_id = _token_id(document, text)
        return Outcome(
            OutcomeKind.ACCEPTED,
            "accepted" if token_id else "accepted-without-token",
            status,
            token_id,
        )
    retry_after = _retry_after(headers.get("retry-after"), document, now)
    if status == HTTPStatus.UNAUTHORIZED:
        return Outcome(OutcomeKind.NOT_SENT, "unauthorised", status, None, errors)
    if status == HTTPStatus.TOO_MANY_REQUESTS:
        blocked = _error_code(document) == BLOCKED
        reason = "blocked" if blocked else "throttled"
        return Outcome(OutcomeKind.NOT_SENT, reason, status, None, errors, retry_after)
    if status == HTTPStatus.SERVICE_UNAVAILABLE:
        return Outcome(OutcomeKind.NOT_SENT, "unavailable", status, None, errors, retry_after)
    is_refused = HTTPStatus.BAD_REQUEST <= status < HTTPStatus.INTERNAL_SERVER_ERROR
    if is_refused and status != HTTPStatus.REQUEST_TIMEOUT:
        reason = "forbidden" if status == HTTPStatus.FORBIDDEN else "refused"
        words = errors or (f"The upstream answered {status} and gave no reason.",)
        return Outcome(OutcomeKind.REJECTED, reason, status, None, words)
    # 500, 502, 504 and what no documentation names: it may have gone out before it failed. With 408
    # a server says that it waited for the request in vain, or, wrongly but often, for itself.
    server_error = status >= HTTPStatus.INTERNAL_SERVER_ERROR
    reason = "server-error" if server_error else "unexpected-status"
    return Outcome(OutcomeKind.UNKNOWN, reason, status, None, errors)


def words_of(body: bytes) -> tuple[str, ...]:
    """The upstream's own words of a refusal, in any of the three shapes of API.md."""
    return _errors(_document(body.decode("utf-8", "replace")))


def fit_errors(errors: Iterable[str]) -> tuple[str, ...]:
    """The error messages up to `MAX_ERRORS_BYTES` together, as UTF-8; the last one may be cut."""
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


def _document(text: str) -> dict[str, Any]:
    """The JSON object in the body; empty for HTML, nothing, or anything else."""
    try:
        document = json.loads(text)
    except (ValueError, RecursionError):
        return {}
    return document if isinstance(document, dict) else {}


_TOKEN = re.compile(r'"tokenId"\s*:\s*"((?:[^"\\]|\\.)+)"')


def _token_id(document: Mapping[str, Any], text: str) -> str | None:
    # The reference's own example has a comma too many: what json.loads can't read still counts.
    match = _TOKEN.search(text)
    token_id = document.get("tokenId") or (match and match[1])
    if isinstance(token_id, int) and not isinstance(token_id, bool):
        token_id = str(token_id)
    if not isinstance(token_id, str) or not token_id.strip():
        return None
    token_id = utf8_safe(token_id)
    return token_id if len(token_id.encode()) <= MAX_TOKEN_BYTES else None


def _errors(document: Mapping[str, Any]) -> tuple[str, ...]:
    """The reason in any of the three shapes of API.md."""
    errors = document.get("errors")
    if isinstance(errors, list) and errors:
        words = [
            entry if isinstance(entry, str) else json.dumps(entry, ensure_ascii=False)
            for entry in errors[:MAX_ERRORS]
        ]
    else:
        parts = [document.get(name) for name in ("message", "error", "error_description")]
        words = [": ".join(part for part in parts if isinstance(part, str) and part)]
    return tuple(utf8_safe(word) for word in words if word)


def _error_code(document: Mapping[str, Any]) -> int | None:
    code = document.get("errorcode")
    if isinstance(code, str) and re.fullmatch(r"[0-9]{1,9}", code):
        return int(code)
    return code if isinstance(code, int) else None


def _retry_after(header: str | None, document: Mapping[str, Any], now: float) -> float | None:
    """Seconds to wait: `Retry-After` as seconds or as a date, else `retryAfter` of the body."""
    for value in (header, document.get("retryAfter")):
        if value is None:
            continue
        try:
            return max(0.0, float(value))
        except (TypeError, ValueError, OverflowError):
            pass
        try:
            return max(0.0, parsedate_to_datetime(str(value)).timestamp() - now)
        except (ValueError, OverflowError):
            continue
    return None
