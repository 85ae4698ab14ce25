"""Times the programs in turn, so that other load on the machine affects all of them alike."""

from collections.abc import Mapping, Sequence
from statistics import median, quantiles
from typing import Any, Final

from tools.bench.compared_programs import LEAN, SMSRELAY, TYPICAL, TYPICAL_COMPILED, Program
from tools.bench.runner import Bench, Event, Measurement, batch, post

WARM_UP_CALLS: Final = 20
"""Calls that are not counted, in which caches fill and Python specializes its code."""
BATCH_MESSAGES: Final = 10
LATENCY_MS: Final = 300


def spread(seconds: Sequence[float]) -> dict[str, float]:
    """Return the quartiles of two values or more, in milliseconds."""
    low, middle, high = (round(value * 1e3, 3) for value in quantiles(seconds, n=4))
    return {"low": low, "median": middle, "high": high}


def cold(bench: Bench, programs: Sequence[Program], function: str, runs: int) -> dict[str, Any]:
    """Measure the init phase and the first call, in a new process each time."""
    event = post(1) if function == "api" else batch(1)
    subjects = [program for program in programs if program.function == function]
    measured = _in_turn(bench, subjects, event, runs + 1, calls=1)
    rows = {}
    for name, (_, *each) in measured.items():  # the first run fills the page cache
        rows[name] = {
            "cold_cpu_ms": spread([run.cold_cpu for run in each]),
            "init_cpu_ms": spread([run.init_cpu for run in each]),
            "modules": each[0].modules,
        }
    return _compared(rows, "cold_cpu_ms")


def warm(
    bench: Bench, programs: Sequence[Program], event: Event, runs: int, calls: int
) -> dict[str, Any]:
    """Measure the CPU time of one call of a warm API function."""
    # Bytecode is read at the start only, so one build of the typical baseline is enough.
    subjects = [it for it in programs if it.function == "api" and it.name != TYPICAL]
    rows = {}
    for name, each in _in_turn(bench, subjects, event, runs, WARM_UP_CALLS + calls).items():
        rows[name] = {
            "cpu_ms": spread([median(run.cpus[WARM_UP_CALLS:]) for run in each]),
            "peak_mb": round(max(run.peak_mb for run in each), 1),
        }
    return _compared(rows, "cpu_ms")


def batch_of_ten(bench: Bench, programs: Sequence[Program], runs: int) -> dict[str, Any]:
    """Measure the wall time of a warm batch, and compare it with one call of the upstream."""
    subjects = [it for it in programs if it.function == "worker" and it.name != TYPICAL]
    bench.stub.control(delay_ms=LATENCY_MS)
    try:
        measured = _in_turn(bench, subjects, batch(BATCH_MESSAGES), 1, 2 + runs)
    finally:
        bench.stub.control(delay_ms=0)
    rows = {name: {"wall_ms": spread(run.walls[2:])} for name, [run] in measured.items()}
    vs_ideal = rows[SMSRELAY]["wall_ms"]["median"] / LATENCY_MS
    return {"programs": rows, "vs_ideal": round(vs_ideal, 3), "latency_ms": LATENCY_MS}


def _in_turn(
    bench: Bench, programs: Sequence[Program], event: Event, runs: int, calls: int
) -> dict[str, list[Measurement]]:
    measured: dict[str, list[Measurement]] = {program.name: [] for program in programs}
    for _ in range(runs):
        for program in programs:
            measured[program.name].append(bench.run(program, event, calls))
    return measured


def _compared(rows: Mapping[str, Any], column: str) -> dict[str, Any]:
    """Add the ratios of smsrelay's median to the medians of the baselines."""
    ours = rows[SMSRELAY][column]["median"]
    ratios = {
        "vs_" + name.replace(" ", "_"): round(ours / rows[name][column]["median"], 3)
        for name in (TYPICAL, TYPICAL_COMPILED, LEAN)
        if name in rows
    }
    return {"programs": rows, **ratios}
