"""Pauses of all clients or of one, which operators begin and end."""

from collections.abc import Sequence
from typing import NamedTuple

RETURN_SECONDS = 900.0
"""Seconds after which a paused send is looked at again: the longest delay that SQS has."""
REASON = "paused-by-operator"
"""The reason of a queued send that waits for the end of a pause."""
KEPT_SECONDS = 90 * 86_400.0
"""Seconds for which an ended pause is kept: it still counts for the age of waiting sends."""


class OperatorPause(NamedTuple):
    """A time in which no send of a client is made. Times are seconds since the epoch."""

    client: str
    """Empty: all clients."""
    began: float
    ended: float | None = None
    """None: it goes on."""
    note: str = ""

    def concerns(self, client: str) -> bool:
        return self.client in {"", client}


def active(pauses: Sequence[OperatorPause]) -> list[OperatorPause]:
    """The pauses that go on."""
    return [pause for pause in pauses if pause.ended is None]


def is_paused(pauses: Sequence[OperatorPause], client: str) -> bool:
    """Whether the sends of a client must wait."""
    return any(pause.concerns(client) for pause in active(pauses))


def paused_seconds(pauses: Sequence[OperatorPause], client: str, since: float, now: float) -> float:
    """Seconds of this time in which the client's sends had to wait; overlaps count once.

    A waiting send comes back up to `RETURN_SECONDS` after the end; until then it had to wait, too.
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
    """The pauses with a new one, without those that ended too long ago."""
    kept = [it for it in pauses if it.ended is None or now - it.ended < KEPT_SECONDS]
    return [*kept, OperatorPause(client, now, note=note)]


def end(pauses: Sequence[OperatorPause], client: str, now: float) -> list[OperatorPause]:
    """The pauses after the end of the one for exactly this client, or for all clients."""
    return [
        it._replace(ended=now) if it.ended is None and it.client == client else it for it in pauses
    ]
