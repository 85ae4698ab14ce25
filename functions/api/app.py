"""HTTP in: an adapter between API Gateway's events and the relay."""

from typing import Any
from urllib.parse import unquote

from aws_lambda_powertools.event_handler import APIGatewayRestResolver, Response
from aws_lambda_powertools.utilities.typing import LambdaContext
from pydantic_core import to_json

from smsrelay import answers, bootstrap
from smsrelay.answers import Answer
from smsrelay.errors import NotFoundError
from smsrelay.http_api import Post

app = APIGatewayRestResolver()


@app.post("/messages")
def post_message() -> Response[str]:
    post = Post(_headers(), _body(), _client())
    return _response(bootstrap.parts().http_api.post_message(post, _seconds_left))


@app.get("/messages/<message_id>")
def get_message(message_id: str) -> Response[str]:
    return _response(bootstrap.parts().http_api.get_message(unquote(message_id), _client()))


@app.get("/tokens/<token_id>")
def get_token(token_id: str) -> Response[str]:
    return _response(bootstrap.parts().http_api.get_token(unquote(token_id), _client()))


@app.not_found
def not_found(_: Exception) -> Response[str]:
    return _response(answers.of_error(NotFoundError()))


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
    """The caller: its API key's id; without keys (sam local) the default client."""
    key_id = app.current_event.request_context.identity.api_key_id
    return key_id or bootstrap.parts().settings.default_client


def _seconds_left() -> float:
    return app.lambda_context.get_remaining_time_in_millis() / 1000


def _response(answer: Answer) -> Response[str]:
    return Response(
        status_code=answer.status,
        content_type=answer.content_type,
        headers=dict(answer.headers),
        body=to_json(answer.body).decode(),
    )
