"""Pauses of all clients or of one; operators begin and end them."""

from collections.abc import Sequence
from typing import NamedTuple

RETURN_SECONDS = 900.0
"""Seconds after which a paused send is checked again: SQS's longest delay."""
REASON = "paused-by-operator"
"""The reason of a send that is queued because of a pause."""
KEPT_SECONDS = 90 * 86_400.0
"""Seconds for which an ended pause is kept: the age of waiting sends depends on it."""


class OperatorPause(NamedTuple):
    """A period in which a client's sends are not sent. Times are seconds since the epoch."""

    client: str
    """Empty: all clients."""
    began: float
    ended: float | None = None
    """None: it has not ended."""
    note: str = ""

    def concerns(self, client: str) -> bool:
        return self.client in {"", client}


def active(pauses: Sequence[OperatorPause]) -> list[OperatorPause]:
    """Return the pauses that have not ended."""
    return [pause for pause in pauses if pause.ended is None]


def is_paused(pauses: Sequence[OperatorPause], client: str) -> bool:
    """Whether the sends of a client must wait."""
    return any(pause.concerns(client) for pause in active(pauses))


def paused_seconds(pauses: Sequence[OperatorPause], client: str, since: float, now: float) -> float:
    """Return the seconds of this period in which pauses applied to the client; overlaps count once.

    A waiting send returns up to `RETURN_SECONDS` after the end of a pause; this time counts too.
    """
    total, counted_until = 0.0, since
    for pause in sorted(pauses, key=lambda pause: pause.began):
        began = max(pause.began, counted_until)
        ended = now if pause.ended is None else min(pause.ended + RETURN_SECONDS, now)
        if pause.concerns(client) and began < ended:
            total += ended - began
            counted_until = ended
    return total


def begin(
    pauses: Sequence[OperatorPause], client: str, note: str, now: float
) -> list[OperatorPause]:
    """Add a pause, and drop those that ended too long ago."""
    kept = [it for it in pauses if it.ended is None or now - it.ended < KEPT_SECONDS]
    return [*kept, OperatorPause(client, now, note=note)]


def end(pauses: Sequence[OperatorPause], client: str, now: float) -> list[OperatorPause]:
    """End the pause of this client, or of all clients if `client` is empty."""
    return [
        it._replace(ended=now) if it.ended is None and it.client == client else it for it in pauses
    ]
