"""`python -m tests.promise soak`: runs a soak on a new stack."""

import asyncio
import json
import shutil
import tempfile
import time
from pathlib import Path
from typing import Final

from tests.promise.invariants import redrive_violations, violations
from tests.promise.soak import summary
from tests.promise.soak.evidence import Evidence
from tests.promise.soak.requests import requests
from tests.promise.soak.run import SWEEP_EVERY, VISIBILITY, Played, Run
from tools.local_stack import build
from tools.local_stack.stack import STATE, LocalStack, Stack

LIMIT_SECONDS: Final = 420
"""The limit for all sends to end. Looking up each accepted send takes two more minutes."""
UPSTREAM_TIMEOUT: Final = 2
SENDS_AT_ONCE: Final = 80
"""Sends in parallel: enough to go on while a worker is killed every second."""


def run(seed: int, count: int) -> int:
    """Run the soak, print what happened, and return the exit code.

    Raises:
        StartError, BuildError: the stack did not start.
    """
    build.artefacts(print)  # not counted in the limit: builds only after a change
    began = time.monotonic()
    print(
        f"soak: seed {seed}, {count} requests, which have {LIMIT_SECONDS} s to end; then each "
        "accepted send is looked up over HTTP"
    )
    print(
        f"settings for speed: the upstream's time-out is {UPSTREAM_TIMEOUT} s, the queue's "
        f"visibility time-out {VISIBILITY} s, and the sweeper runs every {SWEEP_EVERY:g} s"
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
    to_post = requests(seed, count, stack.default_client)
    run = Run(stack, seed, to_post, began + LIMIT_SECONDS, print)
    played = asyncio.run(run.play())
    evidence = Evidence(stack, to_post)
    seen = evidence.observe()
    history = evidence.history(played.poster, seen)
    found = violations(history, seen)
    if seen.dead_letters:
        found += redrive_violations(history, seen, evidence.redrive(seen))
    print()
    for line in summary.lines(to_post, played, evidence, history, seen):
        print(line)
    problems = [*summary.broken(found), *_proves_nothing(played, evidence)]
    for problem in problems:
        print(problem)
    if problems:
        _keep(stack, evidence, seen.log)
        print(f"The logs, the ledger and the upstream's calls are in {stack.state}")
    else:
        shutil.rmtree(stack.state)
    print(f"seed {seed}, {time.monotonic() - began:.0f} s")
    print(summary.total(count, seen, found))
    return 1 if problems else 0


def _proves_nothing(played: Played, evidence: Evidence) -> list[str]:
    """Return a problem for each kind of fault that did not happen."""
    happened = {
        "no worker was killed": played.workers.kills,
        "no fault of the upstream happened": evidence.upstream_faults(),
        "no fault of AWS happened": played.aws.faults,
    }
    return [f"PROVES NOTHING: {what}" for what, count in happened.items() if not count]


def _keep(stack: Stack, evidence: Evidence, log: str) -> None:
    """Save the log and the evidence, which would be deleted with the stack."""
    (stack.state / "functions.log").write_text(log)
    for name, entries in evidence.dump().items():
        (stack.state / f"{name}.json").write_text(json.dumps(entries, indent=1, default=str))
