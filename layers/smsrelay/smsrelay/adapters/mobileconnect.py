"""MobileConnect over httpx: one call, its outcome, nothing repeated that may have gone out."""

import time
from collections.abc import Mapping
from typing import Final
from urllib.parse import quote

import httpx

from smsrelay import outcome
from smsrelay.errors import TokenUnavailableError
from smsrelay.outcome import Failure, Kind, Outcome
from smsrelay.ports import Clock, Credentials, TokenSource
from smsrelay.redaction import without

POOL_TIMEOUT, CONNECT_TIMEOUT, WRITE_TIMEOUT = 1.0, 2.0, 2.0
SHORTEST_CALL: Final = 0.5
"""Seconds below which no call is begun: it could only end as unknown."""
MAX_ANSWER: Final = 65_536
"""Bytes of an answer that are read: every documented one is far smaller."""

# From the most special to the most general; what stands here by its base class only is as
# uncertain as it gets. A test walks httpx's own exceptions.
FAILURES: Mapping[type[httpx.HTTPError | httpx.InvalidURL], Failure] = {
    httpx.ConnectTimeout: Failure.CONNECT_TIMEOUT,
    httpx.PoolTimeout: Failure.NO_CONNECTION,
    httpx.ConnectError: Failure.NO_CONNECTION,
    httpx.UnsupportedProtocol: Failure.NO_CONNECTION,
    httpx.InvalidURL: Failure.NO_CONNECTION,
    httpx.ReadTimeout: Failure.READ_TIMEOUT,
    httpx.ReadError: Failure.READ_FAILED,
    httpx.WriteTimeout: Failure.WRITE_FAILED,
    httpx.WriteError: Failure.WRITE_FAILED,
    httpx.HTTPError: Failure.PROTOCOL_ERROR,
}


class MobileConnect:
    """The `Upstream` port."""

    def __init__(self, client: httpx.Client, tokens: TokenSource, clock: Clock) -> None:
        """`client` must not follow redirects, and must not retry."""
        self._client = client
        self._tokens = tokens
        self._clock = clock

    def send(self, template: str, body: str, timeout: float) -> Outcome:
        """Call `POST /sms/v1/messageContact/{id}/send`.

        A 401 is answered by one more call, if the store has another token by now: the first one
        was certainly not processed. Nothing else is repeated here.
        """
        give_up_at = time.monotonic() + timeout
        try:
            credentials = self._tokens.current()
            result = self._post(credentials, template, body, give_up_at)
            if result.unauthorised:
                renewed = self._tokens.renewed(credentials)
                if renewed != credentials:
                    result = self._post(renewed, template, body, give_up_at)
        except TokenUnavailableError:
            return outcome.of_failure(Failure.NO_TOKEN)
        return result

    def _post(
        self, credentials: Credentials, template: str, body: str, give_up_at: float
    ) -> Outcome:
        time_left = give_up_at - time.monotonic()  # getting the token may have taken it all
        if time_left < SHORTEST_CALL:
            return Outcome(Kind.NOT_SENT, "out-of-time")
        url = f"{credentials.base_url}/sms/v1/messageContact/{quote(template, safe='')}/send"
        try:
            with self._client.stream(
                "POST",
                url,
                content=body.encode(),
                headers={
                    "Authorization": f"Bearer {credentials.access_token}",
                    "Content-Type": "application/json",
                    "Accept": "application/json",
                    "Accept-Encoding": "identity",  # so that the cap on the answer is a cap
                },
                timeout=httpx.Timeout(
                    pool=POOL_TIMEOUT,
                    connect=CONNECT_TIMEOUT,
                    write=WRITE_TIMEOUT,
                    read=time_left,
                ),
            ) as response:
                answer = _read(response, give_up_at)
                result = outcome.of_response(
                    response.status_code, response.headers, answer, self._clock()
                )
                # The relay takes out what a send says; the token is known here only.
                return result._replace(errors=without(result.errors, [credentials.access_token]))
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            return outcome.of_failure(failure_of(error))


def failure_of(error: httpx.HTTPError | httpx.InvalidURL) -> Failure:
    """What an exception of httpx says about the request."""
    return next(failure for kind, failure in FAILURES.items() if isinstance(error, kind))


def _read(response: httpx.Response, give_up_at: float) -> bytes:
    """The answer's body, as much as comes: once a status arrived, nothing takes it back."""
    answer = bytearray()
    try:
        for chunk in response.iter_raw():
            answer += chunk
            if len(answer) > MAX_ANSWER or time.monotonic() > give_up_at:
                break
    except httpx.HTTPError:
        pass
    return bytes(answer[:MAX_ANSWER])
