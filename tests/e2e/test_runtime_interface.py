"""Runs the built functions in AWS's runtime emulator with the sample events of events/."""

import json
import os
import platform
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
import samcli

from smsrelay.adapters.dynamodb_api_clients import DynamoDbApiClients
from tools.local_stack import ROOT, build
from tools.local_stack.aws import CREDENTIALS
from tools.local_stack.polling import wait_for
from tools.local_stack.processes import last_lines
from tools.local_stack.simulator_client import SimulatorControl
from tools.local_stack.stack import Stack

EMULATORS = {"x86_64": "aws-lambda-rie-x86_64", "aarch64": "aws-lambda-rie-arm64"}
EMULATOR = Path(samcli.__file__).parent / "local/rapid" / EMULATORS[platform.machine()]
INVOKE = "/2015-03-31/functions/function/invocations"

Invoke = Callable[[str], dict[str, Any]]


def free_ports(count: int) -> list[int]:
    """Return free ports, which the caller must use at once."""
    with ExitStack() as sockets:
        listeners = [
            sockets.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in range(count)
        ]
        return [listener.getsockname()[1] for listener in listeners]


@contextmanager
def emulated(stack: Stack, function: str, log: Path) -> Iterator[Invoke]:
    """Run a built function with its environment in the stack."""
    configuration = stack.clients.lambda_.get_function_configuration(
        FunctionName=stack.functions[function]
    )
    outside, inside = free_ports(2)
    environment = {
        "PATH": os.environ["PATH"],
        "PYTHONDONTWRITEBYTECODE": "1",  # keeps the built folder unchanged
        "PYTHONPATH": str(build.SAM_OUTPUT / "Layer/python"),
        "AWS_LAMBDA_FUNCTION_TIMEOUT": str(configuration["Timeout"]),
        "AWS_ENDPOINT_URL": stack.aws_endpoint_url,
        "AWS_REGION": stack.region,
        "AWS_DEFAULT_REGION": stack.region,
        "AWS_ACCESS_KEY_ID": CREDENTIALS["aws_access_key_id"],
        "AWS_SECRET_ACCESS_KEY": CREDENTIALS["aws_secret_access_key"],
        **configuration["Environment"]["Variables"],
    }
    command = [
        str(EMULATOR),
        "--runtime-interface-emulator-address",
        f"127.0.0.1:{outside}",
        "--runtime-api-address",
        f"127.0.0.1:{inside}",
        sys.executable,
        "-m",
        "awslambdaric",
        "app.handler",
    ]
    with (
        log.open("w") as output,
        subprocess.Popen(  # noqa: S603 - the command is fixed
            command,
            cwd=build.SAM_OUTPUT / function,
            env=environment,
            stdout=output,
            stderr=output,
        ) as process,
        httpx.Client(base_url=f"http://127.0.0.1:{outside}", trust_env=False, timeout=60) as client,
    ):

        def listens() -> bool:
            with socket.socket() as probe:
                return probe.connect_ex(("127.0.0.1", outside)) == 0

        def invoke(event: str) -> dict[str, Any]:
            answer = client.post(INVOKE, content=(ROOT / "events" / event).read_bytes())
            result: dict[str, Any] = answer.json()
            assert "errorMessage" not in result, f"{result}\n{last_lines(log)}"
            return result

        try:
            wait_for(listens, what="the runtime emulator", seconds=20)
            yield invoke
        finally:
            process.terminate()


def test_the_api_function_with_its_sample_event(
    stack: Stack, upstream: SimulatorControl, tmp_path: Path
) -> None:
    DynamoDbApiClients(stack.clients.dynamodb, stack.table).put("example-key-id", "sample")
    with emulated(stack, "ApiFunction", tmp_path / "log") as invoke:
        answer = invoke("api-post-message.json")
        again = invoke("api-post-message.json")
    assert answer["statusCode"] == 202, answer
    [sent] = upstream.sent()
    assert json.loads(answer["body"])["sends"][0]["tokenId"] == sent["tokenId"]
    assert again["body"] == answer["body"], "the event has an idempotency key"
    assert "INIT REPORT" in (tmp_path / "log").read_text()


def test_the_worker_function_with_its_sample_event(
    stack: Stack, upstream: SimulatorControl, tmp_path: Path
) -> None:
    with emulated(stack, "QueueWorkerFunction", tmp_path / "log") as invoke:
        answer = invoke("sqs-batch.json")
    assert answer == {"batchItemFailures": []}
    texts = {sent["body"]["messageText"] for sent in upstream.sent()}
    assert texts == {"Your appointment is tomorrow at nine.", "Your order has left our house."}


@pytest.fixture(autouse=True)
def _fresh_ledger(stack: Stack) -> None:
    """Delete earlier messages, because the sample events have fixed idempotency keys."""
    for page in stack.clients.dynamodb.get_paginator("scan").paginate(TableName=stack.table):
        for item in page["Items"]:
            if not item["pk"]["S"].startswith("MSG#"):
                continue  # keep the registration of the session's API key, and the token's report
            stack.clients.dynamodb.delete_item(
                TableName=stack.table, Key={"pk": item["pk"], "sk": item["sk"]}
            )
