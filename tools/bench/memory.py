"""How long a function takes with how much memory: Lambda gives processor time in proportion to it.

1,769 MB are one whole processor, less is a share of one. The share is simulated by the kernel's own
bandwidth control (a cgroup's quota), in periods of 20 ms; where no cgroup can be made there are no
such figures. Init is measured with the share, too: Lambda is said to give it more, which nobody
promises.
"""

import contextlib
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from statistics import median
from typing import Any, Final

from tools.bench.compared_programs import OURS, Program
from tools.bench.runner import Bench, batch, post

SIZES: Final = (128, 192, 256, 384, 512, 768, 1024, 1769)
ONE_PROCESSOR: Final = 1769
"""MB of memory for which Lambda gives one processor (its documentation)."""
PERIOD_US: Final = 20_000
LATENCY_MS: Final = 150
"""What the upstream takes in this measurement."""
WARMED: Final = 5
_V1, _V2 = Path("/sys/fs/cgroup/cpu"), Path("/sys/fs/cgroup")


def curve(
    bench: Bench, programs: Sequence[Program], runs: int, calls: int
) -> dict[str, Any] | None:
    """Cold start, one request and a batch of ten by memory size; None: no share can be set."""
    ours = {program.function: program for program in programs if program.name == OURS}
    told: dict[str, Any] = {}
    bench.stub.control(delay_ms=LATENCY_MS)
    try:
        for size in SIZES:
            with _share(size / ONE_PROCESSOR) as wrapper:
                if wrapper is None:
                    return None
                api = [
                    bench.run(ours["api"], post(1), WARMED + calls, wrapper=wrapper)
                    for _ in range(runs)
                ]
                worker = bench.run(ours["worker"], batch(10), 2 + calls, wrapper=wrapper)
            one = median(wall for once in api for wall in once.walls[WARMED:])
            ten = median(worker.walls[2:])
            told[str(size)] = {
                "cold_wall_ms": round(median(once.cold_wall for once in api) * 1e3, 1),
                "warm_wall_ms": round(one * 1e3, 1),
                "batch10_wall_ms": round(ten * 1e3, 1),
            }
    finally:
        bench.stub.control(delay_ms=0)
    return {"latency_ms": LATENCY_MS, "sizes": told}


@contextlib.contextmanager
def _share(share: float) -> Iterator[Sequence[str] | None]:
    """What a command is begun with to have that share of a processor; None: it can't be set."""
    try:
        group = _group(share)
    except OSError:
        yield None
        return
    try:
        yield ["sh", "-c", f'echo $$ > {group}/cgroup.procs; exec "$@"', "sh"]
    finally:
        group.rmdir()


def _group(share: float) -> Path:
    quota = int(share * PERIOD_US)
    if _V1.is_dir():
        group = _V1 / f"bench-{os.getpid()}"
        group.mkdir()
        (group / "cpu.cfs_period_us").write_text(str(PERIOD_US))
        (group / "cpu.cfs_quota_us").write_text(str(quota))
    else:
        group = _V2 / f"bench-{os.getpid()}"
        group.mkdir()
        (group / "cpu.max").write_text(f"{quota} {PERIOD_US}")
    return group
