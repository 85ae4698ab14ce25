"""Runs the operator's command in a shell, against the deployed stack."""

import json
import os
import subprocess
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest

from tools.local_stack import ROOT
from tools.local_stack.polling import wait_for
from tools.local_stack.simulator_client import SimulatorControl
from tools.local_stack.stack import Stack

TEXT = "A text to keep secret"
MESSAGE = {"message": "MzA6Nzg6MA", "to": ["+1 212 555 0100"], "text": TEXT}
SECRETS = (TEXT, "2125550100")


class Shell:
    def __init__(self, file: Path) -> None:
        self._file = file

    def run(
        self, *arguments: str, answer: str = "", code: int = 0, by_file: bool = True
    ) -> subprocess.CompletedProcess[str]:
        target = ["--stack-file", str(self._file)] if by_file else []
        ended = subprocess.run(  # noqa: S603 - our own command
            [str(ROOT / "cli/smsrelay"), *arguments, *target],
            input=answer,
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
            env=self._environment(),
        )
        assert ended.returncode == code, ended.stderr
        assert not [word for word in SECRETS if word in ended.stdout + ended.stderr]
        return ended

    def ask(self, *arguments: str) -> Any:
        return json.loads(self.run(*arguments, "--json").stdout)

    def _environment(self) -> Mapping[str, str]:
        stack = json.loads(self._file.read_text())
        return {
            "PATH": os.environ["PATH"],
            "AWS_ENDPOINT_URL": stack["aws_endpoint_url"],
            "AWS_ACCESS_KEY_ID": "test",
            "AWS_SECRET_ACCESS_KEY": "test",
        }


@pytest.fixture
def shell(stack: Stack, tmp_path: Path) -> Shell:
    file = tmp_path / "stack.json"
    file.write_text(json.dumps(stack.published()))
    return Shell(file)


def test_an_operator_resolves_unfinished_sends(
    shell: Shell, stack: Stack, api: httpx.Client, upstream: SimulatorControl
) -> None:
    upstream.fail([{"route": "send", "then": "500"}])
    unknown = api.post("/messages", json=MESSAGE | {"reference": "stuck"}).json()["id"]
    found = shell.ask("find", "--reference", "stuck")
    assert [message["id"] for message in found["messages"]] == [unknown]
    listed = shell.ask("list", "--status", "unknown", "--limit", "1000")
    assert unknown in {send["id"] for send in listed["sends"]}
    assert unknown in shell.run("list", "--status", "unknown", "--limit", "1000").stdout

    aborted = shell.run("resend", unknown, answer="n\n", code=3)
    assert "1 SMS may go out twice" in aborted.stderr
    shell.run("resend", unknown, answer="y\n")

    def accepted() -> dict[str, Any] | None:
        shown: dict[str, Any] = shell.ask("show", unknown)
        return shown if shown["status"] == "accepted" else None

    shown = wait_for(accepted, what="the second attempt", seconds=30, every=0.2)
    [sent] = upstream.sent()
    assert shown["sends"][0]["tokenId"] == sent["tokenId"]
    assert shell.ask("token", sent["tokenId"])["id"] == unknown
    shell.run("resend", unknown, "--yes", code=1)

    # A dead letter that has become valid, for example with a newer version.
    stack.clients.sqs.send_message(
        QueueUrl=stack.dead_letter_queue_url,
        MessageBody=json.dumps(MESSAGE),
        MessageAttributes={
            "client": {"DataType": "String", "StringValue": "redriven"},
            "Idempotency-Key": {"DataType": "String", "StringValue": "redriven"},
        },
    )
    only = ("redrive", "--client", "redriven")
    assert [letter["action"] for letter in shell.ask(*only, "--dry-run")["letters"]] == ["queue"]
    assert len(upstream.sent()) == 1
    assert [letter["action"] for letter in shell.ask(*only, "--yes")["letters"]] == ["queued"]
    wait_for(lambda: len(upstream.sent()) == 2, what="the redriven message", seconds=30)
    assert shell.ask(*only, "--yes")["letters"] == []


def test_a_stack_is_found_by_its_name(shell: Shell, stack: Stack) -> None:
    names = [
        entry["StackName"]
        for entry in stack.clients.cloudformation.describe_stacks()["Stacks"]
        if stack.table in {output.get("OutputValue") for output in entry.get("Outputs", [])}
    ]
    by_name = ("--stack-name", names[0], "--region", stack.region)
    counts = json.loads(shell.run(*by_name, "stats", "--json", by_file=False).stdout)
    assert set(counts) == {"sends", "queue", "deadLetters"}
    missing = shell.run("--stack-name", "no-such", "--region", stack.region, "stats",
                        by_file=False, code=1)  # fmt: skip
    assert len(missing.stderr.splitlines()) == 1
    assert "usage" in shell.run("--help").stdout


@pytest.fixture
def credentials(stack: Stack) -> Iterator[None]:
    """Restore the first client secret in the simulator and the stack after the test."""
    secrets = stack.clients.secretsmanager
    value = secrets.get_secret_value(SecretId=stack.credentials_secret)["SecretString"]
    yield
    secrets.put_secret_value(SecretId=stack.credentials_secret, SecretString=value)


@pytest.mark.usefixtures("credentials")
def test_the_client_secret_is_replaced_without_a_gap(
    shell: Shell, upstream: SimulatorControl, api: httpx.Client
) -> None:
    """Stages, activates and promotes a secret, with messages in between, as an operator does."""
    secret = upstream.change_secrets("stage")["staged"]
    expires = (datetime.now(UTC) + timedelta(days=180)).date().isoformat()
    staged = shell.run("credentials", "stage", answer=f"{secret}\n{expires}\n")
    assert "The staged secret works" in staged.stdout
    upstream.change_secrets("activate")
    upstream.expire_tokens()
    assert api.post("/messages", json=MESSAGE).status_code == 202
    wait_for(lambda: len(upstream.sent()) == 1, what="the message, with a new token", seconds=30)
    assert shell.ask("credentials", "status").keys() == {"active", "staged"}
    shell.run("credentials", "promote", "--yes")
    assert shell.ask("credentials", "status")["active"]["expiresAt"] == expires
    upstream.reset()
