"""Posts callbacks over httpx."""

from collections.abc import Mapping
from typing import Final

import httpx

TIMEOUT: Final = httpx.Timeout(10.0, connect=3.0)
"""In seconds; the read time-out is for the whole call (`KeepAliveTransport`)."""


class HttpCallbackClient:
    """The `CallbackClient` port."""

    def __init__(self, client: httpx.Client) -> None:
        """`client` needs a `KeepAliveTransport` and must not follow redirects."""
        self._client = client

    def post(self, url: str, body: str, headers: Mapping[str, str]) -> int | str:
        """Post once, and read only the status of the response."""
        try:
            with self._client.stream(
                "POST", url, content=body.encode(), headers=headers, timeout=TIMEOUT
            ) as response:
                return response.status_code
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            return type(error).__name__
