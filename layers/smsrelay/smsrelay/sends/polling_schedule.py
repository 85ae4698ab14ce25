"""When the upstream is asked what became of an accepted send. Pure."""

from typing import Final

FIRST_POLL: Final = 60.0
"""Seconds after which a send is first asked for."""
MAX_POLL_INTERVAL: Final = 6 * 3_600.0
POLLING_PERIOD: Final = 72 * 3_600.0
"""Seconds for which a send is asked for; carriers report within that or not at all."""
LAST_POLL: Final = POLLING_PERIOD - 3_600.0
"""Seconds after which the last poll is due: it has an hour to be made."""


def next_poll_delay(age: float) -> float:
    """Seconds until a send is asked for again, when it is so old: the gaps grow with it.

    Twice its age: each look that finds nothing final costs three writes, more than to claim a send.
    """
    return min(max(FIRST_POLL, 2 * age), MAX_POLL_INTERVAL)
