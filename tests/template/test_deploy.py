"""Tests what `make deploy` and `make delete` run and print; tests/e2e runs both on an emulator."""

import io
import os
import shlex
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
from samcli.cli.types import CfnParameterOverridesType

from smsrelay_cli import main
from tests.support.template import ROOT, template
from tools import deploy
from tools.local_stack import build

PLACE = ["--region", "eu-central-1", "--profile", "relay"]
SAMCONFIG = """version = 0.1
[default.validate.parameters]
lint = true
[dev.global.parameters]
stack_name = "smsrelay-dev"
region = "eu-central-1"
profile = "relay"
[prod.global.parameters]
stack_name = "smsrelay-prod"
"""
SECRET = "arn:aws:secretsmanager:eu-central-1:123456789012:secret"
OUTPUTS = {
    "ApiUrl": "https://abc.execute-api.eu-central-1.amazonaws.com/dev",
    "CredentialsSecretArn": f"{SECRET}:Credentials-AbCdEf",
    "TokenRenewerFunctionName": "smsrelay-dev-TokenRenewer",
    "TokenSecretArn": f"{SECRET}:Token-AbCdEf",
}


class Deployed:
    """A fake stack; the commands that deploy.py runs for it are only recorded."""

    def __init__(self, stage: deploy.Stage) -> None:
        self.stage = stage
        self.before: Any = None
        """CloudFormation's description of the stack before sam deploys it."""
        self.outputs = OUTPUTS
        self.updated = 1
        self.commands: list[str] = []
        self.failing = "nothing"

    def run(self, command: list[str], **_: Any) -> subprocess.CompletedProcess[str]:
        assert self.stage.stack_name in command or str(self.stage.samconfig) in command
        recorded = {"client", "list", "remove", "shop", "billing", "--keep-webhook-secret"}
        words = [it for it in command if it in recorded]
        what = " ".join(words or command[3:4])
        self.commands.append(what)
        clients = '[{"client": "shop"}, {"client": "billing"}]' if what == "client list" else ""
        return subprocess.CompletedProcess(command, int(what == self.failing), clients)

    def find(self) -> Any:
        return self.stack() if "deploy" in self.commands else self.before

    def stack(self) -> Any:
        return {
            "LastUpdatedTime": self.updated,
            "StackId": "arn:aws:cloudformation:eu-central-1:123456789012:stack/smsrelay-dev/1",
            "Outputs": [{"OutputKey": k, "OutputValue": v} for k, v in self.outputs.items()],
            "Parameters": [{"ParameterKey": "DefaultClient", "ParameterValue": "internal"}],
        }


@pytest.fixture
def deployed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Deployed:
    (tmp_path / "config").write_text("[profile relay]\n")
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))
    (tmp_path / "samconfig.toml").write_text(SAMCONFIG)
    found = Deployed(deploy.load("dev", tmp_path / "samconfig.toml"))
    monkeypatch.setattr(deploy.Stage, "find", lambda _: found.find())
    monkeypatch.setattr("tools.deploy.subprocess.run", found.run)
    monkeypatch.setattr(deploy, "remaining", lambda *_: iter([("AWS::DynamoDB::Table", "ledger")]))
    return found


def printed_commands(text: str) -> list[list[str]]:
    return [shlex.split(line) for line in text.splitlines() if line.startswith("     ")]


def make(deployed: Deployed, *arguments: str, code: int = 0) -> None:
    """Run the program of a make target."""
    config = str(deployed.stage.samconfig)
    assert deploy.main(["--config-file", config, *arguments, "dev"]) == code


def test_the_first_deployment_prints_outputs_and_three_commands_without_a_secret(
    deployed: Deployed, capsys: pytest.CaptureFixture[str]
) -> None:
    make(deployed, "deploy")
    assert deployed.commands == ["build", "deploy"]
    out = capsys.readouterr().out
    for name, value in OUTPUTS.items():
        assert [line.split() for line in out.splitlines()].count([name, value]) == 1
    put, invoke, add = printed_commands(out)
    assert put[:3] == ["aws", "secretsmanager", "put-secret-value"]
    assert put[put.index("--secret-string") + 1] == "file:///dev/stdin"
    assert put[put.index("--secret-id") + 1] == OUTPUTS["CredentialsSecretArn"]
    assert invoke[:3] == ["aws", "lambda", "invoke"]
    assert OUTPUTS["TokenRenewerFunctionName"] in invoke
    for command in (put, invoke, add):
        assert " ".join(PLACE) in " ".join(command)
    assert (ROOT / add[0]).is_file()
    options = main._parser().parse_args(add[1:])  # noqa: SLF001 - checks the printed arguments
    assert (options.client, options.default) == ("internal", True)
    assert (options.stack_name, options.region) == ("smsrelay-dev", "eu-central-1")


def test_each_parameter_has_the_value_of_the_stage_or_its_default(tmp_path: Path) -> None:
    """Sam would keep the last value of a parameter whose line was deleted."""
    samconfig = tmp_path / "samconfig.toml"
    overrides = 'parameter_overrides = ["Stage=dev", "CountryCodes=1,44", "UpstreamHosts=\\"\\""]'
    samconfig.write_text(f'[dev.global.parameters]\nstack_name = "x"\n{overrides}\n')
    text = deploy.load("dev", samconfig).parameter_overrides
    values = CfnParameterOverridesType().convert((text,), None, None)
    defaults = {name: str(it["Default"]) for name, it in template()["Parameters"].items()}
    changed = {"Stage": "dev", "CountryCodes": "1,44", "UpstreamHosts": ""}
    assert values == defaults | changed


@pytest.mark.parametrize(
    ("overrides", "why"),
    [
        ('"Stage=dev IamAccess=on"', "parameter_overrides must be a list"),
        ('["IamAcess=on"]', "the template has no parameter IamAcess"),
    ],
)
def test_parameters_that_would_be_ignored_are_refused(
    tmp_path: Path, overrides: str, why: str
) -> None:
    samconfig = tmp_path / "samconfig.toml"
    stage = '[dev.global.parameters]\nstack_name = "x"\nparameter_overrides = '
    samconfig.write_text(stage + overrides)
    with pytest.raises(deploy.DeployError, match=why):
        _ = deploy.load("dev", samconfig).parameter_overrides


def test_without_token_renewal_the_access_token_is_asked_for(
    deployed: Deployed, capsys: pytest.CaptureFixture[str]
) -> None:
    deployed.outputs = {"TokenSecretArn": OUTPUTS["TokenSecretArn"]}
    make(deployed, "deploy")
    put, add = printed_commands(capsys.readouterr().out)
    assert put[put.index("--secret-id") + 1] == OUTPUTS["TokenSecretArn"]
    assert add[-4:] == ["add", "internal", "--default", "--show"]


@pytest.mark.parametrize("is_changed", [True, False])
def test_a_later_deployment_prints_the_outputs_only(
    deployed: Deployed, capsys: pytest.CaptureFixture[str], is_changed: bool
) -> None:
    deployed.before = deployed.stack()
    deployed.updated += is_changed
    make(deployed, "deploy")
    out = capsys.readouterr().out
    assert OUTPUTS["ApiUrl"] in out
    assert printed_commands(out) == []
    assert ("smsrelay-dev was not changed." in out) == (not is_changed)  # a declined change set


def test_a_deployment_after_one_that_failed_is_the_first(deployed: Deployed) -> None:
    deployed.before = deployed.stack() | {"Outputs": []}
    assert deploy.deploy(deployed.stage)


def test_a_name_of_a_stack_that_is_too_long_for_its_queues_is_refused(
    deployed: Deployed, capsys: pytest.CaptureFixture[str]
) -> None:
    config = deployed.stage.samconfig
    name = "s" * (deploy.LONGEST_STACK_NAME + 1)
    config.write_text(config.read_text().replace("smsrelay-dev", name))
    make(deployed, "deploy", code=1)
    assert f"{name} has 71 characters: use at most 70" in capsys.readouterr().err
    assert deployed.commands == []


def test_a_clone_that_was_never_built_can_be_deployed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = tmp_path / ".aws-sam" / "settings"
    monkeypatch.setattr(build, "SAM_SETTINGS", settings)
    assert build.sam_environment()["__SAM_CLI_APP_DIR"] == str(settings)


def test_a_failed_build_is_not_deployed(deployed: Deployed) -> None:
    deployed.failing = "build"
    with pytest.raises(deploy.DeployError, match="sam build failed"):
        deploy.deploy(deployed.stage)
    assert deployed.commands == ["build"]


def test_a_change_set_that_was_not_executed_prints_no_commands(
    deployed: Deployed, capsys: pytest.CaptureFixture[str]
) -> None:
    deployed.outputs = {}  # a new stack whose change set was declined; sam exits with 0
    with pytest.raises(deploy.DeployError, match="smsrelay-dev was not deployed: the change set"):
        deploy.deploy(deployed.stage)
    assert capsys.readouterr().out == ""


@pytest.fixture
def existing(deployed: Deployed) -> Deployed:
    deployed.before = deployed.stack()
    return deployed


def test_delete_removes_the_clients_before_the_stack(
    existing: Deployed, capsys: pytest.CaptureFixture[str]
) -> None:
    deploy.delete(existing.stage, yes=True)
    assert existing.commands == [
        "client list",
        "client remove shop --keep-webhook-secret",
        "client remove billing --keep-webhook-secret",
        "delete",
    ]
    before, _, stays = capsys.readouterr().out.partition("These resources remain")
    assert "clients: shop, billing." in before
    assert "AWS::DynamoDB::Table" in stays


def test_a_client_that_can_not_be_removed_stops_the_deletion(existing: Deployed) -> None:
    existing.failing = "client remove billing --keep-webhook-secret"
    with pytest.raises(deploy.DeployError, match=r"smsrelay client remove billing .* failed"):
        deploy.delete(existing.stage, yes=True)
    assert "delete" not in existing.commands


@pytest.mark.parametrize("answer", ["", "n\n", "smsrelay\n"])
def test_delete_changes_nothing_unless_the_answer_is_yes(
    existing: Deployed, monkeypatch: pytest.MonkeyPatch, answer: str
) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO(answer))
    with pytest.raises(deploy.DeployError, match="nothing was changed"):
        deploy.delete(existing.stage, yes=False)
    assert existing.commands == ["client list"]


def test_a_protected_stack_keeps_its_clients(existing: Deployed) -> None:
    existing.before["EnableTerminationProtection"] = True
    with pytest.raises(deploy.DeployError, match="termination protection"):
        deploy.delete(existing.stage, yes=True)
    assert existing.commands == []


def test_a_first_deployment_that_failed_can_be_deleted(existing: Deployed) -> None:
    existing.before["Outputs"] = []
    deploy.delete(existing.stage, yes=True)
    assert existing.commands == ["delete"]


def test_a_stack_that_does_not_exist_can_not_be_deleted(
    deployed: Deployed, capsys: pytest.CaptureFixture[str]
) -> None:
    make(deployed, "delete", "--yes", code=1)
    assert "there is no stack smsrelay-dev in eu-central-1" in capsys.readouterr().err
    assert deployed.commands == []


@pytest.mark.parametrize("name", ["", "test", "default", "version"])
def test_a_stage_that_samconfig_lacks_is_refused(deployed: Deployed, name: str) -> None:
    with pytest.raises(deploy.DeployError, match="use STAGE=dev or STAGE=prod"):
        deploy.load(name, deployed.stage.samconfig)


@pytest.mark.parametrize("goal", ["deploy", "delete"])
def test_a_syntax_error_in_samconfig_is_reported_with_its_place(
    deployed: Deployed, capsys: pytest.CaptureFixture[str], goal: str
) -> None:
    deployed.stage.samconfig.write_text("version = 0.1\n[dev.global\n")
    make(deployed, goal, code=1)
    error = capsys.readouterr().err
    assert error.startswith(f"{goal}: samconfig.toml is not valid TOML: ")
    assert "(at line 2, column 12)" in error


@pytest.mark.parametrize(
    ("goal", "command"),
    [
        (["deploy"], "tools.deploy deploy 'dev'"),
        (["delete"], "tools.deploy delete  'dev'"),
        (["delete", "YES=1"], "tools.deploy delete --yes 'dev'"),
        (["delete", "YES=0"], "tools.deploy delete  'dev'"),
    ],
)
def test_make_passes_the_stage_on(goal: list[str], command: str) -> None:
    environment = {name: value for name, value in os.environ.items() if "MAKE" not in name}
    make = [shutil.which("make") or "make", "--dry-run", "--old-file", ".venv/ready"]
    ended = subprocess.run(  # noqa: S603 - a fixed command
        [*make, *goal, "STAGE=dev"],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    )
    assert ended.stdout.rstrip().endswith(command)
