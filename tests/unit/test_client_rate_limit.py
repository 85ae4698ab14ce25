"""The limit of each client in each minute."""

import pytest

from smsrelay.errors import RateLimitedError
from smsrelay.services.client_rate_limit import ClientRateLimit


class Counter:
    """Counts in memory."""

    def __init__(self) -> None:
        self.counts: dict[tuple[str, int], int] = {}

    def count(self, client: str, begins: int) -> int:
        self.counts[client, begins] = self.counts.get((client, begins), 0) + 1
        return self.counts[client, begins]


class Clock:
    def __init__(self) -> None:
        self.now = 1_791_230_460.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


def test_each_client_has_its_own_limit_in_each_minute(clock: Clock) -> None:
    limit = ClientRateLimit(Counter(), per_minute=2, clock=clock)
    for _ in range(2):
        limit.check("shop")
    with pytest.raises(RateLimitedError) as refused:
        limit.check("shop")
    limit.check("other")
    clock.now += refused.value.retry_after
    limit.check("shop")


def test_without_a_limit_nothing_is_counted(clock: Clock) -> None:
    counter = Counter()
    ClientRateLimit(counter, per_minute=0, clock=clock).check("shop")
    assert counter.counts == {}
