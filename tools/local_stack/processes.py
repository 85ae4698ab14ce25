"""The processes of a local stack: started apart, found again, and ended; no other is touched.

Each gets a marker in its environment, which its children inherit. A process id may be another
process by tomorrow; the marker tells. So a stack is ended whole, the worker processes of its
functions included, even when whoever started it is long gone.
"""

import contextlib
import os
import secrets
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from tools.local_stack import ROOT
from tools.local_stack.polling import wait_for

MARKER_VARIABLE = "SMSRELAY_LOCAL_STACK"
GRACE_SECONDS = 3.0
PASSED_ON = ("PATH", "LANG", "LC_ALL", "TZ", "LD_LIBRARY_PATH", "SSL_CERT_FILE")
"""What a stack inherits: no credentials, profiles, endpoints or proxies of whoever starts it."""


def new_marker() -> str:
    return secrets.token_hex(12)


def start(
    command: Sequence[str], *, marker: str, log: Path, environment: Mapping[str, str]
) -> subprocess.Popen[bytes]:
    """Start `command` in a session of its own, so that Ctrl-C reaches only who started it."""
    inherited = {name: os.environ[name] for name in PASSED_ON if name in os.environ}
    with log.open("ab") as output:
        return subprocess.Popen(  # noqa: S603 - the commands are this package's own
            command,
            cwd=ROOT,
            env=inherited | dict(environment) | {MARKER_VARIABLE: marker},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )


def running(marker: str) -> list[int]:
    """The ids of all live processes of the stack `marker`, workers of functions included."""
    wanted = f"{MARKER_VARIABLE}={marker}".encode()
    found = []
    for directory in Path("/proc").iterdir():
        if not directory.name.isdigit():
            continue
        # Another user's process, or one that has just ended; a zombie's environment is empty.
        with contextlib.suppress(OSError):
            if wanted in (directory / "environ").read_bytes().split(b"\0"):
                found.append(int(directory.name))
    return sorted(found)


def stop(marker: str, children: Sequence[subprocess.Popen[bytes]] = ()) -> int:
    """End the stack `marker`, and return how many processes that were.

    They are asked first, and made to after GRACE_SECONDS. `children` are reaped.
    """
    ended = set()
    forced_from = time.monotonic() + GRACE_SECONDS
    asked: set[int] = set()

    def none_left() -> bool:
        force = time.monotonic() >= forced_from
        for process in children:
            process.poll()
        alive = running(marker)
        for pid in alive:
            if force or pid not in asked:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL if force else signal.SIGTERM)
                asked.add(pid)
        ended.update(alive)
        return not alive

    wait_for(none_left, what="the end of the local stack's processes", seconds=GRACE_SECONDS + 10)
    for process in children:
        process.wait()
    return len(ended)


def last_lines(log: Path, count: int = 20) -> str:
    try:
        lines = log.read_text(errors="replace").splitlines()
    except FileNotFoundError:
        return "(no log)"
    return "\n".join(lines[-count:]) or "(the log is empty)"
