"""Calls MobileConnect over httpx. A call that may have been processed is never repeated."""

import time
from collections.abc import Mapping
from contextlib import suppress
from functools import lru_cache
from http import HTTPStatus
from typing import Final, NamedTuple, cast
from urllib.parse import quote

import httpx

from smsrelay.adapters.http_transport import DeadlinePassedError, KeepAliveTransport, failure_of
from smsrelay.errors import TokenUnavailableError
from smsrelay.messages.upstream_paths import message_path
from smsrelay.ports import Clock, Credentials, TokenSource
from smsrelay.security.redaction import without
from smsrelay.sends import call_outcome
from smsrelay.sends.call_outcome import Failure, Outcome, OutcomeKind
from smsrelay.sends.delivery_report import DeliveryReport, parse_report

POOL_TIMEOUT, CONNECT_TIMEOUT = 1.0, 2.0
SHORTEST_CALL: Final = 0.5
"""The least seconds left after the token was read; before that the sender has reserved more."""
MAX_RESPONSE_BYTES: Final = 65_536
"""The most bytes that are read of a response; all documented ones are far smaller."""
MAX_REPORT_BYTES: Final = 2_000_000
"""The same for a report: 250 numbers with a dozen rows of 200 bytes each are 600 KB."""


class _Request(NamedTuple):
    """A call; `most` is the number of bytes that are read of its response."""

    method: str
    path: str
    body: str | None
    most: int


class _Response(NamedTuple):
    """A response, with as much of its body as could be read."""

    status: int
    headers: Mapping[str, str]
    body: bytes
    access_token: str

    def outcome(self, now: float) -> Outcome:
        """Return the outcome, with the access token cut out of its errors."""
        outcome = call_outcome.of_response(self.status, self.headers, self.body, now)
        try:
            return outcome._replace(errors=without(outcome.errors, [self.access_token]))
        except Exception:  # noqa: BLE001 - the outcome must not get lost because of its texts
            return outcome._replace(errors=())


class MobileConnect:
    """The ports `Upstream` and `DeliveryReports`."""

    def __init__(self, transport: KeepAliveTransport, tokens: TokenSource, clock: Clock) -> None:
        """`transport` must not retry.

        It is used without an `httpx.Client`, so no redirect, cookie or proxy can leak the token.
        """
        self._transport = transport
        self._tokens = tokens
        self._clock = clock

    def send(self, upstream_message_id: str, body: str, timeout: float) -> Outcome:
        """Call `POST /sms/v1/messageContact/{id}/send`."""
        path = f"{message_path(upstream_message_id)}/send"
        response = self._call(_Request("POST", path, body, MAX_RESPONSE_BYTES), timeout)
        return response if isinstance(response, Outcome) else response.outcome(self._clock())

    def report(
        self, upstream_message_id: str, token_id: str, timeout: float
    ) -> DeliveryReport | Outcome:
        """Call `GET /sms/v1/messageContact/{id}/deliveries/{tokenId}`."""
        path = f"{message_path(upstream_message_id)}/deliveries/{quote(token_id, safe='')}"
        response = self._call(_Request("GET", path, None, MAX_REPORT_BYTES), timeout)
        if isinstance(response, Outcome):
            return response
        if response.status != HTTPStatus.OK:
            return response.outcome(self._clock())
        return parse_report(response.body) or Outcome(
            OutcomeKind.UNKNOWN, "no-report", response.status
        )

    def _call(self, request: _Request, timeout: float) -> _Response | Outcome:
        """Return the response, or the outcome if there is no response.

        Only a call that got a 401 is repeated, once, if the secret has a new token: the first call
        was certainly not processed.
        """
        give_up_at = time.monotonic() + timeout
        try:
            credentials = self._tokens.current()
            response = self._exchange(credentials, request, give_up_at)
            if isinstance(response, _Response) and response.status == HTTPStatus.UNAUTHORIZED:
                renewed = self._tokens.renewed(credentials)
                if renewed != credentials:
                    response = self._exchange(renewed, request, give_up_at)
        except TokenUnavailableError:
            return call_outcome.of_failure(Failure.NO_TOKEN)
        return response

    def _exchange(
        self, credentials: Credentials, request: _Request, give_up_at: float
    ) -> _Response | Outcome:
        time_left = give_up_at - time.monotonic()  # reading the token may have taken all the time
        if time_left < SHORTEST_CALL:
            return call_outcome.OUT_OF_TIME
        headers = {
            "Authorization": f"Bearer {credentials.access_token}",
            "Accept": "application/json",
            "Accept-Encoding": "identity",  # so that `most` also limits the decoded size
        }
        if request.body is not None:
            headers["Content-Type"] = "application/json"
        # The read time-out is for the whole call (`KeepAliveTransport`).
        timeouts = {"pool": POOL_TIMEOUT, "connect": CONNECT_TIMEOUT, "read": time_left}
        try:
            http_request = httpx.Request(
                request.method,
                _url(credentials.base_url, request.path),
                content=None if request.body is None else request.body.encode(),
                headers=headers,
                extensions={"timeout": timeouts},
            )
            response = self._transport.handle_request(http_request)
            try:
                body = _read(response, request.most)
            finally:
                with suppress(Exception):  # an error here must not replace the response
                    response.close()
            return _Response(response.status_code, response.headers, body, credentials.access_token)
        except DeadlinePassedError:
            return call_outcome.OUT_OF_TIME
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            return call_outcome.of_failure(failure_of(error))


@lru_cache(maxsize=64)  # there are few message ids, and parsing a URL is slow
def _url(base_url: str, path: str) -> httpx.URL:
    return httpx.URL(f"{base_url}{path}")


def _read(response: httpx.Response, most: int) -> bytes:
    """Read as much of the body as arrives: the status counts even if the body is incomplete."""
    body = bytearray()
    try:
        for chunk in cast("httpx.SyncByteStream", response.stream):  # not decoded
            body += chunk
            if len(body) > most:
                break
    except httpx.HTTPError:
        pass
    return bytes(body[:most])
