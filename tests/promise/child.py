"""What a child process plays: invocations of the real handlers, and what the cloud does between."""

import importlib.util
import json
import uuid
from collections.abc import Callable
from contextlib import suppress
from types import ModuleType
from typing import Any

from botocore.exceptions import ClientError

from smsrelay.errors import LedgerUnavailableError, UnexpectedError
from tests.promise.checkpoints import Checkpoints
from tests.promise.clock import ShiftedTime
from tests.support.aws_calls import record
from tools.local_stack import ROOT
from tools.local_stack.aws import Clients

Json = dict[str, Any]

ROUNDS = 10
ROUND_SECONDS = 2_000.0
"""Longer than every lease and every wait; all rounds together are shorter than MAX_AGE_HOURS."""
IN_FLIGHT_SECONDS = 900


class Context:
    """What a handler uses of Lambda's context."""

    function_name = "function"
    memory_limit_in_mb = 1024
    invoked_function_arn = "arn:aws:lambda:us-east-1:123456789012:function:function"

    def __init__(self, seconds: float, clock: ShiftedTime) -> None:
        self.aws_request_id = str(uuid.uuid4())
        self.deadline = clock.monotonic() + seconds
        self._clock = clock

    def get_remaining_time_in_millis(self) -> int:
        return max(0, int((self.deadline - self._clock.monotonic()) * 1000))


class Functions:
    """The three functions' modules; imported once, before the fork."""

    def __init__(self) -> None:
        self.api, self.worker, self.sweeper = map(_load, ("api", "queue_worker", "sweeper"))


class Child:
    """Plays a script: a list of actions, each a JSON object with the name of a method in `do`."""

    def __init__(
        self,
        functions: Functions,
        clients: Clients,
        job: Json,
        points: Checkpoints,
        clock: ShiftedTime,
        tell: Callable[[str, object], None],
    ) -> None:
        self._functions = functions
        self._sqs, self._dynamodb = clients.sqs, clients.dynamodb
        self._queue_url: str = job["environment"]["QUEUE_URL"]
        self._table: str = job["environment"]["TABLE_NAME"]
        self._points = points
        self._clock = clock
        self._tell = tell
        self._held: list[str] = []
        self._in_flight_elsewhere: list[str] = job.get("in_flight_elsewhere", [])

    def play(self, script: list[Json]) -> None:
        for action in script:
            arguments = {name: value for name, value in action.items() if name != "do"}
            getattr(self, action["do"])(**arguments)

    def post(self, body: Json, headers: dict[str, str]) -> None:
        """A caller posts a message."""
        event = json.loads((ROOT / "events/api-post-message.json").read_text())
        given = {"Content-Type": "application/json"} | headers
        event |= {
            "headers": given,
            "multiValueHeaders": {name: [value] for name, value in given.items()},
            "body": json.dumps(body),
            "isBase64Encoded": False,
        }
        answer = self._invoke(self._functions.api, event, 28.0)
        self._tell("answer", answer["statusCode"])

    def work(self) -> bool:
        """What SQS and Lambda do: deliver what is visible, delete what is done."""
        messages = self._sqs.receive_message(
            QueueUrl=self._queue_url,
            MaxNumberOfMessages=10,
            VisibilityTimeout=IN_FLIGHT_SECONDS,
            MessageAttributeNames=["All"],
            MessageSystemAttributeNames=["All"],
        ).get("Messages", [])
        if not messages:
            return False
        handles = {message["MessageId"]: message["ReceiptHandle"] for message in messages}
        # Who comes after a process that died has to make them visible again.
        self._tell("in_flight", handles)
        event = {"Records": [record(message) for message in messages]}
        answer = self._invoke(self._functions.worker, event, 60.0)
        failed = {entry["itemIdentifier"] for entry in answer["batchItemFailures"]}
        for message_id, handle in handles.items():
            if message_id in failed:
                self._held.append(handle)
            else:
                # Who was given the message meanwhile may have deleted it.
                with suppress(ClientError):
                    self._sqs.delete_message(QueueUrl=self._queue_url, ReceiptHandle=handle)
                self._tell("in_flight", {message_id: None})
        return True

    def sweep(self) -> None:
        """EventBridge Scheduler calls the sweeper."""
        try:
            self._invoke(self._functions.sweeper, {}, 55.0)
        except UnexpectedError as error:
            if str(error) != LedgerUnavailableError.__name__:
                raise
            # A failed invocation is allowed to it: the next minute is its retry.
            self._points.deadline = None

    def wait(self, seconds: float) -> None:
        """Time passes: leases end, waits are over, messages in flight are visible again."""
        self._clock.advance(seconds)
        self.show(self._held)
        self._held = []

    def show(self, handles: list[str]) -> None:
        """Make messages visible that somebody received."""
        for handle in handles:
            with suppress(ClientError):  # it is deleted by now
                self._sqs.change_message_visibility(
                    QueueUrl=self._queue_url, ReceiptHandle=handle, VisibilityTimeout=0
                )

    def redeliver(self) -> None:
        """SQS delivers again what another process is just working on."""
        self.show(self._in_flight_elsewhere)

    def settle(self) -> None:
        """Let the world go on until nothing moves any more; the first round before any lease ends.

        That round is SQS at its worst: redelivered while the first delivery still holds a lease.
        """
        for number in range(ROUNDS):
            self.sweep()
            while self.work():
                pass
            if not self._held and not self._moving():
                return
            # The last rounds outlast MAX_AGE_HOURS, which alone ends a send that is never taken.
            self.wait(ROUND_SECONDS if number < ROUNDS - 3 else 90_000.0)

    def _invoke(self, function: ModuleType, event: Json, seconds: float) -> Any:
        """What Lambda does: call a handler, and end the process when its time is over."""
        context = Context(seconds, self._clock)
        self._points.deadline = context.deadline
        answer = function.handler(event, context)
        self._points.reach("answer before")
        self._points.deadline = None
        return answer

    def _moving(self) -> bool:
        items = self._dynamodb.scan(TableName=self._table, ConsistentRead=True)["Items"]
        return any(item.get("status", {}).get("S") in {"queued", "sending"} for item in items)


def _load(name: str) -> ModuleType:
    path = ROOT / "functions" / name / "app.py"
    spec = importlib.util.spec_from_file_location(f"{name}_app", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
