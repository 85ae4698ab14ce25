"""Real servers, real handlers in processes that die, and a table and queues for each run."""

import json
import os
import subprocess
import sys
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from signal import SIGKILL
from typing import Any

from local import ROOT, processes
from local.aws import REGION, Clients
from local.servers import start_emulator
from local.simulator import Simulator
from tests.faults.scenarios import Scenario
from tests.faults.verdict import Aftermath, letterless, violations
from tests.support.template import properties

Json = dict[str, Any]

TOKENS = ("first-access-token", "second-access-token")


@dataclass
class Told:
    """What a child told of itself."""

    exit: int
    points: list[str] = field(default_factory=list)
    answers: list[int] = field(default_factory=list)
    in_flight: dict[str, str | None] = field(default_factory=dict)
    """The newest receipt handle of each message; None: it is deleted."""


@dataclass(frozen=True)
class Run:
    """One play of a scenario, with or without a death in it."""

    points: list[str]
    violations: list[str]
    letterless: int
    """Sends that failed without a dead letter."""


class World:
    """One for a session; runs come one after another."""

    def __init__(
        self, clients: Clients, simulator: Simulator, forks: subprocess.Popen[bytes], folder: Path
    ) -> None:
        self._clients = clients
        self._simulator = simulator
        self._forks = forks
        self._folder = folder

    def crashes(self, scenario: Scenario, mutation: str | None = None) -> Iterator[Run]:
        """First without a death, then with one at each point of that."""
        calm = self._run(scenario, None, mutation)
        yield calm
        for number in range(1, len(calm.points) + 1):
            yield self._run(scenario, number, mutation)

    def _run(self, scenario: Scenario, die_at: int | None, mutation: str | None) -> Run:
        self._simulator.reset()
        for then, times in scenario.faults:
            self._simulator.fail("send", then, times=times, retry_after=_wait_asked(then))
        environment = self._set_up(scenario.max_attempts)
        log = self._folder / f"{environment['TABLE_NAME']}.log"
        job = {
            "environment": environment,
            "log": str(log),
            "renewed": self._secret(TOKENS[1]),
            "mutation": mutation,
            "armed": True,
        }
        if scenario.prepare:
            self._play(job, scenario.prepare, die_at_first=scenario.prepare_until)
        if scenario.enqueued:
            self._clients.sqs.send_message(
                QueueUrl=environment["QUEUE_URL"], MessageBody=json.dumps(scenario.message)
            )
        first = self._play(job, scenario.script, die_at=die_at)
        handles = [handle for handle in first.in_flight.values() if handle]
        rest = [{"do": "show", "handles": handles}, *scenario.afterwards, {"do": "settle"}]
        rest += scenario.afterwards
        second = self._play(job | {"armed": False}, rest)
        seen = self._look(environment, [*first.answers, *second.answers], log)
        log.unlink(missing_ok=True)
        found = violations(scenario, seen, struck=bool(die_at or scenario.prepare_until))
        if not die_at:
            return Run(first.points, found, letterless(seen))
        point = f"step {die_at} ({first.points[-1]})"
        found = [f"{point}: {violation}" for violation in found]
        return Run(first.points, found, letterless(seen))

    def _play(self, job: Json, script: list[Json], **death: str | int | None) -> Told:
        assert self._forks.stdin is not None
        assert self._forks.stdout is not None
        line = json.dumps(job | {"script": script} | death)
        self._forks.stdin.write(line.encode() + b"\n")
        self._forks.stdin.flush()
        answer = json.loads(self._forks.stdout.readline())
        told = Told(answer["exit"])
        for kind, value in answer["told"]:
            if kind == "error":
                raise AssertionError(f"the child failed: {value}")
            if kind == "point":
                told.points.append(value)
            elif kind == "answer":
                told.answers.append(value)
            else:
                told.in_flight |= value
        wanted = -SIGKILL if any(death.values()) else 0
        assert told.exit == wanted, f"ended with {told.exit} instead of {wanted}: {told.points}"
        return told

    def _set_up(self, max_attempts: int) -> dict[str, str]:
        """A table and queues as the template has them, and a token."""
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
        return {
            "TABLE_NAME": name,
            "QUEUE_URL": queue,
            "DEAD_LETTER_QUEUE_URL": letters,
            "TOKEN_SECRET_ARN": secret,
            "REST_BASE_URL": "",
            "DEFAULT_CLIENT": "internal",
            "MESSAGE_CATALOGUE": "{}",
            "RETENTION_DAYS": "90",
            "MAX_ATTEMPTS": str(max_attempts),
            "MAX_AGE_HOURS": "24",
            "UPSTREAM_TIMEOUT_SECONDS": "5",
            "CONCURRENT_SENDS": "10",
            "POWERTOOLS_SERVICE_NAME": "smsrelay",
            "POWERTOOLS_METRICS_NAMESPACE": "smsrelay",
        }

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


def _wait_asked(then: str) -> int | None:
    return 0 if then.startswith(("429", "503")) else None


@contextmanager
def running(folder: Path) -> Iterator[World]:
    """MiniStack, the simulator, and the process that forks."""
    marker = processes.new_marker()
    data = folder / "data"
    data.mkdir()
    emulator = start_emulator(folder, data, marker)
    try:
        with Simulator(access_tokens=TOKENS) as simulator, _forks(emulator.url) as forks:
            yield World(Clients(emulator.url), simulator, forks, folder)
    finally:
        processes.stop(marker, [emulator.process])


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
        [sys.executable, "-m", "tests.faults.forkserver"],
        cwd=ROOT,
        env=environment,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as process:
        yield process  # leaving Popen closes its input, and that ends it
