"""Real servers, real handlers in processes that die, and a table and queues for each run."""

import contextlib
import json
import os
import subprocess
import sys
import uuid
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from itertools import batched
from pathlib import Path
from queue import Queue
from signal import SIGKILL
from typing import Any

from smsrelay.adapters.dynamodb_api_clients import DynamoDbApiClients
from tests.promise.campaigns import Plan, Run
from tests.promise.faults import DIE, HANGS, WITHHELD, Leaves, Step, Strike, hides_a_claim, leaves
from tests.promise.invariants import Aftermath, violations
from tests.promise.scenarios import CATALOGUE, Scenario
from tests.support.template import properties, variables
from tools.local_stack import ROOT, processes
from tools.local_stack.aws import REGION, Clients
from tools.local_stack.servers import start_emulator
from tools.mobileconnect_simulator import Simulator

Json = dict[str, Any]

STAGES = 3
"""A little more than a small machine has cores: much of a play is waiting for its servers."""
TOKENS = ("first-access-token", "second-access-token")
HANGS_TRIED = 4
"""How often a call that is to hang is begun anew, on a machine that is too busy to come so far."""


class NotStruckError(AssertionError):
    """A strike found no step."""


@dataclass
class Told:
    """What a child told of itself."""

    exit: int
    points: list[str] = field(default_factory=list)
    struck: list[Json] = field(default_factory=list)
    died: bool = False
    answers: list[int] = field(default_factory=list)
    in_flight: dict[str, str | None] = field(default_factory=dict)
    """The newest receipt handle of each message; None: it is deleted."""
    errors: list[str] = field(default_factory=list)
    """Handlers that raised."""

    @property
    def handles(self) -> list[str]:
        return [handle for handle in self.in_flight.values() if handle]


class Harness:
    """One for a session: stages on which plays run side by side."""

    def __init__(self, stages: Sequence["Stage"]) -> None:
        self._free = Queue[Stage]()
        for stage in stages:
            self._free.put(stage)
        self._count = len(stages)

    def play(
        self, scenario: Scenario, plans: Iterable[Plan], mutation: str | None = None
    ) -> Iterator[Run]:
        """Play a scenario once for each plan; the runs come in the order of the plans."""

        def play(plan: Plan) -> Run:
            stage = self._free.get()
            try:
                return stage.play(scenario, plan, mutation)
            finally:
                self._free.put(stage)

        with ThreadPoolExecutor(self._count) as pool:
            for some in batched(plans, self._count * 8, strict=False):
                yield from pool.map(play, some)


class Stage:
    """Plays come one after another, each in a table and queues of its own."""

    def __init__(
        self, clients: Clients, simulator: Simulator, forks: subprocess.Popen[bytes], folder: Path
    ) -> None:
        self._clients = clients
        self._simulator = simulator
        self._forks = forks
        self._folder = folder

    def play(self, scenario: Scenario, plan: Plan, mutation: str | None) -> Run:
        """Play a scenario, strike, let all recover, and look.

        A call that hangs takes real time, and has little: one that a busy machine had no time left
        to begin was no strike, and is played again.
        """
        hangs = any(strike.do in HANGS for strike in plan.strikes)
        for _ in range(HANGS_TRIED - 1 if hangs else 0):
            with contextlib.suppress(NotStruckError):
                return self._play(scenario, plan, mutation)
        return self._play(scenario, plan, mutation)

    def _play(self, scenario: Scenario, plan: Plan, mutation: str | None) -> Run:
        self._simulator.reset()
        for then, times in scenario.faults:
            self._simulator.fail("send", then, times=times, retry_after=_wait_asked(then))
        environment = self._set_up(scenario)
        if any(strike.do in HANGS for strike in plan.strikes):
            # These take real time. No call is begun with less than half a second left, and a busy
            # machine may need the other half to read the token.
            environment["UPSTREAM_TIMEOUT_SECONDS"] = "1.0"
        log = self._folder / f"{environment['TABLE_NAME']}.log"
        job = {
            "environment": environment,
            "log": str(log),
            "renewed": self._secret(TOKENS[1]) if scenario.renews else None,
            "mutation": mutation,
        }
        told = []
        if scenario.prepare:
            assert scenario.prepare_until is not None
            death = Strike(Step(scenario.prepare_until), DIE)
            told.append(self._run(job, scenario.prepare, (death,)))
        if scenario.enqueued:
            self._clients.sqs.send_message(
                QueueUrl=environment["QUEUE_URL"], MessageBody=json.dumps(scenario.message)
            )
        meanwhile = job | {"script": scenario.meanwhile, "armed": False, "offset": plan.skew}
        first = self._run(job | {"meanwhile": meanwhile}, scenario.script, plan.strikes)
        told.append(first)
        recovery_points: list[str] = []
        if plan.recovery is not None:
            second = self._run(job, _rest(scenario, told), plan.recovery, in_recovery=True)
            told.append(second)
            recovery_points = second.points
        told.append(self._run(job, _rest(scenario, told), None))
        seen = self._look(environment, [answer for each in told for answer in each.answers], log)
        log.unlink(missing_ok=True)
        found = [f"a handler raised: {error}" for each in told for error in each.errors]
        found += violations(
            scenario,
            seen,
            may_end=_may_end(scenario, plan),
            withheld=any(strike.do in WITHHELD for strike in plan.strikes),
        )
        return Run(plan, first.points, recovery_points, [f"{plan}: {entry}" for entry in found])

    def _run(
        self,
        job: Json,
        script: list[Json],
        strikes: Sequence[Strike] | None,
        *,
        in_recovery: bool = False,
    ) -> Told:
        """Let a child play a script; with strikes, or at least with its steps watched.

        Raises:
            NotStruckError: a strike found no step.
            AssertionError: it did not end as it should.
        """
        assert self._forks.stdin is not None
        assert self._forks.stdout is not None
        ordered = [strike.as_json() for strike in strikes or ()]
        armed = {"armed": strikes is not None, "strikes": ordered}
        line = json.dumps(job | {"script": script} | armed)
        self._forks.stdin.write(line.encode() + b"\n")
        self._forks.stdin.flush()
        told = _told(json.loads(self._forks.stdout.readline()))
        if told.errors:
            return told
        wanted = -SIGKILL if told.died else 0
        assert told.exit == wanted, f"ended with {told.exit} instead of {wanted}: {told.points}"
        # A second strike may be out of reach: the shorter time-out of a hang changes the way, and
        # how often a recovery tries is up to its jitter.
        must_strike = ordered and not told.died and not in_recovery
        if must_strike and ordered[0] not in told.struck:
            raise NotStruckError(f"not struck: {ordered[0]}")
        return told

    def _set_up(self, scenario: Scenario) -> dict[str, str]:
        """A table and queues as the template has them, a token, and a catalogue for a name."""
        name = f"relay-{uuid.uuid4()}"
        wanted = ("BillingMode", "AttributeDefinitions", "KeySchema", "GlobalSecondaryIndexes")
        ledger = properties("Ledger")
        clients = self._clients
        clients.dynamodb.create_table(TableName=name, **{key: ledger[key] for key in wanted})
        secret = clients.secretsmanager.create_secret(
            Name=name, SecretString=json.dumps(self._secret(TOKENS[0]))
        )["ARN"]
        queue, letters = (
            clients.sqs.create_queue(QueueName=queue_name)["QueueUrl"]
            for queue_name in (name, f"{name}-letters")
        )
        DynamoDbApiClients(clients.dynamodb, name).put("example-key-id", "shop")  # the sample's key
        catalogue = f"/{name}/catalogue"
        if scenario.message["message"] in CATALOGUE["messages"]:
            clients.ssm.put_parameter(Name=catalogue, Value=json.dumps(CATALOGUE), Type="String")
        return variables(
            table=name,
            queue_url=queue,
            dead_letter_queue_url=letters,
            token_secret=secret,
            TOKEN_FUNCTION="renews-nothing",  # it is asked, and is not there
            CATALOGUE_PARAMETER=catalogue,
            UPSTREAM_TIMEOUT_SECONDS="45",
        )

    def _secret(self, token: str) -> Json:
        return {"access_token": token, "rest_instance_url": self._simulator.url}

    def _look(self, environment: dict[str, str], answers: list[int], log: Path) -> Aftermath:
        names = ("", "Delayed", "NotVisible")
        attributes: Any = [f"ApproximateNumberOfMessages{name}" for name in names]
        counts = self._clients.sqs.get_queue_attributes(
            QueueUrl=environment["QUEUE_URL"], AttributeNames=attributes
        )["Attributes"]
        items: Any = self._clients.dynamodb.scan(
            TableName=environment["TABLE_NAME"], ConsistentRead=True
        )["Items"]
        letters: Any = self._clients.sqs.receive_message(
            QueueUrl=environment["DEAD_LETTER_QUEUE_URL"],
            MaxNumberOfMessages=10,
            MessageAttributeNames=["All"],
        ).get("Messages", [])
        return Aftermath(
            answers=answers,
            items=items,
            waiting=sum(int(number) for number in counts.values()),
            letters=letters,
            sent=self._simulator.sent(),
            log=log.read_text(errors="replace"),
        )


def _told(answer: Json) -> Told:
    told = Told(answer["exit"])
    for kind, value in answer["told"]:
        match kind:
            case "error":
                told.errors.append(value)
            case "point":
                told.points.append(value)
            case "struck":
                told.struck.append(value)
            case "died":
                told.died = True
            case "answer":
                told.answers.append(value)
            case "in_flight":
                told.in_flight |= value
            case "meanwhile":
                other = _told(value)
                told.answers += other.answers
                told.errors += other.errors
                told.in_flight |= other.in_flight
    return told


def _rest(scenario: Scenario, told: Sequence[Told]) -> list[Json]:
    """What comes after a process that may have died: all that there is to recover from it."""
    handles = [handle for each in told for handle in each.handles]
    again = scenario.afterwards
    return [{"do": "show", "handles": handles}, *again, {"do": "settle"}, *again]


_ENDS = {Leaves.NOTHING: (), Leaves.DOUBT: ("unknown",), Leaves.REFUSAL: ("rejected",)}


def _may_end(scenario: Scenario, plan: Plan) -> set[str]:
    """How a send may have ended whose SMS did not arrive."""
    strikes = plan.strikes + (plan.recovery or ())
    left = {leaves(strike) for strike in strikes}
    if scenario.prepare_until or hides_a_claim(strikes):
        left.add(Leaves.DOUBT)
    if not scenario.holds and Leaves.REFUSAL not in left:
        # It is tried again; only if that is refused, the doubt about the time before stays.
        left.discard(Leaves.DOUBT)
    ends = {end for each in left for end in _ENDS[each]}
    return ends | {"failed"} if ("503-50300", -1) in scenario.faults else ends


def _wait_asked(then: str) -> int | None:
    return 0 if then.startswith(("429", "503")) else None


@contextmanager
def running(folder: Path) -> Iterator[Harness]:
    """MiniStack, and for each stage a simulator and a process that forks."""
    marker = processes.new_marker()
    data = folder / "data"
    data.mkdir()
    emulator = start_emulator(folder, data, marker)
    try:
        with ExitStack() as stack:
            yield Harness([_stage(stack, emulator.url, folder) for _ in range(STAGES)])
    finally:
        processes.stop(marker, [emulator.process])


def _stage(stack: ExitStack, emulator_url: str, folder: Path) -> Stage:
    simulator = stack.enter_context(Simulator(access_tokens=TOKENS))
    forks = stack.enter_context(_forks(emulator_url))
    return Stage(Clients(emulator_url), simulator, forks, folder)


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
        "PYTHONPATH": os.pathsep.join([str(ROOT / "layers/smsrelay"), str(ROOT)]),
    }
    with subprocess.Popen(
        [sys.executable, "-m", "tests.promise.forkserver"],
        cwd=ROOT,
        env=environment,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as process:
        yield process  # leaving Popen closes its input, and that ends it
