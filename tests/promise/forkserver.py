"""`python -m tests.promise.forkserver`: forks one child for each job that comes by standard input.

Everything is imported once, so that a run costs a fork instead of a start. It has no threads and
no connections: what a fork copies is then whole. A job is a line of JSON, so is its answer.
"""

import gc
import json
import os
import signal
import ssl
import sys
import traceback
from typing import Any, NamedTuple
from unittest.mock import patch

import botocore.endpoint
import httpcore
from botocore.config import Config

from smsrelay.adapters import dynamodb_ledger, mobileconnect
from smsrelay.adapters.boto_clients import BotoClients
from smsrelay.wiring import aws_timeouts, sending
from tests.promise import mutations
from tests.promise.checkpoints import Checkpoints
from tests.promise.child import Child, Functions, Json
from tests.promise.clock import ShiftedTime
from tests.promise.faults import Strike
from tests.promise.injection import AwsInjection, UpstreamInjection
from tools.local_stack.aws import Clients

SERVICES = ("dynamodb", "sqs", "secretsmanager", "ssm", "lambda")
LONGEST_SECONDS = 60
"""After which a child is ended: it hangs."""


class ReadyAws:
    """The relay's own AWS clients, made before the fork: making them takes longer than a run."""

    def __init__(self) -> None:
        make: Any = BotoClients().client  # its types want the service's name as a literal
        self._clients = {service: make(service, config=_config(service)) for service in SERVICES}

    def client(self, service: str, *, config: Config) -> Any:
        assert config is _config(service)  # what they were made with
        return self._clients[service]

    @property
    def events(self) -> list[Any]:
        """Of each client."""
        return [client.meta.events for client in self._clients.values()]


def _config(service: str) -> Config:
    """As the relay makes them."""
    return aws_timeouts.INVOKE_CONFIG if service == "lambda" else aws_timeouts.AWS_CONFIG


def main() -> None:
    endpoint_url = os.environ["AWS_ENDPOINT_URL"]
    functions, clients, aws = Functions(), Clients(endpoint_url), ReadyAws()
    _ = clients.dynamodb, clients.sqs, clients.secretsmanager
    _ = httpcore  # httpx imports it at the first use: in each child anew
    # Each query of a sweep is a step to be struck: eighty of them alike would find nothing more.
    patch.dict(dynamodb_ledger.SHARDS, dict.fromkeys(dynamodb_ledger.SHARDS, 4)).start()
    gc.freeze()
    # Not an iterator over it, which reads ahead: a child would inherit half of the next job.
    while line := sys.stdin.buffer.readline():
        answer = _run(json.loads(line), functions, clients, aws)
        sys.stdout.write(json.dumps(answer) + "\n")
        sys.stdout.flush()


def _run(job: Json, functions: Functions, clients: Clients, aws: ReadyAws) -> Json:
    """Fork, and collect what the child tells until it is dead."""
    reading, writing = os.pipe()
    waiting, resuming = os.pipe()
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            os.close(reading)
            os.close(resuming)
            signal.alarm(LONGEST_SECONDS)
            _play(job, functions, clients, aws, Pipes(writing, waiting))
            code = 0
        finally:
            os._exit(code)
    os.close(writing)
    os.close(waiting)
    told: list[Any] = []
    with os.fdopen(reading) as pipe:
        for line in pipe:
            kind, value = json.loads(line)
            if kind == "paused":
                other = job["meanwhile"] | {"in_flight_elsewhere": _in_flight(told)}
                told.append(["meanwhile", _run(other, functions, clients, aws)])
                os.write(resuming, b"!")
            else:
                told.append([kind, value])
    os.close(resuming)
    _, status = os.waitpid(pid, 0)
    return {"exit": os.waitstatus_to_exitcode(status), "told": told}


def _in_flight(told: list[Any]) -> list[str]:
    """The receipt handles of what a process that told this is working on."""
    handles: dict[str, str | None] = {}
    for kind, value in told:
        if kind == "in_flight":
            handles |= value
    return [handle for handle in handles.values() if handle]


class Pipes(NamedTuple):
    """A child's ends of the pipes to its parent."""

    telling: int
    waiting: int


def _play(job: Json, functions: Functions, clients: Clients, aws: ReadyAws, pipes: Pipes) -> None:
    log = os.open(job["log"], os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    os.dup2(log, 1)
    os.dup2(log, 2)

    def tell(kind: str, value: object) -> None:
        # One small write: it is in the pipe, whole, even if the process dies right after it.
        os.write(pipes.telling, (json.dumps([kind, value]) + "\n").encode())

    def let_others_run() -> None:
        tell("paused", None)
        os.read(pipes.waiting, 1)

    def renew_token() -> None:
        if job["renewed"] is None:
            return
        value = json.dumps(job["renewed"])
        clients.secretsmanager.put_secret_value(
            SecretId=job["environment"]["TOKEN_SECRET_ARN"], SecretString=value
        )

    os.environ.update(job["environment"])
    clock = ShiftedTime(job.get("offset", 0.0))
    points = Checkpoints(
        [Strike.of_json(strike) for strike in job.get("strikes", [])],
        armed=job["armed"],
        clock=clock,
        tell=tell,
        let_others_run=let_others_run,
    )
    AwsInjection(points, clock).watch(aws.events)
    UpstreamInjection(points, clock, renew_token).watch()
    for events in aws.events:
        events.register("before-parameter-build.sqs.SendMessageBatch", _without_delay)
    patch.object(sending, "BotoClients", lambda: aws).start()
    for module in (sending, mobileconnect, botocore.endpoint):
        patch.object(module, "time", clock).start()
    # Reading all certificates takes longer than the rest of a run, and none is used here.
    patch.object(
        ssl, "create_default_context", lambda **_: ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    ).start()
    if job.get("mutation"):
        mutations.apply(job["mutation"])
    try:
        Child(functions, clients, job, points, clock, tell).play(job["script"])
    except BaseException:
        tell("error", traceback.format_exc()[-3_000:])
        raise


def _without_delay(params: Any, **_: object) -> None:
    """A delayed message comes at once: time passes by `ShiftedTime` here, which SQS can't see.

    Coming too early is allowed to it, too: the send says when it is due.
    """
    for entry in params["Entries"]:
        entry["DelaySeconds"] = 0


if __name__ == "__main__":
    main()
