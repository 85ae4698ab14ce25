"""Runs inside the measured process: `python measured_process.py ORDER`, where ORDER is a JSON file.

It imports a handler as Lambda does, calls it, and writes the measurements as JSON. It imports only
what Lambda's own runtime has imported before the handler, too.
"""

import json
import logging  # noqa: F401 - Lambda's runtime imports it
import os
import sys
import sysconfig
import time
from typing import Any


class Context:
    """The part of Lambda's context that handlers, Powertools and tracers use."""

    function_name = "bench"
    function_version = "$LATEST"
    memory_limit_in_mb = 512
    invoked_function_arn = "arn:aws:lambda:eu-central-1:123456789012:function:bench"

    def __init__(self, number: int) -> None:
        self.aws_request_id = f"00000000-0000-4000-8000-{number:012d}"

    def get_remaining_time_in_millis(self) -> int:
        return 28_000


def event_with_new_keys(base: dict[str, Any], number: int) -> dict[str, Any]:
    """Copy an event, and give it its own idempotency key or message ids."""
    event: dict[str, Any] = json.loads(json.dumps(base))
    if "Records" in event:
        for place, record in enumerate(event["Records"]):
            record["messageId"] = f"{os.getpid():08x}-{number:04x}-4000-8000-{place:012d}"
            record["messageAttributes"] = {}
        return event
    key = f"bench-{os.getpid()}-{number}"
    event["headers"]["Idempotency-Key"] = key
    event["multiValueHeaders"]["Idempotency-Key"] = [key]
    return event


def peak_memory() -> float:
    """Return VmHWM in MB; getrusage would also count the process before its `exec`."""
    with open("/proc/self/status") as status:  # noqa: PTH123 - pathlib is one module more
        [line] = (line for line in status if line.startswith("VmHWM"))
    return int(line.split()[1]) / 1024


def check(response: dict[str, Any], event: dict[str, Any]) -> None:
    """Raise an error unless the handler did its work."""
    expected: Any = {"batchItemFailures": []} if "Records" in event else 202
    actual = response if "Records" in event else response["statusCode"]
    if actual != expected:
        raise RuntimeError(f"the handler answered {response}")


def main() -> None:
    with open(sys.argv[1]) as file:  # noqa: PTH123 - pathlib is one module more
        order = json.load(file)
    os.sched_setaffinity(0, [order["cpu"]])
    stdlib = sysconfig.get_path("stdlib")
    sys.path[:] = [*order["paths"], stdlib, f"{stdlib}/lib-dynload"]
    events = [event_with_new_keys(order["event"], number) for number in range(order["calls"])]
    contexts = [Context(number) for number in range(order["calls"])]
    modules = set(sys.modules)
    output = os.fdopen(os.dup(1), "w")
    os.dup2(os.memfd_create("log"), 1)  # handlers write their log lines into memory

    cpu = time.process_time()
    import app  # type: ignore[import-not-found]  # noqa: PLC0415 - the import is measured

    result: dict[str, Any] = {
        "init_cpu": time.process_time() - cpu,
        "modules": len(set(sys.modules) - modules),
        "walls": [],
        "cpus": [],
    }
    for event, context in zip(events, contexts, strict=True):
        wall, cpu = time.perf_counter(), time.process_time()
        response = app.handler(event, context)
        result["cpus"].append(time.process_time() - cpu)
        result["walls"].append(time.perf_counter() - wall)
        check(response, event)
    result["peak_mb"] = peak_memory()
    json.dump(result, output)
    output.close()


if __name__ == "__main__":
    main()
