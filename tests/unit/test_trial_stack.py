"""First contact: what it asks for, and which stack it deletes.

tests/e2e runs it against the local stack.
"""

import io
import json
import signal
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from smsrelay_cli.deployed_stack import DEFAULTS, DeployedStack
from smsrelay_cli.exit_codes import UsageError
from tools import deploy
from tools.first_contact import __main__ as first_contact
from tools.first_contact import stack, steps
from tools.first_contact.findings import Findings
from tools.first_contact.steps import FirstContact


class Renewer:
    """The functions and secrets of a stack: each token request succeeds, and it keeps secrets."""

    def __init__(self) -> None:
        self.stored: list[dict[str, Any]] = []

    def client(self, _: str) -> "Renewer":
        return self

    def invoke(self, **_: str) -> dict[str, Any]:
        return {"Payload": io.BytesIO(b'{"did": "renewed"}')}

    def load(self) -> dict[str, Any]:
        return {}

    def store(self, fields: dict[str, Any]) -> None:
        self.stored.append(fields)


def contact_with(monkeypatch: pytest.MonkeyPatch, entered: str) -> tuple[FirstContact, Renewer]:
    """First contact with a stack that only stores credentials, and with what a person enters."""
    renewer = Renewer()
    target = SimpleNamespace(
        parameters=DEFAULTS, is_local=False, client=renewer.client, token_renewer="renewer"
    )
    monkeypatch.setattr(steps, "CredentialsSecret", lambda _: renewer)
    monkeypatch.setattr("sys.stdin", io.StringIO(entered))
    return FirstContact(cast("Any", target), "12125550100", Findings()), renewer


def test_the_question_about_the_phone_is_repeated_until_its_answer_is_offered(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    contact, _ = contact_with(monkeypatch, "\nyes\n12\n 2 \n3\n")
    assert contact.ask_what_the_phone_shows() == "2"


BASE = "https://subdomain.auth.marketingcloudapis.com"


@pytest.mark.parametrize(
    ("entered", "account"),
    [
        (f"\nthe id\n\nthe secret\n\n{BASE}\n123456\n", {"account_id": "123456"}),
        (f"the id\nthe secret\n{BASE}\n\n", {}),
    ],
)
def test_only_the_mid_may_be_empty(
    monkeypatch: pytest.MonkeyPatch, entered: str, account: dict[str, str]
) -> None:
    contact, renewer = contact_with(monkeypatch, entered)
    contact.store_credentials()
    expected = {"client_id": "the id", "client_secret": "the secret", "auth_base_url": BASE}
    assert renewer.stored == [expected | account]


def test_the_end_of_the_input_ends_the_questions(monkeypatch: pytest.MonkeyPatch) -> None:
    contact, _ = contact_with(monkeypatch, "the id\n")
    with pytest.raises(UsageError, match="Client secret"):
        contact.store_credentials()


@pytest.fixture
def done(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Which steps are run for the stage `trial`; only recorded."""
    steps: list[str] = []
    stage = SimpleNamespace(
        name="trial",
        stack_name="smsrelay-trial",
        settings={},
        session=SimpleNamespace(region_name="eu-west-1"),
    )

    def describe() -> dict[str, str]:
        if not {"exists", "deploy"} & set(steps):
            raise deploy.DeployError("there is no stack")
        return {"StackId": "another" if "another" in steps else "ours"}

    stage.describe = describe
    monkeypatch.setattr(deploy, "load", lambda _: stage)
    monkeypatch.setattr(deploy, "deploy", lambda _: steps.append("deploy"))
    monkeypatch.setattr(deploy, "delete", lambda _, *, yes: steps.append(f"delete {yes}"))
    target = DeployedStack(
        *(cast("Any", None),) * 3,
        queue_url="",
        dead_letter_queue_url="",
        name="smsrelay-trial",
        parameters=DEFAULTS,
    )
    monkeypatch.setattr(stack, "find_stack", lambda _: target)
    return steps


def test_the_stack_is_deleted_whatever_happens(
    done: list[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def run(contact: FirstContact) -> None:
        done.append(contact.target.name)
        raise KeyboardInterrupt

    monkeypatch.setattr(FirstContact, "run", run)
    monkeypatch.setattr("sys.stdin", io.StringIO("+12125550100\nMzA6Nzg6MA\ny\n"))
    report = tmp_path / "report.json"
    assert first_contact.main(["trial", "--report", str(report)]) == 130
    assert done == ["deploy", "smsrelay-trial", "delete True"]
    assert json.loads(report.read_text())["stack"] == "deployed"


ENTERED = "+12125550100\nMzA6Nzg6MA\ny\n"
STAYS = "smsrelay-trial may still exist: run `make delete STAGE=trial`"


@pytest.mark.parametrize("step", ["deploy", "delete"])
@pytest.mark.parametrize("ended_by", [KeyboardInterrupt, deploy.DeployError])
@pytest.mark.usefixtures("done")
def test_a_stack_that_may_still_exist_is_named(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    step: str,
    ended_by: type[BaseException],
) -> None:
    def end(_: object, **_options: object) -> None:
        raise ended_by

    monkeypatch.setattr(deploy, step, end)
    monkeypatch.setattr(FirstContact, "run", lambda _: None)
    monkeypatch.setattr("sys.stdin", io.StringIO(ENTERED))
    assert first_contact.main(["trial", "--report", str(tmp_path / "report.json")]) in {1, 130}
    assert STAYS in capsys.readouterr().err


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_signal_does_not_prevent_the_deletion(
    done: list[str],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    number: signal.Signals,
) -> None:
    def raise_signal(_: FirstContact) -> None:
        assert signal.getsignal(number) is signal.default_int_handler
        signal.raise_signal(number)

    before = signal.getsignal(number)
    monkeypatch.setattr(FirstContact, "run", raise_signal)
    monkeypatch.setattr("sys.stdin", io.StringIO(ENTERED))
    assert first_contact.main(["trial", "--report", str(tmp_path / "report.json")]) == 130
    assert done == ["deploy", "delete True"]
    assert STAYS not in capsys.readouterr().err
    assert signal.getsignal(number) is before


def test_a_stack_that_exists_already_is_neither_updated_nor_deleted(
    done: list[str],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
) -> None:
    done.append("exists")
    monkeypatch.setattr("sys.stdin", io.StringIO("+12125550100\nMzA6Nzg6MA\ny\n"))
    assert first_contact.main(["trial", "--report", str(tmp_path / "report.json")]) == 2
    assert "smsrelay-trial exists already" in capsys.readouterr().err
    assert done == ["exists"]


@pytest.mark.parametrize(
    ("entered", "code", "says"),
    [
        ("2125550100\n", 2, "not a number"),
        ("+12125550100\nno id\n", 2, "not a message id"),
        ("+12125550100\nMzA6Nzg6MA\nn\n", 3, "ONE SMS"),
        ("", 2, "nothing was entered"),
    ],
)
def test_nothing_is_done_before_a_person_agrees(
    done: list[str],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    entered: str,
    code: int,
    says: str,
) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO(entered))
    report = tmp_path / "report.json"
    assert first_contact.main(["trial", "--report", str(report)]) == code
    assert says in capsys.readouterr().err
    assert not done
    assert not report.exists()
