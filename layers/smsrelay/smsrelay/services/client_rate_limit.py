"""The rate limit of clients that no usage plan of API Gateway limits."""

import math

from smsrelay.errors import RateLimitedError
from smsrelay.ports import Clock, RequestCounter

MINUTE = 60.0


class ClientRateLimit:
    def __init__(self, request_counter: RequestCounter, *, per_minute: int, clock: Clock) -> None:
        """`per_minute` 0 means that there is no limit."""
        self._request_counter = request_counter
        self._per_minute = per_minute
        self._clock = clock

    def check(self, client: str) -> None:
        """Count one request. Raises `RateLimitedError` or `LedgerUnavailableError`."""
        if not self._per_minute:
            return
        minute, passed = divmod(self._clock(), MINUTE)
        begins = int(minute * MINUTE)
        if self._request_counter.count(client, begins) > self._per_minute:
            raise RateLimitedError(math.ceil(MINUTE - passed))
