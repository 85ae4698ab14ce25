"""Counts instructions with callgrind: the same count twice, whatever else the machine does.

A regression of a few per cent, which no clock shows here, shows in them. callgrind comes with
Debian's package valgrind; without it there are no such figures.
"""

import re
import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tools.bench.compared_programs import AS_BUILT, BYTECODE, LEAN, OURS, Program
from tools.bench.runner import Bench, Event

CALLS = (0, 1, 11, 31)
"""Numbers of calls of four runs; their differences are init, first call, and warm calls."""


def counted(bench: Bench, programs: Sequence[Program], event: Event) -> dict[str, Any] | None:
    """Millions of instructions of the api's init, first and warm call; None: no callgrind."""
    if shutil.which("valgrind") is None:
        return None
    told = {}
    wanted = (OURS, LEAN, BYTECODE, AS_BUILT)
    for program in programs:
        if program.function != "api" or program.name not in wanted:
            continue
        bare, first, warmed, warm = (_count(bench, program, event, calls) for calls in CALLS)
        told[program.name] = {
            "init": round(bare, 1),
            "first": round(first - bare, 1),
            "warm": round((warm - warmed) / (CALLS[3] - CALLS[2]), 2),
        }
    return told


def _count(bench: Bench, program: Program, event: Event, calls: int) -> float:
    """Millions of instructions of a process, Python's own start included."""
    with tempfile.TemporaryDirectory() as folder:
        output = Path(folder) / "callgrind"
        wrapper = ["valgrind", "--tool=callgrind", f"--callgrind-out-file={output}", "--quiet"]
        bench.run(program, event, calls, wrapper=wrapper)
        summary = re.search(r"^(?:summary|totals): (\d+)", output.read_text(), re.MULTILINE)
    if summary is None:
        raise RuntimeError("callgrind wrote no total")
    return int(summary[1]) / 1e6
