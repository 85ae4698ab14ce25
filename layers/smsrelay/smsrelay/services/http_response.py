"""An HTTP response, whatever carries it."""

from collections.abc import Mapping
from typing import Any, NamedTuple


class Response(NamedTuple):
    """An HTTP answer; the body is still to be written as JSON."""

    status: int
    body: Mapping[str, Any]
    headers: Mapping[str, str] = {}
    content_type: str = "application/json"
