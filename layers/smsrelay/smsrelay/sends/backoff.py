"""Delays before the next attempt of a send, and a worker's pauses while it is throttled."""

import math
from collections.abc import Callable

from smsrelay.sends.call_outcome import Outcome

BASE_DELAY, MAX_DELAY = 2.0, 600.0
BLOCKED_DELAY = 300.0
"""The shortest wait in seconds when the upstream has blocked the relay's requests (50200)."""
MAX_SQS_DELAY = 900.0
"""SQS's longest delay of a message, in seconds; a send that must wait longer is delayed again."""
MAX_PAUSE = 20.0
"""The longest pause of a worker in seconds: a third of its time."""
_THROTTLING_REASONS = frozenset({"throttled", "blocked", "unavailable"})
"""Reasons for which a worker makes no calls for a while."""


def retry_delay(
    outcome: Outcome, attempt: int, random: Callable[[], float], *, longest: float = math.inf
) -> float:
    """Return the seconds until the next attempt, between 1 and `longest`.

    This is the wait that the upstream asks for, plus exponential backoff with full jitter, so that
    sends that failed together are not retried together. `attempt` is the number of the failed
    attempt, from 1.
    """
    least = outcome.retry_after
    if least is None:
        least = BLOCKED_DELAY if outcome.reason == "blocked" else 0.0
    backoff = min(MAX_DELAY, doubled(BASE_DELAY, attempt - 1))
    return max(1.0, min(longest, least + random() * backoff))


def pause_after(outcome: Outcome, throttled: int, random: Callable[[], float]) -> float:
    """Return the seconds for which a worker makes no calls, between 0 and 20.

    `throttled` counts the throttled calls since the upstream last accepted one, this one included.
    """
    if outcome.reason not in _THROTTLING_REASONS:
        return 0.0
    if outcome.retry_after is not None:
        return min(MAX_PAUSE, outcome.retry_after)
    return random() * min(MAX_PAUSE, doubled(BASE_DELAY, throttled - 1))


def doubled(delay: float, times: int) -> float:
    """Double a delay `times` times, at most 32, since 2.0 ** 1,024 raises an error."""
    return delay * 2.0 ** min(times, 32)
