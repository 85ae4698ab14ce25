"""The worker's batch of ten against an upstream that takes its time."""

from collections.abc import Sequence
from statistics import median
from typing import Any

from tools.bench.compared_programs import BYTECODE, LEAN, OURS, Program
from tools.bench.runner import Bench, batch
from tools.bench.timings import Spread

MESSAGES, LATENCY_MS = 10, 300


def batch_of_ten(bench: Bench, programs: Sequence[Program], runs: int) -> dict[str, Any]:
    """Wall of a warm batch, over what one call of the upstream takes: side by side it is one."""
    bench.stub.control(delay_ms=LATENCY_MS)
    try:
        told = {}
        for program in programs:
            if program.function != "worker" or program.name not in (OURS, BYTECODE, LEAN):
                continue
            taken = bench.run(program, batch(MESSAGES), 2 + runs)
            told[program.name] = {
                "wall_ms": Spread.of(taken.walls[2:]).rounded(1e3),
                "cpu_ms": Spread.of(taken.cpus[2:]).rounded(1e3),
                "vs_ideal": round(median(taken.walls[2:]) * 1e3 / LATENCY_MS, 3),
            }
    finally:
        bench.stub.control(delay_ms=0)
    return {"programs": told, "vs_ideal": told[OURS]["vs_ideal"], "latency_ms": LATENCY_MS}
