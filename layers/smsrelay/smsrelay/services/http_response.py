"""An HTTP response, independent of API Gateway."""

from collections.abc import Mapping
from typing import Any, NamedTuple


class Response(NamedTuple):
    """An HTTP response; the body is not serialized yet."""

    status: int
    body: Mapping[str, Any]
    headers: Mapping[str, str] = {}
    content_type: str = "application/json"
