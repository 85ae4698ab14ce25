"""Tests the memory of the built queue worker, in its own process, with expensive batches.

A message has at most 1 MiB, and a batch ten messages. Lambda's limit of 6 MB a batch is lower.
"""

import json
from collections.abc import Callable, Iterator, Sequence
from itertools import accumulate, cycle, islice, takewhile
from pathlib import Path
from typing import Any

import pytest

from smsrelay.messages.strict_json import MAX_REQUEST_BYTES
from smsrelay.runtime.sqs_batch import LARGE_BODY
from tests.support.template import run_built, variables
from tools.bench.aws_stub import Stub, running
from tools.local_stack import build

MAX_MB = 256
"""Half of the function's memory in the template."""

WORK = """
import json, os, pathlib, re, sys, sysconfig, types
stdlib = sysconfig.get_path("stdlib")
batch, *paths = sys.argv[1:]
sys.path = [*paths, stdlib, f"{stdlib}/lib-dynload"]
results = os.fdopen(os.dup(1), "w")
os.dup2(2, 1)  # for what the handler logs
import app
context = types.SimpleNamespace(
    function_name="function",
    memory_limit_in_mb=512,
    invoked_function_arn="arn:aws:lambda:eu-central-1:123456789012:function:function",
    aws_request_id="00000000-0000-4000-8000-000000000000",
    get_remaining_time_in_millis=lambda: 60_000,
)
answer = app.handler(json.loads(pathlib.Path(batch).read_text()), context)
# Not getrusage: its maximum includes the process that this one was forked from.
status = pathlib.Path("/proc/self/status").read_text()
peak = int(re.search(r"VmHWM:\\s+([0-9]+) kB", status)[1]) / 1024
json.dump({"failures": answer["batchItemFailures"], "peak_mb": peak}, results)
"""


def filled(
    head: str,
    item: Callable[[int], str],
    tail: str,
    *,
    most: int = MAX_REQUEST_BYTES,
    size: int = MAX_REQUEST_BYTES,
) -> str:
    """Return a message with as many items as fit into `size` bytes, at most `most`."""
    room = size - len(head.encode()) - len(tail.encode())
    sizes = accumulate(len(item(n).encode()) + 1 for n in range(most))
    items = [item(n) for n, _ in enumerate(takewhile(lambda used: used <= room, sizes))]
    return head + ",".join(items) + tail


def attributes(value: str, number: int) -> str:
    return ",".join(f'"{n}":{value}' for n in range(number))


def nested(size: int) -> str:
    array = "[" * 900 + "]" * 900
    return filled("{" + TO + ',"x":[', lambda _: array, "]}", size=size)


def subscriber(n: int, value: str, number: int) -> str:
    return f'{{"mobile":"+4477009{n:05d}","key":"k","attributes":{{{attributes(value, number)}}}}}'


TO = '"message":"MzA6Nzg6MA","to":["+12125550100"]'
MANY, END = '{"message":"MzA6Nzg6MA","to":[', "]}"
SUBSCRIBER = '"mobile":"+12125550100","key":"k"'
EMOJI = "\U0001f600"
MAX_ENTRIES = 25_000

INVALID = {
    "unknown fields": filled("{" + TO + ",", lambda n: f'"{n:x}":0', "}"),
    "unknown fields, each twice": filled("{" + TO + ",", lambda n: f'"{n // 2:x}":0', "}"),
    "unknown fields of recipients": filled(
        MANY, lambda _: '{"a":1,"b":1,"c":1,"d":1,"e":1}', END, most=MAX_ENTRIES
    ),
    "unusable attributes of one": filled(
        f'{MANY}{{{SUBSCRIBER},"attributes":{{', lambda n: f'"{n:x}":[]', "}}" + END
    ),
    "unusable attributes of many": filled(
        MANY, lambda _: f'{{"attributes":{{{attributes("[]", 100)}}}}}', END
    ),
    "objects with a repeated name": filled("{" + TO + ',"x":[', lambda _: '{"":0,"":0}', "]}"),
    "nested arrays": nested(MAX_REQUEST_BYTES),
    "decimals": filled("{" + TO + ',"x":[', lambda _: "1.0", "]}"),
    "one number with different keys": filled(
        MANY + '"+12125550100",', lambda _: f"{{{SUBSCRIBER}}}", END, most=MAX_ENTRIES - 1
    ),
    "a text of 1 MiB in characters of four bytes": filled(
        "{" + TO + f',"text":"{EMOJI}', lambda _: "x" * 1_000, '"}'
    ),
}
VALID = {
    "25,000 numbers": filled(MANY, lambda n: f'"+4477009{n:05d}"', END, most=MAX_ENTRIES),
    "25,000 subscribers": filled(
        MANY,
        lambda n: f'{{"mobile":"+4477009{n:05d}","key":"k"}}',
        END,
        most=MAX_ENTRIES,
    ),
    "subscribers and the longest text": filled(
        MANY,
        lambda n: f'{{"mobile":"+4477009{n:05d}","key":"k"}}',
        f'],"text":"{EMOJI * 10_000}"}}',
        most=12_500,
    ),
    "100 attributes of each": filled(MANY, lambda n: subscriber(n, "1.0", 100), END),
    "one attribute of each": filled(MANY, lambda n: subscriber(n, "1.0", 1), END),
    "long attributes": filled(MANY, lambda n: subscriber(n, '"' + "x" * 1_000 + '"', 1), END),
}
"""Messages of 1 MiB, by the reason why they are expensive."""


BATCHES = {
    "valid": list(islice(cycle(VALID.values()), 10)),
    "invalid": list(INVALID.values()),
    "many at once": [nested(LARGE_BODY - 1)] * 10,
}


@pytest.fixture(scope="module")
def built() -> Path:
    build.artefacts(lambda _: None)
    return build.SAM_OUTPUT


@pytest.fixture(scope="module")
def stub() -> Iterator[Stub]:
    with running() as stub:
        yield stub


def work(built: Path, stub: Stub, bodies: Sequence[str], folder: Path) -> Any:
    """Return the worker's result for a batch of these bodies, and its peak memory."""
    records = [
        {"messageId": f"{n:08x}", "receiptHandle": "r", "body": body, "attributes": {}}
        for n, body in enumerate(bodies)
    ]
    batch = folder / "batch.json"
    batch.write_text(json.dumps({"Records": records}))
    environment = variables(
        table="table",
        queue_url=f"{stub.url}/1/queue",
        dead_letter_queue_url=f"{stub.url}/1/dead",
        token_secret="token",
        AWS_ACCESS_KEY_ID="testing",
        AWS_SECRET_ACCESS_KEY="testing",
        AWS_REGION="eu-central-1",
        AWS_DEFAULT_REGION="eu-central-1",
        AWS_ENDPOINT_URL=stub.url,
    )
    paths = (built / "QueueWorkerFunction", built / "Layer/python")
    return json.loads(run_built(WORK, batch, *paths, environment=environment))


@pytest.mark.parametrize("bodies", BATCHES.values(), ids=BATCHES)
def test_ten_expensive_messages_fit_into_half_of_the_memory(
    built: Path, stub: Stub, tmp_path: Path, bodies: Sequence[str]
) -> None:
    stub.control(reset=True)
    done = work(built, stub, bodies, tmp_path)
    assert done["failures"] == []
    calls = stub.calls()
    assert calls["dynamodb.TransactWriteItems"] + calls["sqs.SendMessage"] == len(bodies)
    assert done["peak_mb"] < MAX_MB
