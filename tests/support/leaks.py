"""`python -m tests.support.leaks FILE EXTENT`: records what the handlers let out.

It invokes the handlers with requests, faults and errors that contain canaries. The process acts
like Lambda's: with the runtime's logging, its reports of uncaught exceptions, and debug switches in
the environment. Its standard output and error are the log. FILE gets the texts that came out in all
other places, by the place's name.
"""

import base64
import contextlib
import importlib
import inspect
import io
import itertools
import json
import os
import pkgutil
import sys
import traceback
import zlib
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from enum import IntEnum
from functools import partial
from pathlib import Path
from typing import Any, Protocol, is_protocol
from unittest.mock import patch
from urllib.parse import quote

import awslambdaric.bootstrap  # type: ignore[import-untyped]
import boto3
from awslambdaric.lambda_runtime_log_utils import LogFormat  # type: ignore[import-untyped]
from botocore.client import BaseClient
from botocore.exceptions import (
    ClientError,
    EndpointConnectionError,
    ParamValidationError,
)

import smsrelay.adapters
import smsrelay_cli.main
from smsrelay import ports
from smsrelay.adapters import dynamodb_ledger
from smsrelay.adapters.dynamodb_ledger import DynamoDbLedger
from smsrelay.adapters.eventbridge import EventBridgeBus
from smsrelay.wiring import callback_sender, delivery_poller, event_publisher
from smsrelay_cli import dead_letters
from smsrelay_cli import deployed_stack as cli_target
from tests.support.aws_calls import Gateway, intercepted
from tests.support.canaries import (
    LONE,
    NUMBERED,
    PLANTED,
    REQUEST,
    Place,
    planted,
    refused_requests,
    spellings,
    written,
)
from tests.support.environment import (
    CLIENT,
    Environment,
    client_of,
    running,
    simulated_aws,
)
from tests.support.http_servers import HostileServer, Request
from tests.support.signatures import signed_headers
from tests.support.template import SAMPLE_TOPIC_ARN
from tools.mobileconnect_simulator import Simulator
from tools.mobileconnect_simulator.faults import Then

Json = dict[str, Any]

FOLLOWING = {
    "UPSTREAM_TIMEOUT_SECONDS": "0.6",
    "DELIVERY_POLLING": "all",
    "RECIPIENT_RESULTS": "on",
}
TOKEN = planted("access token").token
OWNER = planted("client").word
OTHER_CLIENT = CLIENT
PRINCIPAL = f"arn:aws:iam::123456789012:user/{OWNER}"
WEBHOOK_SECRET = f"whsec_{base64.b64encode(planted('webhook secret').text.encode()[:60]).decode()}"
KEY = {"Idempotency-Key": planted("header Idempotency-Key").token}
HEADERS = {
    name: planted("other headers").text
    for name in ("Authorization", "Cookie", "User-Agent", "X-Forwarded-For", "Traceparent")
}
ATTRIBUTES = {
    "client": OWNER,
    "other": planted("SQS attribute").text,
    "Idempotency-Key": planted("idempotencyKey").token,
}
SEARCHES = (
    ("reference", planted("reference").text),
    ("idempotencyKey", f"{planted('path').text}\n"),
    (f"reference=r&{planted('path').word}", planted("path").text),
)
EVERYTHING = " ".join(row.text for row in PLANTED.values() if row)
"""The most that an exception or a response could repeat."""


REPORT = {
    "message": EVERYTHING,
    "count": 1,
    "status": "Finished",
    "tracking": [
        {
            "mobileNumber": planted(name).number,
            "message": EVERYTHING,
            "standardStatusCode": "4000",
            "description": EVERYTHING,
        }
        for name in ("to", "to.mobile")
    ],
}


class Outlets:
    """Collects the texts that come out in all places except the log."""

    def __init__(self) -> None:
        self.words: dict[Place, list[str]] = defaultdict(list)

    def add(self, place: Place, words: object) -> None:
        text = words if isinstance(words, str) else json.dumps(words, ensure_ascii=False)
        self.words[place].append(text)


class Stage:
    """Sends requests to a relay in all ways, and collects its output after each round."""

    def __init__(self, relay: Environment, outlets: Outlets) -> None:
        self.relay = relay
        self.outlets = outlets
        self.tells = True
        """Whether each round also polls deliveries and publishes events."""
        relay.put_webhook_secret(OWNER, current=WEBHOOK_SECRET)
        relay.key_of(OWNER)
        relay.allow(OWNER, PRINCIPAL)
        relay.api.handler = _as_the_runtime(  # type: ignore[attr-defined]
            relay.api.handler, {"statusCode": 502, "headers": {}, "body": "{}"}
        )
        relay.webhook.handler = _as_the_runtime(  # type: ignore[attr-defined]
            relay.webhook.handler, {"statusCode": 502, "headers": {}, "body": "{}"}
        )
        relay.iam.handler = _as_the_runtime(  # type: ignore[attr-defined]
            relay.iam.handler, {"statusCode": 502, "headers": {}, "body": "{}"}
        )
        relay.worker.handler = _as_the_runtime(  # type: ignore[attr-defined]
            relay.worker.handler, {"batchItemFailures": []}
        )
        relay.sweeper.handler = _as_the_runtime(relay.sweeper.handler, {})  # type: ignore[attr-defined]
        for function in (relay.token, relay.status, relay.events):
            function.handler = _as_the_runtime(function.handler, {})  # type: ignore[attr-defined]
        relay.callback.handler = _as_the_runtime(  # type: ignore[attr-defined]
            relay.callback.handler, {"batchItemFailures": []}
        )
        self._let_it_tell()

    def _let_it_tell(self) -> None:
        """Set up events and callbacks; the other functions get no catalogue."""
        queue = client_of("sqs").create_queue(QueueName=f"{self.relay.table}-callbacks")
        self.callbacks = queue["QueueUrl"]
        settings = {
            "EVENT_BUS": "default",
            "CALLBACK_QUEUE_URL": self.callbacks,
            "CATALOGUE_PARAMETER": f"/{self.relay.table}/catalogue",
        }
        with patch.dict(os.environ, settings):
            # The name is reserved, so the callback's receiver does not exist.
            self.relay.put_catalogue({"clients": {OWNER: {"callback": "https://shop.invalid/"}}})
            event_publisher.parts()
            callback_sender.parts()
        put = EventBridgeBus.put

        def noted(bus: EventBridgeBus, events: Any) -> None:
            put(bus, events)
            self.outlets.add(Place.TOLD, events)

        setattr(EventBridgeBus, "put", noted)  # noqa: B010 - for mypy it is no variable

    def tell(self) -> None:
        """Publish all items as new, on the bus and as callbacks."""
        records = [{"dynamodb": {"NewImage": item}} for item in self.relay.items()]
        with patch.dict(os.environ, {"CALLBACK_QUEUE_URL": self.callbacks, "EVENT_BUS": "default"}):
            self.relay.tell(records)
            for message in self._waiting(self.callbacks):
                self.outlets.add(Place.TOLD, message["Body"])
            self.relay.show_all(self.callbacks)
            self.relay.call_back()

    def follow(self) -> None:
        self.relay.make_due()
        delivery_poller.parts().delivery_poller._paused_until = 0.0  # noqa: SLF001 - after a minute
        self.relay.follow()

    def _waiting(self, url: str) -> list[Json]:
        received = self.relay.client("sqs").receive_message(QueueUrl=url, MaxNumberOfMessages=10)
        messages: list[Json] = received.get("Messages", [])
        return messages

    def post(self, body: object, headers: Mapping[str, str] = {}) -> None:
        sent = {"Content-Type": "application/json", **HEADERS, **headers}
        text = body if isinstance(body, str) else json.dumps(body)
        answer = self.relay.raw("POST", "/messages", headers=sent, body=text, client=OWNER)
        self.outlets.add(Place.OWNER, answer)

    def post_as_principal(self, body: object) -> None:
        sent = {"Content-Type": "application/json", **HEADERS, **KEY}
        text = json.dumps(body)
        answer = self.relay.raw("POST", "/iam/messages", headers=sent, body=text, client=PRINCIPAL)
        self.outlets.add(Place.OWNER, answer)
        message_id = json.loads(answer["body"] or "{}").get("id", "none")
        for client, place in ((PRINCIPAL, Place.OWNER), (f"{PRINCIPAL}2", Place.OTHERS)):
            path = f"/iam/messages/{message_id}"
            self.outlets.add(place, self.relay.raw("GET", path, headers=HEADERS, client=client))

    def post_webhook(self, body: object) -> None:
        text = json.dumps(body)
        signed = signed_headers(WEBHOOK_SECRET, text, planted("header Idempotency-Key").word)
        sent = {"Content-Type": "application/json", **HEADERS, **signed}
        for client, place in ((OWNER, Place.OWNER), ("nobody", Place.OTHERS)):
            path = f"/webhooks/{client}"
            answer = self.relay.raw("POST", path, headers=sent, body=text, client="")
            self.outlets.add(place, answer)

    def work(self) -> None:
        self.relay.work()
        self.relay.make_due()
        self.relay.work()

    def sweep(self) -> None:
        self.relay.make_due()
        self.relay.sweep()

    def ask(self) -> None:
        items = self.relay.items()
        tokens = [item["tokenId"]["S"] for item in items if "tokenId" in item]
        # One message of each status.
        by_status = {str(item.get("status")): item["pk"]["S"] for item in items}
        ids = [key.removeprefix("MSG#") for key in by_status.values()]
        hostile = [planted("path").word, str(planted("path").number)]
        for path in (
            *(f"/messages/{message_id}" for message_id in {*ids, *hostile}),
            *(f"/tokens/{token}" for token in {*tokens[:1], *hostile}),
            *(f"/{name}/{name}" for name in hostile),
            *(f"/messages?{name}={quote(value)}" for name, value in SEARCHES),
        ):
            for client, place in ((OWNER, Place.OWNER), (OTHER_CLIENT, Place.OTHERS)):
                answer = self.relay.raw("GET", path, headers=HEADERS, client=client)
                self.outlets.add(place, answer)

    def round(self) -> None:
        """Post or enqueue in every way, and invoke every function."""
        self.post(REQUEST)
        self.post(LONE, KEY)
        self.post_webhook(NUMBERED)
        self.post_webhook(dict(NUMBERED) | {"text": "Another text"})
        self.post_as_principal(LONE)
        self.post(dict(LONE) | {"text": "Another text"}, KEY)
        self.post(
            dict(NUMBERED) | {"idempotencyKey": planted("idempotencyKey").token},
            {"Prefer": "respond-async"},
        )
        self.relay.enqueue(LONE, ATTRIBUTES)
        self.work()
        self.relay.renew()
        self.relay.renew({"need": "refused", "token": planted("path").word})
        if self.tells:
            self.follow()
            self.tell()
        self.ask()
        self.sweep()
        self.look()

    def look(self) -> None:
        """Collect everything in the ledger and the queues, and delete it."""
        for item in self.relay.items():
            has_ended = item.get("status", {"S": "refused"})["S"] in {
                "accepted",
                "rejected",
                "refused",
            }
            self.outlets.add(Place.ENDED if has_ended else Place.OPEN, item)
            self.relay.client("dynamodb").delete_item(
                TableName=self.relay.table, Key={"pk": item["pk"], "sk": item["sk"]}
            )
        for url, place in (
            (self.relay.queue_url, Place.QUEUE),
            (self.relay.dead_letter_queue_url, Place.LETTERS),
        ):
            self.relay.show_all()
            while (
                messages := self.relay.client("sqs")
                .receive_message(
                    QueueUrl=url, MaxNumberOfMessages=10, MessageAttributeNames=["All"]
                )
                .get("Messages")
            ):
                for message in messages:
                    if place is Place.LETTERS or message["Body"].startswith('{"send"'):
                        self.outlets.add(place, {**message, "ReceiptHandle": ""})
                    self.relay.client("sqs").delete_message(
                        QueueUrl=url, ReceiptHandle=message["ReceiptHandle"]
                    )


def _as_the_runtime(
    handler: Callable[[Json, Any], Json], instead: Json
) -> Callable[[Json, Any], Json]:
    """Report a handler's result or exception as Lambda does; after one, return `instead`."""

    def invoke(event: Json, context: Any) -> Json:
        try:
            returned = handler(event, context)
        except Exception as error:  # noqa: BLE001 - the runtime catches everything
            # The runtime prints the error and its stack; this prints its causes, too.
            sys.stdout.write(f"[ERROR] {type(error).__name__}: {error}\n")
            sys.stdout.write("".join(traceback.format_exception(error)))
            return instead
        if returned and "statusCode" not in returned:  # an event source or the log gets it
            sys.stdout.write(f"{json.dumps(returned)}\n")
        return returned

    return invoke


def _with_the_runtimes_logging() -> None:
    """Set up the root logger as Lambda's runtime does, with the same variables."""
    awslambdaric.bootstrap._setup_logging(  # noqa: SLF001 - has no public name
        LogFormat.from_str(os.environ.get("AWS_LAMBDA_LOG_FORMAT", "")),
        os.environ.get("AWS_LAMBDA_LOG_LEVEL", ""),
        awslambdaric.bootstrap.StandardLogSink(),
    )


# Upstream responses that repeat the request.


def echoes(request: Request) -> Iterator[list[str]]:
    """Yield error messages with each value of a request in every spelling, twenty at a time."""
    values = [TOKEN] if "authorization" in request.headers else []
    values += _strings(json.loads(request.body or "null"))
    values += [written(value) for value in values if value.isdigit()]
    words = (f"{spelled} is not valid" for value in values for spelled in spellings(value))
    yield from map(list, itertools.batched(words, 20, strict=False))


def _strings(value: object) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for entry in value.values():
            yield from _strings(entry)
    elif isinstance(value, list):
        for entry in value:
            yield from _strings(entry)


SHAPES: list[Callable[[list[str]], object]] = [
    lambda words: {"errors": words},
    lambda words: {"errors": [{"message": word, "for": [word]} for word in words]},
    lambda words: {"documentation": words[0], "errorcode": 0, "message": words[0]},
    lambda words: {"error": words[0], "error_description": words[-1], "error_uri": words[0]},
    lambda words: words,
]


def repeating(
    turns: Iterator[int], status: int, shape: Callable[[list[str]], object]
) -> Callable[[Request], bytes]:
    """Respond to each call with the next group of its echoes."""

    def reply(request: Request) -> bytes:
        groups = list(echoes(request))
        words = groups[next(turns) % len(groups)]
        return answer(status, json.dumps(shape(words)).encode(), words[0])

    return reply


def answer(status: int, body: bytes, header: str = "") -> bytes:
    printable = header.encode("latin-1", "replace").decode("latin-1").replace("\n", " ")
    head = f"HTTP/1.1 {status} What\r\nX-Error: {printable}\r\nContent-Length: {len(body)}\r\n\r\n"
    return head.encode("latin-1") + body


def accepting(request: Request) -> bytes:
    if request.target == "/v2/token":  # a new token would replace the secret's canaries
        return repeating(itertools.count(), 401, SHAPES[3])(request)
    if "/deliveries/" in request.target:
        return answer(200, json.dumps(REPORT).encode())
    receipt = f"{planted('tokenId').word}{zlib.crc32(request.body.encode())}"
    return answer(202, json.dumps({"tokenId": receipt, "message": request.body}).encode(), "x")


# Exceptions with canaries.


def _client_error(code: str, operation: str) -> Exception:
    words: Any = {
        "Error": {"Code": code, "Message": EVERYTHING},
        "CancellationReasons": [{"Code": code, "Message": EVERYTHING}],
        "Item": {"body": {"S": EVERYTHING}},
    }
    return ClientError(words, operation)


def _chained(_: str) -> Exception:
    error = RuntimeError(EVERYTHING)
    error.__cause__ = ValueError(EVERYTHING)
    error.__context__ = KeyError(EVERYTHING)
    error.add_note(EVERYTHING)
    return error


def _unreachable(_: str) -> Exception:
    return EndpointConnectionError(endpoint_url=EVERYTHING)


RAISED: list[Callable[[str], Exception]] = [
    _chained,
    partial(_client_error, "ValidationException"),
    partial(_client_error, "AccessDeniedException"),
    partial(_client_error, "ConditionalCheckFailedException"),
    _unreachable,
    lambda _: ParamValidationError(report=EVERYTHING),
    lambda _: KeyError(EVERYTHING),
    lambda _: UnicodeEncodeError("utf-8", EVERYTHING, 0, 1, EVERYTHING),
    lambda _: ExceptionGroup(EVERYTHING, [ValueError(EVERYTHING)]),
]
OPERATIONS = (
    "PutItem",
    "UpdateItem",
    "Query",
    "TransactWriteItems",
    "SendMessage",
    "SendMessageBatch",
    "ChangeMessageVisibility",
    "GetSecretValue",
    "BatchGetItem",
    "PutEvents",
    "GetParameter",
)


@contextlib.contextmanager
def failing_aws(operation: str, make: Callable[[str], Exception]) -> Iterator[None]:
    """Let this operation fail in the relay and the command, but not in the test."""

    def fail(_: BaseClient, name: str, _parameters: Json, call: Callable[[], Any]) -> Any:
        if name == operation and any(
            frame.filename.startswith((smsrelay.adapters.__path__[0], smsrelay_cli.__path__[0]))
            for frame in traceback.extract_stack(limit=12)
        ):
            raise make(name)
        return call()

    with intercepted(fail):
        yield


def port_methods() -> list[tuple[type, str]]:
    """Return every method of every port, with each adapter that implements it."""
    adapters = [
        kind
        for module in pkgutil.iter_modules(smsrelay.adapters.__path__, "smsrelay.adapters.")
        for _, kind in inspect.getmembers(importlib.import_module(module.name), inspect.isclass)
        if kind.__module__ == module.name and not kind.__name__.startswith("_")
    ]
    found: list[tuple[type, str]] = []
    for _, port in inspect.getmembers(ports, inspect.isclass):
        if port is Protocol or not is_protocol(port):
            continue
        names = [name for name in vars(port) if not name.startswith("_")]
        fitting = [kind for kind in adapters if set(names) <= set(vars(kind))]
        assert fitting, f"no adapter implements the port {port.__name__}"
        found += [(kind, name) for kind in fitting for name in names]
    return list(dict.fromkeys(found))


@contextlib.contextmanager
def failing_port(kind: type, name: str, make: Callable[[str], Exception]) -> Iterator[None]:
    def fail(*_: object, **__: object) -> None:
        raise make(name)

    with patch.object(kind, name, fail):
        yield


# The operator's command.


class Operator:
    """Runs the operator's command against the relay of a stage."""

    def __init__(self, stage: Stage) -> None:
        self.stage = stage
        relay = stage.relay
        outputs = {
            "TableName": relay.table,
            "QueueUrl": relay.queue_url,
            "DeadLetterQueueUrl": relay.dead_letter_queue_url,
            "RestApiId": "api",
            "StageName": "prod",
            "WebhookSecretPrefix": os.environ["WEBHOOK_SECRET_PREFIX"],
        }
        stack: Any = {
            "StackName": "stack",
            "Parameters": [
                {"ParameterKey": "RetentionDays", "ParameterValue": "90"},
                {"ParameterKey": "DefaultClient", "ParameterValue": "internal"},
            ],
            "Outputs": [{"OutputKey": key, "OutputValue": value} for key, value in outputs.items()],
        }
        dead_letters.POLL_SECONDS = 0
        with patch.object(cli_target, "describe_stack", lambda *_: stack):
            target = cli_target._deployed("stack", boto3.Session())  # noqa: SLF001 - used for all commands
        gateway, other = Gateway(), cli_target.DeployedStack.client

        def client_of(target: cli_target.DeployedStack, service: str) -> Any:
            return gateway if service == "apigateway" else other(target, service)

        setattr(cli_target.DeployedStack, "client", client_of)  # noqa: B010 - for mypy it is no variable
        setattr(smsrelay_cli.main, "find_stack", lambda _: target)  # noqa: B010 - it is imported there

    def run(self, *arguments: str) -> None:
        out = io.StringIO()
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(out):
            try:
                smsrelay_cli.main.main(arguments)
            except Exception:  # noqa: BLE001 - printed as Python does
                traceback.print_exc()
        self.stage.outlets.add(Place.OPERATOR, out.getvalue())

    def look(self, ids: Iterable[str]) -> None:
        """Run every command that changes nothing, as text and as JSON."""
        for form in ((), ("--json",)):
            for status in ("unknown", "failed", "queued", "sending"):
                self.run("list", "--status", status, *form)
            self.run("list", *form)
            for message_id in ids:
                self.run("show", message_id, *form)
            self.run("stats", *form)
            self.run("redrive", "--dry-run", *form)
            self.run("token", planted("tokenId").word, *form)
            self.run("find", "--client", OWNER, "--reference", planted("reference").text, *form)

    def manage(self) -> None:
        """Run every command about clients; `webhook --show` prints the new secret, not the old."""
        client = OWNER
        for form in ((), ("--json",)):
            for command in (
                ("add", client),
                ("rotate", client),
                ("list",),
                ("drop", client, "key0", "--yes"),
                ("allow", client, PRINCIPAL),
                ("allow", client, EVERYTHING),
                ("webhook", client, "--show"),
                ("webhook", OWNER.upper()),
            ):
                self.run("client", *command, *form)

    def decide(self, ids: Iterable[str]) -> None:
        """Run every command that changes something."""
        for message_id in ids:
            note = f"{planted("an operator's note").text} {EVERYTHING}"
            self.run("resolve", message_id, "--as", "rejected", "--yes", "--note", note)
            self.run("resend", message_id, "--yes")
        self.run("redrive", "--yes")


# The rounds of a run.


class Extent(IntEnum):
    """How much a run covers."""

    BRIEF = 1  # each kind of fault once, for the debug switches
    USUAL = 2
    ALL = 3


def play(stage: Stage, server: HostileServer, extent: Extent) -> None:
    """Run rounds with refused requests, upstream errors, exceptions and operators' commands."""
    server.replies(accepting)
    stage.round()
    stage.tells = extent > Extent.BRIEF
    _refuse(stage, extent)
    _repeat(stage, server, extent)
    server.replies(accepting)
    _raise(stage, extent)
    if extent > Extent.BRIEF:
        _operate(stage, server, extent)


def _refuse(stage: Stage, extent: Extent) -> None:
    bodies = list(refused_requests())
    around = planted("around an envelope").text
    notification = {
        "Type": "Notification",
        "Message": bodies[0],
        "Subject": around,
        "MessageId": around,
        "TopicArn": SAMPLE_TOPIC_ARN,
        "MessageAttributes": {"x": {"Type": "String", "Value": planted("SQS attribute").text}},
    }
    event = {"detail-type": around, "detail": json.loads(bodies[0]), "id": "1", "account": around}
    step = {Extent.BRIEF: 25, Extent.USUAL: 5, Extent.ALL: 1}[extent]
    chosen = [*bodies[::step], *bodies[-9:], json.dumps(notification), json.dumps(event)]
    invalid = {"Idempotency-Key": planted("other headers").text}
    for n, body in enumerate(chosen):
        # KEY belongs to a stored request, so the response reports a reused key.
        stage.post(body, (invalid, {}, KEY)[n % 3])
        # Without a key, each refusal gets a record of its own.
        stage.relay.enqueue(body, {"client": OWNER if n % 4 else ATTRIBUTES["other"]})
        if n % 5 == 0:
            stage.relay.work()
    stage.post(REQUEST, {"Content-Type": planted("other headers").text})
    stage.post(REQUEST, {"Content-Encoding": planted("other headers").text})
    stage.relay.work()
    stage.ask()
    stage.look()


def _repeat(stage: Stage, server: HostileServer, extent: Extent) -> None:
    """Let the upstream repeat what it was sent; a test of the redaction covers all spellings."""
    statuses = {
        Extent.BRIEF: (400, 500),
        Extent.USUAL: (400, 401, 429, 500),
        Extent.ALL: (400, 403, 404, 401, 429, 503, 500, 302),
    }[extent]
    turns = itertools.count()
    for status in statuses:
        for shape in SHAPES if extent > Extent.BRIEF else SHAPES[:1]:
            server.replies(repeating(turns, status, shape))
            for _ in range(30 if extent is Extent.ALL else 1):
                stage.post(LONE)
                stage.post(NUMBERED)
        stage.ask()
        stage.work()
        stage.look()


def _raise(stage: Stage, extent: Extent) -> None:
    raised = RAISED if extent is Extent.ALL else RAISED[:2]
    every = 3 if extent is Extent.BRIEF else 1
    for n, operation in enumerate(OPERATIONS[::every]):
        for make in raised if extent is Extent.ALL else [raised[n % 2]]:
            with failing_aws(operation, make):
                stage.round()
    for kind, name in port_methods()[::every]:
        with failing_port(kind, name, _chained):
            stage.round()


def _operate(stage: Stage, server: HostileServer, extent: Extent) -> None:
    operator = Operator(stage)
    server.replies(repeating(itertools.count(), 500, SHAPES[0]))
    stage.post(REQUEST)
    server.replies(accepting)
    stage.post(NUMBERED)
    stage.relay.enqueue(dict(LONE) | {"text": " "}, ATTRIBUTES)
    stage.relay.enqueue(next(refused_requests()), ATTRIBUTES)
    stage.relay.work()
    ids = [item["pk"]["S"].removeprefix("MSG#") for item in stage.relay.items()]
    for operation in ("CreateSecret", "PutSecretValue", "PutItem"):
        with failing_aws(operation, RAISED[1]):
            operator.manage()
    operator.manage()
    chosen = list(dict.fromkeys(ids))
    for operation in ("PutItem", "SendMessage", "SendMessageBatch"):
        for make in RAISED if extent is Extent.ALL else RAISED[:2]:
            if make is _unreachable:
                continue  # the operator must see the URL, which is AWS's
            with failing_aws(operation, make):
                operator.decide(chosen)
    for name in ("load", "unfinished", "replace_if_unchanged", "find_by_token_id"):
        with failing_port(DynamoDbLedger, name, _chained):
            operator.look(chosen[:1])
            operator.decide(chosen[:1])
    operator.look(chosen)
    operator.decide(chosen)
    stage.ask()
    stage.look()


def play_simulator(stage: Stage, simulator: Simulator) -> None:
    """Run a round with each fault of the simulator."""
    for then in Then:
        simulator.reset()
        simulator.fail("send", then.value, times=2)
        stage.round()


def main() -> None:
    file, name = sys.argv[1:]
    extent = Extent[name]
    outlets = Outlets()
    secret = {
        "access_token": TOKEN,
        "client_secret": planted("beside the token").text,
        planted("beside the token").text: 1,
        "expires_at": planted("beside the token").text,
    }
    # Fewer partitions make the queries of each round faster, and do not change the output.
    few = dict.fromkeys(dynamodb_ledger.SHARDS, 2)
    with (
        patch.dict(dynamodb_ledger.SHARDS, few),
        simulated_aws(),
        HostileServer() as server,
    ):
        with running(server.url, **FOLLOWING) as relay:
            relay.put_secret(json.dumps(secret | {"rest_instance_url": server.url}))
            relay.put_credentials(
                client_id=planted("client id").token,
                client_secret=planted("client secret").token,
                auth_base_url=server.url,
                account_id=planted("client id").text,
                scope=planted("client id").text,
            )
            _with_the_runtimes_logging()
            play(Stage(relay, outlets), server, extent)
        for request in server.requests:
            outlets.add(Place.UPSTREAM, [request.target, dict(request.headers), request.body])
        if extent is Extent.ALL:
            with (
                Simulator(access_tokens=[TOKEN]) as simulator,
                running(simulator.url, **FOLLOWING) as relay,
            ):
                relay.put_secret(json.dumps(secret | {"rest_instance_url": simulator.url}))
                play_simulator(Stage(relay, outlets), simulator)
    Path(file).write_text(json.dumps(outlets.words), encoding="utf-8")


if __name__ == "__main__":
    main()
