"""Tests the local stack: its additions to MiniStack, its independence, and its end."""

import io
import json
import os
import re
import signal
import socket
import stat
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from random import Random
from typing import Any
from urllib.parse import quote, urlsplit

import httpx
import pytest

from tests.support.gateway_events import RECORDED, SAMPLE
from tools.local_stack import ROOT, processes, servers
from tools.local_stack.deployment import STACK_NAME
from tools.local_stack.polling import wait_for
from tools.local_stack.simulator_client import SimulatorControl
from tools.local_stack.stack import LocalStack, Stack, StartError

MESSAGE = {"message": "MzA6Nzg6MA", "to": ["+12125550100"], "text": "Hello"}

PUBLISHED = {
    "api_url",
    "api_key",
    "webhook_secret",
    "queue_url",
    "dead_letter_queue_url",
    "table",
    "token_secret",
    "credentials_secret",
    "token_renewer",
    "simulator_url",
    "phone_url",
    "docs_url",
    "aws_endpoint_url",
    "region",
    "webhook_secret_prefix",
    "catalogue_parameter",
    "callback_secret_prefix",
    "default_client",
    "version",
}
FOR_COMMANDS = {"marker", "pids", "data", "token_seconds"}
EXPORTED = {
    "API_URL": "api_url",
    "API_KEY": "api_key",
    "QUEUE_URL": "queue_url",
    "WEBHOOK_SECRET": "webhook_secret",
    "AWS_REGION": "region",
    "AWS_DEFAULT_REGION": "region",
    "AWS_ENDPOINT_URL": "aws_endpoint_url",
}


def test_message_goes_through_the_api(api: httpx.Client, upstream: SimulatorControl) -> None:
    answer = api.post("/messages", json=MESSAGE)

    assert answer.status_code == 202, answer.text
    (sent,) = upstream.sent()
    assert sent["tokenId"] == answer.json()["sends"][0]["tokenId"]
    assert sent["body"]["mobileNumbers"] == ["12125550100"]


def test_message_goes_through_the_queue(stack: Stack, upstream: SimulatorControl) -> None:
    stack.clients.sqs.send_message(QueueUrl=stack.queue_url, MessageBody=json.dumps(MESSAGE))

    (sent,) = wait_for(upstream.sent, what="the message from the queue", seconds=90)

    assert sent["body"]["messageText"] == MESSAGE["text"]


def test_the_api_key_identifies_the_client(stack: Stack, api: httpx.Client) -> None:
    posted = api.post("/messages", json=MESSAGE).json()

    answer = stack.clients.dynamodb.query(
        TableName=stack.table,
        KeyConditionExpression="pk = :pk",
        ExpressionAttributeValues={":pk": {"S": f"MSG#{posted['id']}"}},
    )

    assert [item["client"]["S"] for item in answer["Items"]] == ["internal"]


def test_functions_emit_metrics_under_the_name_of_the_stack(stack: Stack) -> None:
    for name in stack.functions.values():
        found = stack.clients.lambda_.get_function_configuration(FunctionName=name)
        assert found["Environment"]["Variables"]["POWERTOOLS_SERVICE_NAME"] == STACK_NAME


def test_monitoring_is_deployed_with_the_names_of_the_stack(stack: Stack) -> None:
    cloudformation = stack.clients.cloudformation
    [parent] = cloudformation.describe_stacks(StackName=STACK_NAME)["Stacks"]
    resources = cloudformation.describe_stack_resources(StackName=STACK_NAME)["StackResources"]
    [nested_id] = [
        resource["PhysicalResourceId"]
        for resource in resources
        if resource["LogicalResourceId"] == "Monitoring"
    ]

    [nested] = cloudformation.describe_stacks(StackName=nested_id)["Stacks"]

    assert nested["StackStatus"] == "CREATE_COMPLETE"
    passed = {it["ParameterKey"]: it["ParameterValue"] for it in nested["Parameters"]}
    assert passed["StackName"] == STACK_NAME
    named = {name: value for name, value in passed.items() if name.endswith("Function")}
    assert {name: value for name, value in named.items() if value != "-"} == stack.functions
    [dashboard] = nested["Outputs"]
    outputs = {it["OutputKey"]: it["OutputValue"] for it in parent["Outputs"]}
    assert outputs["DashboardName"] == dashboard["OutputValue"]


@pytest.mark.parametrize("headers", [{}, {"x-api-key": "not-a-key"}])
def test_gateway_refuses_calls_without_a_key(stack: Stack, headers: dict[str, str]) -> None:
    answer = httpx.post(f"{stack.api_url}/messages", json=MESSAGE, headers=headers, trust_env=False)

    assert answer.status_code == 403
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json()["code"] == "api-key-required"


def test_gateway_tells_that_a_route_does_not_exist(api: httpx.Client) -> None:
    answer = api.get("/no-such-route")

    assert answer.status_code == 404
    assert answer.json()["code"] == "not-found"


def test_gateway_refuses_what_no_function_can_take(api: httpx.Client) -> None:
    answer = api.post(
        "/messages",
        content=b"{" + b" " * 6 * 1024 * 1024 + b"}",
        headers={"Content-Type": "application/json"},
    )

    assert answer.status_code == 413
    assert answer.json()["code"] == "too-large"


@pytest.mark.parametrize("content", [b"", b"[]", b'"text"', b"{"])
def test_gateway_refuses_bodies_that_are_no_json_object(api: httpx.Client, content: bytes) -> None:
    answer = api.post("/messages", content=content, headers={"Content-Type": "application/json"})

    assert (answer.status_code, answer.json()["code"]) == (400, "not-json")
    assert answer.json()["detail"] == "The body is not a JSON object. Nothing was sent."


def test_gateway_leaves_other_content_types_to_the_relay(api: httpx.Client) -> None:
    answer = api.post("/messages", content=b"[]", headers={"Content-Type": "text/plain"})

    assert (answer.status_code, answer.json()["code"]) == (415, "wrong-content-type")


DIES_AT_START = """
import os, pathlib, time
folder = pathlib.Path({folder!r})
if (folder / "die").exists():
    os._exit(1)

def handler(event, context):
    (folder / "begun").touch()
    while not (folder / "go").exists():
        time.sleep(0.01)
    return "alive"
"""


def test_a_start_that_dies_takes_no_other_process_along(stack: Stack, tmp_path: Path) -> None:
    package = io.BytesIO()
    with zipfile.ZipFile(package, "w") as code:
        code.writestr("app.py", DIES_AT_START.format(folder=str(tmp_path)))
    [role, *_] = stack.clients.iam.list_roles()["Roles"]
    stack.clients.lambda_.create_function(
        FunctionName="dies-at-start",
        Runtime="python3.13",
        Role=role["Arn"],
        Handler="app.handler",
        Code={"ZipFile": package.getvalue()},
        Timeout=30,
    )

    def invoke() -> dict[str, Any]:
        answer = stack.clients.lambda_.invoke(FunctionName="dies-at-start")
        return {"error": answer.get("FunctionError"), "said": json.loads(answer["Payload"].read())}

    with ThreadPoolExecutor() as pool:
        first = pool.submit(invoke)
        wait_for((tmp_path / "begun").exists, what="the first invocation", seconds=90)
        (tmp_path / "die").touch()
        assert invoke()["error"]
        (tmp_path / "go").touch()
        assert first.result() == {"error": None, "said": "alive"}


ECHO = """
import json

def handler(event, context):
    return {"statusCode": 200, "body": json.dumps(event)}
"""


def map_domain(stack: Stack, base_path: str, api_id: str, stage: str) -> str:
    """Map a path of MiniStack's address like a custom domain; return the base URL."""
    gateway, domain = stack.clients.apigateway, "127.0.0.1"
    gateway.create_domain_name(domainName=domain)
    gateway.create_base_path_mapping(
        domainName=domain, basePath=base_path, restApiId=api_id, stage=stage
    )
    return f"{stack.aws_endpoint_url}/{base_path}"


def test_the_gateway_sends_the_events_that_aws_sends(stack: Stack) -> None:
    gateway: Any = stack.clients.apigateway  # its types reject arguments from a mapping
    package = io.BytesIO()
    with zipfile.ZipFile(package, "w") as code:
        code.writestr("app.py", ECHO)
    [role, *_] = stack.clients.iam.list_roles()["Roles"]
    echo = stack.clients.lambda_.create_function(
        FunctionName="echo",
        Runtime="python3.13",
        Role=role["Arn"],
        Handler="app.handler",
        Code={"ZipFile": package.getvalue()},
    )["FunctionArn"]
    api_id = gateway.create_rest_api(name="echo")["id"]
    [root] = gateway.get_resources(restApiId=api_id)["items"]
    proxy = gateway.create_resource(restApiId=api_id, parentId=root["id"], pathPart="{proxy+}")
    method = {"restApiId": api_id, "resourceId": proxy["id"], "httpMethod": "ANY"}
    gateway.put_method(**method, authorizationType="NONE")
    uri = f"arn:aws:apigateway:{stack.region}:lambda:path/2015-03-31/functions/{echo}/invocations"
    gateway.put_integration(**method, type="AWS_PROXY", integrationHttpMethod="POST", uri=uri)
    gateway.create_deployment(restApiId=api_id, stageName="test")
    bases = {
        "/test": f"{stack.aws_endpoint_url}/_aws/execute-api/{api_id}/test",
        "/echo": map_domain(stack, "echo", api_id, "test"),
    }
    recorded = [
        it
        for it in json.loads(RECORDED.read_text())
        if it["base"] in bases and it["event"]["resource"] == "/{proxy+}"
    ]
    assert len(recorded) == 4

    for it in recorded:
        expected = it["event"]
        path = urlsplit(it["url"]).path.removeprefix(it["base"])
        url = httpx.URL(f"{bases[it['base']]}{path}")
        event = httpx.get(url, trust_env=False, timeout=60).json()
        context = expected.pop("requestContext")
        assert {name: event[name] for name in expected} == expected
        assert event["requestContext"]["path"] == url.raw_path.decode()
        assert event["requestContext"]["resourcePath"] == context["resourcePath"]
        sample = json.loads(SAMPLE.read_text())
        identity = sample["requestContext"]["identity"]
        assert set(event) == set(sample)
        assert set(event["requestContext"]) == set(sample["requestContext"])
        assert set(event["requestContext"]["identity"]) == set(identity) - {"apiKey", "apiKeyId"}


def test_location_and_link_lead_to_the_message(
    stack: Stack, api: httpx.Client, upstream: SimulatorControl
) -> None:
    *_, api_id, stage = stack.api_url.split("/")
    for base in (stack.api_url, map_domain(stack, "shop/sms", api_id, stage)):
        posted = api.post(f"{base}/messages", json=MESSAGE)
        assert posted.status_code == 202, posted.text
        message = api.get(posted.url.join(posted.headers["Location"]))
        assert (message.status_code, message.json()["id"]) == (200, posted.json()["id"])
        token_id = quote(posted.json()["sends"][0]["tokenId"], safe="")
        token = api.get(f"{base}/tokens/{token_id}")
        assert token.url.join(token.links["item"]["url"]) == message.url
        assert api.get(f"{base}/docs").status_code == 200
        unknown = api.get(f"{base}/tokens/a%2Fb")
        assert (unknown.status_code, unknown.json()["code"]) == (404, "not-found")
        assert unknown.json()["detail"].startswith("Nothing has this id"), "from the relay"
    assert len(upstream.sent()) == 2


TOPIC = "arn:aws:sns:us-east-1:123456789012:orders"
RULE = "arn:aws:events:us-east-1:123456789012:rule/reminders"


def test_stacks_run_in_parallel_and_end_independently(
    stack: Stack,
    api: httpx.Client,
    upstream: SimulatorControl,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The other stack has all security options, and must try a second port."""
    taken = int(stack.aws_endpoint_url.rpartition(":")[2])
    ports = iter([taken, servers.free_port()])
    monkeypatch.setattr(servers, "free_port", lambda: next(ports))
    options = {
        "CustomerManagedKey": "on",
        "AccessLog": "on",
        "AllowedSourceRanges": "127.0.0.0/8,192.0.2.0/24",
        "QueueSenderArns": f"{TOPIC},{RULE}",
    }
    with LocalStack(tmp_path, parameters=options) as other:
        assert next(ports, None) is None
        assert other.aws_endpoint_url != stack.aws_endpoint_url
        theirs = httpx.Client(base_url=other.api_url, trust_env=False, timeout=60)
        with theirs, SimulatorControl(other.simulator_url) as their_upstream:
            with_our_key = theirs.post(
                "/messages", json=MESSAGE, headers={"x-api-key": stack.api_key}
            )
            with_their_key = theirs.post(
                "/messages", json=MESSAGE, headers={"x-api-key": other.api_key}
            )
            reached = len(their_upstream.sent())
        queue = other.clients.sqs.get_queue_attributes(
            QueueUrl=other.queue_url, AttributeNames=["KmsMasterKeyId", "Policy"]
        )["Attributes"]
        # Two servers, and the processes of the token renewer and the function that responded.
        assert len(processes.running(other.marker)) > len(other.pids) + 1

    assert with_our_key.status_code == 403
    assert with_their_key.status_code == 202
    assert reached == 1
    assert ":key/" in queue["KmsMasterKeyId"]
    admitted = {
        it["Principal"]["Service"]: it["Condition"]
        for it in json.loads(queue["Policy"])["Statement"]
        if it["Effect"] == "Allow"
    }
    listed = {"ArnEquals": {"aws:SourceArn": [TOPIC, RULE]}}
    assert admitted == {"sns.amazonaws.com": listed, "events.amazonaws.com": listed}
    assert upstream.sent() == []
    assert processes.running(other.marker) == []
    assert not other.data.exists()
    assert api.post("/messages", json=MESSAGE).status_code == 202


def test_stack_ends_with_sigterm(tmp_path: Path) -> None:
    program = (
        "import signal, sys\n"
        "from pathlib import Path\n"
        "from tools.local_stack.stack import LocalStack\n"
        "with LocalStack(Path(sys.argv[1])) as stack:\n"
        "    print(stack.marker, flush=True)\n"
        "    signal.pause()\n"
    )
    with subprocess.Popen(  # noqa: S603 - the running Python
        [sys.executable, "-c", program, str(tmp_path)],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    ) as user:
        assert user.stdout is not None
        marker = user.stdout.readline().strip()
        running = processes.running(marker)
        user.send_signal(signal.SIGTERM)
        user.wait(timeout=20)

    assert len(running) == 3, "two servers and the token renewer must run"
    assert processes.running(marker) == []


def test_failed_start_leaves_nothing_and_reports_the_reason(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    markers = []
    settings = servers.emulator_settings

    def broken(port: int, data: Path, marker: str) -> dict[str, str]:
        markers.append(marker)
        return settings(port, data, marker) | {"GATEWAY_PORT": "not-a-port"}

    monkeypatch.setattr(servers, "emulator_settings", broken)

    with pytest.raises(StartError, match=r"invalid literal for int(.|\n)*Nothing is left running"):
        LocalStack(tmp_path).start()

    assert processes.running(markers[0]) == []


def test_a_start_ends_with_the_reader_of_its_progress(tmp_path: Path) -> None:
    def say(_: str) -> None:
        raise BrokenPipeError

    with pytest.raises(BrokenPipeError):
        LocalStack(tmp_path, say=say).start()


def test_refused_deployment_reports_the_reason(tmp_path: Path) -> None:
    with pytest.raises(StartError, match="LogLevel"):
        LocalStack(tmp_path, parameters={"LogLevel": "LOUD"}).start()


def post(published: dict[str, Any]) -> int:
    """Post a message with the key of stack.json, and return the status."""
    return httpx.post(
        f"{published['api_url']}/messages",
        json=MESSAGE,
        headers={"x-api-key": published["api_key"]},
        trust_env=False,
        timeout=60,
    ).status_code


def command(name: str, state: Path, **options: int) -> str:
    """Run `python -m tools.local_stack {name}` with another state folder; return its output."""
    program = (
        "import sys\n"
        "from pathlib import Path\n"
        "from tools.local_stack import persistent_stack\n"
        "persistent_stack.STATE = Path(sys.argv[2])\n"
        "persistent_stack.FILE = persistent_stack.STATE / 'stack.json'\n"
        f"getattr(persistent_stack, sys.argv[1])(**{options})\n"
    )
    return subprocess.run(  # noqa: S603 - the running Python
        [sys.executable, "-c", program, name, str(state)],
        cwd=ROOT,
        check=True,
        capture_output=True,
        text=True,
        timeout=60,
    ).stdout


def two_free_ports() -> Iterator[int]:
    """Yield a free port whose next port is free, too, below the system's ephemeral ports."""
    for port in Random().sample(range(20_000, 32_000, 2), 100):  # noqa: S311 - any free port
        with suppress(servers.PortError):
            servers.check_port(port)
            servers.check_port(port + 1)
            yield port


def test_a_running_stack_is_found_again(tmp_path: Path) -> None:
    file, requests = tmp_path / "stack.json", tmp_path / "smsrelay.http"
    port = next(two_free_ports())
    try:
        up = command("up", tmp_path, port=port)
        content = file.read_text()
        published = json.loads(content)
        assert set(published) == PUBLISHED | FOR_COMMANDS
        assert stat.S_IMODE(file.stat().st_mode) == 0o600
        assert published["api_key"] in up
        assert published["aws_endpoint_url"] == f"http://127.0.0.1:{port}"
        assert published["simulator_url"] == f"http://127.0.0.1:{port + 1}"
        assert f"@apiUrl = {published['api_url']}\n@apiKey = {published['api_key']}\n" in (
            requests.read_text()
        )
        assert stat.S_IMODE(requests.stat().st_mode) == 0o600
        assert f"phone page      {published['simulator_url']}/\n" in up
        assert f"documentation   {published['api_url']}/docs\n" in up
        assert len(processes.running(published["marker"])) >= 3, "servers and token renewer"

        assert "already running" in command("up", tmp_path)
        assert file.read_text() == content
        assert post(published) == 202
        exported = subprocess.run(  # noqa: S603 - our own command's output
            ["/bin/sh", "-c", 'eval "$0"; env', command("env", tmp_path)],
            env={"PATH": os.environ["PATH"]},
            check=True,
            capture_output=True,
            text=True,
        ).stdout.splitlines()
        expected = {f"{name}={published[field]}" for name, field in EXPORTED.items()}
        assert expected - {*exported} == set()

        down = command("down", tmp_path)
        ended = re.fullmatch(r"The local stack is stopped \(([0-9]+) processes ended\)\.\n", down)
        assert ended is not None
        assert int(ended[1]) >= 4, "the API function, and perhaps scheduled ones"
        assert processes.running(published["marker"]) == []
        assert not file.exists()
        assert not requests.exists()
        assert command("down", tmp_path) == "The local stack is not running.\n"
        assert command("env", tmp_path) == "", "the message must go to the terminal"

        with (
            socket.create_server(("127.0.0.1", port + 1)),
            pytest.raises(subprocess.CalledProcessError) as refused,
        ):
            command("up", tmp_path, port=port)
        assert f"StartError: port {port + 1} can't be used: Address already" in refused.value.stderr
        command("up", tmp_path, port=port)
        again = json.loads(file.read_text())
        kept = ("api_key", "webhook_secret", "api_url", "queue_url", "simulator_url")
        assert {name: again[name] for name in kept} == {name: published[name] for name in kept}
        assert again["marker"] != published["marker"]
        assert post(published) == 202, "key and address must be those of the stack before"
    finally:
        command("down", tmp_path)
