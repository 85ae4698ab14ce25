"""The upstream's token endpoint over httpx."""

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
"""Seconds for the whole call; the next run tries again."""
CONNECT_TIMEOUT: Final = 3.0
MAX_RESPONSE_BYTES: Final = 65_536
"""Bytes of an answer that are read: a token has 512, and some words around it."""


class OAuthEndpoint:
    """The `TokenIssuer` port."""

    def __init__(self, client: httpx.Client, hosts: AllowedHosts, clock: Clock) -> None:
        """`client` has a `KeepAliveTransport`; a redirect would take the secret elsewhere."""
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
                # Not compressed, so that the cap on the answer is a cap.
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
            # Its name only: its text may repeat what was sent.
            return TokenError("no-answer", None, (type(error).__name__,))
        return parse_token_response(
            response.status_code,
            bytes(body[:MAX_RESPONSE_BYTES]),
            asked_at=asked_at,
            credentials=credentials,
            hosts=self._hosts,
        )
