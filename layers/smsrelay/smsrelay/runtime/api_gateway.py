"""Reads API Gateway's proxy events, and builds proxy responses."""

import base64
import logging
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any
from urllib.parse import unquote

from pydantic_core import to_json

from smsrelay.errors import RelayError
from smsrelay.runtime.lambda_handler import Event
from smsrelay.services import problem_documents
from smsrelay.services.http_response import Response

logger = logging.getLogger(__name__)


def route_of(event: Event) -> tuple[str, str]:
    """Return the method and the resource, without /iam, which IAM principals use.

    The event's `path` isn't the route: through a custom domain it begins with the base path
    (gist.github.com/GREsau/444c7d4d0bb9e8c82dd1a585931028bd).
    """
    return event["httpMethod"], event["resource"].removeprefix("/iam")


def parameter_of(event: Event, name: str) -> str:
    """Decode a parameter of the path: API Gateway doesn't (github.com/aws/aws-sam-cli#771)."""
    return unquote(event["pathParameters"][name])


def base_of(event: Event) -> str:
    """Return the part of the URL's path before the route: the stage or a base path, and /iam.

    `requestContext.path` is the whole encoded path of the URL, at the default endpoint and at a
    custom domain.
    """
    _, route = route_of(event)
    segments = [segment for segment in event["requestContext"]["path"].split("/") if segment]
    return "".join(f"/{segment}" for segment in segments[: -route.count("/")])


def headers_of(event: Event) -> dict[str, str]:
    return {name.lower(): value for name, value in (event.get("headers") or {}).items()}


def query_of(event: Event) -> dict[str, list[str]]:
    """Return the decoded parameters of the URL, each with all its values."""
    return event.get("multiValueQueryStringParameters") or {}


def body_of(event: Event) -> str:
    """Return the request's body; empty if it should be UTF-8 in Base64 but isn't."""
    body: str = event.get("body") or ""
    if not event.get("isBase64Encoded"):
        return body
    try:
        return base64.b64decode(body, validate=True).decode(errors="surrogatepass")
    except ValueError:
        return ""


def to_problem(error: RelayError, *, stores_message: bool = True) -> dict[str, Any]:
    """Build the response to a failed request; `stores_message`: it could have stored a message."""
    response = problem_documents.of_error(error)
    if response.status == HTTPStatus.SERVICE_UNAVAILABLE:
        logger.warning("responded 503", extra={"cause": str(error)})
        if not stores_message:
            response = problem_documents.not_read()
    return to_proxy(response)


def to_proxy(response: Response, base: str = "") -> dict[str, Any]:
    """Build a proxy response; `base` is put before the routes in Location and Link."""
    headers = {"Content-Type": response.content_type, **response.headers}
    for name in headers.keys() & {"Location", "Link"}:
        headers[name] = headers[name].replace("/", f"{base}/", 1)
    return proxy_response(response.status, headers, to_json(response.body).decode())


def proxy_response(status: int, headers: Mapping[str, str], body: str) -> dict[str, Any]:
    return {
        "statusCode": int(status),
        "multiValueHeaders": {name: [value] for name, value in headers.items()},
        "body": body,
        "isBase64Encoded": False,
    }
