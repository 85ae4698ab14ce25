"""The points that a process passes: before each I/O call, and before its answer is seen."""

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
    """Counts the points that this process passes, and does what is injected there.

    SIGKILL is what Lambda does to a function that runs out of time or memory: no `finally`, no
    flush, no other thread goes on.
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
        """Unarmed it counts nothing; `run_another_process` returns the seconds that it took."""
        self.deadline: float | None = None
        """When the running invocation is out of time, by the clock's monotonic time."""
        self.report = report
        self._waiting = list(injections)
        self._passed: Counter[str] = Counter()
        """By the name or pattern of an injection's checkpoint."""
        self._patterns = {injection.checkpoint.name for injection in injections}
        self._lasting: dict[str, str] = {}
        self._armed = armed
        self._clock = clock
        self._run_another_process = run_another_process
        self._lock = threading.Lock()

    def reach(self, name: str) -> str | None:
        """Pass a point; the fault that the call meets there, if any."""
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
        """The injection whose turn has come."""
        self._passed.update(it for it in self._patterns if Checkpoint(it).matches(name))
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
