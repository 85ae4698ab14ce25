import io
import json
import os
import sys
import uuid
from collections.abc import Callable
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from typing import Any

import pytest
from botocore.exceptions import ClientError

from smsrelay import __version__
from smsrelay.adapters.dynamodb_ledger import DynamoDbLedger
from smsrelay.sends.send import Send
from smsrelay_cli import dead_letters, deployed_stack
from smsrelay_cli.main import main
from tests.support import permissions
from tests.support.environment import REGION, Environment
from tools.mobileconnect_simulator import Simulator

MESSAGE: dict[str, Any] = {
    "message": "MzA6Nzg6MA",
    "to": ["+1 212 555 0100", "+1 212 555 0101"],
    "text": "A text that nobody else may read",
}
SECRETS = (MESSAGE["text"], "2125550100", "2125550101", "555 0100")
RETENTION_DAYS = "30"


@dataclass
class Ended:
    """The result of a command."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)

    @property
    def rows(self) -> list[list[str]]:
        """The rows of a table, without the header."""
        return [line.split() for line in self.out.splitlines()[1:]]


class Terminal(io.StringIO):
    """A standard input that calls `before` when the operator's answer is read."""

    def __init__(self, answer: str, before: Callable[[], object]) -> None:
        super().__init__(answer)
        self._before = before

    def readline(self, size: int | None = -1, /) -> str:  # type: ignore[override] # typeshed's two bases differ
        self._before()
        return super().readline(-1 if size is None else size)


class Operator:
    """Runs the operator's command for a relay."""

    def __init__(self, relay: Environment, simulator: Simulator, patch: pytest.MonkeyPatch) -> None:
        self.relay, self.simulator = relay, simulator
        self._patch = patch
        self.outputs: dict[str, str] = {}
        """The outputs of the relay's CloudFormation stack."""
        self.parameters: dict[str, str] = {}
        """The parameters of the stack."""
        self.ledger = DynamoDbLedger(relay.client("dynamodb"), relay.table, retention_days=90)

    def run(
        self, *arguments: str, answer: str = "", before: Callable[[], object] = lambda: None
    ) -> Ended:
        self._patch.setattr(sys, "stdin", Terminal(answer, before))
        out, err = io.StringIO(), io.StringIO()
        with redirect_stdout(out), redirect_stderr(err), permissions.calls_of("operator"):
            code = main(arguments)
        ended = Ended(code, out.getvalue(), err.getvalue())
        for secret in SECRETS:
            assert secret not in ended.out + ended.err
        assert "Traceback" not in ended.err
        return ended

    def sends(self, message_id: str) -> list[Send]:
        return list(self.ledger.load(message_id))

    def post(self, then: str | None = None, **fields: Any) -> str:
        """Post a message whose call gets a fault; return its id."""
        self.relay.end_pauses()
        if then:
            self.simulator.fail("send", then)
        answer = self.relay.post(MESSAGE | fields)
        message_id: str = answer.body["id"]
        return message_id

    def unknown(self, **fields: Any) -> str:
        return self.post("500", **fields)

    def failed(self, **fields: Any) -> str:
        """Make a send failed, with a dead letter; return its message's id."""
        message_id = self.post("503-50300", **fields)
        self.relay.make_too_old()
        self.relay.work()
        assert [send.status for send in self.sends(message_id)] == ["failed"]
        return message_id

    def works(self) -> list[str]:
        """Run the worker with all messages due; return the tokenIds of what it sent."""
        self.relay.make_due()
        self.relay.work()
        return [sent["tokenId"] for sent in self.simulator.sent()]


@pytest.fixture
def operator(
    relay: Environment,
    simulator: Simulator,
    monkeypatch: pytest.MonkeyPatch,
) -> Operator:
    """An operator of this test's relay, which has a CloudFormation stack of its own."""
    name = f"stack-{uuid.uuid4()}"
    outputs = {
        "TableName": relay.table,
        "QueueUrl": relay.queue_url,
        "DeadLetterQueueUrl": relay.dead_letter_queue_url,
        "CredentialsSecretArn": os.environ["CREDENTIALS_SECRET_ARN"],
        "TokenRenewerFunctionName": "token-renewer",
        "Version": __version__,
    }
    parameters = {"RetentionDays": RETENTION_DAYS, "DefaultClient": "internal"}
    stacks: dict[str, Any] = {
        "other": {"Outputs": []},
    }

    def describe_stack(_: object, wanted: str) -> Any:
        """Fake CloudFormation: moto's needs another package; tests/e2e uses the local stack's."""
        if wanted == name:
            listed = [{"OutputKey": key, "OutputValue": it} for key, it in outputs.items()]
            chosen = [{"ParameterKey": key, "ParameterValue": it} for key, it in parameters.items()]
            return {"StackName": name, "Outputs": listed, "Parameters": chosen}
        if wanted in stacks:
            return stacks[wanted]
        words: Any = {
            "Code": "ValidationError",
            "Message": f"Stack with id {wanted} does not exist",
        }
        raise ClientError({"Error": words}, "DescribeStacks")

    monkeypatch.setattr(deployed_stack, "describe_stack", describe_stack)
    monkeypatch.setenv("SMSRELAY_STACK", name)
    monkeypatch.setenv("AWS_DEFAULT_REGION", REGION)
    monkeypatch.setattr(dead_letters, "POLL_SECONDS", 0)
    operator = Operator(relay, simulator, monkeypatch)
    operator.outputs, operator.parameters = outputs, parameters
    return operator
