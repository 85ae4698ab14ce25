import json
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.support.browser import browser  # noqa: F401  a fixture
from tools.local_stack import ROOT
from tools.local_stack.polling import wait_for
from tools.local_stack.roles import Roles
from tools.local_stack.simulator_client import SimulatorControl
from tools.local_stack.stack import LocalStack, Stack


@pytest.fixture(scope="session")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """The stack of template.yaml, deployed to this machine, with IAM checks for each call."""
    with LocalStack(tmp_path_factory.mktemp("stack")) as running:
        yield running
        denied = Roles(running).denials()
        assert denied == 0, "the roles lack a permission (“denied by IAM:” in ministack.log)"


@pytest.fixture(scope="session")
def upstream_of_session(stack: Stack) -> Iterator[SimulatorControl]:
    with SimulatorControl(stack.simulator_url) as control:
        yield control


@pytest.fixture
def upstream(stack: Stack, upstream_of_session: SimulatorControl) -> Iterator[SimulatorControl]:
    """The stack's simulator, without calls and faults.

    After a test, it waits until the messages in the queue are finished.
    """
    upstream_of_session.reset()
    yield upstream_of_session
    wait_for(lambda: not _waiting(stack), what="an empty queue", seconds=180)


def _waiting(stack: Stack) -> int:
    """Return the number of messages in the queue: visible, delayed and in flight."""
    attributes = stack.clients.sqs.get_queue_attributes(
        QueueUrl=stack.queue_url, AttributeNames=["All"]
    )["Attributes"]
    return sum(
        int(value)
        for name, value in attributes.items()
        if name.startswith("ApproximateNumberOfMessages")
    )


@pytest.fixture(scope="session")
def api(stack: Stack) -> Iterator[httpx.Client]:
    """An HTTP client for the stack's API with a valid key."""
    with httpx.Client(
        base_url=stack.api_url,
        headers={"x-api-key": stack.api_key},
        trust_env=False,
        timeout=60,
    ) as client:
        yield client


class Operator:
    """Runs `smsrelay client …` for a stack."""

    def __init__(self, stack: Stack, file: Path) -> None:
        self._file = file
        file.write_text(json.dumps(stack.published()))

    def run(self, *arguments: str) -> Any:
        command = [
            str(ROOT / "cli/smsrelay"),
            "client",
            *arguments,
            "--json",
            "--stack-file",
            str(self._file),
        ]
        ended = subprocess.run(  # noqa: S603 - our own command
            command, capture_output=True, text=True, check=False, timeout=60
        )
        assert ended.returncode == 0, ended.stderr
        return json.loads(ended.stdout)


@pytest.fixture(scope="session")
def operator(stack: Stack, tmp_path_factory: pytest.TempPathFactory) -> Operator:
    return Operator(stack, tmp_path_factory.mktemp("operator") / "stack.json")
