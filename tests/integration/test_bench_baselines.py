"""Checks that the benchmark's baselines do the same work as smsrelay."""

import contextlib
import json
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from typing import IO, Any, cast

import pytest
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

from tests.support.template import ROOT
from tools.bench.aws_stub import UPSTREAM, Stub, running
from tools.bench.runner import AREAS, environment, sample_event

Json = dict[str, Any]

FOLDER = ROOT / "tools/bench/baselines"
BASELINES = ("typical", "lean")
LAYERS = {
    "smsrelay": ROOT / "layers/smsrelay",
    "typical": FOLDER / "typical/layer",
    "lean": FOLDER / "lean/layer",
}
SCHEDULED = "2099-01-15T16:01:00-05:00"
QUIET: Json = {"start": "21:00", "end": "08:00"}
NUMBERS = [f"+1 {AREAS[n // 100]} 555 01{n % 100:02d}" for n in range(251)]
SUBSCRIBERS: list[Json] = [
    {"mobile": "+1-212-555-0103", "key": "Key1", "attributes": {"FirstName": "Zoë", "Vip": True}},
    {"mobile": "+12125550104", "key": "Key2", "attributes": {"Points": 1250}},
    {"mobile": "+12125550105", "key": "Key3"},
]
MESSAGE: Json = {"message": "MzA6Nzg6MA", "to": NUMBERS[:1], "text": "Hello"}
ACCEPTED: dict[str, Json] = {
    "a number": MESSAGE,
    "no text": {"message": "MzA6Nzg6MA", "to": ["+12125550100"]},
    "250 numbers": MESSAGE | {"to": NUMBERS[:250]},
    "251 numbers": MESSAGE | {"to": NUMBERS},
    "subscribers": MESSAGE | {"to": SUBSCRIBERS},
    "both": MESSAGE | {"to": [*NUMBERS[:2], *SUBSCRIBERS]},
    "a subscription": MESSAGE | {"subscribe": True, "resubscribe": False, "keyword": "JOINSMS"},
    "the same number twice": MESSAGE | {"to": ["+12125550100", "+1 (212) 555-0100"]},
    "a picture": MESSAGE | {"mediaUrl": "https://images.example.com/welcome.jpg"},
    "scheduled": MESSAGE
    | {"sendAt": SCHEDULED, "quietHours": QUIET | {"timezone": "America/Chicago"}},
    "quiet hours": MESSAGE | {"quietHours": QUIET | {"utcOffset": "+05:30"}, "reference": "r"},
}
REFUSED: dict[str, Json] = {
    "no recipient": MESSAGE | {"to": []},
    "too short a number": MESSAGE | {"to": ["+123"]},
    "letters in a number": MESSAGE | {"to": ["+1-212-555-CALL"]},
    "a number without plus": MESSAGE | {"to": ["12125550100"]},
    "a national number": MESSAGE | {"to": ["(310) 555-0100"]},
    "a national number of a subscriber": MESSAGE
    | {"to": [SUBSCRIBERS[0] | {"mobile": "(310) 555-0100"}]},
    "no key": MESSAGE | {"to": [{"mobile": "+12125550100"}]},
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
    """A function of a program, in its own process."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        self._events = cast("IO[bytes]", process.stdin)
        self._responses = cast("IO[bytes]", process.stdout)

    def handle(self, event: Json) -> Json:
        self._events.write(json.dumps(event).encode() + b"\n")
        self._events.flush()
        response: Json = json.loads(self._responses.readline())
        return response

    def post(self, body: object) -> tuple[int, Json]:
        event = sample_event("api-post-message.json")
        event["body"] = body if isinstance(body, str) else json.dumps(body)
        response = self.handle(event)
        return response["statusCode"], json.loads(response["body"])


class Programs:
    """Starts functions when they are first used; all of them call the same stub."""

    def __init__(self, stub: Stub, xray_daemon: str, stack: contextlib.ExitStack) -> None:
        self.stub = stub
        self._xray_daemon = xray_daemon
        self._stack = stack
        self._functions: dict[tuple[str, str], Function] = {}

    def function(self, name: str, kind: str) -> Function:
        if (name, kind) not in self._functions:
            self._functions[name, kind] = Function(self._start(name, kind))
        return self._functions[name, kind]

    def _start(self, name: str, kind: str) -> subprocess.Popen[bytes]:
        ours = {"api": "functions/api", "worker": "functions/queue_worker"}
        folder = ROOT / ours[kind] if name == "smsrelay" else FOLDER / name / kind
        path = [str(LAYERS[name]), *filter(None, [os.environ.get("PYTHONPATH")])]
        variables = {
            "PYTHONPATH": os.pathsep.join(path),
            "AWS_XRAY_DAEMON_ADDRESS": self._xray_daemon,
        }
        return self._stack.enter_context(
            subprocess.Popen(  # noqa: S603 - a module of these tests
                [sys.executable, "-m", "tests.support.baseline_process", folder / "app.py"],
                cwd=ROOT,
                env=environment(self.stub) | variables,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
            )
        )


@pytest.fixture(scope="module")
def started() -> Iterator[Programs]:
    with contextlib.ExitStack() as stack:
        stub = stack.enter_context(running())
        daemon = stack.enter_context(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
        daemon.bind(("127.0.0.1", 0))
        yield Programs(stub, "127.0.0.1:{1}".format(*daemon.getsockname()), stack)


@pytest.fixture
def programs(started: Programs) -> Programs:
    started.stub.control(delay_ms=0, status=202, reset=True)
    return started


def without_ids(body: Json) -> Json:
    """Replace the ids by their types: they differ between requests. Only smsrelay counts SMS."""
    sends = [
        {name: value for name, value in send.items() if name not in {"segments", "encoding"}}
        | {"tokenId": type(send["tokenId"])}
        for send in body["sends"]
    ]
    return {**body, "id": type(body["id"]), "sends": sends}


def upstream_calls(stub: Stub) -> list[tuple[str, Json]]:
    """Return the calls of the upstream since the last reset, sorted, and reset the stub."""
    calls = [(request["path"], request["body"]) for request in stub.requests(UPSTREAM)]
    stub.control(reset=True)
    return sorted(calls, key=str)


@pytest.mark.parametrize("case", ACCEPTED)
@pytest.mark.parametrize("baseline", BASELINES)
def test_a_baseline_answers_and_calls_the_upstream_as_smsrelay_does(
    programs: Programs, baseline: str, case: str
) -> None:
    message = ACCEPTED[case]
    status, body = programs.function("smsrelay", "api").post(message)
    assert status == 202, body
    calls = upstream_calls(programs.stub)
    assert len(calls) == len(body["sends"])
    other_status, other_body = programs.function(baseline, "api").post(message)
    assert other_status == status, other_body
    assert without_ids(other_body) == without_ids(body)
    written = str(programs.stub.requests("dynamodb.PutItem"))
    assert all(send["tokenId"] in written for send in other_body["sends"])
    assert upstream_calls(programs.stub) == calls


@pytest.mark.parametrize("case", REFUSED)
@pytest.mark.parametrize("name", ["smsrelay", *BASELINES])
def test_every_program_refuses_an_invalid_message(programs: Programs, name: str, case: str) -> None:
    assert programs.function(name, "api").post(REFUSED[case])[0] == 422
    assert upstream_calls(programs.stub) == []


@pytest.mark.parametrize("name", ["smsrelay", *BASELINES])
def test_every_program_refuses_what_is_not_json(programs: Programs, name: str) -> None:
    assert programs.function(name, "api").post("this is not JSON")[0] in {400, 422}
    assert upstream_calls(programs.stub) == []


def test_the_lean_baseline_calls_the_services_as_often_as_smsrelay(programs: Programs) -> None:
    for name in ("smsrelay", "lean"):
        function = programs.function(name, "api")
        function.post(MESSAGE)
        programs.stub.control(reset=True)
        function.post(MESSAGE)
        assert programs.stub.calls() == {"dynamodb.PutItem": 2, UPSTREAM: 1}


def test_the_signatures_of_the_lean_baseline_are_those_of_botocore(programs: Programs) -> None:
    programs.function("lean", "api").post(MESSAGE)
    requests = programs.stub.requests("dynamodb.PutItem")
    assert len(requests) == 2
    for request in requests:
        authorization = request["headers"]["authorization"]
        assert authorization.startswith("AWS4-HMAC-SHA256 Credential=testing/")
        assert authorization.endswith(f" Signature={signature(programs.stub.url, request)}")
        assert request["headers"]["x-amz-security-token"] == "testing"


def signature(url: str, request: Json) -> str:
    """Sign the signed headers of a request again, with botocore."""
    headers = request["headers"]
    signed = headers["authorization"].partition("SignedHeaders=")[2].partition(",")[0].split(";")
    again = AWSRequest("POST", f"{url}/", {name: headers[name] for name in signed}, request["raw"])
    again.context["timestamp"] = headers["x-amz-date"]
    auth = SigV4Auth(Credentials("testing", "testing"), "dynamodb", "eu-central-1")
    made: str = auth.signature(auth.string_to_sign(again, auth.canonical_request(again)), again)
    return made


def test_the_workers_handle_a_batch_alike(programs: Programs) -> None:
    batch = sample_event("sqs-batch.json")
    calls = []
    for name in ("smsrelay", *BASELINES):
        response = programs.function(name, "worker").handle(batch)
        assert response == {"batchItemFailures": []}
        assert programs.stub.calls()["sqs.SendMessage"] == 1, "the worker must write a dead letter"
        calls.append(upstream_calls(programs.stub))
    assert len(calls[0]) == 2
    assert calls[1:] == [calls[0]] * 2


@pytest.mark.parametrize("baseline", BASELINES)
def test_a_baseline_leaves_a_refused_send_in_the_queue(programs: Programs, baseline: str) -> None:
    programs.stub.control(status=503)
    batch = sample_event("sqs-batch.json")
    first, second, _not_json = batch["Records"]
    assert programs.function(baseline, "worker").handle(batch) == {
        "batchItemFailures": [{"itemIdentifier": record["messageId"]} for record in (first, second)]
    }
    assert programs.function(baseline, "api").post(MESSAGE)[0] == 503


@pytest.mark.parametrize("baseline", BASELINES)
def test_a_baseline_requires_the_locked_versions(baseline: str) -> None:
    locked = (ROOT / "tools/requirements/dev.txt").read_text().splitlines()
    for requirement in (LAYERS[baseline] / "requirements.txt").read_text().splitlines():
        assert f"{requirement.replace('[tracer]', '')} \\" in locked
