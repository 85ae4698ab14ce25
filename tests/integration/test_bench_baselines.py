"""What smsrelay is measured against does the same work as it does."""

import contextlib
import json
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any, cast

import pytest
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

from tests.support.template import ROOT
from tools.bench.aws_stub import UPSTREAM, Stub, running

Json = dict[str, Any]

RIVALS = ROOT / "tools/bench/baselines"
VALIDATING = ("naive", "bound")
LAYERS = {
    "smsrelay": ROOT / "layers/smsrelay",
    "naive": RIVALS / "naive/layer",
    "bound": RIVALS / "bound/layer",
    "floor": RIVALS / "floor",
}
NUMBERS = [f"+1 212 555 {n:04d}" for n in range(251)]
SUBSCRIBERS: list[Json] = [
    {"mobile": "+1-212-555-0103", "key": "Key1", "attributes": {"FirstName": "Zoë", "Vip": True}},
    {"mobile": "12125550104", "key": "Key2", "attributes": {"Points": 1250}},
    {"mobile": "12125550105", "key": "Key3"},
]
MESSAGE: Json = {"message": "MzA6Nzg6MA", "to": NUMBERS[:1], "text": "Hello"}
PLAIN: dict[str, Json] = {
    "a number": MESSAGE,
    "no text": {"message": "MzA6Nzg6MA", "to": ["12125550100"]},
    "250 numbers": MESSAGE | {"to": NUMBERS[:250]},
    "251 numbers": MESSAGE | {"to": NUMBERS},
    "subscribers": MESSAGE | {"to": SUBSCRIBERS},
    "both": MESSAGE | {"to": [*NUMBERS[:2], *SUBSCRIBERS]},
    "a subscription": MESSAGE | {"subscribe": True, "resubscribe": False, "keyword": "JOINSMS"},
}
SCHEDULED = "2027-01-15T16:01:00-05:00"
QUIET: Json = {"start": "21:00", "end": "08:00"}
ALL: dict[str, Json] = PLAIN | {
    "the same number twice": MESSAGE | {"to": ["12125550100", "+1 (212) 555-0100"]},
    "a picture": MESSAGE | {"mediaUrl": "https://images.example.com/welcome.jpg"},
    "scheduled": MESSAGE
    | {"sendAt": SCHEDULED, "quietHours": QUIET | {"timezone": "America/Chicago"}},
    "quiet hours": MESSAGE | {"quietHours": QUIET | {"utcOffset": "+05:30"}, "reference": "r"},
}
REFUSED: dict[str, Json] = {
    "no recipient": MESSAGE | {"to": []},
    "too short a number": MESSAGE | {"to": ["123"]},
    "letters in a number": MESSAGE | {"to": ["212-555-CALL"]},
    "no key": MESSAGE | {"to": [{"mobile": "12125550100"}]},
    "two keys for a number": MESSAGE | {"to": [SUBSCRIBERS[0], SUBSCRIBERS[0] | {"key": "Key9"}]},
    "unknown field": MESSAGE | {"txt": "a typing error"},
    "unknown field of a subscriber": MESSAGE | {"to": [SUBSCRIBERS[0] | {"name": "Zoë"}]},
    "blank text": MESSAGE | {"text": "  "},
    "no keyword": MESSAGE | {"subscribe": True},
    "a keyword for nothing": MESSAGE | {"keyword": "JOINSMS"},
    "no offset": MESSAGE | {"sendAt": "2027-01-15T16:01:00"},
    "no zone": MESSAGE | {"quietHours": QUIET},
    "unknown zone": MESSAGE | {"quietHours": QUIET | {"timezone": "America/Nowhere"}},
    "no time of day": MESSAGE
    | {"quietHours": {"start": "9 pm", "end": "8", "utcOffset": "+01:00"}},
    "no web address": MESSAGE | {"mediaUrl": "ftp://images.example.com/x.jpg"},
    "no message id": MESSAGE | {"message": "../admin"},
    "unknown policy": MESSAGE | {"onUnknown": "guess"},
    "a flag as text": MESSAGE | {"subscribe": "true", "keyword": "JOINSMS"},
}


class Function:
    """One function of one contestant, in its process."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        self._events = cast("IO[bytes]", process.stdin)
        self._answers = cast("IO[bytes]", process.stdout)

    def handle(self, event: Json) -> Json:
        self._events.write(json.dumps(event).encode() + b"\n")
        self._events.flush()
        answer: Json = json.loads(self._answers.readline())
        return answer

    def post(self, body: object) -> tuple[int, Json]:
        event = json.loads((ROOT / "events/api-post-message.json").read_text())
        event["body"] = body if isinstance(body, str) else json.dumps(body)
        answer = self.handle(event)
        return answer["statusCode"], json.loads(answer["body"])


class Contestants:
    """The functions that were asked for so far; each talks to the same stub."""

    def __init__(self, stub: Stub, traces: str, stack: contextlib.ExitStack) -> None:
        self.stub = stub
        self._traces = traces
        self._stack = stack
        self._functions: dict[tuple[str, str], Function] = {}

    def function(self, name: str, kind: str) -> Function:
        if (name, kind) not in self._functions:
            self._functions[name, kind] = Function(self._start(name, kind))
        return self._functions[name, kind]

    def _start(self, name: str, kind: str) -> subprocess.Popen[bytes]:
        ours = {"api": "functions/api", "worker": "functions/queue_worker"}
        folder = ROOT / ours[kind] if name == "smsrelay" else RIVALS / name / kind
        return self._stack.enter_context(
            subprocess.Popen(  # noqa: S603 - a module of these tests
                [sys.executable, "-m", "tests.support.rival_process", folder / "app.py"],
                cwd=ROOT,
                env=self._environment(LAYERS[name]),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
            )
        )

    def _environment(self, layer: Path) -> dict[str, str]:
        url = self.stub.url
        path = [str(layer), *filter(None, [os.environ.get("PYTHONPATH")])]
        of_lambda = {
            "AWS_REGION": "eu-central-1",
            "AWS_DEFAULT_REGION": "eu-central-1",
            "AWS_ACCESS_KEY_ID": "testing",
            "AWS_SECRET_ACCESS_KEY": "testing",
            "AWS_SESSION_TOKEN": "testing",
            "AWS_LAMBDA_FUNCTION_NAME": "function",
            "LAMBDA_TASK_ROOT": str(ROOT),
            "AWS_XRAY_DAEMON_ADDRESS": self._traces,
            "_X_AMZN_TRACE_ID": "Root=1-5759e988-bd862e3fe1be46a994272793;Sampled=1",
            "POWERTOOLS_SERVICE_NAME": "service",
            "POWERTOOLS_METRICS_NAMESPACE": "namespace",
        }
        of_smsrelay = {
            "REST_BASE_URL": "",
            "DEFAULT_CLIENT": "internal",
            "RETENTION_DAYS": "90",
            "MAX_ATTEMPTS": "12",
            "MAX_AGE_HOURS": "24",
            "UPSTREAM_TIMEOUT_SECONDS": "20",
            "CONCURRENT_SENDS": "10",
            "DELIVERY_CALLS_PER_MINUTE": "0",
            "RECIPIENT_RESULTS": "off",
            "UPSTREAM_HOSTS": "http://127.0.0.1",
        }
        return {
            "PATH": os.environ["PATH"],
            "PYTHONPATH": os.pathsep.join(path),
            "AWS_ENDPOINT_URL": url,
            "TABLE_NAME": "ledger",
            "QUEUE_URL": f"{url}/123456789012/queue",
            "DEAD_LETTER_QUEUE_URL": f"{url}/123456789012/dead-letters",
            "TOKEN_SECRET_ARN": "arn:aws:secretsmanager:eu-central-1:123456789012:secret:token",
            **of_lambda,
            **of_smsrelay,
        }


@pytest.fixture(scope="module")
def started() -> Iterator[Contestants]:
    with contextlib.ExitStack() as stack:
        stub = stack.enter_context(running())
        daemon = stack.enter_context(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
        daemon.bind(("127.0.0.1", 0))
        traces = "127.0.0.1:{1}".format(*daemon.getsockname())
        yield Contestants(stub, traces, stack)


@pytest.fixture
def contestants(started: Contestants) -> Contestants:
    started.stub.control(delay_ms=0, status=202, reset=True)
    return started


def shape(body: Json) -> Json:
    """A body without what differs from one request to the next."""
    sends = [{**send, "tokenId": type(send["tokenId"])} for send in body["sends"]]
    return {**body, "id": type(body["id"]), "sends": sends}


def sent(stub: Stub) -> list[tuple[str, Json]]:
    """What arrived at the upstream since it was asked last, in an order of its own."""
    calls = [(request["path"], request["body"]) for request in stub.requests(UPSTREAM)]
    stub.control(reset=True)
    return sorted(calls, key=str)


def assert_alike(contestants: Contestants, rival: str, message: Json) -> None:
    status, body = contestants.function("smsrelay", "api").post(message)
    assert status == 202, body
    calls = sent(contestants.stub)
    other_status, other_body = contestants.function(rival, "api").post(message)
    assert other_status == status, other_body
    assert shape(other_body) == shape(body)
    written = str(contestants.stub.requests("dynamodb.PutItem"))
    assert all(send["tokenId"] in written for send in other_body["sends"])
    assert sent(contestants.stub) == calls
    assert len(calls) == len(body["sends"])


@pytest.mark.parametrize("case", ALL)
@pytest.mark.parametrize("rival", VALIDATING)
def test_a_rival_does_what_smsrelay_does(contestants: Contestants, rival: str, case: str) -> None:
    assert_alike(contestants, rival, ALL[case])


@pytest.mark.parametrize("case", PLAIN)
def test_the_floor_does_the_plain_part_of_it(contestants: Contestants, case: str) -> None:
    assert_alike(contestants, "floor", PLAIN[case])


@pytest.mark.parametrize("case", REFUSED)
@pytest.mark.parametrize("name", ["smsrelay", *VALIDATING])
def test_what_smsrelay_refuses_a_rival_refuses(
    contestants: Contestants, name: str, case: str
) -> None:
    assert contestants.function(name, "api").post(REFUSED[case])[0] == 422
    assert sent(contestants.stub) == []


@pytest.mark.parametrize("name", ["smsrelay", *VALIDATING])
def test_what_is_no_json_is_refused(contestants: Contestants, name: str) -> None:
    assert contestants.function(name, "api").post("this is not JSON")[0] in {400, 422}
    assert sent(contestants.stub) == []


@pytest.mark.parametrize("rival", ["bound", "floor"])
def test_a_warm_request_costs_the_bounds_the_calls_that_it_costs_smsrelay(
    contestants: Contestants, rival: str
) -> None:
    counted = []
    for name in ("smsrelay", rival):
        function = contestants.function(name, "api")
        function.post(MESSAGE)
        contestants.stub.control(reset=True)
        function.post(MESSAGE)
        counted.append({name: n for name, n in contestants.stub.calls().items() if n})
    assert counted == [{"dynamodb.PutItem": 2, UPSTREAM: 1}] * 2


@pytest.mark.parametrize("rival", ["bound", "floor"])
def test_what_a_bound_signs_itself_aws_would_believe(contestants: Contestants, rival: str) -> None:
    contestants.function(rival, "api").post(MESSAGE)
    requests = contestants.stub.requests("dynamodb.PutItem")
    assert len(requests) == 2
    for request in requests:
        given = request["headers"]["authorization"]
        assert given.startswith("AWS4-HMAC-SHA256 Credential=testing/")
        assert given.endswith(f" Signature={signature(contestants.stub.url, request)}")
        assert request["headers"]["x-amz-security-token"] == "testing"


def signature(url: str, request: Json) -> str:
    """What botocore makes of the headers that a request says are signed."""
    headers = request["headers"]
    signed = headers["authorization"].partition("SignedHeaders=")[2].partition(",")[0].split(";")
    again = AWSRequest("POST", f"{url}/", {name: headers[name] for name in signed}, request["raw"])
    again.context["timestamp"] = headers["x-amz-date"]
    auth = SigV4Auth(Credentials("testing", "testing"), "dynamodb", "eu-central-1")
    made: str = auth.signature(auth.string_to_sign(again, auth.canonical_request(again)), again)
    return made


@pytest.mark.parametrize("rival", VALIDATING)
def test_the_worker_of_a_rival_does_what_smsrelays_does(
    contestants: Contestants, rival: str
) -> None:
    batch = json.loads((ROOT / "events/sqs-batch.json").read_text())
    told, calls, letters = [], [], []
    for name in ("smsrelay", rival):
        told.append(contestants.function(name, "worker").handle(batch))
        letters.append(contestants.stub.calls()["sqs.SendMessage"])
        calls.append(sent(contestants.stub))
    assert told == [{"batchItemFailures": []}] * 2
    assert letters == [1, 1]
    assert calls[0] == calls[1]
    assert len(calls[0]) == 2


@pytest.mark.parametrize("rival", VALIDATING)
def test_a_rival_loses_nothing_that_the_upstream_did_not_take(
    contestants: Contestants, rival: str
) -> None:
    contestants.stub.control(status=503)
    batch = json.loads((ROOT / "events/sqs-batch.json").read_text())
    first, second, _no_json = batch["Records"]
    assert contestants.function(rival, "worker").handle(batch) == {
        "batchItemFailures": [{"itemIdentifier": record["messageId"]} for record in (first, second)]
    }
    assert contestants.function(rival, "api").post(MESSAGE)[0] == 503


@pytest.mark.parametrize("rival", VALIDATING)
def test_a_rival_has_the_versions_that_smsrelay_is_locked_to(rival: str) -> None:
    locked = (ROOT / "tools/requirements/dev.txt").read_text().splitlines()
    for requirement in (LAYERS[rival] / "requirements.txt").read_text().splitlines():
        assert f"{requirement.replace('[tracer]', '')} \\" in locked
