"""HTTP in: an adapter between API Gateway's events and the relay."""

from pathlib import Path
from typing import Any
from urllib.parse import unquote

from aws_lambda_powertools.event_handler import APIGatewayRestResolver, Response
from aws_lambda_powertools.utilities.data_classes.common import APIGatewayEventIdentity
from aws_lambda_powertools.utilities.typing import LambdaContext
from pydantic_core import to_json

from smsrelay import answers, bootstrap
from smsrelay.answers import Answer
from smsrelay.errors import NotFoundError, NothingStoredError, RelayError, UnforeseenError
from smsrelay.http_api import Post

# /iam has the same routes, for who signs with an IAM principal's keys.
# POWERTOOLS_DEV would have it print every event, and answer with tracebacks.
app = APIGatewayRestResolver(debug=False, strip_prefixes=["/iam"])

# The page has its style inside, and needs nothing else.
_DOCUMENTATION = {
    "Cache-Control": "public, max-age=300",
    "Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'; img-src data:",
    "X-Content-Type-Options": "nosniff",
}


@app.post("/messages")
def post_message() -> Response[str]:
    parts, client = bootstrap.parts(), _client()
    if _identity().user_arn:  # a usage plan has counted everybody else
        parts.callers.admit(client)
    post = Post(_headers(), _body(), client)
    return _response(parts.http_api.post_message(post, _seconds_left))


@app.get("/messages/<message_id>")
def get_message(message_id: str) -> Response[str]:
    return _response(bootstrap.parts().http_api.get_message(unquote(message_id), _client()))


@app.get("/tokens/<token_id>")
def get_token(token_id: str) -> Response[str]:
    return _response(bootstrap.parts().http_api.get_token(unquote(token_id), _client()))


@app.get("/openapi.json")
def get_document() -> Response[str]:
    return _file("openapi.json", "application/json")


@app.get("/docs")
def get_docs() -> Response[str]:
    return _file("docs.html", "text/html; charset=utf-8")


@app.not_found
def not_found(_: Exception) -> Response[str]:
    return _response(answers.of_error(NotFoundError()))


@app.exception_handler(RelayError)  # type: ignore[untyped-decorator] # powertools's has no types
def refused(error: RelayError) -> Response[str]:
    """The caller is over its limit, or nobody can say who it is."""
    asks = app.current_event.http_method == "GET"
    unread = asks and isinstance(error, NothingStoredError)
    return _response(answers.not_read() if unread else answers.of_error(error))


@app.exception_handler(Exception)  # type: ignore[untyped-decorator] # Powertools has no types here
def failed(_: Exception) -> Response[str]:
    bootstrap.parts().logger.exception("request failed in an unforeseen way")
    return _response(answers.of_error(UnforeseenError()))


def handler(event: dict[str, Any], context: LambdaContext) -> dict[str, Any]:
    """Answer one request."""
    parts = bootstrap.parts()
    parts.logger.append_keys(request_id=context.aws_request_id)
    try:
        return app.resolve(event, context)
    finally:
        parts.counter.flush()


def _headers() -> dict[str, str]:
    return {name.lower(): value for name, value in app.current_event.headers.items()}


def _body() -> str | None:
    try:
        return app.current_event.decoded_body
    except ValueError:  # Base64 of something that is no text: no JSON either
        return None


def _client() -> str:
    """The caller, by its API key or its IAM principal."""
    identity = _identity()
    return bootstrap.parts().callers.client_of(identity.api_key_id, identity.user_arn)


def _identity() -> APIGatewayEventIdentity:
    return app.current_event.request_context.identity


def _seconds_left() -> float:
    return app.lambda_context.get_remaining_time_in_millis() / 1000


def _response(answer: Answer) -> Response[str]:
    return Response(
        status_code=answer.status,
        content_type=answer.content_type,
        headers=dict(answer.headers),
        body=to_json(answer.body).decode(),
    )


def _file(name: str, content_type: str) -> Response[str]:
    """What `make openapi` has written beside this module: read only when asked for."""
    body = Path(__file__).with_name(name).read_text(encoding="utf-8")
    return Response(200, content_type, body, headers=dict(_DOCUMENTATION))
