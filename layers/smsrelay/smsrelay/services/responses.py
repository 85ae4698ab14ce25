"""What an HTTP caller is told: answers, and problem documents (RFC 9457). Pure."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from http import HTTPStatus
from typing import Any, NamedTuple

from smsrelay.errors import (
    ClientNotRegisteredError,
    IdempotencyKeyReusedError,
    InvalidHeaderError,
    InvalidSignatureError,
    LedgerUnavailableError,
    NotFoundError,
    NotJsonError,
    RateLimitedError,
    RelayError,
    RequestInProgressError,
    TooLargeError,
    UnsupportedMediaTypeError,
)
from smsrelay.messages.refusals import Refusal, RequestRefusedError
from smsrelay.ports import RecipientResult, RefusedMessage
from smsrelay.sends.message_status import message_status
from smsrelay.sends.send import DELIVERY_STATUSES, Send, SendKey, Status
from smsrelay.services.sender import MessageState

PROBLEM_TYPE = "urn:smsrelay:problem:"


class Response(NamedTuple):
    """An HTTP answer; the body is still to be written as JSON."""

    status: int
    body: Mapping[str, Any]
    headers: Mapping[str, str] = {}

    @property
    def content_type(self) -> str:
        """`application/problem+json` if the body is a problem document."""
        is_problem = str(self.body.get("type", "")).startswith(PROBLEM_TYPE)
        return "application/problem+json" if is_problem else "application/json"


def problem(
    status: HTTPStatus,
    code: str,
    detail: str,
    headers: Mapping[str, str] = {},
    **extensions: object,
) -> Response:
    """A problem document; `code` is stable and made for programs, `detail` for people."""
    body = {
        "type": f"{PROBLEM_TYPE}{code}",
        "title": status.phrase,
        "status": status.value,
        "code": code,
        "detail": detail,
        **extensions,
    }
    return Response(status, body, headers)


def of_message(message: MessageState, *, deferred: bool) -> Response:
    """The answer to a posted message."""
    # As the first time: how far it was delivered since is for who asks.
    at_first = [_at_first(send) for send in message.sends]
    status = message_status([send.status for send in at_first])
    sends = [_brief(send) for send in at_first]
    headers = {"Location": f"/messages/{message.id}"}
    if deferred:
        headers["Preference-Applied"] = "respond-async"
    if message.replayed:
        headers["Idempotent-Replayed"] = "true"
    if status == Status.UNKNOWN:
        return problem(
            HTTPStatus.GATEWAY_TIMEOUT,
            "delivery-unknown",
            "Nobody can know whether the message went out, and it is not sent again by itself. "
            "Repeating the request with the same Idempotency-Key is safe: it never sends twice.",
            headers,
            id=message.id,
            sends=sends,
        )
    if status == Status.REJECTED:
        return problem(
            HTTPStatus.UNPROCESSABLE_ENTITY,
            "upstream-refused",
            "Marketing Cloud refused the message. Nothing was sent.",
            headers,
            id=message.id,
            errors=list(dict.fromkeys(word for send in message.sends for word in send.errors)),
            sends=sends,
        )
    if status == Status.FAILED:
        return problem(
            HTTPStatus.BAD_GATEWAY,
            "not-sent",
            "Marketing Cloud did not take the message, and all attempts are used up. "
            "Nothing was sent.",
            headers,
            id=message.id,
            sends=sends,
        )
    return Response(
        HTTPStatus.ACCEPTED, {"id": message.id, "status": status, "sends": sends}, headers
    )


def _at_first(send: Send) -> Send:
    """A send as it was when the upstream had taken it."""
    return (
        replace(send, status=Status.ACCEPTED, reason=None)
        if send.status in DELIVERY_STATUSES
        else send
    )


def of_stored(
    message: MessageState | RefusedMessage,
    message_id: str,
    results: Mapping[int, Sequence[RecipientResult]] = {},
) -> Response:
    """The answer to who asks for a message; `rows` are its recipients', if they are kept."""
    if isinstance(message, RefusedMessage):
        return Response(
            HTTPStatus.OK,
            {
                "id": message_id,
                "status": Status.REJECTED,
                "createdAt": _time(message.created_at),
                "errors": _listed(message.refusals),
                "sends": [],
            },
        )
    first = message.sends[0]
    body: dict[str, Any] = {
        "id": message.id,
        "status": message_status([send.status for send in message.sends]),
        "createdAt": _time(first.created_at),
    }
    if first.reference is not None:
        body["reference"] = first.reference
    body["sends"] = [_stored(send, results.get(send.key.number, ())) for send in message.sends]
    return Response(HTTPStatus.OK, body)


def _stored(send: Send, results: Sequence[RecipientResult]) -> dict[str, Any]:
    stored = {**_brief(send), "attempts": send.attempts, "updatedAt": _time(send.updated_at)}
    if send.delivery:
        counts = send.delivery
        stored["delivery"] = {
            "delivered": counts.delivered,
            "undelivered": dict(counts.undelivered),
            "pending": counts.pending,
            "unsubscribed": counts.unsubscribed,
            "checkedAt": _time(counts.checked_at),
            **({"recipients": [row._asdict() for row in results]} if results else {}),
        }
    return stored


def of_token(token_id: str, key: SendKey) -> Response:
    """The answer to who asks what a tokenId belongs to."""
    location = f"/messages/{key.message_id}"
    return Response(
        HTTPStatus.OK,
        {"tokenId": token_id, "id": key.message_id, "n": key.number},
        {"Link": f'<{location}>; rel="item"'},
    )


def _of_refusals(refused: RequestRefusedError) -> Response:
    too_large = all(refusal.code == "too-large" for refusal in refused.refusals)
    extensions: dict[str, object] = {"errorsOmitted": refused.omitted} if refused.omitted else {}
    return problem(
        HTTPStatus.REQUEST_ENTITY_TOO_LARGE if too_large else HTTPStatus.UNPROCESSABLE_ENTITY,
        "too-large" if too_large else "invalid-request",
        "The request breaks the rules that errors lists. Nothing was sent.",
        {},
        errors=_listed(refused.refusals),
        **extensions,
    )


def of_error(error: RelayError) -> Response:  # noqa: C901, PLR0911, PLR0912 - a table
    """The one place that maps the relay's errors to HTTP."""
    match error:
        case RequestRefusedError():
            return _of_refusals(error)
        case TooLargeError():
            return problem(
                HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
                "too-large",
                f"{_sentence(error)} Nothing was sent.",
            )
        case NotJsonError():
            return problem(
                HTTPStatus.BAD_REQUEST,
                "not-json",
                f"The body is not JSON: {error}. Nothing was sent.",
            )
        case UnsupportedMediaTypeError():
            return problem(
                HTTPStatus.UNSUPPORTED_MEDIA_TYPE,
                "wrong-content-type",
                f"{error} Nothing was sent.",
            )
        case InvalidHeaderError():
            return problem(HTTPStatus.BAD_REQUEST, "invalid-header", f"{error} Nothing was sent.")
        case IdempotencyKeyReusedError():
            return problem(
                HTTPStatus.UNPROCESSABLE_ENTITY,
                "idempotency-key-reused",
                "This Idempotency-Key belongs to a request with another body. Nothing was sent.",
                id=error.message_id,
            )
        case RequestInProgressError():
            return problem(
                HTTPStatus.CONFLICT,
                "still-running",
                "The first request with this Idempotency-Key is still running. Nothing was sent "
                "by this one.",
                {"Retry-After": "1"},
                id=error.message_id,
            )
        case ClientNotRegisteredError():
            return problem(
                HTTPStatus.FORBIDDEN,
                "client-not-registered",
                "This API key or IAM principal belongs to no registered client. Ask the operator "
                "of the relay to register it. Nothing was sent.",
            )
        case InvalidSignatureError():
            # Without WWW-Authenticate: the gateway would rename it.
            return problem(
                HTTPStatus.UNAUTHORIZED,
                "not-signed",
                "There is no such client, or it has not signed this, or not within the last five "
                "minutes. Nothing was sent.",
            )
        case RateLimitedError():
            return problem(
                HTTPStatus.TOO_MANY_REQUESTS,
                "over-limit",
                "Too many requests of this client in this minute. Nothing was sent.",
                {"Retry-After": str(error.retry_after)},
            )
        case NotFoundError():
            return problem(HTTPStatus.NOT_FOUND, "not-found", "There is nothing here.")
        case LedgerUnavailableError():
            return problem(
                HTTPStatus.SERVICE_UNAVAILABLE,
                "not-stored",
                "The relay could not store the message, and has not sent it. Please repeat it with "
                "the same Idempotency-Key: without one it could go out twice.",
                {"Retry-After": "5"},
            )
        case _:
            return problem(
                HTTPStatus.INTERNAL_SERVER_ERROR,
                "server-error",
                "The relay failed. Repeating the request with the same Idempotency-Key is safe: "
                "it never sends twice.",
            )


def not_read() -> Response:
    """The answer to who asks while the ledger is out of reach."""
    return problem(
        HTTPStatus.SERVICE_UNAVAILABLE,
        "not-read",
        "The relay could not look it up. Please ask again.",
        {"Retry-After": "5"},
    )


def _sentence(error: RelayError) -> str:
    text = str(error)
    return f"{text[:1].upper()}{text[1:]}."


def _brief(send: Send) -> dict[str, Any]:
    brief: dict[str, Any] = {
        "n": send.key.number,
        "status": send.status,
        "recipients": send.recipients,
    }
    if send.token_id is not None:
        brief["tokenId"] = send.token_id
    if send.reason is not None and send.status not in {Status.ACCEPTED, Status.DELIVERED}:
        brief["reason"] = send.reason
    if send.errors:
        brief["errors"] = list(send.errors)
    return brief


def _listed(refusals: Sequence[Refusal]) -> list[dict[str, str]]:
    return [refusal._asdict() for refusal in refusals]


def _time(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds")
