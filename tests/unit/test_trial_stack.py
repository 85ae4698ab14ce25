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

from smsrelay.security.allowed_hosts import AllowedHosts
from smsrelay_cli.deployed_stack import DEFAULTS, DeployedStack
from smsrelay_cli.exit_codes import UsageError
from tools import deploy
from tools.first_contact import __main__ as first_contact
from tools.first_contact import questions, stack
from tools.first_contact.steps import FirstContact

NUMBER, MESSAGE = "+12125550100\n", "MzA6Nzg6MA\n"
BASE = "https://subdomain.auth.marketingcloudapis.com"
CREDENTIALS = f"the id\nthe secret\n{BASE}\n\n"
ENTERED = f"{NUMBER}{MESSAGE}{CREDENTIALS}y\n"
HOSTS = AllowedHosts(DEFAULTS["UpstreamHosts"])


def test_a_stage_that_renews_no_token_is_refused() -> None:
    overrides = {"stack_name": "x", "parameter_overrides": ["TokenRenewal=off"]}
    with pytest.raises(UsageError, match="TokenRenewal=on"):
        stack.upstream_hosts(deploy.Stage("trial", overrides, deploy.SAMCONFIG))


def test_the_question_about_the_phone_is_repeated_until_its_answer_is_offered(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO("\nyes\n12\n 2 \n3\n"))
    assert questions.what_the_phone_shows() == "2"


@pytest.mark.parametrize(
    ("entered", "account"),
    [
        (f"\nthe id\n\nthe secret\n\n{BASE}\nunit\n123456\n", {"account_id": "123456"}),
        (CREDENTIALS, {}),
        (f"the id\nthe secret\nhttps://other.example\n\n{CREDENTIALS}", {}),
    ],
    ids=["repeated", "without a MID", "after a host that may not be called"],
)
def test_credentials_are_asked_for_until_they_have_the_right_form(
    monkeypatch: pytest.MonkeyPatch, entered: str, account: dict[str, str]
) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO(entered))
    expected = {"client_id": "the id", "client_secret": "the secret", "auth_base_url": BASE}
    assert questions.client_credentials(HOSTS) == expected | account


@pytest.fixture
def done(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Which steps are run for the stage `trial`; only recorded."""
    steps: list[str] = []
    stage = SimpleNamespace(
        name="trial",
        stack_name="smsrelay-trial",
        settings={},
        parameter_overrides=f'TokenRenewal="on" UpstreamHosts="{DEFAULTS["UpstreamHosts"]}"',
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
    store: Any = lambda _, fields: steps.append(fields["client_id"])  # noqa: E731 - typed
    monkeypatch.setattr(FirstContact, "store_credentials", store)
    return steps


def test_the_stack_is_deleted_whatever_happens(
    done: list[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def run(contact: FirstContact) -> None:
        done.append(contact.target.name)
        raise KeyboardInterrupt

    monkeypatch.setattr(FirstContact, "run", run)
    monkeypatch.setattr("sys.stdin", io.StringIO(ENTERED))
    report = tmp_path / "report.json"
    assert first_contact.main(["trial", "--report", str(report)]) == 130
    assert done == ["deploy", "the id", "smsrelay-trial", "delete True"]
    assert json.loads(report.read_text())["stack"] == "deployed"


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
    assert done == ["deploy", "the id", "delete True"]
    assert STAYS not in capsys.readouterr().err
    assert signal.getsignal(number) is before


def test_a_stack_that_exists_already_is_neither_updated_nor_deleted(
    done: list[str],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
) -> None:
    done.append("exists")
    monkeypatch.setattr("sys.stdin", io.StringIO(ENTERED))
    assert first_contact.main(["trial", "--report", str(tmp_path / "report.json")]) == 2
    assert "smsrelay-trial exists already" in capsys.readouterr().err
    assert done == ["exists"]


@pytest.mark.parametrize(
    ("entered", "code", "says"),
    [
        ("2125550100\n", 2, "not a number"),
        (f"{NUMBER}no id\n", 2, "not a message id"),
        (f"{NUMBER}{MESSAGE}the id\n", 2, "the input ended at: Client secret"),
        (f"{NUMBER}{MESSAGE}{CREDENTIALS}n\n", 3, "ONE SMS"),
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
