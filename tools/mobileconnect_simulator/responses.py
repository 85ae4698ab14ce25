"""Responses in the three formats of the upstream."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum

DOCUMENTATION = "https://developer.salesforce.com/docs"


class Manner(Enum):
    """How the connection ends."""

    ANSWER = "answer"
    RESET = "reset"
    HANG = "hang"


@dataclass(frozen=True, slots=True)
class Reply:
    status: int = 200
    text: str = ""
    content_type: str = "application/json"
    headers: Mapping[str, str] = field(default_factory=dict)
    manner: Manner = Manner.ANSWER
    delay_ms: int = 0
    secret: str | None = None
    """A value that the record of the call must not contain."""
    token_id: str | None = None
    """The tokenId of the send, even if the response does not contain it."""


def answer(status: int, body: Mapping[str, object], secret: str | None = None) -> Reply:
    return Reply(status, json.dumps(body), secret=secret)


def refused(errors: list[str]) -> Reply:
    return answer(400, {"errors": errors})


def platform_error(
    status: int, message: str, errorcode: int = 0, retry_after: int | None = None
) -> Reply:
    body: dict[str, object] = {
        "documentation": DOCUMENTATION,
        "errorcode": errorcode,
        "message": message,
    }
    headers = {}
    if retry_after is not None:
        headers["Retry-After"] = str(retry_after)
    return Reply(status, json.dumps(body), headers=headers)


def rate_limited(retry_after: int) -> Reply:
    body = {
        "message": "Rate limit exceeded",
        "errorcode": 50100,
        "retryAfter": retry_after,
        "documentation": DOCUMENTATION,
    }
    return Reply(429, json.dumps(body), headers={"Retry-After": str(retry_after)})


def oauth_error(status: int, error: str, description: str) -> Reply:
    return answer(
        status,
        {"error": error, "error_description": description, "error_uri": DOCUMENTATION},
    )


def gateway_page(status: int, title: str) -> Reply:
    page = f"<html><head><title>{status} {title}</title></head><body>{title}</body></html>"
    return Reply(status, page, content_type="text/html")


NOT_AUTHORIZED = platform_error(401, "Not Authorized")
MISSING_SCOPE = platform_error(403, "Insufficient Privileges", 20002)
NOT_FOUND = platform_error(404, "Not Found")
TOO_LARGE = platform_error(413, "Request Entity Too Large")
