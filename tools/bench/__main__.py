"""`python -m tools.bench [--quick] [--only PART …]`: measure, print a table, write the results."""

import argparse
import json
import platform
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from tools.bench import queue_drain, summary, timings
from tools.bench.compared_programs import SMSRELAY, Program, layer_megabytes, programs
from tools.bench.runner import Bench, batch, bench, post
from tools.local_stack import ROOT

RESULTS: Final = ROOT / "tools/bench/results/latest.json"


class Effort:
    """How often each measurement is repeated; `quick` only shows that the benchmark works."""

    def __init__(self, *, quick: bool) -> None:
        self.cold_runs = 4 if quick else 11
        self.warm_runs = 2 if quick else 5
        self.warm_calls = 40 if quick else 200
        self.batch_runs = 3 if quick else 15
        self.messages = 500 if quick else 5_000


def parts(
    machine: Bench, compared: Sequence[Program], effort: Effort
) -> Mapping[str, Callable[[], Any]]:
    """Return the measurements by their names in the results."""
    ours = {program.function: program for program in compared if program.name == SMSRELAY}

    def calls() -> dict[str, float]:
        counted = machine.calls_of_a_warm_request(ours["api"], post(1), 20)
        return {
            service: sum(count for name, count in counted.items() if name.startswith(service))
            for service in ("dynamodb", "secretsmanager", "sqs", "upstream")
        }

    def memory() -> dict[str, float]:
        events = {"api": post(1), "worker": batch(10)}
        runs = [machine.run(ours[name], events[name], effort.warm_calls) for name in events]
        return {
            "peak_mb": round(max(run.peak_mb for run in runs), 1),
            "layer_zip_mb": round(layer_megabytes(), 2),
        }

    return {
        "cold": lambda: {
            function: timings.cold(machine, compared, function, effort.cold_runs)
            for function in ("api", "worker")
        },
        "warm": lambda: {
            str(recipients): timings.warm(
                machine, compared, post(recipients), effort.warm_runs, effort.warm_calls
            )
            for recipients in (1, 250)
        },
        "calls": calls,
        "batch": lambda: timings.batch_of_ten(machine, compared, effort.batch_runs),
        "drain": lambda: queue_drain.drain(machine, effort.messages),
        "memory": memory,
    }


def main() -> int:
    parser = argparse.ArgumentParser(prog="make bench", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="few runs; writes no results")
    parser.add_argument(
        "--only",
        nargs="+",
        metavar="PART",
        default=[],
        help="measure these, keep the other results",
    )
    options = parser.parse_args()
    results: dict[str, Any] = {}
    if options.only and RESULTS.exists():
        results = json.loads(RESULTS.read_text())
    with bench() as machine:
        available = parts(machine, programs(), Effort(quick=options.quick))
        if unknown := set(options.only) - available.keys():
            parser.error(f"no such part: {', '.join(sorted(unknown))}; {', '.join(available)}")
        for name in options.only or available:
            began = time.monotonic()
            print(f"measuring {name} …", end=" ", flush=True)
            results[name] = available[name]()
            print(f"{time.monotonic() - began:.0f} s", flush=True)
    results["machine"] = {
        "python": platform.python_version(),
        "processor": platform.machine(),
        "processors": len(machine.processors),
        "date": time.strftime("%Y-%m-%d"),
    }
    print("\n".join(summary.table(results)))
    if not options.quick:
        RESULTS.write_text(json.dumps(results, indent=1, sort_keys=True) + "\n")
        print(f"\nwritten: {RESULTS.relative_to(ROOT)}")
    print(f"bench: {len(summary.missed(results))} of {len(summary.TARGETS)} targets missed")
    return 0


if __name__ == "__main__":
    sys.exit(main())
