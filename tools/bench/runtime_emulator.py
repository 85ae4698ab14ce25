"""Init as AWS's own runtime emulator reports it: the duration in its INIT REPORT."""

import json
import os
import platform
import re
import socket
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from contextlib import ExitStack
from http import HTTPStatus
from pathlib import Path
from typing import Any, Final

import httpx
import samcli

from tools.bench.compared_programs import Program
from tools.bench.runner import Bench, Event
from tools.bench.timings import Spread
from tools.local_stack.polling import wait_for

EMULATORS: Final = {"x86_64": "aws-lambda-rie-x86_64", "aarch64": "aws-lambda-rie-arm64"}
EMULATOR: Final = Path(samcli.__file__).parent / "local/rapid" / EMULATORS[platform.machine()]
INVOKE: Final = "/2015-03-31/functions/function/invocations"
INIT: Final = re.compile(r"INIT REPORT\(durationMs: ([0-9.]+)\)")


def init_durations(
    bench: Bench, programs: Sequence[Program], event: Event, runs: int
) -> dict[str, Any]:
    """Milliseconds of each api program's init under the emulator, its runtime client included."""
    subjects = [program for program in programs if program.function == "api"]
    taken: dict[str, list[float]] = {program.name: [] for program in subjects}
    for _ in range(runs):
        for program in subjects:
            taken[program.name].append(_init(bench, program, event))
    return {name: Spread.of(each).rounded() for name, each in taken.items()}


def _init(bench: Bench, program: Program, event: Event) -> float:
    outside, inside = _free_ports()
    # The runtime's client lies here among all else that is installed, and comes last.
    paths = [
        *map(str, program.paths[1:]),
        *(path for path in sys.path if path.endswith("site-packages")),
    ]
    environment = {
        **bench.environment(),
        "PYTHONPATH": os.pathsep.join(paths),
        "AWS_LAMBDA_FUNCTION_TIMEOUT": "28",
    }
    command = [str(EMULATOR)]
    command += ["--runtime-interface-emulator-address", f"127.0.0.1:{outside}"]
    command += ["--runtime-api-address", f"127.0.0.1:{inside}"]
    command += [sys.executable, "-S", "-m", "awslambdaric", "app.handler"]
    with tempfile.TemporaryFile("w+") as log:
        with subprocess.Popen(  # noqa: S603 - the programs of this folder
            command, cwd=program.paths[0], env=environment, stdout=log, stderr=log
        ) as process:
            try:
                wait_for(lambda: _listens(outside), what="the runtime emulator", seconds=20)
                url = f"http://127.0.0.1:{outside}{INVOKE}"
                answer = httpx.post(url, content=json.dumps(event), trust_env=False, timeout=60)
            finally:
                process.terminate()
        log.seek(0)
        told = log.read()
    reported = INIT.search(told)
    if reported is None or answer.json().get("statusCode") != HTTPStatus.ACCEPTED:
        raise RuntimeError(f"{program.name}: {answer.text}\n{told[-3000:]}")
    return float(reported[1])


def _free_ports() -> tuple[int, int]:
    with ExitStack() as sockets:
        first, second = (
            sockets.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in range(2)
        )
        return first.getsockname()[1], second.getsockname()[1]


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0
