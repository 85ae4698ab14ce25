"""One process, and an upstream that takes no more: all sends wait, not only the one it refused."""

from smsrelay.ports import Clock, Random
from smsrelay.sends.backoff import MAX_PAUSE, pause_after
from smsrelay.sends.call_outcome import Outcome, OutcomeKind


class UpstreamPause:
    """Without it each of many waiting sends would ask for itself whether there is room again.

    Threads may use it together: at the worst one of them asks too early.
    """

    def __init__(self, clock: Clock, random: Random) -> None:
        """Start without a pause."""
        self._clock = clock
        self._random = random
        self._until = 0.0
        self._throttled_calls = 0

    def record(self, outcome: Outcome) -> None:
        """Note what became of a call."""
        now = self._clock()
        if outcome.kind is OutcomeKind.ACCEPTED:
            self._throttled_calls = 0
        elif pause_after(outcome, 1, lambda: 1.0):
            # Calls that ran side by side are refused together, and count once.
            if now >= self._until:
                self._throttled_calls += 1
            pause = pause_after(outcome, self._throttled_calls, self._random)
            self._until = max(self._until, now + pause)

    def remaining(self) -> float:
        """For how long no call is to be made."""
        return min(MAX_PAUSE, max(0.0, self._until - self._clock()))
