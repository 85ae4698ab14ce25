"""`python -m tests.promise.forkserver`: forks one process for each job on standard input.

It imports everything once, so a run costs a fork instead of a start. It has no threads and no
connections, because a fork would copy them incompletely. A job and its report are each a line of
JSON.
"""

import gc
import json
import os
import signal
import ssl
import sys
import threading
import traceback
from typing import Any, NamedTuple
from unittest.mock import patch

import httpcore
from botocore.config import Config

from smsrelay.adapters import dynamodb_ledger
from smsrelay.adapters.boto_clients import BotoClients
from smsrelay.wiring import (
    callback_sender,
    delivery_poller,
    event_publisher,
    sending,
    token_renewer,
)
from smsrelay.wiring.aws_timeouts import AWS_CONFIG, INVOKE_CONFIG
from tests.promise import mutations
from tests.promise.checkpoints import Checkpoints
from tests.promise.clock import Clock
from tests.promise.faults import Injection
from tests.promise.injection import AwsInjection, UpstreamInjection
from tests.promise.process import Functions, Json, Process
from tests.support.template import template
from tools.local_stack.aws import Clients

SERVICES = [
    (service, AWS_CONFIG) for service in ("dynamodb", "sqs", "secretsmanager", "ssm", "events")
] + [(service, INVOKE_CONFIG) for service in ("lambda", "dynamodb")]
"""The AWS clients, with the relay's time-outs."""
WIRINGS = (sending, delivery_poller, event_publisher, callback_sender, token_renewer)
"""The modules that create AWS clients."""
LONGEST_SECONDS = 60
"""The limit after which a process counts as hanging, and is killed."""


class ReadyAws:
    """The relay's AWS clients, made before the fork because making them takes longer than a run."""

    def __init__(self) -> None:
        make: Any = BotoClients().client  # its types need the service's name as a literal
        self._clients = {
            (service, id(config)): make(service, config=config) for service, config in SERVICES
        }

    @property
    def emitters(self) -> list[Any]:
        """The event emitters of all clients."""
        return [client.meta.events for client in self._clients.values()]

    def client(self, service: str, *, config: Config = AWS_CONFIG) -> Any:
        return self._clients[service, id(config)]


class Ready(NamedTuple):
    """Objects that are made before the fork."""

    functions: Functions
    clients: Clients
    aws: ReadyAws


def main() -> None:
    ready = Ready(Functions(), Clients(os.environ["AWS_ENDPOINT_URL"]), ReadyAws())
    _ = ready.clients.dynamodb, ready.clients.sqs, ready.clients.secretsmanager
    _ = ready.clients.dynamodbstreams
    _ = template()  # caches it for the events of API Gateway
    for dynamodb in (ready.aws.client("dynamodb"), ready.clients.dynamodb):
        dynamodb.can_paginate("query")  # reads a file
    _ = httpcore  # httpx would import it at its first use, in each process
    # Each query of a sweep is a point: eighty equal queries would find nothing more than two.
    patch.dict(dynamodb_ledger.SHARDS, dict.fromkeys(dynamodb_ledger.SHARDS, 2)).start()
    gc.freeze()
    # An iterator over stdin would read ahead, and a process would inherit part of the next job.
    while line := sys.stdin.buffer.readline():
        report = _run(json.loads(line), ready)
        sys.stdout.write(json.dumps(report) + "\n")
        sys.stdout.flush()


def _run(job: Json, ready: Ready) -> Json:
    """Fork a process, and collect its reports until it has ended."""
    reading, writing = os.pipe()
    waiting, resuming = os.pipe()
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            os.close(reading)
            os.close(resuming)
            signal.alarm(LONGEST_SECONDS)
            _start(job, ready, Pipes(writing, waiting))
            code = 0
        finally:
            os._exit(code)
    os.close(writing)
    os.close(waiting)
    events: list[Any] = []
    with os.fdopen(reading) as pipe:
        for line in pipe:
            kind, value = json.loads(line)
            if kind == "paused":
                other = job["meanwhile"] | {"in_flight_elsewhere": in_flight(events)}
                report = _run(other | {"passed": value}, ready)
                events.append(["meanwhile", report])
                passed = [after for kind, after in report["events"] if kind == "passed"]
                seconds = max(0.0, max(passed, default=value) - value)
                os.write(resuming, json.dumps(seconds).encode())
            else:
                events.append([kind, value])
    os.close(resuming)
    _, status = os.waitpid(pid, 0)
    return {"exit": os.waitstatus_to_exitcode(status), "events": events}


def in_flight(events: list[Any]) -> list[str]:
    """Return the receipt handles of the messages that a process received and did not delete."""
    handles: list[str] = []
    for kind, value in events:
        if kind == "in_flight":
            handles += value
        elif kind == "deleted":
            handles.remove(value)
    return handles


class Pipes(NamedTuple):
    """A process's ends of the pipes to its parent."""

    reporting: int
    waiting: int


def _start(job: Json, ready: Ready, pipes: Pipes) -> None:
    log = os.open(job["log"], os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    os.dup2(log, 1)
    os.dup2(log, 2)
    lock = threading.Lock()

    def report(kind: str, value: object) -> None:
        # A single write puts the whole line into the pipe, even if the process dies right after.
        with lock:
            os.write(pipes.reporting, (json.dumps([kind, value]) + "\n").encode())

    def run_another_process() -> float:
        report("paused", clock.passed)
        return float(os.read(pipes.waiting, 100))

    def renew_token() -> None:
        if job["renewed"] is None:
            return
        value = json.dumps(job["renewed"])
        ready.clients.secretsmanager.put_secret_value(
            SecretId=job["environment"]["TOKEN_SECRET_ARN"], SecretString=value
        )

    os.environ.update(job["environment"])
    clock = Clock(job["passed"], job.get("skew", 0.0), report)
    clock.install()
    points = Checkpoints(
        [Injection.from_json(entry) for entry in job.get("injections", [])],
        armed=job["armed"],
        clock=clock,
        report=report,
        run_another_process=run_another_process,
    )
    injection = AwsInjection(points, clock)
    injection.renewal_requests += job["renewal_requests"]
    injection.watch(ready.aws.emitters)
    UpstreamInjection(points, clock, renew_token).watch()
    for events in ready.aws.emitters:
        events.register("before-parameter-build.sqs.SendMessageBatch", _without_delay)
    for wiring in WIRINGS:
        patch.object(wiring, "BotoClients", lambda: ready.aws).start()
    # Loading the certificates takes longer than the rest of a run, and no run uses TLS.
    patch.object(
        ssl, "create_default_context", lambda **_: ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    ).start()
    if job.get("mutation"):
        mutations.apply(job["mutation"])
    try:
        process = Process(
            ready.functions,
            ready.clients,
            ready.aws.client,
            job,
            points,
            clock,
            injection.renewal_requests,
        )
        process.run(job["script"])
    except BaseException:
        report("error", traceback.format_exc()[-3_000:])
        raise


def _without_delay(params: Any, **_: object) -> None:
    """Let SQS deliver a delayed message at once, because SQS can't see the harness's clock.

    SQS may deliver too early anyway: the send contains the time when it is due.
    """
    for entry in params["Entries"]:
        entry["DelaySeconds"] = 0


if __name__ == "__main__":
    main()
