"""The limits of clients: recipients in a minute, and recipients in one request."""

import math

from smsrelay.errors import RateLimitedError
from smsrelay.messages.refusals import Refusal, RequestRefusedError
from smsrelay.ports import Clock, RecipientCounter, StoredLimits

MINUTE = 60.0
CACHE_SECONDS, CACHE_SIZE = 300.0, 10_000
"""Seconds that a client's limit is remembered, and how many are."""
DEFAULT_MAX_RECIPIENTS = 1_000
"""Recipients in one request of a client for which no other limit is stored."""


class ClientRateLimit:
    """Limits the clients that no usage plan of API Gateway limits."""

    def __init__(
        self, recipient_counter: RecipientCounter, *, per_minute: int, clock: Clock
    ) -> None:
        """`per_minute` is in recipients; 0 means that there is no limit."""
        self._recipient_counter = recipient_counter
        self._per_minute = per_minute
        self._clock = clock

    def check(self, client: str, recipients: int) -> None:
        """Count the recipients of one request; those of a refused request don't count.

        Raises `RateLimitedError` or `LedgerUnavailableError`, or `RequestRefusedError` if no minute
        has room for so many.
        """
        if not self._per_minute:
            return
        if recipients > self._per_minute:
            detail = f"Too many recipients: the client's limit for a minute is {self._per_minute}."
            raise RequestRefusedError([Refusal("/to", "too-many-recipients", detail)])
        minute, passed = divmod(self._clock(), MINUTE)
        begins = int(minute * MINUTE)
        if not self._recipient_counter.count(client, begins, recipients, self._per_minute):
            raise RateLimitedError(math.ceil(MINUTE - passed))


class RequestLimits:
    """How many recipients one request of a client may have."""

    def __init__(self, stored: StoredLimits, clock: Clock) -> None:
        self._stored = stored
        self._clock = clock
        self._cache: dict[str, tuple[int, float]] = {}

    def max_recipients(self, client: str) -> int:
        """The client's limit, from the cache while it lasts. Raises `LedgerUnavailableError`."""
        now = self._clock()
        limit, until = self._cache.get(client, (0, 0.0))
        if now < until:
            return limit
        limit = self._stored.max_recipients_of(client) or DEFAULT_MAX_RECIPIENTS
        if len(self._cache) >= CACHE_SIZE:
            self._cache.clear()
        self._cache[client] = limit, now + CACHE_SECONDS
        return limit
