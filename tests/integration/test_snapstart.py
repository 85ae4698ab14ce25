"""SnapStart: what a snapshot holds of its function, and what copies of it do."""

import json
import os
import re
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import pytest
from botocore import xform_name

from local.simulator import Simulator
from smsrelay import start
from tests.support.environment import Environment, client_of
from tests.support.hostile import HostileServer, Request
from tests.support.template import ROOT

FUNCTIONS = ("api", "webhook", "worker")
A_DAY = 86_400.0


class Endpoint:
    """Where the function finds AWS: Lambda's own credentials, and the services of the test."""

    def __init__(self) -> None:
        self.key_id = "KEYOFTHESNAPSHOT"

    def reply(self, request: Request) -> bytes:
        answer = self._credentials() if request.target == "/credentials" else _call(request)
        body = json.dumps(answer, default=datetime.timestamp).encode()
        head = f"x-amzn-RequestId: {uuid.uuid4()}\r\nContent-Length: {len(body)}"
        return b"HTTP/1.1 200 OK\r\n%s\r\n\r\n%s" % (head.encode(), body)

    def _credentials(self) -> dict[str, Any]:
        soon = datetime.fromtimestamp(time.time() + 60, UTC).isoformat()
        keys = {"AccessKeyId": self.key_id, "SecretAccessKey": "secret", "Token": "session"}
        return keys | {"Expiration": soon}


def _call(request: Request) -> dict[str, Any]:
    """What the service says; in JSON a request is its arguments."""
    service, _, operation = request.headers["x-amz-target"].partition(".")
    client = client_of({"DynamoDB_20120810": "dynamodb", "AmazonSQS": "sqs"}.get(service, service))
    answer: dict[str, Any] = getattr(client, xform_name(operation))(**json.loads(request.body))
    del answer["ResponseMetadata"]
    return answer


class Snapshots:
    """A function in a process of its own, from its init phase to copies of its snapshot."""

    def __init__(self, function: str, aws_url: str) -> None:
        lambdas_own = {
            "PYTHONPATH": os.pathsep.join(sys.path),
            start.INITIALIZATION: start.SNAP_START,
            "AWS_CONTAINER_CREDENTIALS_FULL_URI": f"{aws_url}/credentials",
            "AWS_CONTAINER_AUTHORIZATION_TOKEN": "of-lambda",
            "AWS_ENDPOINT_URL": aws_url,
        }
        keys = {"AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"}
        ours = {name: value for name, value in os.environ.items() if name not in keys}
        self._process = subprocess.Popen(  # noqa: S603 - this very Python
            [sys.executable, "-m", "tests.support.snapshot_process", function],
            env=ours | lambdas_own,
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def take(self, *primed: dict[str, Any]) -> tuple[int, int]:
        """Take the snapshot; the sockets that are open before its hooks, and in it."""
        self._order(0.0, *primed)
        before, held = self._answer()
        return before, held

    def restore(self, *events: dict[str, Any] | None, jump: float = 0.0) -> list[tuple[float, Any]]:
        """A copy for each event, or for none: its first random number, and its answer."""
        self._order(jump, *events)
        return [tuple(self._answer()) for _event in events]

    def end(self) -> None:
        self._process.communicate()
        assert self._process.returncode == 0

    def _order(self, jump: float, *events: dict[str, Any] | None) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps({"jump": jump, "events": events}) + "\n")
        self._process.stdin.flush()

    def _answer(self) -> list[Any]:
        assert self._process.stdout is not None
        answer: list[Any] = json.loads(self._process.stdout.readline())
        return answer


@pytest.fixture
def endpoint() -> Endpoint:
    return Endpoint()


@pytest.fixture
def server(endpoint: Endpoint) -> Iterator[HostileServer]:
    with HostileServer(stays=True) as server:
        server.replies(endpoint.reply)
        yield server


@pytest.fixture
def snapshots(
    request: pytest.FixtureRequest, relay: Environment, server: HostileServer
) -> Iterator[Snapshots]:
    _ = relay  # its table, queues and secrets
    function = Snapshots(request.param, server.url)
    try:
        yield function
    finally:
        function.end()


def event_of(function: str) -> dict[str, Any]:
    """One message, without an idempotency key."""
    if function == "api":
        post: dict[str, Any] = json.loads((ROOT / "events/api-post-message.json").read_text())
        return post | {"headers": {"Content-Type": "application/json"}}
    batch: dict[str, Any] = json.loads((ROOT / "events/sqs-batch.json").read_text())
    record = batch["Records"][0] | {"messageId": str(uuid.uuid4()), "messageAttributes": {}}
    return {"Records": [record]}


def _token(simulator: Simulator) -> str:
    """A new token, good for an hour."""
    ends = int(time.time()) + 3_600
    return json.dumps(
        {
            "access_token": simulator.issue_token(),
            "expires_at": ends,
            "rest_instance_url": simulator.url,
        }
    )


def signers(server: HostileServer) -> set[str]:
    """Whose keys the services have been asked with."""
    signatures = (request.headers.get("authorization", "") for request in server.requests)
    return set(re.findall(r"Credential=(\w+)/", "".join(signatures)))


@pytest.mark.parametrize("snapshots", FUNCTIONS, indirect=True)
def test_a_snapshot_holds_no_connection(snapshots: Snapshots) -> None:
    # botocore has asked for credentials, and keeps that connection.
    assert snapshots.take() == (1, 0)


@pytest.mark.parametrize(
    ("snapshots", "function"), [("api", "api"), ("worker", "worker")], indirect=["snapshots"]
)
def test_not_even_if_messages_were_sent_before(
    snapshots: Snapshots, function: str, simulator: Simulator
) -> None:
    before, held = snapshots.take(event_of(function))
    assert before > 2  # the upstream, and services of AWS
    assert held == 0
    snapshots.restore(event_of(function))
    assert [call["status"] for call in simulator.calls()] == [202, 202]


@pytest.mark.parametrize("snapshots", ["api"], indirect=True)
def test_copies_of_a_snapshot_send_for_themselves(
    snapshots: Snapshots, simulator: Simulator
) -> None:
    snapshots.take()
    copies = snapshots.restore(event_of("api"), event_of("api"))
    assert [answer["statusCode"] for _, answer in copies] == [202, 202]
    ids = {json.loads(answer["body"])["id"] for _, answer in copies}
    assert len(ids) == len(simulator.sent()) == 2


@pytest.mark.parametrize("snapshots", FUNCTIONS, indirect=True)
def test_no_two_copies_wait_equally_long(snapshots: Snapshots) -> None:
    snapshots.take()
    first, second = (number for number, _ in snapshots.restore(None, None))
    assert first != second


@pytest.mark.parametrize("snapshots", ["api"], indirect=True)
def test_a_token_that_has_ended_since_is_read_anew(
    snapshots: Snapshots, simulator: Simulator, relay: Environment
) -> None:
    relay.put_secret(_token(simulator))
    snapshots.take(event_of("api"))
    simulator.expire_tokens()
    relay.put_secret(_token(simulator))
    snapshots.restore(event_of("api"), event_of("api"), jump=A_DAY)
    # Without a refusal that would have told it.
    assert [call["status"] for call in simulator.calls()] == [202, 202, 202]


@pytest.mark.parametrize("snapshots", ["worker"], indirect=True)
def test_credentials_of_the_snapshot_are_not_used_when_they_have_ended(
    snapshots: Snapshots, server: HostileServer, endpoint: Endpoint
) -> None:
    snapshots.take()
    endpoint.key_id = "KEYOFTHECOPIES"
    snapshots.restore(event_of("worker"), event_of("worker"))
    assert signers(server) == {"KEYOFTHECOPIES"}
