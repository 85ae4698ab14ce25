"""Runs inside the process that is measured: `python child.py ORDER`, where ORDER is a JSON file.

It imports a handler as Lambda would, calls it, and writes what that took as JSON. Only the standard
library is imported here, and little of it: what stands here is no part of what is measured, but it
is in `sys.modules` before, as Lambda's own runtime has imported json and logging.
"""

import json
import logging  # noqa: F401 - see above
import os
import sys
import sysconfig
import time
from typing import Any


class Context:
    """What handlers, Powertools and tracers use of Lambda's context."""

    function_name = "bench"
    function_version = "$LATEST"
    memory_limit_in_mb = 1024
    invoked_function_arn = "arn:aws:lambda:eu-central-1:123456789012:function:bench"

    def __init__(self, number: int) -> None:
        """An invocation's."""
        self.aws_request_id = f"00000000-0000-4000-8000-{number:012d}"

    def get_remaining_time_in_millis(self) -> int:
        """As if each invocation had just begun."""
        return 28_000


def event_of(base: dict[str, Any], number: int) -> dict[str, Any]:
    """The event, as if it were another one: no key and no message comes twice."""
    event: dict[str, Any] = json.loads(json.dumps(base))
    key = f"bench-{os.getpid()}-{number}"
    if "Records" in event:
        for place, record in enumerate(event["Records"]):
            record["messageId"] = f"{os.getpid():08x}-{number:04x}-4000-8000-{place:012d}"
            record["messageAttributes"] = {}
        return event
    event["headers"]["Idempotency-Key"] = key
    event["multiValueHeaders"]["Idempotency-Key"] = [key]
    return event


def memory(name: str) -> float:
    """VmHWM (the most so far) or VmRSS (now) of this process, in MB.

    Not getrusage's maximum: it counts what the process was before it became this program.
    """
    with open("/proc/self/status") as status:  # noqa: PTH123 - pathlib would be one module more
        for line in status:
            if line.startswith(name):
                return int(line.split()[1]) / 1024
    raise RuntimeError(f"no {name} in /proc/self/status")


def main() -> None:
    """Do what is ordered, and write what it took."""
    with open(sys.argv[1]) as file:  # noqa: PTH123 - same
        order = json.load(file)
    os.sched_setaffinity(0, [order["cpu"]])
    stdlib = sysconfig.get_path("stdlib")
    sys.path[:] = [*order["paths"], stdlib, f"{stdlib}/lib-dynload"]
    events = [event_of(order["event"], number) for number in range(order["calls"])]
    contexts = [Context(number) for number in range(order["calls"])]
    before = set(sys.modules)
    result = os.fdopen(os.dup(1), "w")
    log = os.memfd_create("log")
    os.dup2(log, 1)  # the handlers' log lines are written, and counted

    wall, cpu = time.perf_counter(), time.process_time()
    import app  # type: ignore[import-not-found]  # noqa: PLC0415 - the very thing that is measured

    told: dict[str, Any] = {
        "init_wall": time.perf_counter() - wall,
        "init_cpu": time.process_time() - cpu,
        "modules": len(set(sys.modules) - before),
        "init_mb": memory("VmRSS"),
        "walls": [],
        "cpus": [],
    }
    first_line = 0
    for number, (event, context) in enumerate(zip(events, contexts, strict=True)):
        wall, cpu = time.perf_counter(), time.process_time()
        answer = app.handler(event, context)
        told["cpus"].append(time.process_time() - cpu)
        told["walls"].append(time.perf_counter() - wall)
        check(answer, order["event"])
        if number == 0:
            first_line = os.fstat(log).st_size
    told["peak_mb"] = memory("VmHWM")
    told["log_bytes"] = (os.fstat(log).st_size - first_line) / max(1, order["calls"] - 1)
    json.dump(told, result)
    result.close()


def check(answer: dict[str, Any], event: dict[str, Any]) -> None:
    """A handler that does not do its work is quick."""
    good: Any = {"batchItemFailures": []} if "Records" in event else 202
    found = answer if "Records" in event else answer["statusCode"]
    if found != good:
        raise RuntimeError(f"the handler answered {answer}")


if __name__ == "__main__":
    main()
