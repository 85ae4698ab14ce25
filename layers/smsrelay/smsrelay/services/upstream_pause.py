"""One process, and an upstream that takes no more: all sends wait, not only the one it refused."""

from collections.abc import Callable

from smsrelay.sends.backoff import LONGEST_HOLD, hold_seconds
from smsrelay.sends.call_outcome import Kind, Outcome


class Brake:
    """Without it each of many waiting sends would ask for itself whether there is room again.

    Threads may use it together: at the worst one of them asks too early.
    """

    def __init__(self, clock: Callable[[], float], random: Callable[[], float]) -> None:
        """`random` gives numbers between 0 and 1."""
        self._clock = clock
        self._random = random
        self._until = 0.0
        self._refusals = 0

    def heard(self, outcome: Outcome) -> None:
        """Note what became of a call."""
        now = self._clock()
        if outcome.kind is Kind.ACCEPTED:
            self._refusals = 0
        elif hold_seconds(outcome, 1, lambda: 1.0):
            # Calls that ran side by side are refused together, and count once.
            if now >= self._until:
                self._refusals += 1
            hold = hold_seconds(outcome, self._refusals, self._random)
            self._until = max(self._until, now + hold)

    def seconds(self) -> float:
        """For how long no call is to be made."""
        return min(LONGEST_HOLD, max(0.0, self._until - self._clock()))
