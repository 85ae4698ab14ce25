"""When to try again what was certainly not sent."""

import math
from collections.abc import Callable

from smsrelay.sends.call_outcome import Outcome

BASE_DELAY, MAX_DELAY = 2.0, 600.0
BLOCKED_DELAY = 300.0
"""Least seconds to wait when the upstream says that our requests are blocked (50200)."""
MAX_SQS_DELAY = 900.0
"""The longest delay that SQS has for a message; it comes back early and waits again."""
MAX_PAUSE = 20.0
"""Seconds for which a worker holds back at most, a third of its time; then it asks again."""
_THROTTLING_REASONS = frozenset({"throttled", "blocked", "unavailable"})
"""Reasons that any other call would have met as well."""


def retry_delay(
    outcome: Outcome, attempt: int, random: Callable[[], float], *, longest: float = math.inf
) -> float:
    """Seconds until the next attempt, between 1 and `longest`.

    What the upstream asks for, and on top of it exponential backoff with full jitter: many sends
    that failed together don't come back together, and the more there are, the more rarely.
    `attempt` is the number of the failed attempt, from 1.
    """
    least = outcome.retry_after
    if least is None:
        least = BLOCKED_DELAY if outcome.reason == "blocked" else 0.0
    backoff = min(MAX_DELAY, doubled(BASE_DELAY, attempt - 1))
    return max(1.0, min(longest, least + random() * backoff))


def pause_after(outcome: Outcome, throttled: int, random: Callable[[], float]) -> float:
    """Seconds for which a worker makes no call at all, between 0 and 20.

    `throttled` is how many calls the upstream has put off since it last took one, with this one.
    """
    if outcome.reason not in _THROTTLING_REASONS:
        return 0.0
    if outcome.retry_after is not None:
        return min(MAX_PAUSE, outcome.retry_after)
    return random() * min(MAX_PAUSE, doubled(BASE_DELAY, throttled - 1))


def doubled(delay: float, times: int) -> float:
    """A delay that has doubled so many times: at most 32, since 2.0 ** 1,024 is an error."""
    return delay * 2.0 ** min(times, 32)
