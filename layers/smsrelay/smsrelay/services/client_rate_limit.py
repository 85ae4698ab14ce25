"""Limits clients: recipients a minute, and the number and choice of recipients in one request."""

import math

from smsrelay.errors import RateLimitedError
from smsrelay.messages.refusals import Refusal, RequestRefusedError
from smsrelay.messages.request import ClientLimits
from smsrelay.ports import Clock, RecipientCounter, StoredLimits
from smsrelay.services.client_cache import ClientCache

MINUTE = 60.0
DEFAULT_MAX_RECIPIENTS = 1_000
"""The limit for one request of a client that has no stored limit."""


class ClientRateLimit:
    """Limits the clients that have no usage plan in API Gateway."""

    def __init__(
        self, recipient_counter: RecipientCounter, *, per_minute: int, clock: Clock
    ) -> None:
        """`per_minute` is in recipients; 0 means no limit."""
        self._recipient_counter = recipient_counter
        self._per_minute = per_minute
        self._clock = clock

    def check(self, client: str, recipients: int) -> None:
        """Count the recipients of one request; a refused request doesn't count.

        Raises `RateLimitedError` or `LedgerUnavailableError`, or `RequestRefusedError` if the
        request alone exceeds the limit.
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
    def __init__(self, stored: StoredLimits, clock: Clock) -> None:
        self._limits = ClientCache(
            lambda client: stored.limits_of(client) or ClientLimits(DEFAULT_MAX_RECIPIENTS), clock
        )

    def of_client(self, client: str) -> ClientLimits:
        """Return the client's limits, cached or stored. Raises `LedgerUnavailableError`."""
        return self._limits.get(client)
