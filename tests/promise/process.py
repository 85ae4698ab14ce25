"""The actions of a process: it invokes the real handlers, and plays callers, AWS and operators."""

import json
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from types import SimpleNamespace
from typing import Any
from unittest.mock import patch
from urllib.parse import quote

from botocore.exceptions import ClientError

import smsrelay_cli.main
from smsrelay.adapters.dynamodb_ledger import DynamoDbLedger
from smsrelay.adapters.sqs import SqsRetryQueue
from smsrelay.errors import (
    LedgerUnavailableError,
    PublishError,
    QueueUnavailableError,
    UnexpectedError,
)
from smsrelay_cli import dead_letters, sends
from smsrelay_cli.deployed_stack import DeployedStack
from tests.promise import functions
from tests.promise.checkpoints import Checkpoints
from tests.promise.clock import Clock
from tests.promise.observation import LOST, NEWER_ITEM, StoredSend, stored_sends
from tests.promise.scenarios import CLIENT, EVENTS, POLLER, RENEWER, Message
from tests.support.aws_calls import record, stream_records
from tests.support.gateway_events import DEFAULT_ENDPOINT
from tests.support.signatures import signed_headers
from tools.local_stack import ROOT
from tools.local_stack.aws import Clients

Json = dict[str, Any]

ROUNDS = 10
ROUND_SECONDS = 2_000.0
"""Longer than every lease and wait; all rounds together are shorter than MAX_AGE_HOURS."""
IN_FLIGHT_SECONDS = 900
OPERATORS_SKEW = 290.0
"""Seconds by which an operator's clock is ahead; the command tolerates 300."""

SIGNING_SECRET = "whsec_" + "c2VjcmV0" * 5  # made up
"""The secret of webhooks and callbacks."""
ALLOWED_FAILURES = {
    it.__name__ for it in (LedgerUnavailableError, PublishError, QueueUnavailableError)
}
"""Errors after which Lambda's next invocation is the retry."""

RECEIVE_LETTERS = dead_letters._receive  # noqa: SLF001 - its receipt handles are in no public place


def key_id_of(client: str) -> str:
    """Return the id of a client's API key."""
    return f"key-of-{client}"


class Functions:
    """The functions' modules, loaded once before the fork; each process wires them."""

    def __init__(self) -> None:
        self.modules = {name: functions.load(name) for name in functions.SECONDS}


class Process:
    """Runs a script: a list of actions, each a JSON object with the name of a method in `do`."""

    def __init__(
        self,
        loaded: Functions,
        clients: Clients,
        relays_client: Callable[[str], Any],
        job: Json,
        points: Checkpoints,
        clock: Clock,
        renewal_requests: Sequence[Json],
    ) -> None:
        self._modules = loaded.modules
        self._sqs, self._dynamodb, self._ssm = clients.sqs, clients.dynamodb, clients.ssm
        self._streams = clients.dynamodbstreams
        environment = job["environment"]
        self._queue_url: str = environment["QUEUE_URL"]
        self._callback_queue_url: str = environment.get("CALLBACK_QUEUE_URL", "")
        self._parts = set(job["parts"])
        self._published: int = job["published"]
        """How many records of the ledger's stream the event publisher has processed."""
        self._renewal_requests = renewal_requests
        self._table: str = environment["TABLE_NAME"]
        self._catalogue: str = environment["CATALOGUE_PARAMETER"]
        self._messages = {name: Message(**fields) for name, fields in job["messages"].items()}
        self._sqs_ids: dict[str, str] = job.get("sqs_ids", {})
        """References by SQS message id."""
        self._points = points
        self._clock = clock
        self._held: list[str] = []
        self._in_flight_elsewhere: list[str] = job.get("in_flight_elsewhere", [])
        session: Any = SimpleNamespace(client=lambda service, **_: relays_client(service))
        self._target = DeployedStack(
            ledger=DynamoDbLedger(relays_client("dynamodb"), self._table, retention_days=90),
            queue=SqsRetryQueue(relays_client("sqs"), self._queue_url),
            sqs=relays_client("sqs"),
            queue_url=self._queue_url,
            dead_letter_queue_url=environment["DEAD_LETTER_QUEUE_URL"],
            table=self._table,
            session=session,
        )

    def run(self, script: Sequence[Json]) -> None:
        for action in script:
            arguments = {name: value for name, value in action.items() if name != "do"}
            getattr(self, action["do"])(**arguments)

    # The actions of callers.

    def post(self, reference: str, headers: dict[str, str]) -> None:
        """Post a message over HTTP."""
        message = self._messages[reference]
        key = {"Idempotency-Key": message.key} if message.key else {}
        self._points.report("posts", reference)
        response = self._request("POST", "/messages", body=message.body, headers=key | headers)
        self._report_answer(reference, response)

    def webhook(self, reference: str) -> None:
        """Post a message as a signed webhook whose id is the idempotency key.

        It is signed and verified at the machine's time, because the library takes no clock.
        """
        message = self._messages[reference]
        self._points.report("posts", reference)
        response = self._request(
            "POST",
            f"/webhooks/{CLIENT}",
            function="webhook",
            body=message.body,
            headers=signed_headers(SIGNING_SECRET, message.body, message.key or reference),
        )
        self._report_answer(reference, response, is_to_webhook=True)

    def _report_answer(
        self, reference: str, response: Json, *, is_to_webhook: bool = False
    ) -> None:
        answer = {"reference": reference, "status": response["statusCode"]}
        answer["is_to_webhook"] = is_to_webhook
        answer["is_replay"] = "Idempotent-Replayed" in response["multiValueHeaders"]
        self._points.report("answer", answer | {"body": json.loads(response["body"])})

    def enqueue(self, reference: str) -> None:
        """Put a message into the queue."""
        message = self._messages[reference]
        attributes = {"client": message.client, "Idempotency-Key": message.key}
        sqs_id = self._sqs.send_message(
            QueueUrl=self._queue_url,
            MessageBody=message.body,
            MessageAttributes={
                name: {"DataType": "String", "StringValue": value}
                for name, value in attributes.items()
                if value
            },
        )["MessageId"]
        self._sqs_ids[sqs_id] = reference
        self._points.report("enqueued", {sqs_id: reference})

    def cancel(self, reference: str) -> None:
        """Cancel each of the message's stored sends over HTTP."""
        for send in stored_sends(self._dynamodb, self._table):
            if send.reference == reference:
                route = f"/messages/{send.message_id}"
                response = self._request("DELETE", route, client=send.client)
                assert response["statusCode"] in {200, 409, 503}, response

    def look_up(self) -> None:
        """Request each message over HTTP by its id, tokenIds and keys."""
        for send in stored_sends(self._dynamodb, self._table):
            questions = [f"/messages/{send.message_id}"]
            if send.token_id:
                questions.append(f"/tokens/{quote(send.token_id, safe='')}")
            questions += [f"/messages?idempotencyKey={key}" for key in self._keys(send.reference)]
            for question in questions:
                response = self._request("GET", question, client=send.client)
                found = {"send": send.name, "question": question, "status": response["statusCode"]}
                self._points.report("found", found | {"body": json.loads(response["body"])})

    def _keys(self, reference: str) -> list[str]:
        message = self._messages[reference]
        sqs_ids = [sqs_id for sqs_id, name in self._sqs_ids.items() if name == reference]
        return [message.key] if message.key else sqs_ids

    # The actions of AWS.

    def work(self) -> bool:
        """Deliver visible messages of the queue; return whether there were any."""
        return self._deliver(self._queue_url, "queue_worker")

    def call_back(self) -> bool:
        """Deliver visible messages of the callback queue; return whether there were any."""
        return self._deliver(self._callback_queue_url, "callback_sender")

    def _deliver(self, queue_url: str, function: str) -> bool:
        """Deliver a batch of visible messages, and delete the processed ones, as Lambda does."""
        messages = self._sqs.receive_message(
            QueueUrl=queue_url,
            MaxNumberOfMessages=10,
            VisibilityTimeout=IN_FLIGHT_SECONDS,
            MessageAttributeNames=["All"],
            MessageSystemAttributeNames=["All"],
        ).get("Messages", [])
        if not messages:
            return False
        handles = {message["MessageId"]: message["ReceiptHandle"] for message in messages}
        # If this process dies, the next one makes them visible again.
        self._points.report("in_flight", list(handles.values()))
        event = {"Records": [record(message) for message in messages]}
        answer = self._invoke(function, event)
        failed = {entry["itemIdentifier"] for entry in answer["batchItemFailures"]}
        for message_id, handle in handles.items():
            if message_id in failed:
                self._held.append(handle)
            else:
                # Another process may have received and deleted the message.
                with suppress(ClientError):
                    self._sqs.delete_message(QueueUrl=queue_url, ReceiptHandle=handle)
                self._points.report("deleted", handle)
        return True

    def sweep(self) -> None:
        """Invoke the sweeper, as EventBridge Scheduler does."""
        self._try("sweeper", {})

    def poll(self) -> None:
        """Invoke the delivery poller, as EventBridge Scheduler does."""
        self._try("delivery_poller", {})

    def renew(self) -> None:
        """Invoke the token renewer for the senders' last two requests, and as its schedule does.

        Lambda may deliver an asynchronous invocation late, and twice.
        """
        for event in [*self._renewal_requests[-2:], {}]:
            self._try("token_renewer", event)

    def publish(self) -> None:
        """Invoke the event publisher with the unprocessed records of the ledger's stream."""
        records = self._stream()
        if records[self._published :] and self._try(
            "event_publisher", {"Records": records[self._published :]}
        ):
            self._published = len(records)
            self._points.report("publishing", self._published)

    def _stream(self) -> list[Json]:
        """Return the records of the ledger's stream that pass the template's filter."""
        return [
            it
            for it in stream_records(self._streams, self._table)
            if it["eventName"] != "REMOVE" and it["dynamodb"]["Keys"]["sk"]["S"].startswith("SEND#")
        ]

    def _try(self, function: str, event: Json) -> bool:
        """Invoke a function that Lambda invokes again after a failure; return its success."""
        try:
            self._invoke(function, event)
        except UnexpectedError as error:
            if str(error) not in ALLOWED_FAILURES:
                raise
            self._points.deadline = None
            return False
        return True

    def wait(self, seconds: float) -> None:
        """Let time pass: leases and waits end, and messages in flight become visible again."""
        self._clock.advance(seconds)
        self.show(self._held)
        self._held = []

    def show(self, handles: list[str]) -> None:
        """Make received messages visible again."""
        queue_urls = (
            self._queue_url,
            self._target.dead_letter_queue_url,
            self._callback_queue_url,
        )
        for queue_url in filter(None, queue_urls):
            for handle in handles:
                with suppress(ClientError):  # it was deleted, or belongs to another queue
                    self._sqs.change_message_visibility(
                        QueueUrl=queue_url, ReceiptHandle=handle, VisibilityTimeout=0
                    )

    def redeliver(self) -> None:
        """Make the messages visible again that another process is working on."""
        self.show(self._in_flight_elsewhere)

    def settle(self) -> None:
        """Run the functions until nothing is left to do; the first round is before any lease ends.

        In that round SQS delivers messages again while the first delivery still has its lease.
        """
        for number in range(ROUNDS):
            if RENEWER in self._parts:
                self.renew()
            self.sweep()
            while self.work():
                pass
            if POLLER in self._parts:
                self.poll()
            if EVENTS in self._parts:
                self.publish()
                while self.call_back():
                    pass
            if not self._held and not self._is_moving():
                return
            # The last rounds exceed MAX_AGE_HOURS: only this ends a send that is never accepted.
            self.wait(ROUND_SECONDS if number < ROUNDS - 3 else 90_000.0)

    def expire(self) -> None:
        """Delete the items that are due for deletion, as DynamoDB's TTL does."""
        expired = [it for it in stored_sends(self._dynamodb, self._table) if it.delete_at]
        for send in expired:
            if send.delete_at <= self._clock.now:
                self._delete(send)
                self._report_expired(send, send.status)

    def lose(self) -> None:
        """Delete all sends, as an operator might by mistake."""
        for send in stored_sends(self._dynamodb, self._table):
            self._delete(send)
            goes_on = send.status in {"queued", "sending", "unknown"}
            self._report_expired(send, LOST if goes_on else send.status)

    def _report_expired(self, send: StoredSend, status: str) -> None:
        expired = {"reference": send.reference, "number": send.number, "status": status}
        self._points.report("expired", expired)

    def _delete(self, send: StoredSend) -> None:
        key = {"pk": f"MSG#{send.message_id}", "sk": f"SEND#{send.number:03d}"}
        self._dynamodb.delete_item(
            TableName=self._table, Key={name: {"S": value} for name, value in key.items()}
        )

    def move(self) -> None:
        """Receive each visible message too often, so that SQS moves it to the dead-letter queue."""
        self.show(self._held)
        self._held = []
        queue = self._target.dead_letter_queue_url
        arn = self._sqs.get_queue_attributes(QueueUrl=queue, AttributeNames=["QueueArn"])
        for most in (1, 1_000):
            policy = {
                "deadLetterTargetArn": arn["Attributes"]["QueueArn"],
                "maxReceiveCount": most,
            }
            self._sqs.set_queue_attributes(
                QueueUrl=self._queue_url, Attributes={"RedrivePolicy": json.dumps(policy)}
            )
            for _ in range(2 if most == 1 else 0):  # the second receive exceeds the limit
                self._sqs.receive_message(
                    QueueUrl=self._queue_url, MaxNumberOfMessages=10, VisibilityTimeout=0
                )

    def put_newer_item(self) -> None:
        """Store a send as a newer version writes it: this version can't read it."""
        self._dynamodb.put_item(TableName=self._table, Item=NEWER_ITEM)
        self._points.report("newer item", True)

    def put_older_item(self, reference: str) -> None:
        """Store a queued send as the first version wrote it, without its queue message."""
        item = json.loads((ROOT / "tests/golden/items/queued.json").read_text())
        message, now = self._messages[reference], {"N": f"{self._clock.now:.3f}"}
        call = {
            "mobileNumbers": [message.recipients[0]],
            "Override": True,
            "messageText": message.text,
        }
        texts = {
            "pk": "MSG#FR0MAN01DERVERS10N00000000",
            "body": json.dumps(call),
            "reference": reference,
            "onUnknown": message.on_unknown,
            "unfinished": "open#0",
        }
        times = dict.fromkeys(("createdAt", "updatedAt", "dueAt"), now)
        item |= {name: {"S": text} for name, text in texts.items()} | times
        item["recipients"] = {"N": "1"}
        self._dynamodb.put_item(TableName=self._table, Item=item)

    # The actions of operators.

    def put_catalogue(self, catalogue: Json) -> None:
        """Replace the message catalogue."""
        self._ssm.put_parameter(
            Name=self._catalogue,
            Value=json.dumps(catalogue),
            Type="String",
            Overwrite=True,
        )

    def operate(self, arguments: list[str]) -> None:
        """Run the operator's command."""
        self._points.report("operates", self._statuses())
        clock = SimpleNamespace(time=lambda: self._clock.time() + OPERATORS_SKEW)
        with (
            patch.object(smsrelay_cli.main, "find_stack", lambda _: self._target),
            patch.object(smsrelay_cli.main, "time", clock),
            patch.object(sends, "time", clock.time),
            patch.object(dead_letters, "POLL_SECONDS", 0),
            patch.object(dead_letters, "_receive", self._receive_letters),
        ):
            asks = arguments[0] not in {"pause", "resume"}
            code = smsrelay_cli.main.main([*arguments, *(["--yes"] if asks else [])])
        assert code in {0, 1}, f"{arguments} ended with {code}"
        command = {"command": arguments[0], "code": code, "at": self._clock.now}
        self._points.report("operated", command)

    def _receive_letters(self, target: DeployedStack) -> list[dead_letters.DeadLetter]:
        """Receive dead letters; if the process dies, the next one makes them visible again."""
        letters = RECEIVE_LETTERS(target)
        self._points.report("in_flight", [letter.receipt for letter in letters])
        return letters

    def decide(self, pick: int, arguments: list[str]) -> None:
        """Run a command for one of the sends that need an operator."""
        statuses = sorted(self._statuses().items())
        undecided = [name for name, status in statuses if status in {"unknown", "failed"}]
        undecided = undecided or [name for name, status in statuses if status == "sending"]
        if undecided:
            command, *options = arguments
            message_id, _, _ = undecided[pick % len(undecided)].partition("/")
            self.operate([command, message_id, *options])

    def _statuses(self) -> dict[str, str]:
        return {send.name: send.status for send in stored_sends(self._dynamodb, self._table)}

    def _is_moving(self) -> bool:
        return any(
            send.status in {"queued", "sending"} or (POLLER in self._parts and send.awaits_report)
            for send in stored_sends(self._dynamodb, self._table)
        )

    def _request(
        self,
        method: str,
        route: str,
        *,
        function: str = "api",
        client: str = CLIENT,
        headers: Mapping[str, str] = {},
        body: str | None = None,
    ) -> Json:
        identity = {"apiKeyId": key_id_of(client)}
        event = DEFAULT_ENDPOINT.event(
            method,
            route,
            headers={"Content-Type": "application/json", **headers},
            body=body,
            identity=identity,
        )
        response: Json = self._invoke(function, event)
        return response

    def _invoke(self, name: str, event: Json) -> Any:
        """Call a handler as Lambda does: the process is killed when the time is up."""
        context = functions.Context(functions.SECONDS[name], self._clock)
        self._points.deadline = context.deadline
        answer = self._modules[name].handler(event, context)
        self._points.reach("answer before")
        self._points.report("invoked", self._clock.now)
        self._points.deadline = None
        return answer
