"""Responds to requests from API Gateway."""

from smsrelay.runtime import lambda_init

# isort: split
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import unquote

from smsrelay.errors import LedgerUnavailableError, NotFoundError, RelayError, UnexpectedError
from smsrelay.ports import Deadline
from smsrelay.runtime import api_gateway
from smsrelay.runtime.lambda_handler import Context, Event, deadline_of, lambda_handler
from smsrelay.services import problem_documents
from smsrelay.services.api import Post
from smsrelay.services.http_response import Response
from smsrelay.wiring import api

# The page has its style inside, and needs nothing else.
_DOCUMENTATION = {
    "Cache-Control": "public, max-age=300",
    "Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'; img-src data:",
    "X-Content-Type-Options": "nosniff",
}


class Request(NamedTuple):
    """One request, and the id or tokenId in its path."""

    event: Event
    deadline: Deadline
    name: str

    @property
    def body(self) -> str | None:
        """The body as text; None if it isn't text, so it isn't JSON either."""
        body = api_gateway.body_of(self.event)
        try:
            return None if body is None else body.decode(errors="surrogatepass")
        except UnicodeDecodeError:
            return None

    @property
    def user_arn(self) -> str | None:
        """The ARN of the IAM principal that signed the request, if one did."""
        arn: str | None = self.event["requestContext"]["identity"].get("userArn")
        return arn

    def client(self) -> str:
        """The client that the API key or the IAM principal belongs to."""
        api_key_id = self.event["requestContext"]["identity"].get("apiKeyId")
        return api.parts().client_registry.client_of(api_key_id, self.user_arn)


def post_message(request: Request) -> Response:
    """`POST /messages`."""
    parts, client = api.parts(), request.client()
    if request.user_arn:  # usage plans count the requests of API keys
        parts.client_rate_limit.check(client)
    post = Post(api_gateway.headers_of(request.event), request.body, client)
    return parts.api.post_message(post, request.deadline)


def get_message(request: Request) -> Response:
    """`GET /messages/{id}`."""
    return api.parts().api.get_message(request.name, request.client())


def get_token(request: Request) -> Response:
    """`GET /tokens/{tokenId}`."""
    return api.parts().api.get_token(request.name, request.client())


_NAME = r"([-\w.~()'!*:@,;=+&$%<> \[\]{}|^]+)"
# API Gateway has matched the path before, so a path that matches nothing here is not a route.
ROUTES: Mapping[str, list[tuple[re.Pattern[str], Callable[[Request], Response]]]] = {
    "POST": [(re.compile(r"/messages()"), post_message)],
    "GET": [
        (re.compile(f"/messages/{_NAME}"), get_message),
        (re.compile(f"/tokens/{_NAME}"), get_token),
    ],
}
FILES = {
    "/openapi.json": ("openapi.json", "application/json"),
    "/docs": ("docs.html", "text/html; charset=utf-8"),
}
"""What `make openapi` has written beside this module; a file is read when it is requested."""


@lambda_handler(
    api,
    on_error=lambda: api_gateway.to_proxy(problem_documents.of_error(UnexpectedError())),
)
def handler(event: Event, context: Context) -> dict[str, Any]:
    """Respond to one request."""
    # The routes under /iam are the same, for requests that IAM principals sign.
    path, method = re.sub("^/iam(?=/)", "", event["path"]), event["httpMethod"].upper()
    if method == "GET" and path in FILES:
        name, content_type = FILES[path]
        body = Path(__file__).with_name(name).read_text(encoding="utf-8")
        headers = {"Content-Type": content_type, **_DOCUMENTATION}
        return api_gateway.proxy_response(200, headers, body)
    try:
        response = _respond(method, path, event, deadline_of(context))
    except RelayError as error:
        is_unread = method == "GET" and isinstance(error, LedgerUnavailableError)
        response = problem_documents.not_read() if is_unread else problem_documents.of_error(error)
    return api_gateway.to_proxy(response)


def _respond(method: str, path: str, event: Event, deadline: Deadline) -> Response:
    for route, respond in ROUTES.get(method, []):
        if match := route.fullmatch(path):
            return respond(Request(event, deadline, unquote(match[1])))
    raise NotFoundError


lambda_init.end_init(api.parts)
