"""Builds problem documents (RFC 9457), the responses to failed requests. Pure."""

from collections.abc import Mapping, Sequence
from http import HTTPStatus

from smsrelay import errors
from smsrelay.errors import RelayError
from smsrelay.messages.refusals import Refusal, RequestRefusedError
from smsrelay.services.http_response import Response

PROBLEM_TYPE = "urn:smsrelay:problem:"
CONTENT_TYPE = "application/problem+json"


def problem(
    status: HTTPStatus,
    code: str,
    detail: str,
    headers: Mapping[str, str] = {},
    **extensions: object,
) -> Response:
    """Build a problem document; `code` is stable and for programs, `detail` is for people."""
    body = {
        "type": f"{PROBLEM_TYPE}{code}",
        "title": status.phrase,
        "status": status.value,
        "code": code,
        "detail": detail,
        **extensions,
    }
    return Response(status, body, headers, CONTENT_TYPE)


def errors_of(refusals: Sequence[Refusal]) -> list[dict[str, str]]:
    return [refusal._asdict() for refusal in refusals]


def _of_refusals(refused: RequestRefusedError) -> Response:
    status, code = HTTPStatus.UNPROCESSABLE_ENTITY, "invalid-request"
    if all(refusal.code == "too-large" for refusal in refused.refusals):
        status, code = HTTPStatus.REQUEST_ENTITY_TOO_LARGE, "too-large"
    detail = "The request breaks the rules that errors lists. Nothing was sent."
    omitted = {"errorsOmitted": refused.omitted} if refused.omitted else {}
    return problem(status, code, detail, {}, errors=errors_of(refused.refusals), **omitted)


def of_error(error: RelayError) -> Response:  # noqa: C901, PLR0911, PLR0912 - a table
    """Map the relay's errors to HTTP responses; `responses` maps the statuses of messages."""
    match error:
        case RequestRefusedError():
            return _of_refusals(error)
        case errors.TooLargeError():
            detail = f"{str(error).capitalize()}. Nothing was sent."
            return problem(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, "too-large", detail)
        case errors.NotJsonError():
            detail = f"The body is not JSON: {error}. Nothing was sent."
            return problem(HTTPStatus.BAD_REQUEST, "not-json", detail)
        case errors.UnsupportedMediaTypeError():
            detail = f"{error} Nothing was sent."
            return problem(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, "wrong-content-type", detail)
        case errors.InvalidHeaderError():
            return problem(HTTPStatus.BAD_REQUEST, "invalid-header", f"{error} Nothing was sent.")
        case errors.InvalidQueryError():
            return problem(HTTPStatus.UNPROCESSABLE_ENTITY, "invalid-query", str(error))
        case errors.IdempotencyKeyReusedError():
            return problem(
                HTTPStatus.UNPROCESSABLE_ENTITY,
                "idempotency-key-reused",
                "This Idempotency-Key belongs to a request with another body. Nothing was sent. "
                "Use a new Idempotency-Key for another message.",
                id=error.message_id,
            )
        case errors.RequestInProgressError():
            return problem(
                HTTPStatus.CONFLICT,
                "still-running",
                "The first request with this Idempotency-Key is still running. Nothing was sent "
                "by this one.",
                {"Retry-After": "1"},
                id=error.message_id,
            )
        case errors.TooLateError():
            return problem(
                HTTPStatus.CONFLICT,
                "too-late",
                "No send of the message is queued, so none can be cancelled.",
                id=error.message_id,
            )
        case errors.ClientNotRegisteredError():
            return problem(
                HTTPStatus.FORBIDDEN,
                "client-not-registered",
                "This API key or IAM principal belongs to no registered client. Ask the operator "
                "of the relay to register it. Nothing was sent.",
            )
        case errors.InvalidSignatureError():
            # Without WWW-Authenticate: API Gateway would rename it.
            return problem(
                HTTPStatus.UNAUTHORIZED,
                "not-signed",
                "The client is unknown, the signature is missing or wrong, or its time differs by "
                "more than five minutes. Nothing was sent.",
            )
        case errors.RateLimitedError():
            detail = "Too many recipients of this client in this minute. Nothing was sent."
            headers = {"Retry-After": str(error.retry_after)}
            return problem(HTTPStatus.TOO_MANY_REQUESTS, "over-limit", detail, headers)
        case errors.NotFoundError():
            detail = "Nothing has this id or tokenId, or it belongs to another client."
            return problem(HTTPStatus.NOT_FOUND, "not-found", detail)
        case errors.UnreadableItemError():
            return problem(
                HTTPStatus.SERVICE_UNAVAILABLE,
                "not-stored",
                "The relay has stored this message, but can't read it now. Repeat the request with "
                "the same Idempotency-Key.",
                {"Retry-After": "5"},
            )
        case errors.LedgerUnavailableError() | errors.SecretUnavailableError():
            return problem(
                HTTPStatus.SERVICE_UNAVAILABLE,
                "not-stored",
                "A store of the relay is unavailable, so it is not certain whether the message is "
                "stored. Repeat the request with the same Idempotency-Key: without a key the "
                "message could go out twice.",
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
    """Return the response while the ledger is unavailable, except to a post of a message."""
    detail = "The relay could not read the message. Repeat the request."
    return problem(HTTPStatus.SERVICE_UNAVAILABLE, "not-read", detail, {"Retry-After": "5"})
