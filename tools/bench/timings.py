"""Times the programs in turn, so that what the machine does besides strikes all of them alike."""

from collections.abc import Mapping, Sequence
from statistics import median, quantiles
from typing import Any, Final, NamedTuple

from tools.bench.compared_programs import AS_BUILT, BYTECODE, FLOOR, LEAN, LENT, OURS, Program
from tools.bench.runner import Bench, Event, Taken, batch, post

BASELINES: Final = {
    "vs_naive_as_built": AS_BUILT,
    "vs_naive_bytecode": BYTECODE,
    "vs_naive_lent": LENT,
    "vs_bound": LEAN,
    "vs_floor": FLOOR,
}
WARMING: Final = 20
"""Calls of a process that are not counted: caches fill, and Python specializes its code."""


class Spread(NamedTuple):
    """Median and quartiles of a sample."""

    low: float
    middle: float
    high: float

    @classmethod
    def of(cls, sample: Sequence[float]) -> "Spread":
        """Of two values or more."""
        low, _, high = quantiles(sample, n=4)
        return cls(low, median(sample), high)

    def rounded(self, factor: float = 1.0) -> Mapping[str, float]:
        """As JSON."""
        return {name: round(value * factor, 3) for name, value in self._asdict().items()}


def cold(bench: Bench, programs: Sequence[Program], function: str, runs: int) -> dict[str, Any]:
    """A fresh process each time: import to ready, and the first answer."""
    event = post(1) if function == "api" else batch(1)
    subjects = [program for program in programs if program.function == function]
    taken: dict[str, list[Taken]] = {program.name: [] for program in subjects}
    for number in range(runs + 1):
        for program in subjects:
            once = bench.run(program, event, 1)
            if number:  # the first one fills the page cache
                taken[program.name].append(once)
    told: dict[str, Any] = {
        name: {
            "cold_cpu_ms": Spread.of([once.cold_cpu for once in each]).rounded(1e3),
            "cold_wall_ms": Spread.of([once.cold_wall for once in each]).rounded(1e3),
            "init_cpu_ms": Spread.of([once.init_cpu for once in each]).rounded(1e3),
            "first_cpu_ms": Spread.of([once.cpus[0] for once in each]).rounded(1e3),
            "modules": each[0].modules,
            "init_mb": round(median(once.init_mb for once in each), 1),
        }
        for name, each in taken.items()
    }
    middle = {name: figures["cold_cpu_ms"]["middle"] for name, figures in told.items()}
    return {"programs": told} | _ratios(middle)


def warm(
    bench: Bench, programs: Sequence[Program], event: Event, runs: int, calls: int
) -> dict[str, Any]:
    """Processor time of one call of an api that has been called before."""
    subjects = [program for program in programs if program.function == "api"]
    taken: dict[str, list[Taken]] = {program.name: [] for program in subjects}
    for _ in range(runs):
        for program in subjects:
            taken[program.name].append(bench.run(program, event, WARMING + calls))
    told: dict[str, Any] = {
        name: {
            "cpu_ms": Spread.of([median(once.cpus[WARMING:]) for once in each]).rounded(1e3),
            "wall_ms": Spread.of([median(once.walls[WARMING:]) for once in each]).rounded(1e3),
            "peak_mb": round(max(once.peak_mb for once in each), 1),
            "log_bytes": round(each[0].log_bytes),
        }
        for name, each in taken.items()
    }
    middle = {name: figures["cpu_ms"]["middle"] for name, figures in told.items()}
    # Warm, all builds of the naive program are the same: bytecode is read at the start only.
    naive = Spread.of(
        [median(once.cpus[WARMING:]) for name in (AS_BUILT, LENT, BYTECODE) for once in taken[name]]
    )
    vs_naive = round(middle[OURS] / (naive.middle * 1e3), 3)
    return {"programs": told, "vs_naive": vs_naive} | _ratios(middle)


def seen(bench: Bench, programs: Sequence[Program], runs: int, calls: int) -> dict[str, Any]:
    """What log lines and metrics take of a warm call: processor ms with and without them."""
    ours = next(it for it in programs if it.name == OURS and it.function == "api")
    ways: dict[str, Mapping[str, str]] = {
        "both": {},
        "no_log": {"POWERTOOLS_LOG_LEVEL": "WARNING"},
        "no_metrics": {"POWERTOOLS_METRICS_DISABLED": "true"},
    }
    taken: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(runs):
        for name, variables in ways.items():
            once = bench.run(ours, post(1), WARMING + calls, variables=variables)
            taken[name].append(median(once.cpus[WARMING:]))
    return {name: Spread.of(each).rounded(1e3) for name, each in taken.items()}


def _ratios(middle: Mapping[str, float]) -> dict[str, float]:
    return {
        name: round(middle[OURS] / middle[rival], 3)
        for name, rival in BASELINES.items()
        if rival in middle
    }
