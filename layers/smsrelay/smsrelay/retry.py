"""When to try again what was certainly not sent."""

from collections.abc import Callable

from smsrelay.outcome import Outcome

FIRST_WAIT, LONGEST_WAIT = 2.0, 600.0
BLOCKED_WAIT = 300.0
"""Least seconds to wait when the upstream says that our requests are blocked (50200)."""
LONGEST_DELAY = 900.0
"""The longest delay that SQS knows for a message (15 minutes)."""


def wait_seconds(outcome: Outcome, attempt: int, random: Callable[[], float]) -> float:
    """Seconds until the next attempt, between 1 and 900.

    What the upstream asks for comes first; else exponential backoff with full jitter, so that
    many sends that failed together don't come back together.

    Args:
        outcome: Of the attempt that failed.
        attempt: Its number, from 1.
        random: Gives a number between 0 and 1.
    """
    backoff = min(LONGEST_WAIT, FIRST_WAIT * 2.0 ** (attempt - 1))
    if outcome.retry_after is not None:
        # A little jitter on top: everybody who was throttled got the same seconds.
        wait = outcome.retry_after + random() * min(backoff, max(1.0, outcome.retry_after / 4))
    elif outcome.reason == "blocked":
        wait = BLOCKED_WAIT + random() * backoff
    else:
        wait = random() * backoff
    return min(LONGEST_DELAY, max(1.0, wait))
