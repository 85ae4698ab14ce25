"""When the relay polls the delivery of an accepted send. Pure."""

from typing import Final

FIRST_POLL: Final = 60.0
"""Seconds until the first poll."""
MAX_POLL_INTERVAL: Final = 6 * 3_600.0
POLLING_PERIOD: Final = 72 * 3_600.0
"""Seconds for which a send is polled; carriers report within this time or not at all."""
LAST_POLL: Final = POLLING_PERIOD - 3_600.0
"""Seconds until the last poll is due: an hour before the end of the period."""
REPEAT_INTERVAL: Final = 600.0
"""Seconds until the last poll is repeated, if it gets no report."""


def next_poll_delay(age: float) -> float:
    """Return the seconds until the next poll of a send of this age: twice the age.

    The gaps grow because each poll without a final result costs three writes.
    """
    return min(max(FIRST_POLL, 2 * age), MAX_POLL_INTERVAL)
