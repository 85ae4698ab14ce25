"""Calls the upstream's token endpoint over httpx."""

from typing import Final

import httpx

from smsrelay.ports import Clock
from smsrelay.security.allowed_hosts import AllowedHosts
from smsrelay.tokens.token_response import (
    AccessToken,
    ClientCredentials,
    TokenError,
    parse_token_response,
)

TOTAL_TIMEOUT: Final = 10.0
"""Seconds for the whole call; the next run retries it."""
CONNECT_TIMEOUT: Final = 3.0
MAX_RESPONSE_BYTES: Final = 65_536
"""The most bytes that are read of a response: a token has 512, plus a few fields."""


class OAuthEndpoint:
    """The `TokenIssuer` port."""

    def __init__(self, client: httpx.Client, hosts: AllowedHosts, clock: Clock) -> None:
        """`client` needs a `KeepAliveTransport` and must not follow redirects."""
        self._client = client
        self._hosts = hosts
        self._clock = clock

    def fetch(self, credentials: ClientCredentials) -> AccessToken | TokenError:
        """Call `POST /v2/token` once."""
        asked_at, body = self._clock(), bytearray()
        try:
            with self._client.stream(
                "POST",
                f"{credentials.auth_base_url}/v2/token",
                json=credentials.request(),
                # Not compressed, so that MAX_RESPONSE_BYTES also limits the decoded size.
                headers={"Accept": "application/json", "Accept-Encoding": "identity"},
                timeout=httpx.Timeout(TOTAL_TIMEOUT, connect=CONNECT_TIMEOUT),
            ) as response:
                for chunk in response.iter_raw():
                    body += chunk
                    if len(body) > MAX_RESPONSE_BYTES:
                        break
        except httpx.TimeoutException:
            return TokenError("timeout")
        except httpx.HTTPError as error:
            # Only its name: its text may contain what was sent.
            return TokenError("no-answer", None, (type(error).__name__,))
        return parse_token_response(
            response.status_code,
            bytes(body[:MAX_RESPONSE_BYTES]),
            asked_at=asked_at,
            credentials=credentials,
            hosts=self._hosts,
        )
