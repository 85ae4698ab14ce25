"""Records what the functions do, step by step, so that two versions of the code can be compared.

A step is one invocation. Its record contains the function's result, the calls that the upstream
received, the entries that went to queues and to the event bus, and every ledger item that the step
changed, with all attributes in DynamoDB's notation. A field that would be empty is left out.

Two runs give the same record, because `fixed` replaces the time, the random numbers, the new ids
and the order of threads. Some values can't be fixed. The record leaves out the upstream's `Host`
header (its port), the receipt handles of SQS, and the names of tables and queues. It replaces the
ids of SQS messages by `sqs-1`, `sqs-2` and so on, in the order in which the worker receives them.
"""

import json
import os
import random
import secrets
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime, tzinfo
from itertools import count
from types import ModuleType
from typing import Any, Final, Self
from unittest.mock import patch

import moto.core.utils
from botocore.client import BaseClient

from smsrelay.sends import ids
from tests.support.aws_calls import intercepted, record
from tests.support.environment import (
    ACCESS_TOKEN,
    CLIENT,
    Context,
    Environment,
    client_of,
    running,
)
from tests.support.template import ROOT
from tools.mobileconnect_simulator import Simulator
from tools.mobileconnect_simulator.state import CallEntry

Item = dict[str, Any]

FOLDER = ROOT / "tests/golden/items"


def _items(pattern: str) -> dict[str, Item]:
    return {path.stem: json.loads(path.read_text()) for path in sorted(FOLDER.glob(pattern))}


READABLE = _items("*.json")
"""Items that this and later versions must read; `unknown-attributes` has extra attributes."""
UNREADABLE = _items("unreadable/*.json")
"""Items that a later version or a defect might store."""


def put(relay: Environment, *items: Item) -> None:
    for item in items:
        relay.client("dynamodb").put_item(TableName=relay.table, Item=item)


def put_unreadable_in(relay: Environment, partition: str) -> int:
    """Put each unreadable item into a partition of the sparse index; return their number."""
    for name, item in UNREADABLE.items():
        put(relay, item | {"pk": {"S": f"MSG#{name}"}, "unfinished": {"S": partition}})
    return len(UNREADABLE)


Json = dict[str, Any]

NOW: Final = 1_800_000_000.0
"""The time at which each recording begins: 2027-01-15T08:00:00Z, in seconds since the epoch."""
MINUTE, HOUR, DAY = 60.0, 3_600.0, 86_400.0
WRITES: Final = {"PutItem", "UpdateItem", "TransactWriteItems", "BatchWriteItem", "DeleteItem"}
LINE: Final = 1_000
"""The characters of a line of `pretty`."""
CATALOGUE: Final = {
    "messages": {
        "order-shipped": {
            "id": "MzA6Nzg6MA",
            "keyword": "JOINSMS",
            "quietHours": {"start": "21:00", "end": "08:00", "timezone": "America/Chicago"},
            "onUnknown": "resend",
        },
        "only-for-another": {"id": "MzA6Nzg6MA", "allowedClients": ["another-client"]},
    },
    "clients": {
        CLIENT: {"callback": "https://shop.example.com/sms-results"},
        "calendar": {"callback": "https://calendar.example.com/sms-results"},
    },
}


class Clock:
    """Replaces `time.time`; only a recording advances it."""

    def __init__(self) -> None:
        self.now = NOW

    def __call__(self) -> float:
        return self.now

    def utc(self) -> datetime:
        return datetime.fromtimestamp(self.now, UTC)


class _Datetime(datetime):
    """A datetime whose `now` uses `time.time`, because `datetime.now` can't be replaced."""

    @classmethod
    def now(cls, tz: tzinfo | None = None) -> Self:
        return cls.fromtimestamp(time.time(), tz)


@contextmanager
def fixed() -> Iterator[Clock]:
    """Replace everything that differs between two runs."""
    clock, numbers, tokens = Clock(), count(1), count(1)
    initialize = ThreadPoolExecutor.__init__

    def one_thread(pool: ThreadPoolExecutor, *_: object, **__: object) -> None:
        initialize(pool, 1)

    with (
        patch.object(time, "time", clock),
        # The visibility of SQS messages.
        patch.object(moto.core.utils, "utcnow", lambda: clock.utc().replace(tzinfo=None)),
        patch.object(random, "random", lambda: 0.5),
        patch.object(secrets, "randbits", lambda _bits: next(numbers)),  # new ids
        patch.object(secrets, "token_urlsafe", lambda _bytes: f"token-{next(tokens)}"),  # tokenIds
        patch.object(ids, "datetime", _Datetime),
        patch.object(ThreadPoolExecutor, "__init__", one_thread),
    ):
        yield clock


class Recorder:
    """Invokes the functions of a relay, and records what they do."""

    def __init__(
        self, relay: Environment, simulator: Simulator, clock: Clock, callback_queue: str
    ) -> None:
        self.relay = relay
        self.simulator = simulator
        self.steps: list[Json] = []
        self._clock = clock
        self._queues = {
            relay.queue_url: "queue",
            relay.dead_letter_queue_url: "deadLetters",
            callback_queue: "callbacks",
        }
        self._sqs_ids: dict[str, str] = {}
        self._items: dict[tuple[str, str], Json] = {}
        self._upstream_calls = 0
        self._slept = 0
        self._has_written = False

    # The actions of a sample or a scenario.

    def post(self, body: str | Json, *, client: str = CLIENT, **headers: str) -> None:
        """`POST /messages`; in the names of headers `_` stands for a hyphen."""
        text = body if isinstance(body, str) else json.dumps(body)
        sent = _hyphenated({"Content_Type": "application/json"} | headers)
        with self._step("POST /messages", headers=sent) as step:
            step["returned"] = _response(
                self.relay.raw("POST", "/messages", headers=sent, body=text, client=client)
            )

    def get(self, path: str, *, client: str = CLIENT) -> None:
        """`GET /messages/{id}` or `GET /tokens/{tokenId}`."""
        with self._step(f"GET {path}", client=client) as step:
            step["returned"] = _response(self.relay.raw("GET", path, headers={}, client=client))

    def get_all(self) -> None:
        """Request each message and tokenId of the ledger, as its client."""
        items = self.relay.items()
        messages = {item["pk"]["S"]: item["client"]["S"] for item in items if "client" in item}
        for key, client in messages.items():
            self.get(f"/messages/{key.removeprefix('MSG#')}", client=client)
        for item in items:
            if "tokenId" in item:
                self.get(f"/tokens/{item['tokenId']['S']}", client=item["client"]["S"])

    def invoke(self, name: str, function: ModuleType, event: Json) -> None:
        """Invoke a function with an event as it is."""
        with self._step(name) as step:
            returned = function.handler(event, Context(55.0))
            step["returned"] = _response(returned) if "statusCode" in returned else returned

    def enqueue(self, body: str | Json, **attributes: str) -> None:
        """Put a message into the queue; in the names of attributes `_` stands for a hyphen."""
        self.relay.enqueue(body, _hyphenated(attributes))

    def work(self) -> None:
        """Invoke the worker with batches of visible messages until none is left."""
        sqs = self.relay.client("sqs")
        while messages := sqs.receive_message(
            QueueUrl=self.relay.queue_url,
            MaxNumberOfMessages=10,
            MessageAttributeNames=["All"],
            MessageSystemAttributeNames=["All"],
        ).get("Messages"):
            records = [record(message) for message in messages]
            for entry in records:
                entry["messageId"] = self._sqs_id(entry["messageId"])
            with self._step("worker", messages=[entry["messageId"] for entry in records]) as step:
                step["returned"] = self.relay.hand_worker(records)
            back = {entry["itemIdentifier"] for entry in step["returned"]["batchItemFailures"]}
            for entry in records:
                if entry["messageId"] not in back:
                    sqs.delete_message(
                        QueueUrl=self.relay.queue_url, ReceiptHandle=entry["receiptHandle"]
                    )

    def wait(self, seconds: float) -> None:
        """Let time pass."""
        self._clock.now += seconds
        self.steps.append({"wait": {"seconds": seconds}})

    def poll(self) -> None:
        """Invoke the delivery poller."""
        with self._step("status") as step:
            step["returned"] = self.relay.follow()

    def sweep(self) -> None:
        """Invoke the sweeper."""
        with self._step("sweeper") as step:
            step["returned"] = self.relay.sweep()

    def publish(self) -> None:
        """Invoke the event publisher with all records of the ledger's stream."""
        with self._step("events"):
            self.relay.tell()

    # Recording.

    @contextmanager
    def _step(self, name: str, **input_fields: object) -> Iterator[Json]:
        step: Json = dict(input_fields)
        self._has_written = False
        with intercepted(self._noting(step)):
            yield step
        calls = self.simulator.calls()
        effects = {
            "upstream": [_upstream_call(call) for call in calls[self._upstream_calls :]],
            "items": self._changed_items() if self._has_written else [],
            "slept": self.relay.slept[self._slept :],
        }
        self._upstream_calls, self._slept = len(calls), len(self.relay.slept)
        step |= {effect: value for effect, value in effects.items() if value}
        self.steps.append({name: step})

    def _noting(self, step: Json) -> Callable[..., Any]:
        def note(_: BaseClient, operation: str, parameters: Any, call: Callable[[], Any]) -> object:
            answer = call()
            if operation in WRITES:
                self._has_written = True
            elif operation == "PutEvents":
                step.setdefault("bus", []).extend(map(_bus_entry, parameters["Entries"]))
            elif operation in {"SendMessage", "SendMessageBatch", "ChangeMessageVisibility"}:
                queue = self._queues[parameters["QueueUrl"]]
                left_out = {"QueueUrl", "ReceiptHandle"}
                for entry in parameters.get("Entries", [parameters]):
                    shown = {name: entry[name] for name in entry if name not in left_out}
                    step.setdefault(queue, []).append(shown)
            return answer

        return note

    def _changed_items(self) -> Sequence[Json]:
        before, self._items = (
            self._items,
            {(item["pk"]["S"], item["sk"]["S"]): item for item in self.relay.items()},
        )
        assert before.keys() <= self._items.keys(), "an item was deleted"
        return [item for key, item in self._items.items() if item != before.get(key)]

    def _sqs_id(self, message_id: str) -> str:
        return self._sqs_ids.setdefault(message_id, f"sqs-{len(self._sqs_ids) + 1}")


@contextmanager
def recording(*, polls_per_status: int = 1) -> Iterator[Recorder]:
    """Record a new relay that has an event bus, callbacks and recipients' rows.

    It needs the fixture `aws`. `polls_per_status` is the number of polls that see each status of a
    delivery; with 0 the first poll sees the last status.
    """
    with ExitStack() as stack:
        clock = stack.enter_context(fixed())
        simulator = stack.enter_context(
            Simulator(
                access_tokens=[ACCESS_TOKEN],
                polls_per_status=polls_per_status,
                time_source=clock.utc,
            )
        )
        events, sqs = client_of("events"), client_of("sqs")
        bus = "recorded"
        events.create_event_bus(Name=bus)
        stack.callback(events.delete_event_bus, Name=bus)
        callbacks = sqs.create_queue(QueueName="recorded-callbacks")["QueueUrl"]
        stack.callback(sqs.delete_queue, QueueUrl=callbacks)
        settings = {
            "EVENT_BUS": bus,
            "CALLBACK_QUEUE_URL": callbacks,
            "CATALOGUE_PARAMETER": "/recorded/catalogue",
            "DELIVERY_POLLING": "all",
            "RECIPIENT_RESULTS": "on",
        }
        relay = stack.enter_context(running(simulator.url, **settings))
        relay.put_catalogue(CATALOGUE)
        stack.callback(relay.client("ssm").delete_parameter, Name=os.environ["CATALOGUE_PARAMETER"])
        yield Recorder(relay, simulator, clock, callbacks)


def pretty(value: object, indent: int = 0) -> str:
    """JSON with sorted keys; a list or an object that fits on one line stays on it."""
    line = json.dumps(value, ensure_ascii=False, sort_keys=True)
    if not isinstance(value, dict | list) or indent + len(line) <= LINE:
        return line
    inner = indent + 2
    if isinstance(value, dict):
        opening, closing = "{}"
        entries = [f"{json.dumps(name)}: {pretty(value[name], inner)}" for name in sorted(value)]
    else:
        opening, closing = "[]"
        entries = [pretty(entry, inner) for entry in value]
    separator = ",\n" + " " * inner
    return f"{opening}\n{' ' * inner}{separator.join(entries)}\n{' ' * indent}{closing}"


def _hyphenated(fields: Mapping[str, str]) -> dict[str, str]:
    return {name.replace("_", "-"): value for name, value in fields.items()}


def _response(returned: Json) -> Json:
    """Return a function's response to API Gateway, with its body as JSON."""
    return returned | {"body": json.loads(returned["body"])}


def _upstream_call(call: CallEntry) -> Json:
    """Return a call to the upstream with its exact body, and the status of the response."""
    headers = {name: value for name, value in call["headers"].items() if name != "host"}
    kept = {name: call[name] for name in ("method", "path", "status", "fault")}
    return {**kept, "headers": headers, "body": call["raw"]}


def _bus_entry(entry: Mapping[str, Any]) -> Json:
    """Return an entry of the event bus, with its detail as JSON."""
    return {**entry, "Detail": json.loads(entry["Detail"])}
