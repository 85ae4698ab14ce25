"""Tests the questions of the first contact, and which stack it deletes.

tests/e2e runs it against the local stack.
"""

import io
import json
import os
import shutil
import signal
from collections.abc import Callable
from contextlib import suppress
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace
from typing import Any, TextIO, cast

import pytest
from botocore.exceptions import ClientError
from samtranslator.yaml_helper import yaml_parse

from smsrelay.security.allowed_hosts import AllowedHosts
from smsrelay_cli.deployed_stack import DEFAULTS, DeployedStack
from smsrelay_cli.exit_codes import UsageError
from tests.support.template import ROOT
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


def test_the_question_about_the_phone_is_repeated_until_the_answer_is_valid(
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


class Account:
    """Fakes AWS: the stacks of an account by id, and the uploads of sam."""

    region_name = "us-east-1"

    def __init__(self) -> None:
        self.stacks: dict[str, str] = {}
        self.uploads: list[str] = []
        self.steps: list[str] = []
        self.template = Path()
        self.is_forbidden = False

    def sam(self, command: str, *arguments: str) -> None:
        self.steps.append(command)
        options = dict(pairwise(arguments))
        assert 'TokenRenewal="on"' in options["--parameter-overrides"]
        if command == "build":
            Path(options["--build-dir"]).mkdir()
            shutil.copy(ROOT / "template.yaml", options["--build-dir"])
            return
        self.template = Path(options["--template-file"])
        self.create_stack(options["--stack-name"])
        self.uploads += [f"{options['--s3-prefix']}/1", f"{STACK}/1"]

    def create_stack(self, name: str) -> None:
        self.stacks[f"arn:{len(self.stacks)}"] = name

    def client(self, _: str) -> "Account":
        return self

    def get_caller_identity(self) -> dict[str, str]:
        return {}

    def describe_stacks(self, **options: str) -> dict[str, Any]:
        for stack_id, name in self.stacks.items():
            if options["StackName"] in {stack_id, name}:
                return {"Stacks": [{"StackId": stack_id, "StackName": name}]}
        raise ClientError({"Error": {"Message": "Stack does not exist"}}, "DescribeStacks")

    def delete_stack(self, **options: str) -> None:
        if self.is_forbidden:
            raise ClientError({"Error": {"Code": "AccessDenied"}}, "DeleteStack")
        del self.stacks[options["StackName"]]

    def get_waiter(self, name: str) -> SimpleNamespace:
        assert name == "stack_delete_complete"
        return SimpleNamespace(wait=lambda **options: options["StackName"] in self.stacks)

    def resource(self, _: str) -> "Account":
        return self

    def StackResource(self, *names: str) -> SimpleNamespace:  # noqa: N802 - boto3's name
        assert names == ("aws-sam-cli-managed-default", "SamCliSourceBucket")
        return SimpleNamespace(physical_resource_id="bucket-of-sam")

    def Bucket(self, name: str) -> SimpleNamespace:  # noqa: N802 - the same
        assert name == "bucket-of-sam"
        return SimpleNamespace(object_versions=SimpleNamespace(filter=self.uploads_below))

    def uploads_below(self, **options: str) -> SimpleNamespace:
        def delete() -> None:
            self.uploads = [it for it in self.uploads if not it.startswith(options["Prefix"])]

        return SimpleNamespace(delete=delete)


@pytest.fixture
def account(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Account:
    """An account without stacks; all input is entered automatically."""
    found = Account()
    monkeypatch.setattr(deploy.Stage, "session", found)
    monkeypatch.setattr(deploy.Stage, "sam", found.sam)
    monkeypatch.setattr(stack, "BUILD", tmp_path / "build")
    target = DeployedStack(
        *(cast("Any", None),) * 3, queue_url="", dead_letter_queue_url="", parameters=DEFAULTS
    )
    monkeypatch.setattr(stack, "find_stack", lambda _: target)
    store: Any = lambda _, fields: found.steps.append(fields["client_id"])  # noqa: E731 - typed
    monkeypatch.setattr(FirstContact, "store_credentials", store)
    monkeypatch.setattr("sys.stdin", io.StringIO(ENTERED))
    return found


STACK = "smsrelay-trial"


def run(tmp_path: Path) -> int:
    return first_contact.main(["trial", "--report", str(tmp_path / "report.json")])


def test_only_the_stack_of_this_run_is_deleted_whatever_happens(
    account: Account,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
) -> None:
    def interrupted(_: FirstContact) -> None:
        account.steps.append(f"{len(account.stacks)} stack")
        account.create_stack(STACK)  # another person deploys the stage
        raise KeyboardInterrupt

    monkeypatch.setattr(FirstContact, "run", interrupted)
    assert run(tmp_path) == 130
    assert account.steps == ["build", "deploy", "the id", "1 stack"]
    assert list(account.stacks.values()) == [STACK]
    assert account.uploads == [f"{STACK}/1"]
    resources = yaml_parse(account.template.read_text())["Resources"]
    assert {it.get("DeletionPolicy", "Delete") for it in resources.values()} == {"Delete"}
    backup = resources["Ledger"]["Properties"]["PointInTimeRecoverySpecification"]
    assert backup == {"PointInTimeRecoveryEnabled": False}
    assert json.loads((tmp_path / "report.json").read_text())["stack"] == "deployed"
    assert str(tmp_path / "report.json") in capsys.readouterr().out


@pytest.mark.parametrize("failing", ["build", "deploy"])
@pytest.mark.parametrize("ended_by", [KeyboardInterrupt, deploy.DeployError])
def test_a_deployment_that_fails_half_way_is_deleted(
    account: Account,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    failing: str,
    ended_by: type[BaseException],
) -> None:
    def fail(_: deploy.Stage, command: str, *arguments: str) -> None:
        account.sam(command, *arguments)
        if command == failing:
            raise ended_by

    monkeypatch.setattr(deploy.Stage, "sam", fail)
    assert run(tmp_path) in {1, 130}
    assert account.steps[-1] == failing
    assert account.stacks == {}
    assert ("is deleted" in capsys.readouterr().err) == (failing == "deploy")


def test_the_command_that_deletes_the_stack_is_printed_if_it_could_not_be_deleted(
    account: Account,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
) -> None:
    monkeypatch.setattr(FirstContact, "run", lambda _: None)
    account.is_forbidden = True
    assert run(tmp_path) == 1
    [stack_id] = account.stacks
    command = f"aws cloudformation delete-stack --region us-east-1 --stack-name {stack_id}"
    assert command in capsys.readouterr().err.splitlines()


def dead_terminal() -> TextIO:
    controller, terminal = os.openpty()
    os.close(controller)
    return os.fdopen(terminal, "w", buffering=1)


def closed_pipe() -> TextIO:
    reader, writer = os.pipe()
    os.close(reader)
    return os.fdopen(writer, "w", buffering=1)


@pytest.mark.parametrize("number", [None, signal.SIGHUP, signal.SIGTERM])
@pytest.mark.parametrize("make_output", [dead_terminal, closed_pipe])
def test_the_deletion_needs_no_terminal(
    account: Account,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    make_output: Callable[[], TextIO],
    number: signal.Signals | None,
) -> None:
    output = make_output()
    before = [signal.getsignal(it) for it in (signal.SIGHUP, signal.SIGTERM)]

    def hang_up(_: FirstContact) -> None:
        account.steps.append("run")
        monkeypatch.setattr("sys.stdout", output)
        monkeypatch.setattr("sys.stderr", output)
        monkeypatch.setattr(account, "describe_stacks", signalled_again)
        if number:
            signal.raise_signal(number)
        print("polling the delivery …")  # noqa: T201 - like the steps

    def signalled_again(**options: str) -> dict[str, Any]:
        if number:
            signal.raise_signal(number)  # a shell and the kernel both send it
        return Account.describe_stacks(account, **options)

    monkeypatch.setattr(FirstContact, "run", hang_up)
    with pytest.raises(OSError, match="Errno"):
        run(tmp_path)
    assert account.steps[-1] == "run"
    assert account.stacks == {}
    assert account.uploads == [f"{STACK}/1"]
    assert (tmp_path / "report.json").exists()
    assert [signal.getsignal(it) for it in (signal.SIGHUP, signal.SIGTERM)] == before
    with suppress(OSError):
        output.close()


@pytest.mark.parametrize(
    ("entered", "code", "says"),
    [
        ("2125550100\n", 2, "not a phone number"),
        (f"{NUMBER}no id\n", 2, "not a message id"),
        (f"{NUMBER}{MESSAGE}the id\n", 2, "no input for: Client secret"),
        (f"{NUMBER}{MESSAGE}{CREDENTIALS}n\n", 3, "ONE SMS"),
        ("", 2, "no input for"),
    ],
)
def test_nothing_is_done_without_a_persons_agreement(
    account: Account,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    entered: str,
    code: int,
    says: str,
) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO(entered))
    assert run(tmp_path) == code
    assert says in capsys.readouterr().err
    assert not account.steps
    assert not (tmp_path / "report.json").exists()
