"""Runs `make deploy`, the commands that it prints, a first SMS, and `make delete`.

MiniStack replaces AWS, and tests/support/aws_command.py the AWS CLI.
"""

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.support.stack_resources import existing
from tests.support.template import ROOT
from tools.local_stack import build, processes, servers
from tools.local_stack.aws import CREDENTIALS, REGION, Clients
from tools.mobileconnect_simulator import Simulator

STACK = "smsrelay-shop"
SECRET = "not-on-a-command-line"
SAMCONFIG = """version = 0.1
[shop.global.parameters]
stack_name = "{stack}"
region = "{region}"
parameter_overrides = [
    "Stage=shop", "Architecture={architecture}", "UpstreamHosts=http://127.0.0.1",
    "Catalogue=on", "Callbacks=on", "CustomerManagedKey=on",
]
[shop.build.parameters]
build_dir = "{folder}/build"
[shop.deploy.parameters]
template_file = "{folder}/build/template.yaml"
capabilities = "CAPABILITY_IAM CAPABILITY_AUTO_EXPAND"
resolve_s3 = true
s3_prefix = "{stack}"
confirm_changeset = false
fail_on_empty_changeset = false
"""
COMMANDS = {
    "aws": f"{sys.executable} -m tests.support.aws_command",
    "curl": shutil.which("curl"),
}
"""The programs on PATH; the arguments of each call are recorded."""
DOCUMENTED_AS_STAYING = {
    "AWS::DynamoDB::Table",
    "AWS::KMS::Key",
    "AWS::SSM::Parameter",
    "AWS::SecretsManager::Secret",
}
"""The types of resources in the table of docs/deploy.md."""


@dataclass(frozen=True)
class Account:
    """An empty account, and the terminal of a person who deploys to it."""

    endpoint_url: str
    folder: Path
    environment: dict[str, str]

    def make(self, goal: str, *options: str) -> str:
        """Run the program of `make deploy` or `make delete`, and return its output."""
        config = str(self.folder / "samconfig.toml")
        return self._run(
            [sys.executable, "-m", "tools.deploy", "--config-file", config, goal, *options, "shop"]
        )

    def shell(self, command: str, entered: str = "", **variables: str) -> str:
        """Run a printed or documented command unchanged, and return its standard output."""
        return self._run(["bash", "-euc", command], entered, **variables)

    def _run(self, command: list[str], entered: str = "", **variables: str) -> str:
        ended = subprocess.run(  # noqa: S603 - this project's own commands
            command,
            cwd=ROOT,
            env=self.environment | variables,
            input=entered,
            capture_output=True,
            text=True,
            check=False,
            timeout=120,
        )
        assert ended.returncode == 0, ended.stdout + ended.stderr
        return ended.stdout


@pytest.fixture
def account(tmp_path: Path) -> Iterator[Account]:
    build.artefacts(lambda _: None)  # the layer's dependencies
    marker, data = processes.new_marker(), tmp_path / "ministack"
    data.mkdir()
    emulator = servers.start_emulator(tmp_path, data, marker)
    settings = {"stack": STACK, "region": REGION, "architecture": build.architecture()}
    (tmp_path / "samconfig.toml").write_text(SAMCONFIG.format(folder=tmp_path, **settings))
    for name, command in COMMANDS.items():
        script = f'#!/bin/sh\nprintf "%s\\n" "$@" >> {tmp_path}/arguments\nexec {command} "$@"\n'
        (tmp_path / name).write_text(script)
        (tmp_path / name).chmod(0o755)
    environment = {
        "PATH": f"{tmp_path}{os.pathsep}{os.environ['PATH']}",
        "AWS_CONFIG_FILE": os.devnull,
        "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
        "AWS_ENDPOINT_URL": emulator.url,
        "SAM_CLI_POLL_DELAY": "0.2",
        **{name.upper(): value for name, value in CREDENTIALS.items()},
    }
    try:
        yield Account(emulator.url, tmp_path, environment)
    finally:
        processes.stop(marker, [emulator.process])


def outputs_in(text: str) -> dict[str, str]:
    """Return the outputs that `make deploy` printed."""
    block = text.partition(f"The outputs of {STACK}:\n\n")[2].partition("\n\n")[0]
    return dict(line.split() for line in block.splitlines())


def snippets(page: str, heading: str) -> list[str]:
    """Return the shell blocks of a section of a page."""
    section = (ROOT / page).read_text().partition(f"\n### {heading}\n")[2].partition("\n## ")[0]
    return re.findall(r"```sh\n(.*?)```", section, re.DOTALL)


def test_from_the_first_deployment_to_the_deletion(account: Account) -> None:
    with Simulator(client_id="shop", client_secret=SECRET) as upstream:
        printed = account.make("deploy")
        outputs = outputs_in(printed)
        put, invoke, add = re.findall(r"^ {5}(\S.*)$", printed, re.MULTILINE)
        credentials = {"client_id": "shop", "client_secret": SECRET, "auth_base_url": upstream.url}
        account.shell(put, json.dumps(credentials) + "\n")
        assert '"did": "renewed"' in account.shell(invoke)
        [api_key] = re.findall(r"^key +(\S+)$", account.shell(add), re.MULTILINE)

        post, ask = snippets("docs/deploy.md", "The first SMS")
        variables = {
            "API_URL": f"{account.endpoint_url}/_aws/execute-api/{outputs['RestApiId']}/shop",
            "API_KEY": api_key,
        }
        posted = json.loads(account.shell(post, **variables))
        [sent] = upstream.sent()
        assert sent["body"]["messageText"] == "The first SMS of smsrelay."
        asked = json.loads(account.shell(ask, **variables, ID=posted["id"]))
        assert (asked["id"], asked["status"]) == (posted["id"], "accepted")
        arguments = (account.folder / "arguments").read_text()
        assert outputs["CredentialsSecretArn"] in arguments
        assert SECRET not in arguments
        assert api_key not in arguments

    clients = Clients(account.endpoint_url)
    callbacks = f"{STACK}/callbacks/internal"
    clients.secretsmanager.create_secret(Name=callbacks, SecretString="{}")
    catalogue = outputs["CatalogueParameter"]
    clients.ssm.put_parameter(Name=catalogue, Value="{}", Type="String")
    before = existing(account.endpoint_url)
    assert all(before.values()), "the stack must have each type of resource"

    stays = account.make("delete", "--yes").partition("These resources remain")[2]

    after = existing(account.endpoint_url)
    listed = sorted(line.split() for line in stays.splitlines() if line.startswith("  "))
    assert listed == sorted([kind, name] for kind, names in after.items() for name in names)
    assert {kind for kind, names in after.items() if names} == DOCUMENTED_AS_STAYING
    for kind in DOCUMENTED_AS_STAYING:
        assert after[kind] == before[kind]
