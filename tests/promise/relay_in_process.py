"""A relay in process that meets trouble on order: faults, deaths, pauses, and time that is made."""

import dataclasses
import importlib.util
import io
import json
import logging
import re
import ssl
import sys
from collections import Counter, defaultdict, deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from contextlib import ExitStack, contextmanager, redirect_stderr, redirect_stdout, suppress
from dataclasses import dataclass, field
from enum import StrEnum
from types import ModuleType, SimpleNamespace
from typing import Any, Self
from unittest.mock import patch

import botocore.endpoint
import httpx
import moto.sqs.models
from botocore.awsrequest import AWSPreparedRequest
from botocore.exceptions import (
    ClientError,
    ConnectionClosedError,
    EndpointConnectionError,
)
from moto.core.botocore_stubber import BotocoreStubber
from moto.core.models import DEFAULT_ACCOUNT_ID
from moto.dynamodb.models import dynamodb_backends
from moto.moto_api._internal import mock_random
from moto.sqs.models import sqs_backends

import smsrelay_cli.main
from smsrelay.adapters.dynamodb_ledger import REFUSED, DynamoDbLedger
from smsrelay.adapters.sqs import SqsRetryQueue
from smsrelay.errors import RelayError
from smsrelay.runtime import sqs_batch
from smsrelay.sends import ids
from smsrelay.sends.send import SendKey
from smsrelay.services import sender
from smsrelay.wiring import api, aws_timeouts, queue_worker, sending, sweeper
from smsrelay_cli import dead_letters, sends
from smsrelay_cli.deployed_stack import DeployedStack
from tests.support import permissions
from tests.support.aws_calls import record
from tests.support.environment import REGION, Context, Environment, HttpAnswer, running
from tools.mobileconnect_simulator import Simulator
from tools.mobileconnect_simulator.faults import Then

Json = dict[str, Any]

START = 1_790_000_000.0
API_SECONDS, WORKER_SECONDS, SWEEPER_SECONDS = 28.0, 60.0, 55.0
"""The functions' time-outs, as the template sets them."""
RETENTION = 1_209_600
"""Seconds that a queue keeps a message, as the template sets it."""
SKEW = 25.0
"""How far ahead the clock of a second process is; the relay allows for 30 seconds."""
OPERATORS_SKEW = 290.0
"""How far ahead an operator's clock is; the command allows for 300 seconds."""
HEALED = 1
"""Faults of a call in a row that botocore's second try makes up for."""
BUILD = sending.parts.__wrapped__
"""Builds the parts of a process. Not looked up later: `sending.parts` is replaced then."""
NUMBER = re.compile(r"1[0-9]{3}55501[0-9]{2}")
_SERVICES = {"DynamoDB_20120810": "dynamodb", "AmazonSQS": "sqs"}
"""By the first half of the header X-Amz-Target; Secrets Manager's is its own name."""


class Death(BaseException):
    """The process is gone: nothing in it catches this."""


class AwsFault(StrEnum):
    """What befalls a call of an AWS service."""

    THROTTLED = "throttled"
    BROKEN = "broken"
    UNREACHABLE = "unreachable"
    LOST_ANSWER = "lost-answer"  # it was carried out


NO_CONNECTION = "no-connection"
"""What befalls a call of the upstream, besides the simulator's own faults."""


@dataclass
class Call:
    """A call of the upstream: what it was, and how much of its answer a living relay got."""

    raw: str
    token_id: str | None = None
    """Given out, so the SMS is on its way."""
    status: int | None = None
    answer: str | None = None
    never_sent: bool = False

    @property
    def numbers(self) -> list[str]:
        return NUMBER.findall(self.raw)

    @property
    def is_certain(self) -> bool:
        """Whether the relay can know if the SMS is on its way."""
        return self.never_sent or self._is_the_apis_own

    @property
    def _is_the_apis_own(self) -> bool:
        """Whether the response leaves no doubt: the table of docs/delivery-guarantees.md."""
        status, answer = self.status or 0, self.answer or ""
        in_its_shape = '"errorcode"' in answer or '"errors"' in answer
        return (
            status in {401, 403, 404, 405, 407, 421, 425, 429}
            or (200 <= status < 300 and '"tokenId"' in answer)
            or (status == 503 and '"errorcode"' in answer)
            or (400 <= status < 500 and status != 408 and in_its_shape)
        )

    @property
    def heard_token(self) -> bool:
        return self.token_id is not None and self.token_id in (self.answer or "")


@dataclass(frozen=True)
class Row:
    """A send as it stands in the ledger."""

    key: SendKey
    item: Mapping[str, Any]

    @property
    def status(self) -> str:
        return str(self.item["status"])

    @property
    def attempts(self) -> int:
        return int(self.item["attempts"])

    @property
    def token_id(self) -> str | None:
        return self.item.get("tokenId")

    @property
    def body(self) -> str | None:
        return self.item.get("body")

    @property
    def claim(self) -> tuple[SendKey, int]:
        return self.key, self.attempts


class Process:
    """An execution environment of one function: its parts last until it dies."""

    def __init__(self, module: ModuleType, seconds: float, skew: float, made: "Trouble") -> None:
        self.module = module
        self.seconds = seconds
        self._skew = skew
        self._trouble = made
        self._parts: sending.Parts | None = None

    @property
    def parts(self) -> sending.Parts:
        if self._parts is None:
            self._parts = self._trouble.build(lambda: self._trouble.now + self._skew)
        return self._parts

    def end(self) -> None:
        if self._parts is not None:
            self._parts.connections.close()
        self._parts = None


@dataclass
class Invocation:
    """One run of a handler, or of the operator's command (which is no process of Lambda's)."""

    process: Process | None
    ends: float
    claims: set[tuple[SendKey, int]]
    """What others were sending when it began."""
    is_dead: bool = False
    calls: int = 0
    """Of the upstream."""
    ledger_faults: int = 0


class Countdown(Context):
    """Lambda's context, by the time that is made."""

    def __init__(self, left: Callable[[], float]) -> None:
        super().__init__()
        self._left = left

    def get_remaining_time_in_millis(self) -> int:
        return max(0, int(self._left() * 1000))


class InTurn:
    """Stands in for a thread pool: its tasks take turns, so that every run is the same."""

    def __init__(self, _most: int) -> None: ...

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None: ...

    def map(self, task: Callable[..., Any], *arguments: Iterable[Any]) -> list[Any]:
        return list(map(task, *arguments))

    def submit(self, task: Callable[..., Any], *arguments: Any) -> Future[Any]:
        future: Future[Any] = Future()
        future.set_result(task(*arguments))
        return future

    def shutdown(self, **_: object) -> None: ...


class Lines(logging.Handler):
    """What is logged: message, traceback, and all that stands beside it."""

    def __init__(self, log: list[str]) -> None:
        super().__init__()
        self._log = log

    def emit(self, entry: logging.LogRecord) -> None:
        self._log.append(f"{self.format(entry)} {vars(entry)}")


class Door(ModuleType):
    """Stands in for a function's module: its handler runs as an invocation that can be struck."""

    def __init__(self, process: Process, made: "Trouble") -> None:
        super().__init__(process.module.__name__)
        self._process = process
        self._trouble = made

    def handler(self, event: Json, _: Context) -> Json:
        return self._trouble.run(
            self._process, lambda context: self._process.module.handler(event, context)
        )


@dataclass(frozen=True)
class Functions:
    """A process of each function, and the environment whose handlers they are."""

    api: Process
    worker: Process
    sweeper: Process
    environment: Environment


@dataclass
class Order:
    """What is to happen when so many more points of I/O have been reached; None: death."""

    points: int
    act: Callable[[], object] | None


@dataclass
class Trouble:
    """One relay, everything that befalls it, and what can be seen of it from outside."""

    simulator: Simulator
    aws_client: Callable[..., Any]
    """Gives the relay's own AWS clients; each is made once, which takes longer than its calls."""
    now: float = START
    calls: list[Call] = field(default_factory=list)
    log: list[str] = field(default_factory=list)
    failures: list[Exception] = field(default_factory=list)
    """What went wrong in the test itself, where the relay would have caught it."""
    records: list[Json] = field(default_factory=list)
    """Every message that the worker has got."""
    done: set[str] = field(default_factory=set)
    """Ids of the messages that were deleted from the queue as done."""
    repeats: Counter[SendKey] = field(default_factory=Counter)
    """How often an operator had a send repeated that may have gone out."""
    resolved: dict[SendKey, str] = field(default_factory=dict)
    """How an operator has ended a send."""
    redriven: set[SendKey] = field(default_factory=set)
    """Rejected sends that an operator has had tried again."""
    in_doubt: set[SendKey] = field(default_factory=set)
    """Sends whose process ended between claim and result."""
    deaths: int = 0
    aws_faults: defaultdict[str, deque[AwsFault]] = field(
        default_factory=lambda: defaultdict(deque)
    )
    upstream_faults: deque[str] = field(default_factory=deque)
    order: Order | None = None

    def __post_init__(self) -> None:
        self._stack: list[Invocation | None] = []
        self._ended: Invocation | None = None
        self._left_behind: set[tuple[SendKey, int]] = set()
        self._lines = Lines(self.log)
        self._out = io.StringIO()
        self._ids = 0

    @contextmanager
    def open(self) -> Iterator[None]:
        """Set the relay up, and take it down."""
        with ExitStack() as stack:
            self.environment = stack.enter_context(running(self.simulator.url))
            for url in (self.environment.queue_url, self.environment.dead_letter_queue_url):
                self._sqs.set_queue_attributes(
                    QueueUrl=url, Attributes={"MessageRetentionPeriod": str(RETENTION)}
                )
            for change in self._changes():
                stack.enter_context(change)
            mock_random.seed(0)  # ids of messages
            self._first = self._functions(0.0, lambda module: module)
            stack.callback(self._end, self._first)
            self._second = self._functions(SKEW, _twin)
            stack.callback(self._end, self._second)
            dynamodb, sqs = (
                self.aws_client(service, config=aws_timeouts.AWS_CONFIG)
                for service in ("dynamodb", "sqs")
            )
            environment = self.environment
            self._target = DeployedStack(
                ledger=DynamoDbLedger(dynamodb, environment.table, retention_days=90),
                queue=SqsRetryQueue(sqs, environment.queue_url),
                sqs=sqs,
                queue_url=environment.queue_url,
                dead_letter_queue_url=environment.dead_letter_queue_url,
            )
            stack.callback(logging.getLogger("smsrelay").removeHandler, self._lines)
            yield

    def build(self, clock: Callable[[], float]) -> sending.Parts:
        """The parts of a new process, by its own clock."""
        with (
            patch.object(sending, "time", SimpleNamespace(time=clock)),
            patch.object(sending, "BotoClients", lambda: SimpleNamespace(client=self.aws_client)),
            # Reading all certificates takes longer than the rest, and none is used here.
            patch.object(
                ssl, "create_default_context", lambda **_: ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
            ),
        ):
            parts = BUILD()
        # Not before: Powertools leaves a logger alone that has a handler.
        parts.logger.addHandler(self._lines)
        return parts

    # What happens.

    def post(
        self, document: Json, headers: Mapping[str, str], client: str
    ) -> tuple[HttpAnswer, int] | None:
        """Post a message; the answer and how many calls that made, or None: its process died."""
        with suppress(Death):
            answer = self._functions_now.environment.post(document, headers=headers, client=client)
            assert self._ended is not None
            return answer, self._ended.calls
        return None

    def get(self, path: str, client: str) -> HttpAnswer:
        return self._functions_now.environment.get(path, client=client)

    def work(self) -> int:
        """Let the worker have what is visible; how many messages that were."""
        messages = self._sqs.receive_message(
            QueueUrl=self.environment.queue_url,
            MaxNumberOfMessages=10,
            MessageAttributeNames=["All"],
            MessageSystemAttributeNames=["All"],
        ).get("Messages", [])
        records = [record(message) for message in messages]
        self.records += records
        if records:
            self.deliver(records)
        return len(records)

    def deliver(self, records: Sequence[Json]) -> None:
        """Hand messages to the worker, and delete those that it has done."""
        with suppress(Death):
            answer = self._functions_now.environment.worker.handler({"Records": records}, Context())
            failed = {entry["itemIdentifier"] for entry in answer["batchItemFailures"]}
            for entry in records:
                if entry["messageId"] not in failed:
                    self.done.add(entry["messageId"])
                    with suppress(ClientError):  # it was deleted before
                        self._sqs.delete_message(
                            QueueUrl=self.environment.queue_url,
                            ReceiptHandle=entry["receiptHandle"],
                        )

    def sweep(self) -> None:
        try:
            self._functions_now.environment.sweep()
        except Death:
            pass
        except RelayError:
            # An invocation that fails is seen by an alarm, and the next one comes in a minute.
            if self._ended is None or self._ended.ledger_faults <= HEALED:
                raise

    def operate(self, *arguments: str) -> int | None:
        """Run the operator's command; its exit code, or None: it died."""
        said = io.StringIO()
        with suppress(Death), redirect_stderr(said):
            try:
                return self.run(None, lambda _: smsrelay_cli.main.main(arguments))
            finally:
                self.log.append(said.getvalue())
        return None

    def wait(self, seconds: float) -> None:
        self.now += seconds

    def run[Result](self, process: Process | None, handle: Callable[[Countdown], Result]) -> Result:
        """Run a handler, or the operator's command.

        Raises:
            Death: it was struck, or out of time.
        """
        ends = float("inf") if process is None else self.now + process.seconds
        invocation = Invocation(process, ends, self._claims())
        if process is not None:
            _ = process.parts  # built before the output is caught: a logger keeps what it finds
        self._stack.append(invocation)
        try:
            with redirect_stdout(self._out):
                return handle(Countdown(lambda: invocation.ends - self.now))
        except Death:
            self.deaths += 1
            if process is not None:
                process.end()
            raise
        finally:
            self._stack.pop()
            self.log.append(self._out.getvalue())
            self._out.seek(0)
            self._out.truncate()
            self._note_doubt(invocation)
            self._ended = invocation

    # What can be seen.

    def rows(self) -> list[Row]:
        """The sends of the ledger."""
        return [
            Row(SendKey(item["pk"].removeprefix("MSG#"), int(item["sk"][-3:])), item)
            for item in self._items()
            if item["sk"] != REFUSED
        ]

    def refusals(self) -> list[str]:
        """The ids of the messages that are recorded as refused."""
        items = [item for item in self._items() if item["sk"] == REFUSED]
        return [item["pk"].removeprefix("MSG#") for item in items]

    def arrived(self) -> Counter[str]:
        """How many SMS went to each number."""
        sent = self.simulator.sent()
        return Counter(number for entry in sent for number in NUMBER.findall(entry["raw"]))

    def dead_letters(self) -> list[str]:
        """The bodies of all dead letters, visible or not."""
        return [message.body for message in self._messages(self.environment.dead_letter_queue_url)]

    def waiting(self) -> int:
        return len(self._messages(self.environment.queue_url))

    # How it is done.

    @property
    def _sqs(self) -> Any:
        return self.environment.client("sqs")

    @property
    def _functions_now(self) -> Functions:
        """Who interrupts an invocation meets other processes than the one that it interrupts."""
        return self._second if self._stack else self._first

    def _functions(self, skew: float, module_of: Callable[[ModuleType], ModuleType]) -> Functions:
        environment = self.environment
        api_process, worker, sweeper_process = (
            Process(module_of(module), seconds, skew, self)
            for module, seconds in (
                (environment.api, API_SECONDS),
                (environment.worker, WORKER_SECONDS),
                (environment.sweeper, SWEEPER_SECONDS),
            )
        )
        struck = dataclasses.replace(
            environment,
            api=Door(api_process, self),
            worker=Door(worker, self),
            sweeper=Door(sweeper_process, self),
        )
        return Functions(api_process, worker, sweeper_process, struck)

    @staticmethod
    def _end(functions: Functions) -> None:
        for process in (functions.api, functions.worker, functions.sweeper):
            process.end()

    def _changes(self) -> Iterator[Any]:
        """What stands in for parts of the world as long as this relay is there."""
        operators = SimpleNamespace(time=lambda: self.now + OPERATORS_SKEW)
        yield patch.object(sending, "parts", self._parts)
        for wiring in (api, queue_worker, sweeper):  # not cached: each process has parts of its own
            yield patch.object(wiring, "parts", wiring.parts.__wrapped__)
        yield patch.object(sender, "ThreadPoolExecutor", InTurn)
        yield patch.object(sqs_batch, "ThreadPoolExecutor", InTurn)
        yield patch.object(ids, "new_message_id", self._new_id)
        yield patch.object(smsrelay_cli.main, "time", operators)
        yield patch.object(smsrelay_cli.main, "find_stack", lambda _: self._target)
        yield patch.object(sends, "time", operators.time)
        yield patch.object(dead_letters, "POLL_SECONDS", 0)
        yield patch.object(moto.sqs.models, "unix_time", lambda: self.now)
        yield patch.object(moto.sqs.models, "unix_time_millis", lambda: self.now * 1000)
        # Between two tries botocore waits.
        yield patch.object(botocore.endpoint, "time", SimpleNamespace(sleep=lambda _: None))

        process_request, handle = (
            BotocoreStubber.process_request,
            httpx.HTTPTransport.handle_request,
        )

        def call_aws(stubber: BotocoreStubber, request: AWSPreparedRequest) -> Any:
            return self._call_aws(request, lambda: process_request(stubber, request))

        def call_upstream(transport: httpx.HTTPTransport, request: httpx.Request) -> httpx.Response:
            return self._call_upstream(request, lambda: handle(transport, request))

        yield patch.object(BotocoreStubber, "process_request", call_aws)
        yield patch.object(httpx.HTTPTransport, "handle_request", call_upstream)

    def _parts(self) -> sending.Parts:
        invocation = self._stack[-1]
        assert invocation is not None
        assert invocation.process is not None
        return invocation.process.parts

    def _new_id(self) -> str:
        self._ids += 1
        return ids.message_id("new", str(self._ids))

    @contextmanager
    def _outside(self) -> Iterator[None]:
        """What is done here is not done by the invocation that runs."""
        self._stack.append(None)
        try:
            with permissions.calls_of("a test"):
                yield
        finally:
            self._stack.pop()

    def _reach(self, invocation: Invocation) -> None:
        """A point of I/O: here a process can be struck."""
        if self.order is not None and len(self._stack) == 1 and not invocation.is_dead:
            self.order.points -= 1
            if self.order.points <= 0:
                act, self.order = self.order.act, None
                if act is None:
                    invocation.is_dead = True
                else:
                    self._interrupt(invocation, act)
        if invocation.is_dead or self.now > invocation.ends:
            invocation.is_dead = True
            raise Death

    def _interrupt(self, invocation: Invocation, act: Callable[[], object]) -> None:
        with self._outside():
            held = self._claims() - invocation.claims
            try:
                act()
                if self.now <= invocation.ends:
                    assert held <= self._claims(), "a claim was lost, and its process lives"
            except Exception as error:  # noqa: BLE001 - the relay would take it for its own
                self.failures.append(error)

    def _call_aws(self, request: AWSPreparedRequest, carry_out: Callable[[], Any]) -> Any:
        invocation = self._stack[-1] if self._stack else None
        if invocation is None:
            return carry_out()
        target = request.headers["X-Amz-Target"]
        family, _, operation = (target.decode() if isinstance(target, bytes) else target).partition(
            "."
        )
        service = _SERVICES.get(family, family)
        self._reach(invocation)
        faults = self.aws_faults[service]
        fault = faults.popleft() if faults else None
        if fault is not None and service == "dynamodb":
            invocation.ledger_faults += 1
        match fault:
            case AwsFault.UNREACHABLE:
                raise EndpointConnectionError(endpoint_url=request.url)
            case AwsFault.THROTTLED:
                return _refusal(400, "ThrottlingException")
            case AwsFault.BROKEN:
                return _refusal(500, "InternalServerError")
        if invocation.process is None and operation == "PutItem":
            body: Any = request.body
            answer = self._watched(json.loads(body)["Item"], carry_out)
        else:
            answer = carry_out()
        self._reach(invocation)
        if fault is AwsFault.LOST_ANSWER:
            raise ConnectionClosedError(endpoint_url=request.url)
        return answer

    def _watched(self, item: Any, carry_out: Callable[[], Any]) -> Any:
        """Carry out what an operator writes, and keep what it allows or ends."""
        question = {
            "TableName": self.environment.table,
            "Key": {name: item[name] for name in ("pk", "sk")},
        }
        key = SendKey(item["pk"]["S"].removeprefix("MSG#"), int(item["sk"]["S"][-3:]))
        with self._outside():
            ledger = self.environment.client("dynamodb")
            before = ledger.get_item(**question)["Item"]
            answer = carry_out()
            after = ledger.get_item(**question)["Item"]
        if before != after and after["status"]["S"] in {"accepted", "rejected"}:
            self.resolved[key] = after["status"]["S"]
        elif before != after and before["status"]["S"] in {"unknown", "sending"}:
            self.repeats[key] += 1
        elif before != after and before["status"]["S"] == "rejected":
            self.redriven.add(key)
        return answer

    def _call_upstream(
        self, request: httpx.Request, carry_out: Callable[[], httpx.Response]
    ) -> httpx.Response:
        invocation = self._stack[-1]
        assert invocation is not None
        self._reach(invocation)
        call = Call(request.content.decode())
        self.calls.append(call)
        invocation.calls += 1
        fault = self.upstream_faults.popleft() if self.upstream_faults else None
        if fault == NO_CONNECTION:
            call.never_sent = True
            raise httpx.ConnectError("refused", request=request)
        # The two that hang are played here, without waiting for it.
        if fault == Then.HANG_BEFORE_READ:
            raise httpx.ReadTimeout("hung", request=request)
        if fault is not None and fault != Then.HANG_AFTER_ACCEPT:
            self.simulator.fail("send", fault)
        try:
            response = carry_out()
        except httpx.HTTPError:
            self._take_down(call)
            self._reach(invocation)
            raise
        answer = self._take_down(call)
        try:
            self._reach(invocation)
        except Death:
            response.close()
            raise
        if fault == Then.HANG_AFTER_ACCEPT:
            response.close()
            raise httpx.ReadTimeout("hung", request=request)
        call.status, call.answer = response.status_code, answer
        return response

    def _take_down(self, call: Call) -> str | None:
        """Note what the upstream did; its answer, if it gave one."""
        entry = self.simulator.calls()[-1]
        assert entry["raw"] == call.raw
        if entry["accepted"]:
            call.token_id = entry["tokenId"]
        return entry["answer"]

    def _items(self) -> Iterator[Json]:
        # Not by a scan: this is asked after every step, and moto takes longest over its answers.
        tables = dynamodb_backends[DEFAULT_ACCOUNT_ID][REGION].tables
        for item in tables[self.environment.table].all_items():
            values = {name: attribute.value for name, attribute in item.attrs.items()}
            if not values["pk"].startswith("CLIENT#"):
                yield values

    def _claims(self) -> set[tuple[SendKey, int]]:
        return {row.claim for row in self.rows() if row.status == "sending"}

    def _note_doubt(self, invocation: Invocation) -> None:
        """A claim that outlives its invocation: nobody can know what became of it."""
        left = self._claims() - invocation.claims - self._left_behind
        self._left_behind |= left
        self.in_doubt |= {key for key, _ in left}
        if left and not invocation.is_dead and invocation.ledger_faults <= HEALED:
            self.failures.append(AssertionError(f"left behind in sending: {left}"))

    def _messages(self, queue_url: str) -> list[Any]:
        queues = sqs_backends[DEFAULT_ACCOUNT_ID][REGION].queues
        messages: list[Any] = queues[queue_url.rpartition("/")[2]]._messages  # noqa: SLF001 - moto shows no others
        return messages


def _twin(module: ModuleType) -> ModuleType:
    """A function's module once more: another process has its own."""
    spec = module.__spec__
    assert spec is not None
    assert spec.loader is not None
    twin = importlib.util.module_from_spec(spec)
    # Powertools looks a handler's module up by its name.
    with patch.dict(sys.modules, {spec.name: twin}):
        spec.loader.exec_module(twin)
    return twin


def _refusal(status: int, code: str) -> tuple[int, Mapping[str, str], str]:
    body = {"__type": code, "message": "ordered by a test"}
    return status, {"Content-Type": "application/x-amz-json-1.0"}, json.dumps(body)
