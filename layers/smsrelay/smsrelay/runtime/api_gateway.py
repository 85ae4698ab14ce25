"""API Gateway's proxy events and responses."""

import base64
import re
from collections.abc import Mapping
from typing import Any

from pydantic_core import to_json

from smsrelay.errors import RelayError
from smsrelay.runtime.lambda_handler import Event
from smsrelay.services import problem_documents
from smsrelay.services.http_response import Response


def route_of(event: Event) -> tuple[str, str]:
    """The method and the path; the routes under /iam are the same, for IAM principals."""
    return event["httpMethod"].upper(), re.sub("^/iam(?=/)", "", event["path"])


def headers_of(event: Event) -> dict[str, str]:
    return {name.lower(): value for name, value in (event.get("headers") or {}).items()}


def query_of(event: Event) -> dict[str, list[str]]:
    """The decoded parameters of the URL, each with all its values."""
    return event.get("multiValueQueryStringParameters") or {}


def body_of(event: Event) -> bytes:
    """The bytes of the request's body; none if it is not the Base64 that it claims to be."""
    body: str = event.get("body") or ""
    if not event.get("isBase64Encoded"):
        return body.encode(errors="surrogatepass")
    try:
        return base64.b64decode(body, validate=True)
    except ValueError:
        return b""


def to_problem(error: RelayError) -> dict[str, Any]:
    """The response to an error."""
    return to_proxy(problem_documents.of_error(error))


def to_proxy(response: Response) -> dict[str, Any]:
    headers = {"Content-Type": response.content_type, **response.headers}
    return proxy_response(response.status, headers, to_json(response.body).decode())


def proxy_response(status: int, headers: Mapping[str, str], body: str) -> dict[str, Any]:
    return {
        "statusCode": int(status),
        "multiValueHeaders": {name: [value] for name, value in headers.items()},
        "body": body,
        "isBase64Encoded": False,
    }
