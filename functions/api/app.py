"""HTTP in: an adapter between API Gateway's events and the relay."""

from smsrelay.runtime import lambda_init

# isort: split
import base64
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import unquote

from pydantic_core import to_json

from smsrelay.errors import LedgerUnavailableError, NotFoundError, RelayError, UnexpectedError
from smsrelay.services import responses
from smsrelay.services.api import Post
from smsrelay.services.responses import Response
from smsrelay.wiring import sending

if TYPE_CHECKING:
    from aws_lambda_powertools.utilities.typing import LambdaContext

# The page has its style inside, and needs nothing else.
_DOCUMENTATION = {
    "Cache-Control": "public, max-age=300",
    "Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'; img-src data:",
    "X-Content-Type-Options": "nosniff",
}


class Request(NamedTuple):
    """One event, and what its path names."""

    event: Mapping[str, Any]
    context: "LambdaContext"
    named: str

    @property
    def headers(self) -> dict[str, str]:
        """By their names in lower case."""
        return {name.lower(): value for name, value in (self.event.get("headers") or {}).items()}

    @property
    def body(self) -> str | None:
        body: str | None = self.event.get("body")
        if not body or not self.event.get("isBase64Encoded"):
            return body
        try:
            return base64.b64decode(body.encode()).decode()
        except ValueError:  # Base64 of something that is no text: no JSON either
            return None

    @property
    def user_arn(self) -> str | None:
        """The IAM principal's, if it is one."""
        arn: str | None = self.event["requestContext"]["identity"].get("userArn")
        return arn

    def client(self) -> str:
        """The caller, by its API key or its IAM principal."""
        api_key_id = self.event["requestContext"]["identity"].get("apiKeyId")
        return sending.parts().client_registry.client_of(api_key_id, self.user_arn)

    def seconds_left(self) -> float:
        return self.context.get_remaining_time_in_millis() / 1000


def post_message(request: Request) -> dict[str, Any]:
    parts, client = sending.parts(), request.client()
    if request.user_arn:  # a usage plan has counted everybody else
        parts.client_registry.check_rate_limit(client)
    post = Post(request.headers, request.body, client)
    return _response(parts.api.post_message(post, request.seconds_left))


def get_message(request: Request) -> dict[str, Any]:
    return _response(sending.parts().api.get_message(request.named, request.client()))


def get_token(request: Request) -> dict[str, Any]:
    return _response(sending.parts().api.get_token(request.named, request.client()))


def get_document(_: Request) -> dict[str, Any]:
    return _file("openapi.json", "application/json")


def get_docs(_: Request) -> dict[str, Any]:
    return _file("docs.html", "text/html; charset=utf-8")


_NAMED = r"([-\w.~()'!*:@,;=+&$%<> \[\]{}|^]+)"
# The gateway has looked at them before; what is none of these never was a route of ours.
ROUTES: Mapping[str, list[tuple[re.Pattern[str], Callable[[Request], dict[str, Any]]]]] = {
    "POST": [(re.compile(r"/messages()"), post_message)],
    "GET": [
        (re.compile(f"/messages/{_NAMED}"), get_message),
        (re.compile(f"/tokens/{_NAMED}"), get_token),
        (re.compile(r"/openapi\.json()"), get_document),
        (re.compile(r"/docs()"), get_docs),
    ],
}


def handler(event: dict[str, Any], context: "LambdaContext") -> dict[str, Any]:
    """Answer one request."""
    parts = sending.parts()
    parts.logger.append_keys(request_id=context.aws_request_id)
    try:
        return _answered(event, context)
    except RelayError as error:  # the caller is over its limit, or no registered client
        asks = event["httpMethod"] == "GET"
        unread = asks and isinstance(error, LedgerUnavailableError)
        return _response(responses.not_read() if unread else responses.of_error(error))
    except Exception:
        parts.logger.exception("request failed in an unforeseen way")
        return _response(responses.of_error(UnexpectedError()))
    finally:
        parts.metrics.flush()


def _answered(event: dict[str, Any], context: "LambdaContext") -> dict[str, Any]:
    # /iam has the same routes, for who signs with an IAM principal's keys.
    path = re.sub("^/iam(?=/)", "", event["path"])
    for route, answer in ROUTES.get(event["httpMethod"].upper(), []):
        if match := route.fullmatch(path):
            return answer(Request(event, context, unquote(match[1])))
    return _response(responses.of_error(NotFoundError()))


def _response(response: Response) -> dict[str, Any]:
    headers = {"Content-Type": response.content_type, **response.headers}
    return _gateway_response(int(response.status), headers, to_json(response.body).decode())


def _file(name: str, content_type: str) -> dict[str, Any]:
    """What `make openapi` has written beside this module: read only when asked for."""
    body = Path(__file__).with_name(name).read_text(encoding="utf-8")
    return _gateway_response(200, {"Content-Type": content_type, **_DOCUMENTATION}, body)


def _gateway_response(status: int, headers: Mapping[str, str], body: str) -> dict[str, Any]:
    return {
        "statusCode": status,
        "multiValueHeaders": {name: [value] for name, value in headers.items()},
        "body": body,
        "isBase64Encoded": False,
    }


lambda_init.end_init(lambda: sending.parts().api, lambda: sending.parts().client_registry)
