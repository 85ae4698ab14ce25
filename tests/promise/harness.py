"""Runs the real handlers in processes that can die, with a table and queues for each run."""

import json
import os
import subprocess
import sys
import time
import uuid
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass, field, replace
from itertools import batched
from pathlib import Path
from queue import Queue
from signal import SIGKILL
from typing import Any

import httpx

from smsrelay.adapters.dynamodb_api_clients import DynamoDbApiClients
from tests.promise.campaigns import Plan, Run
from tests.promise.faults import DIE, Checkpoint, Injection
from tests.promise.history import History
from tests.promise.injection import RETRY_AFTER
from tests.promise.invariants import redrive_violations, violations
from tests.promise.observation import Observation, observe
from tests.promise.process import SIGNING_SECRET, key_id_of
from tests.promise.scenarios import (
    CATALOGUE,
    CLIENT,
    EVENTS,
    POLLER,
    RENEWER,
    WEBHOOK,
    Message,
    Scenario,
    operate,
)
from tests.support.template import properties, variables
from tools.local_stack import ROOT, processes
from tools.local_stack.aws import REGION, Clients
from tools.local_stack.servers import start_emulator
from tools.mobileconnect_simulator import Simulator

Json = dict[str, Any]

SLOTS = 3
"""Parallel runs: more than a small machine's cores, because a run mostly waits for servers."""
TOKENS = ("first-access-token", "second-access-token")
ENDED_TOKEN = "ended-access-token"  # unknown to the simulator
CREDENTIALS = {"client_id": "smsrelay", "client_secret": "made-up"}
DEFAULT_CLIENT = "internal"
TRIES = 10
"""The most runs of a plan until its injection is reached.

The messages of a batch share a process's caches. Which message fills a cache is a race, so a run
can make a call that the next run does not make.
"""


class NotInjectedError(AssertionError):
    """A process did not pass the checkpoint of its injection."""


@dataclass(frozen=True)
class Phase:
    """The script of one process, and the faults to inject into it."""

    script: Sequence[Json]
    injections: Sequence[Injection] | None = ()
    """None: the process does not report its points."""
    meanwhile: Sequence[Json] = ()
    """The script of another process, which runs at a MEANWHILE injection."""
    skew: float = 0.0
    """Seconds by which the other process's clock is ahead."""
    inner: Sequence[Injection] = ()
    """The faults of the other process; a third process runs the same script."""
    redeployed: Mapping[str, str] = field(default_factory=dict)
    """Variables that a deployment changes, for the other process and for all later ones."""
    must_inject: bool = False
    """Whether the first injection must be reached."""


@dataclass(frozen=True)
class Story:
    """Processes that run one after another, in a relay of their own."""

    messages: Sequence[Message]
    phases: Sequence[Phase]
    afterwards: Sequence[Json] = ()
    """What callers do after the last process has ended, and again at the end."""
    faults: Sequence[tuple[str, int]] = ()
    renews: bool = True
    parts: frozenset[str] = frozenset()
    """The functions that run in addition to the sending ones."""


@dataclass(frozen=True)
class Result:
    """The result of a story."""

    points: Sequence[Sequence[str]]
    """The points that the process of each phase passed."""
    history: History
    end: Observation
    deaths: int
    violations: Sequence[str]


class Harness:
    """Runs stories in parallel slots; a test session has one harness."""

    def __init__(self, slots: Sequence["Slot"]) -> None:
        self._free = Queue[Slot]()
        for slot in slots:
            self._free.put(slot)
        self._count = len(slots)
        self._calm: dict[tuple[str, str, str | None], Run] = {}

    def run(self, story: Story, mutation: str | None = None) -> Result:
        slot = self._free.get()
        try:
            return slot.run(story, mutation)
        finally:
            self._free.put(slot)

    def play(
        self, scenario: Scenario, plans: Iterable[Plan], mutation: str | None = None
    ) -> Iterator[Run]:
        """Run a scenario once for each plan, and yield the runs in the order of the plans."""

        def run(plan: Plan) -> Run:
            calm = (scenario.name, scenario.message.on_unknown, mutation)
            if plan == Plan():  # each campaign needs this run
                if calm not in self._calm:
                    self._calm[calm] = run_plan(plan)
                return self._calm[calm]
            return run_plan(plan)

        def run_plan(plan: Plan, tries: int = TRIES) -> Run:
            try:
                result = self.run(_story(scenario, plan), mutation)
            except NotInjectedError as error:
                if tries > 1:
                    return run_plan(plan, tries - 1)
                return Run(plan, [], [], [f"{plan}: {error} in {TRIES} runs"])
            points = result.points[1 if scenario.prepare else 0 :]
            found = [f"{plan}: {entry}" for entry in result.violations]
            return Run(plan, points[0], points[1] if len(points) > 1 else [], found)

        with ThreadPoolExecutor(self._count) as pool:
            for batch in batched(plans, self._count * 8, strict=False):
                yield from pool.map(run, batch)


def _story(scenario: Scenario, plan: Plan) -> Story:
    phases = []
    if scenario.prepare:
        assert scenario.prepare_until is not None
        death = Injection(Checkpoint(scenario.prepare_until), DIE)
        phases.append(Phase(scenario.prepare, [death], must_inject=True))
    phases.append(
        Phase(
            scenario.script,
            plan.injections,
            scenario.meanwhile,
            plan.skew,
            plan.inner,
            scenario.redeployed,
            must_inject=bool(plan.injections),
        )
    )
    if plan.recovery is not None:
        again = scenario.afterwards
        phases.append(Phase([*again, {"do": "settle"}, *again], plan.recovery))
    return Story(
        [scenario.message, *scenario.others],
        phases,
        scenario.afterwards,
        scenario.faults,
        scenario.renews,
        scenario.parts,
    )


def _begun(message: Message) -> Message:
    """Set the message's `expiresAt`, for a story that begins now."""
    if message.expires_after is None:
        return message
    return replace(message, expires_at=time.time() + message.expires_after)


class Slot:
    """Runs stories one after another, each with its own table and queues."""

    def __init__(
        self, clients: Clients, simulator: Simulator, forks: subprocess.Popen[bytes], folder: Path
    ) -> None:
        self._clients = clients
        self._simulator = simulator
        self._forks = forks
        self._folder = folder

    def run(self, story: Story, mutation: str | None) -> Result:
        """Run the phases, let everything recover, judge the result, and redrive dead letters."""
        self._simulator.reset()
        for then, times in story.faults:
            self._simulator.fail("send", then, times=times, retry_after=RETRY_AFTER)
        environment = self._set_up(story.parts)
        messages = {it.reference: _begun(it) for it in story.messages}
        current = _Current(
            {
                "environment": environment,
                "log": str(self._folder / f"{environment['TABLE_NAME']}.log"),
                "renewed": self._secret(TOKENS[1]) if story.renews else None,
                "mutation": mutation,
                "parts": sorted(story.parts),
                "messages": {name: asdict(it) for name, it in messages.items()},
            },
            History(messages, parts=story.parts),
        )
        points = [self._run(current, phase) for phase in story.phases]
        rest: list[Json] = [
            *story.afterwards,
            {"do": "settle"},
            *story.afterwards,
            {"do": "look_up"},
        ]
        self._run(current, Phase(rest, None))
        history, end = current.history, self._observe(current)
        found = violations(history, end)
        if end.dead_letters:
            current.sent = self._simulator.sent()
            self._simulator.reset()  # removes the remaining faults
            # A send can have two dead letters: the second command removes the one that is left.
            redrive = [operate("redrive"), {"do": "settle"}]
            self._run(current, Phase([*redrive, *redrive], None))
            found += redrive_violations(history, end, self._observe(current))
        Path(current.job["log"]).unlink(missing_ok=True)
        self._tear_down(current.job["environment"])
        return Result(points, history, end, current.deaths, found)

    def _run(self, current: "_Current", phase: Phase) -> list[str]:
        """Run a process, and return the points that it passed.

        Raises:
            AssertionError: it ended with an unexpected exit code.
            NotInjectedError: it did not pass the checkpoint of its injection.
        """
        show = {"do": "show", "handles": current.handles}
        job = current.job | {
            "passed": current.passed,
            "sqs_ids": current.history.enqueued,
            "published": current.published,
            "renewal_requests": current.renewal_requests,
        }
        injections = [injection.to_json() for injection in phase.injections or ()]
        own = {"script": [show, *phase.script], "armed": phase.injections is not None}
        current.job["environment"] = environment = job["environment"] | phase.redeployed
        current.history.max_attempts = min(
            current.history.max_attempts, int(environment["MAX_ATTEMPTS"])
        )
        other = job | {
            "environment": current.job["environment"],
            "script": phase.meanwhile,
            "armed": False,
            "skew": phase.skew,
        }
        inner = [injection.to_json() for injection in phase.inner]
        second = other | {"armed": bool(inner), "injections": inner, "meanwhile": other}
        line = json.dumps(job | own | {"injections": injections, "meanwhile": second})
        assert self._forks.stdin is not None
        assert self._forks.stdout is not None
        self._forks.stdin.write(line.encode() + b"\n")
        self._forks.stdin.flush()
        report = json.loads(self._forks.stdout.readline())
        current.add(report, self._simulator.calls())
        events = report["events"]
        if any(kind == "meanwhile" for kind, _ in events):
            current.history.add_clock_error(phase.skew)
        points = [value for kind, value in events if kind == "point"]
        is_raised = any(kind == "error" for kind, _ in events)
        died = any(kind == "died" for kind, _ in events)
        if not is_raised:
            expected = -SIGKILL if died else 0
            assert report["exit"] == expected, f"ended with {report['exit']}: {points}"
            # A second injection may not be reached: the number of attempts depends on jitter.
            injected = [value for kind, value in events if kind == "injected"]
            if phase.must_inject and not died and injections[0] not in injected:
                raise NotInjectedError("its checkpoint was not passed")
        return points

    def _set_up(self, parts: frozenset[str]) -> dict[str, str]:
        """Create the template's table and queues, a token, a catalogue, and what `parts` need."""
        name, clients = f"relay-{uuid.uuid4()}", self._clients
        wanted = ("BillingMode", "AttributeDefinitions", "KeySchema", "GlobalSecondaryIndexes")
        ledger = properties("Ledger")
        table = {key: ledger[key] for key in wanted}
        if EVENTS in parts:
            stream = {"StreamEnabled": True, "StreamViewType": "NEW_AND_OLD_IMAGES"}
            table["StreamSpecification"] = stream
        clients.dynamodb.create_table(TableName=name, **table)
        token = ENDED_TOKEN if RENEWER in parts else TOKENS[0]
        secret = self._create_secret(name, self._secret(token))
        queue, letters = (self._create_queue(it) for it in (name, f"{name}-letters"))
        for client in (CLIENT, DEFAULT_CLIENT):
            DynamoDbApiClients(clients.dynamodb, name).put(key_id_of(client), client)
        catalogue = f"/{name}/catalogue"
        clients.ssm.put_parameter(Name=catalogue, Value=json.dumps(CATALOGUE), Type="String")
        others = {}
        if WEBHOOK in parts:
            others["WEBHOOK_SECRET_PREFIX"] = f"{name}/webhooks/"
            self._create_secret(f"{name}/webhooks/{CLIENT}", {"current": SIGNING_SECRET})
        if POLLER in parts:
            others["DELIVERY_POLLING"] = "all"
        if EVENTS in parts:
            others["EVENT_BUS"] = "default"
            others["CALLBACK_QUEUE_URL"] = self._create_queue(f"{name}-callbacks")
            others["CALLBACK_SECRET_PREFIX"] = f"{name}/callbacks/"
            self._create_secret(f"{name}/callbacks/{CLIENT}", {"current": SIGNING_SECRET})
        if RENEWER in parts:
            credentials = {**CREDENTIALS, "auth_base_url": self._simulator.url}
            arn = self._create_secret(f"{name}-credentials", credentials)
            others["CREDENTIALS_SECRET_ARN"] = arn
        return variables(
            table=name,
            queue_url=queue,
            dead_letter_queue_url=letters,
            token_secret=secret,
            TOKEN_FUNCTION="renews-tokens",  # the harness takes its invocations
            CATALOGUE_PARAMETER=catalogue,
            UPSTREAM_TIMEOUT_SECONDS="45",
            DEFAULT_CLIENT=DEFAULT_CLIENT,
            **others,
        )

    def _tear_down(self, environment: Mapping[str, str]) -> None:
        """Delete the resources of a run: with thousands of tables, MiniStack becomes slow."""
        clients = self._clients
        clients.dynamodb.delete_table(TableName=environment["TABLE_NAME"])
        for name in ("QUEUE_URL", "DEAD_LETTER_QUEUE_URL", "CALLBACK_QUEUE_URL"):
            if url := environment.get(name):
                clients.sqs.delete_queue(QueueUrl=url)
        for name in ("TOKEN_SECRET_ARN", "CREDENTIALS_SECRET_ARN"):
            if secret := environment.get(name):
                self._delete_secret(secret)
        for name in ("WEBHOOK_SECRET_PREFIX", "CALLBACK_SECRET_PREFIX"):
            if prefix := environment.get(name):
                self._delete_secret(f"{prefix}{CLIENT}")
        clients.ssm.delete_parameter(Name=environment["CATALOGUE_PARAMETER"])

    def _delete_secret(self, secret: str) -> None:
        self._clients.secretsmanager.delete_secret(SecretId=secret, ForceDeleteWithoutRecovery=True)

    def _create_secret(self, name: str, value: Json) -> str:
        secrets = self._clients.secretsmanager
        return secrets.create_secret(Name=name, SecretString=json.dumps(value))["ARN"]

    def _create_queue(self, name: str) -> str:
        return self._clients.sqs.create_queue(QueueName=name)["QueueUrl"]

    def _secret(self, token: str) -> Json:
        return {"access_token": token, "rest_instance_url": self._simulator.url}

    def _observe(self, current: "_Current") -> Observation:
        environment = current.job["environment"]
        return observe(
            self._clients,
            table=environment["TABLE_NAME"],
            queue_url=environment["QUEUE_URL"],
            dead_letter_queue_url=environment["DEAD_LETTER_QUEUE_URL"],
            sent=[*current.sent, *self._simulator.sent()],
            log=Path(current.job["log"]).read_text(errors="replace"),
            is_token_good=RENEWER not in current.history.parts
            or self._is_token_good(environment["TOKEN_SECRET_ARN"]),
        )

    def _is_token_good(self, secret: str) -> bool:
        """Return whether the upstream accepts the stored token."""
        value = self._clients.secretsmanager.get_secret_value(SecretId=secret)["SecretString"]
        response = httpx.get(
            f"{self._simulator.url}/sms/v1/messageContact/none/deliveries/none",
            headers={"Authorization": f"Bearer {json.loads(value)['access_token']}"},
            trust_env=False,
        )
        return response.status_code != httpx.codes.UNAUTHORIZED


@dataclass
class _Current:
    """The state of a running story."""

    job: Json
    history: History
    passed: float = 0.0
    """Seconds by which the processes' clock is ahead of the machine's."""
    deaths: int = 0
    sent: list[Any] = field(default_factory=list)
    """The calls that the upstream accepted before it was reset."""
    handles: list[str] = field(default_factory=list)
    """The receipt handles of messages that were received but not deleted."""
    published: int = 0
    """How many records of the ledger's stream the event publisher has processed."""
    renewal_requests: list[Json] = field(default_factory=list)
    """The events with which senders invoked the token renewer."""

    def add(self, report: Json, calls: Sequence[Any]) -> None:
        """Add the report of a process, and of a process that ran in the middle of it."""
        events, died = report["events"], False
        for kind, value in events:
            match kind:
                case "error":
                    self.history.problems.append(f"a handler raised: {value}")
                case "died":
                    died = True
                case "passed":
                    self.passed = max(self.passed, value)
                case "in_flight":
                    self.handles += value
                case "deleted":
                    self.handles.remove(value)
                case "publishing":
                    self.published = max(self.published, value)
                case "asked for a token":
                    self.renewal_requests.append(value)
                case "meanwhile":
                    self.add(value, calls)
        self.deaths += died
        self.history.add(events, calls, died=died)


@contextmanager
def running(folder: Path) -> Iterator[Harness]:
    """Start MiniStack, and a simulator and a fork server for each slot."""
    marker = processes.new_marker()
    data = folder / "data"
    data.mkdir()
    emulator = start_emulator(folder, data, marker)
    try:
        with ExitStack() as stack:
            yield Harness([_slot(stack, emulator.url, folder) for _ in range(SLOTS)])
    finally:
        processes.stop(marker, [emulator.process])


def _slot(stack: ExitStack, emulator_url: str, folder: Path) -> Slot:
    # polls_per_status=0: each delivery is complete at its first poll.
    simulator = stack.enter_context(Simulator(access_tokens=TOKENS, polls_per_status=0))
    forks = stack.enter_context(_forks(emulator_url))
    return Slot(Clients(emulator_url), simulator, forks, folder)


@contextmanager
def _forks(endpoint_url: str) -> Iterator[subprocess.Popen[bytes]]:
    inherited = {name: os.environ[name] for name in processes.PASSED_ON if name in os.environ}
    environment = inherited | {
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
        "AWS_DEFAULT_REGION": REGION,
        "AWS_ENDPOINT_URL": endpoint_url,
        "AWS_CONFIG_FILE": os.devnull,
        "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
        "PYTHONPATH": os.pathsep.join(str(ROOT / it) for it in ("layers/smsrelay", "cli", ".")),
    }
    with subprocess.Popen(
        [sys.executable, "-m", "tests.promise.forkserver"],
        cwd=ROOT,
        env=environment,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as process:
        yield process  # leaving the block closes its standard input, which ends it
