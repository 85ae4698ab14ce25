"""Starts, finds and ends the processes of a local stack, and no others.

Each process has a marker in its environment, which its children inherit. Process ids are reused,
but markers are not. So `stop` ends the whole stack, including the worker processes of its
functions, even if the process that started it has ended.
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
"""Inherited variables. Credentials, profiles, endpoints and proxies are not inherited."""


def new_marker() -> str:
    return secrets.token_hex(12)


def start(
    command: Sequence[str], *, marker: str, log: Path, environment: Mapping[str, str]
) -> subprocess.Popen[bytes]:
    """Start `command` in its own session, so that Ctrl-C does not reach it."""
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
    """Return the ids of all live processes of a stack, including workers of functions."""
    wanted = f"{MARKER_VARIABLE}={marker}".encode()
    found = []
    for directory in Path("/proc").iterdir():
        if not directory.name.isdigit():
            continue
        # Fails for another user's process, or one that has just ended. A zombie's is empty.
        with contextlib.suppress(OSError):
            if wanted in (directory / "environ").read_bytes().split(b"\0"):
                found.append(int(directory.name))
    return sorted(found)


def stop(marker: str, children: Sequence[subprocess.Popen[bytes]] = ()) -> int:
    """End the processes of a stack, and return their number.

    Sends SIGTERM, and SIGKILL after GRACE_SECONDS. Reaps `children`.
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
