"""Pauses of upstream calls in one environment, and the probes that end them."""

import threading
from typing import NamedTuple

from smsrelay.ports import Clock, Random
from smsrelay.sends.backoff import MAX_PAUSE, doubled, pause_after
from smsrelay.sends.call_outcome import NOT_FOUND, WRONG_ROUTE_REASONS, Outcome, OutcomeKind

FIRST_WAIT, LONGEST_WAIT = 5.0, 300.0
"""The first and the longest wait before a probe, in seconds; it doubles with each failed probe."""
PROBE_SECONDS = 60.0
"""Seconds after which another probe may begin, even if the last one has not ended."""
MAX_UPSTREAM_MESSAGE_IDS = 1_000
"""The most upstream message ids with a pause of their own; beyond it the oldest pause ends."""


class _Pause:
    """One reason to pause. After each wait one call is made, the probe."""

    def __init__(self, now: float) -> None:
        self._probing_until = 0.0
        self._until = now + FIRST_WAIT
        self._failed_probes = 0

    @property
    def _seconds(self) -> float:
        return min(LONGEST_WAIT, doubled(FIRST_WAIT, self._failed_probes))

    def remaining(self, now: float) -> float:
        """Return the seconds until the next probe may be made; 0: now."""
        if now < self._probing_until:
            return self._seconds
        return min(self._seconds, max(0.0, self._until - now))

    def begin_probe(self, now: float) -> None:
        self._probing_until = now + PROBE_SECONDS

    def prolong(self, now: float) -> None:
        self._probing_until = 0.0
        self._failed_probes += 1
        self._until = now + self._seconds


class Call(NamedTuple):
    """One call, and the pauses that it probes."""

    upstream_message_id: str
    probes: list[_Pause]


class UpstreamPause:
    """Pauses calls: throttled, unknown outcome, wrong route, message id not found. Thread-safe.

    Each call needs a `begin_call` and an `end_call`. Except for `throttled`, `begin_call` allows
    only one call at a time during a pause.
    """

    def __init__(self, clock: Clock, random: Random) -> None:
        self._clock = clock
        self._random = random
        self._lock = threading.Lock()
        self._throttled_until = 0.0
        self._throttled_calls = 0
        self._doubt: _Pause | None = None
        self._wrong_route: _Pause | None = None
        self._upstream_message_ids: dict[str, _Pause] = {}

    @property
    def is_on(self) -> bool:
        """Whether calls are paused, for another reason than throttling."""
        return bool(self._doubt or self._wrong_route or self._upstream_message_ids)

    def wait(self, upstream_message_id: str) -> float:
        """Return the seconds until this message id may be called; 0: now."""
        with self._lock:
            return self._wait(self._pauses(upstream_message_id))

    def begin_call(self, upstream_message_id: str) -> Call | float:
        """Return the call, to be passed to `end_call`, or the seconds for which it must wait."""
        with self._lock:
            pauses = self._pauses(upstream_message_id)
            if seconds := self._wait(pauses):
                return seconds
            for pause in pauses:
                pause.begin_probe(self._clock())
            return Call(upstream_message_id, pauses)

    def end_call(self, call: Call, outcome: Outcome) -> float:
        """Record the outcome of a call; return the same as `wait`."""
        with self._lock:
            now = self._clock()
            for pause in call.probes:
                pause.prolong(now)
            self._record(call, outcome, now)
            return self._wait(self._pauses(call.upstream_message_id))

    def _record(self, call: Call, outcome: Outcome, now: float) -> None:
        self._record_throttling(outcome, now)
        if outcome.kind is OutcomeKind.UNKNOWN:
            self._doubt = self._doubt or _Pause(now)
        elif outcome.is_from_api:
            self._doubt = None
        if outcome.reason in WRONG_ROUTE_REASONS:
            self._wrong_route = self._wrong_route or _Pause(now)
        elif outcome.reason == NOT_FOUND:
            self._upstream_message_ids.setdefault(call.upstream_message_id, _Pause(now))
            if len(self._upstream_message_ids) > MAX_UPSTREAM_MESSAGE_IDS:
                del self._upstream_message_ids[next(iter(self._upstream_message_ids))]
        elif outcome.kind in {OutcomeKind.ACCEPTED, OutcomeKind.REJECTED}:
            self._wrong_route = None
            self._upstream_message_ids.pop(call.upstream_message_id, None)

    def remaining(self) -> float:
        """Return the seconds for which no call may be made, because the upstream throttles."""
        return min(MAX_PAUSE, max(0.0, self._throttled_until - self._clock()))

    def _record_throttling(self, outcome: Outcome, now: float) -> None:
        if outcome.kind is OutcomeKind.ACCEPTED:
            self._throttled_calls = 0
        elif pause_after(outcome, 1, lambda: 1.0):
            # Concurrent calls are throttled together, and count once.
            if now >= self._throttled_until:
                self._throttled_calls += 1
            pause = pause_after(outcome, self._throttled_calls, self._random)
            self._throttled_until = max(self._throttled_until, now + pause)

    def _pauses(self, upstream_message_id: str) -> list[_Pause]:
        pauses = (
            self._doubt,
            self._wrong_route,
            self._upstream_message_ids.get(upstream_message_id),
        )
        return [pause for pause in pauses if pause]

    def _wait(self, pauses: list[_Pause]) -> float:
        now = self._clock()
        return max((pause.remaining(now) for pause in pauses), default=0.0)
