"""The points of a process: before each I/O call, and before the process sees its response."""

import os
import signal
import threading
from collections import Counter
from collections.abc import Callable, Sequence

from tests.promise.clock import Clock
from tests.promise.faults import (
    CLOCK_JUMPS,
    DIE,
    MEANWHILE,
    Checkpoint,
    Injection,
    faults_at,
    service_of,
)

Report = Callable[[str, object], None]


class Checkpoints:
    """Counts the points that this process passes, and injects the faults planned for them.

    Lambda ends a function that runs out of time or memory with SIGKILL: no `finally` block runs,
    no buffer is flushed, and no other thread continues.
    """

    def __init__(
        self,
        injections: Sequence[Injection],
        *,
        armed: bool,
        clock: Clock,
        report: Report,
        run_another_process: Callable[[], float],
    ) -> None:
        """Unarmed, it ignores all points; `run_another_process` returns the seconds it took."""
        self.deadline: float | None = None
        """When the running invocation times out, in the clock's monotonic time."""
        self.report = report
        self._waiting = list(injections)
        self._passed: Counter[str] = Counter()
        """How often each checkpoint's name or pattern was passed."""
        self._patterns = {injection.checkpoint.name for injection in injections}
        self._lasting: dict[str, str] = {}
        self._armed = armed
        self._clock = clock
        self._run_another_process = run_another_process
        self._lock = threading.Lock()

    def reach(self, name: str) -> str | None:
        """Record that a point was reached, and return the fault to inject into its call, if any."""
        if not self._armed:
            return None
        with self._lock:
            self.report("point", name)
            self._check_time()
            injection = self._next(name)
            if injection is None:
                lasting = self._lasting.get(service_of(name))
                return lasting if lasting in faults_at(name) else None
            self.report("injected", injection.to_json())
            if injection.fault == DIE:
                self._die("killed")
            if injection.fault == MEANWHILE:
                self._clock.advance(self._run_another_process())
                self._check_time()
                return None
            if injection.fault in CLOCK_JUMPS:
                self._clock.jump(CLOCK_JUMPS[injection.fault])
                return None
            if injection.lasting:
                self._lasting[service_of(name)] = injection.fault
            return injection.fault

    def _next(self, name: str) -> Injection | None:
        """Remove and return the first injection that is due at this point."""
        self._passed.update(
            pattern for pattern in self._patterns if Checkpoint(pattern).matches(name)
        )
        for injection in self._waiting:
            checkpoint = injection.checkpoint
            if checkpoint.matches(name) and checkpoint.occurrence <= self._passed[checkpoint.name]:
                self._waiting.remove(injection)
                return injection
        return None

    def _check_time(self) -> None:
        if self.deadline is not None and self._clock.monotonic() >= self.deadline:
            self._die("out of time")

    def _die(self, why: str) -> None:
        self.report("died", why)
        os.kill(os.getpid(), signal.SIGKILL)
