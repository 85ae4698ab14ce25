"""The points that a process passes: before each I/O call, and before its answer is seen."""

import os
import signal
import threading
from collections import Counter
from collections.abc import Callable, Sequence

from tests.promise.clock import ShiftedTime
from tests.promise.faults import DIE, MEANWHILE, Step, Strike, faults_of

Tell = Callable[[str, object], None]


class Checkpoints:
    """Counts the points that this process passes, and says what strikes it there.

    SIGKILL is what Lambda does to a function that runs out of time or memory: no `finally`, no
    flush, no other thread goes on.
    """

    def __init__(
        self,
        strikes: Sequence[Strike],
        *,
        armed: bool,
        clock: ShiftedTime,
        tell: Tell,
        let_others_run: Callable[[], None],
    ) -> None:
        """Unarmed it counts nothing; `let_others_run` comes back when another process has run."""
        self.deadline: float | None = None
        """When the running invocation is out of time, by the clock's monotonic time."""
        self._waiting = {strike.step: strike for strike in strikes}
        self._lasting: dict[str, str] = {}
        self._armed = armed
        self._clock = clock
        self._tell = tell
        self._let_others_run = let_others_run
        self._passed: Counter[str] = Counter()
        self._lock = threading.Lock()

    def reach(self, name: str) -> str | None:
        """Pass a point; the fault that strikes the call there, if one does."""
        if not self._armed:
            return None
        with self._lock:
            self._passed[name] += 1
            step = Step(name, self._passed[name])
            self._tell("point", name)
            if self.deadline is not None and self._clock.monotonic() >= self.deadline:
                self._die("out of time")
            strike = self._waiting.pop(step, None)
            if strike is None:
                lasting = self._lasting.get(step.service)
                return lasting if lasting in faults_of(step) else None
            self._tell("struck", strike.as_json())
            if strike.do == DIE:
                self._die("killed")
            if strike.do == MEANWHILE:
                self._let_others_run()
                return None
            if strike.lasting:
                self._lasting[step.service] = strike.do
            return strike.do

    def fail(self, why: str) -> None:
        """Say that it is the test that failed."""
        self._tell("error", why)

    def _die(self, why: str) -> None:
        self._tell("died", why)
        os.kill(os.getpid(), signal.SIGKILL)
