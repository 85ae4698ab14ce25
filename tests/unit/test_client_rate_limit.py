"""Tests the limit of recipients for each client and minute."""

import pytest

from smsrelay.errors import RateLimitedError
from smsrelay.messages.refusals import RequestRefusedError
from smsrelay.services.client_rate_limit import ClientRateLimit


class Counter:
    """Keeps the counts in memory."""

    def __init__(self) -> None:
        self.counts: dict[tuple[str, int], int] = {}

    def count(self, client: str, begins: int, recipients: int, at_most: int) -> bool:
        total = self.counts.get((client, begins), 0) + recipients
        if total > at_most:
            return False
        self.counts[client, begins] = total
        return True


class Clock:
    def __init__(self) -> None:
        self.now = 1_791_230_460.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


def test_each_client_has_its_own_limit_in_each_minute(clock: Clock) -> None:
    limit = ClientRateLimit(Counter(), per_minute=5, clock=clock)
    limit.check("shop", 3)
    with pytest.raises(RateLimitedError) as refused:
        limit.check("shop", 3)
    limit.check("shop", 2)
    limit.check("other", 5)
    clock.now += refused.value.retry_after
    limit.check("shop", 5)


def test_a_request_beyond_the_limit_of_a_minute_is_refused_for_good(clock: Clock) -> None:
    with pytest.raises(RequestRefusedError, match="too-many-recipients"):
        ClientRateLimit(Counter(), per_minute=5, clock=clock).check("shop", 6)


def test_without_a_limit_nothing_is_counted(clock: Clock) -> None:
    counter = Counter()
    ClientRateLimit(counter, per_minute=0, clock=clock).check("shop", 1)
    assert counter.counts == {}
