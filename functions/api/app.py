"""Responds to requests from API Gateway."""

from smsrelay.runtime import lambda_init

# isort: split
from pathlib import Path
from typing import Any

from smsrelay.errors import NotFoundError, RelayError
from smsrelay.ports import Deadline
from smsrelay.runtime import api_gateway
from smsrelay.runtime.lambda_handler import Context, Event, deadline_of, lambda_handler
from smsrelay.services.api import Post
from smsrelay.services.http_response import Response
from smsrelay.wiring import api

# The page contains its style and script, and loads nothing else. `make openapi` writes the hash.
_DOCUMENTATION = {
    "Cache-Control": "public, max-age=300",
    "Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'; img-src data:; "
    "script-src 'sha256-i/iP3dfeAUsnSl0gs7MbW11S9H0T/rLMpZG0nW4Mhf8='",
    "X-Content-Type-Options": "nosniff",
}

FILES = {
    "/openapi.json": ("openapi.json", "application/json"),
    "/docs": ("docs.html", "text/html; charset=utf-8"),
}
"""The files that `make openapi` writes beside this module."""


POST_MESSAGE = ("POST", "/messages")
"""The only route of this function that stores a message."""


@lambda_handler(api, on_error=api_gateway.to_problem)
def handler(event: Event, context: Context) -> dict[str, Any]:
    """Respond to one request."""
    method, route = api_gateway.route_of(event)
    if method == "GET" and route in FILES:
        name, content_type = FILES[route]
        body = Path(__file__).with_name(name).read_text(encoding="utf-8")
        headers = {"Content-Type": content_type, **_DOCUMENTATION}
        return api_gateway.proxy_response(200, headers, body)
    try:
        response = _respond(method, route, event, deadline_of(context))
    except RelayError as error:
        return api_gateway.to_problem(error, stores_message=(method, route) == POST_MESSAGE)
    return api_gateway.to_proxy(response, api_gateway.base_of(event))


def _respond(method: str, route: str, event: Event, deadline: Deadline) -> Response:
    parts, identity = api.parts(), event["requestContext"]["identity"]

    def client() -> str:
        return parts.client_registry.client_of(identity.get("apiKeyId"), identity.get("userArn"))

    def post() -> Post:
        return Post(
            api_gateway.headers_of(event),
            api_gateway.body_of(event),
            client(),
            is_rate_limited=bool(identity.get("userArn")),  # usage plans limit API keys
        )

    match method, route:
        case "POST", "/messages":
            return parts.api.post_message(post(), deadline)
        case "POST", "/messages/preview":
            return parts.api.preview_message(post())
        case "GET", "/messages":
            return parts.api.find_messages(api_gateway.query_of(event), client())
        case "GET", "/messages/{id}":
            return parts.api.get_message(api_gateway.parameter_of(event, "id"), client())
        case "DELETE", "/messages/{id}":
            return parts.api.cancel_message(api_gateway.parameter_of(event, "id"), client())
        case "GET", "/tokens/{tokenId}":
            return parts.api.get_token(api_gateway.parameter_of(event, "tokenId"), client())
    raise NotFoundError


lambda_init.end_init(api.parts)
