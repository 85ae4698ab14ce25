"""`python -m tools.bench [--quick] [--only PART …]`: measure, print a table, write the results."""

import argparse
import json
import platform
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from tools.bench import (
    batches,
    instructions,
    memory,
    picture,
    queue_drain,
    runtime_emulator,
    summary,
    timings,
)
from tools.bench.compared_programs import OURS, Program, programs, weights
from tools.bench.growth import growth
from tools.bench.runner import Bench, Event, batch, bench, post
from tools.local_stack import ROOT

RESULTS: Final = ROOT / "tools/bench/results/latest.json"
PICTURE: Final = ROOT / "docs/bench.svg"


class Effort:
    """How often everything is done."""

    def __init__(self, *, quick: bool) -> None:
        """Quick: to see that it works, not to learn from its figures."""
        self.cold_runs = 4 if quick else 21
        self.init_runs = 3 if quick else 15
        self.warm_runs = 2 if quick else 7
        self.warm_calls = 40 if quick else 300
        self.many_calls = 20 if quick else 100
        self.batch_runs = 3 if quick else 15
        self.memory_runs = 2 if quick else 5
        self.memory_calls = 5 if quick else 30
        self.messages = 1_000 if quick else 20_000
        self.stored = 2_000 if quick else 20_000


def parts(
    machine: Bench, all_programs: Sequence[Program], effort: Effort
) -> Mapping[str, Callable[[], Any]]:
    """Everything that is measured, by its name in the results."""
    ours = {program.function: program for program in all_programs if program.name == OURS}

    def calls() -> dict[str, Any]:
        counted = machine.counted(ours["api"], post(1), 20)
        queued = machine.counted(ours["worker"], batch(1), 20)
        return by_service(counted) | {"api": counted, "worker": queued}

    def cold() -> dict[str, Any]:
        return {
            function: timings.cold(machine, all_programs, function, effort.cold_runs)
            for function in ("api", "worker")
        }

    def warm() -> dict[str, Any]:
        return {
            "r1": timings.warm(machine, all_programs, post(1), effort.warm_runs, effort.warm_calls),
            "r250": timings.warm(
                machine, all_programs, post(250), effort.warm_runs, effort.many_calls
            ),
        }

    return {
        "layer": lambda: layer(all_programs),
        "cold": cold,
        "init_reported": lambda: runtime_emulator.init_durations(
            machine, all_programs, post(1), effort.init_runs
        ),
        "warm": warm,
        "seen": lambda: timings.seen(machine, all_programs, effort.warm_runs, effort.warm_calls),
        "instructions": lambda: instructions.counted(machine, all_programs, post(1)),
        "calls": calls,
        "batch10": lambda: batches.batch_of_ten(machine, all_programs, effort.batch_runs),
        "memory": lambda: {
            "peak_mb": peak(machine, ours, effort),
            "curve": memory.curve(machine, all_programs, effort.memory_runs, effort.memory_calls),
        },
        "growth": lambda: growth(effort.stored),
        "drain": lambda: queue_drain.drain(machine, effort.messages),
        # The emulator answers one call after another: with few at once it is no part of it.
        "drain_few": lambda: queue_drain.drain(machine, effort.messages // 20, queue_drain.FEW),
    }


def by_service(counted: Mapping[str, float]) -> dict[str, float]:
    """Calls of a warm request, summed up by service."""
    return {
        service: sum(count for name, count in counted.items() if name.startswith(service))
        for service in ("dynamodb", "secretsmanager", "sqs", "upstream")
    }


def peak(machine: Bench, ours: Mapping[str, Program], effort: Effort) -> float:
    """MB at most of a function that has been called often, the larger of the two."""
    events: Mapping[str, Event] = {"api": post(1), "worker": batch(10)}
    return round(
        max(
            machine.run(program, events[function], effort.warm_calls).peak_mb
            for function, program in ours.items()
        ),
        1,
    )


def layer(all_programs: Sequence[Program]) -> dict[str, Any]:
    """Megabytes of what is deployed for an api function."""
    told = weights(all_programs)
    return {
        "zip_mb": round(told[OURS][0], 2),
        "programs": {
            name: {"zip_mb": round(zipped, 2), "mb": round(unzipped, 2)}
            for name, (zipped, unzipped) in told.items()
        },
    }


def main() -> int:
    """Measure what is asked for; what is not keeps its old figures."""
    parser = argparse.ArgumentParser(prog="make bench", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="few runs; nothing is written")
    parser.add_argument("--only", nargs="+", metavar="PART", default=[])
    given = parser.parse_args()
    found: dict[str, Any] = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
    with bench() as machine:
        all_programs = programs()
        available = parts(machine, all_programs, Effort(quick=given.quick))
        if unknown := set(given.only) - available.keys():
            parser.error(f"no such part: {', '.join(sorted(unknown))}; {', '.join(available)}")
        for name in given.only or available:
            began = time.monotonic()
            print(f"measuring {name} …", end=" ", flush=True)
            found[name] = available[name]()
            print(f"{time.monotonic() - began:.0f} s", flush=True)
    found["machine"] = {
        "python": platform.python_version(),
        "processor": platform.machine(),
        "processors": len(machine.processors),
        "date": time.strftime("%Y-%m-%d"),
    }
    lines, missed = summary.table(found)
    print("\n".join(lines))
    if given.quick:
        print("\n(quick: nothing is written)")
    else:
        RESULTS.parent.mkdir(exist_ok=True)
        RESULTS.write_text(json.dumps(found, indent=1, sort_keys=True) + "\n")
        PICTURE.write_text(picture.svg(found))
        print(f"\nwritten: {RESULTS.relative_to(ROOT)}, {PICTURE.relative_to(ROOT)}")
    print(f"bench: {len(summary.TARGETS) - len(missed)} of {len(summary.TARGETS)} targets met")
    return 0


if __name__ == "__main__":
    sys.exit(main())
