"""Kills processes that run a certain function of a stack."""

import contextlib
import os
import signal
from pathlib import Path
from random import Random

from tools.local_stack import processes

FUNCTION_VARIABLE = "AWS_LAMBDA_FUNCTION_NAME"


class WorkerKiller:
    """Kills one process of a function at a time.

    It prefers a process that has used CPU since the last kill, because that one may be working.
    Otherwise it kills a process that has a socket, so has made calls. It never kills a starting
    process: on a slow machine, no other would be left.
    """

    def __init__(self, marker: str, function: str, *, spared: int, dice: Random) -> None:
        """Kill processes of the stack `marker` that run `function`, except the last `spared`."""
        self.kills = 0
        self._spared = spared
        self._marker = marker
        self._function = f"{FUNCTION_VARIABLE}={function}".encode()
        self._dice = dice
        self._ticks: dict[int, int] = {}

    def kill(self) -> bool:
        """Kill a process if there are more than `spared`; return whether one was killed."""
        ready = [pid for pid in self._running() if _has_socket(pid)]
        ticks = {pid: _ticks(pid) for pid in ready}
        worked = [pid for pid in ready if ticks[pid] != self._ticks.get(pid)]
        if len(ready) <= self._spared:
            return False
        with contextlib.suppress(ProcessLookupError):
            os.kill(self._dice.choice(worked or ready), signal.SIGKILL)
            self.kills += 1
            self._ticks = ticks
            return True
        return False

    def _running(self) -> list[int]:
        found = []
        for pid in processes.running(self._marker):
            with contextlib.suppress(OSError):  # the process has ended
                if self._function in Path(f"/proc/{pid}/environ").read_bytes().split(b"\0"):
                    found.append(pid)
        return found


def _has_socket(pid: int) -> bool:
    with contextlib.suppress(OSError):
        return any(
            str(file.readlink()).startswith("socket:") for file in Path(f"/proc/{pid}/fd").iterdir()
        )
    return False


def _ticks(pid: int) -> int:
    """Return the CPU time that a process has used, in clock ticks."""
    with contextlib.suppress(OSError):
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        return int(fields[11]) + int(fields[12])  # utime and stime (proc_pid_stat(5))
    return 0
