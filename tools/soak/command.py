"""`python -m tools.local_stack soak`: one soak on a stack of its own."""

import asyncio
import json
import shutil
import tempfile
import time
from pathlib import Path
from typing import Final

from tools.local_stack import build
from tools.local_stack.stack import STATE, LocalStack, Stack
from tools.soak import summary
from tools.soak.checks import totals, violations
from tools.soak.findings import Scene
from tools.soak.run import SWEEP_EVERY, VISIBILITY, Played, Run
from tools.soak.scenario import requests

DEFAULT_SEED: Final = 1
DEFAULT_REQUESTS: Final = 2_000
LIMIT_SECONDS: Final = 290
"""Five minutes, with the start of Python and a look at the build."""
LOOKING_SECONDS: Final = 15
"""What remains of the limit to look at all the ends."""
UPSTREAM_TIMEOUT: Final = 2
SENDS_AT_ONCE: Final = 80
"""One worker is killed every second: the others go on."""


def run(seed: int = DEFAULT_SEED, count: int = DEFAULT_REQUESTS) -> int:
    """Run the soak, print what happened, and return the exit code.

    Raises:
        StartError, BuildError: the stack did not start.
    """
    build.artefacts(print)  # not within the limit: it is made once after a change
    began = time.monotonic()
    print(f"soak: seed {seed}, {count} requests, {LIMIT_SECONDS} s at most")
    print(
        f"to be quick: the upstream has {UPSTREAM_TIMEOUT} s to answer, a message is away for "
        f"{VISIBILITY} s, the sweeper comes every {SWEEP_EVERY:g} s"
    )
    (STATE / "soak").mkdir(parents=True, exist_ok=True)
    folder = Path(tempfile.mkdtemp(dir=STATE / "soak"))
    parameters = {
        "UpstreamTimeoutSeconds": str(UPSTREAM_TIMEOUT),
        "MaxConcurrentSends": str(SENDS_AT_ONCE),
    }
    with LocalStack(folder, parameters=parameters, say=print) as stack:
        return _soak(stack, seed, count, began)


def _soak(stack: Stack, seed: int, count: int, began: float) -> int:
    to_post = requests(seed, count)
    storm = Run(stack, seed, to_post, began + LIMIT_SECONDS - LOOKING_SECONDS, print)
    played = asyncio.run(storm.play())
    scene = Scene(stack, to_post)
    seen = scene.seen(played.poster.taken)
    found = violations(seen)
    print()
    for line in summary.lines(to_post, played, scene, seen):
        print(line)
    problems = [*summary.broken(found), *_proves_nothing(played, scene)]
    for problem in problems:
        print(problem)
    if problems:
        _keep(stack, scene, seen.log)
        print(f"The logs, the ledger and what the upstream met are in {stack.state}")
    else:
        shutil.rmtree(stack.state)
    print(f"seed {seed}, {time.monotonic() - began:.0f} s")
    print(totals(count, seen, found))
    return 1 if problems else 0


def _proves_nothing(played: Played, scene: Scene) -> list[str]:
    """What did not happen that a soak is for."""
    happened = {
        "no worker was killed": played.workers.kills,
        "no fault of the upstream struck": scene.upstream_faults(),
        "no fault of AWS struck": played.aws.struck,
    }
    return [f"PROVES NOTHING: {what}" for what, count in happened.items() if not count]


def _keep(stack: Stack, scene: Scene, log: str) -> None:
    """Keep for a person what goes with the stack otherwise."""
    (stack.state / "functions.log").write_text(log)
    for name, entries in scene.dump().items():
        (stack.state / f"{name}.json").write_text(json.dumps(entries, indent=1, default=str))
