"""Deploy a stack with sam, or delete it: `python -m tools.deploy deploy|delete STAGE`.

A stage is an environment of samconfig.toml, which has the stack's name and its parameters.
"""

import argparse
import json
import shlex
import subprocess
import sys
import tomllib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import boto3
from botocore.exceptions import BotoCoreError, ClientError
from samtranslator.yaml_helper import yaml_parse

from tools.local_stack import ROOT
from tools.local_stack.build import sam_environment

if TYPE_CHECKING:
    from mypy_boto3_cloudformation.type_defs import StackTypeDef

INTERRUPTED = 130
LONGEST_STACK_NAME = 70
"""SQS allows 80 characters in the name of a queue; the longest one is STACK-callbacks."""
SAMCONFIG = ROOT / "samconfig.toml"
COMMAND = Path("cli/smsrelay")


class DeployError(Exception):
    """The stage was not deployed or deleted; the message is for the operator."""


@dataclass(frozen=True)
class Stage:
    """An environment of samconfig.toml.

    Raises:
        DeployError: the name of its stack is too long.
    """

    name: str
    settings: dict[str, Any]
    """Settings of all sam commands: `stack_name`, `parameter_overrides`, optionally `region`."""
    samconfig: Path

    def __post_init__(self) -> None:
        """Raise an error if the names of the stack's queues would be too long."""
        if (length := len(self.stack_name)) > LONGEST_STACK_NAME:
            raise DeployError(
                f"the stack's name {self.stack_name} has {length} characters: "
                f"use at most {LONGEST_STACK_NAME}"
            )

    @property
    def stack_name(self) -> str:
        name: str = self.settings["stack_name"]
        return name

    @cached_property
    def session(self) -> boto3.Session:
        """A session with the region and profile that sam uses."""
        return boto3.Session(
            region_name=self.settings.get("region"), profile_name=self.settings.get("profile")
        )

    @property
    def place(self) -> list[str]:
        """Options of other commands for the same region and profile."""
        profile = self.settings.get("profile")
        return ["--region", self.session.region_name, *(["--profile", profile] if profile else [])]

    def find(self) -> "StackTypeDef | None":
        """Describe the stack, or return None if it does not exist."""
        cloudformation = self.session.client("cloudformation")
        try:
            return cloudformation.describe_stacks(StackName=self.stack_name)["Stacks"][0]
        except ClientError as error:
            if "does not exist" not in str(error):
                raise
            return None

    def describe(self) -> "StackTypeDef":
        """Describe the stack.

        Raises:
            DeployError: the stack does not exist.
        """
        if stack := self.find():
            return stack
        raise DeployError(f"there is no stack {self.stack_name} in {self.session.region_name}")

    @property
    def parameter_overrides(self) -> str:
        """All parameters of the template with their values, in the format of sam's option.

        A deployment keeps the last value of each parameter that the option omits, so a line that
        was deleted from samconfig.toml would still apply.

        Raises:
            DeployError: the stage's list is not a list, or has a parameter that does not exist.
        """
        template: dict[str, Any] = yaml_parse((ROOT / "template.yaml").read_text())
        values = {name: it["Default"] for name, it in template["Parameters"].items()}
        overrides = self.settings.get("parameter_overrides", [])
        if not isinstance(overrides, list):
            raise DeployError('parameter_overrides must be a list, such as ["Stage=dev"]')
        for override in overrides:
            name, _, value = override.partition("=")
            if name not in values:
                raise DeployError(f"the template has no parameter {name}")
            values[name] = value.strip('"')
        return " ".join(f'{name}="{value}"' for name, value in values.items())

    def sam(self, *arguments: str) -> None:
        """Run a sam command with the settings of this stage."""
        command = [sys.executable, "-m", "samcli", *arguments, "--config-env", self.name]
        command += ["--config-file", str(self.samconfig.absolute())]
        ended = subprocess.run(  # noqa: S603 - the command is fixed
            command, cwd=ROOT, env=sam_environment(), check=False
        )
        if ended.returncode:
            raise DeployError(f"sam {arguments[0]} failed")

    def smsrelay_command(self, *arguments: str) -> list[str]:
        """The operator's command for the stack."""
        return [str(COMMAND), "--stack-name", self.stack_name, *self.place, *arguments]

    def smsrelay(self, *arguments: str) -> str:
        """Run the operator's command for the stack, and return its standard output."""
        ended = subprocess.run(  # noqa: S603 - this project's own command
            self.smsrelay_command(*arguments),
            cwd=ROOT,
            stdout=subprocess.PIPE,
            text=True,
            check=False,
        )
        if ended.returncode:
            raise DeployError(f"smsrelay {shlex.join(arguments)} failed")
        return ended.stdout


def load(name: str, samconfig: Path = SAMCONFIG) -> Stage:
    """Load a stage from samconfig.toml.

    Raises:
        DeployError: the file is not valid TOML, or has no such stage. sam itself would continue
            without settings.
    """
    try:
        config = tomllib.loads(samconfig.read_text())
    except ValueError as error:  # a syntax error, or bytes that are not UTF-8
        raise DeployError(f"{samconfig.name} is not valid TOML: {error}") from None
    stages = [key for key in config if "stack_name" in _global(config, key)]
    if name not in stages:
        raise DeployError(
            f"{samconfig.name} has no stage {name!r}: use STAGE={' or STAGE='.join(stages)}"
        )
    return Stage(name, _global(config, name), samconfig)


def _global(config: dict[str, Any], name: str) -> dict[str, Any]:
    section = config[name]
    found: dict[str, Any] = {}
    if isinstance(section, dict):
        found = section.get("global", {}).get("parameters", {})
    return found


def deploy(stage: Stage) -> bool:
    """Build and deploy a stage, and print its outputs.

    Returns:
        whether this was its first deployment.

    Raises:
        DeployError: sam failed, or the change set of a new stack was declined.
    """
    before = stage.find()
    # sam's cache does not notice changes of files that a Makefile reads outside its own folder.
    parameters = ("--parameter-overrides", stage.parameter_overrides)
    stage.sam("build", "--no-cached", *parameters)
    stage.sam("deploy", *parameters)
    stack = stage.describe()
    outputs = outputs_of(stack)
    if not outputs:
        raise DeployError(
            f"{stage.stack_name} was not deployed: the change set was declined, or the first "
            "deployment failed (see the events of the stack)"
        )
    is_first = not before or not outputs_of(before)
    if before and not is_first and before.get("LastUpdatedTime") == stack.get("LastUpdatedTime"):
        print(f"\n{stage.stack_name} was not changed.")
    print(f"\nThe outputs of {stage.stack_name}:\n")
    for name, value in sorted(outputs.items()):
        print(f"  {name:<26}{value}")
    return is_first


def print_next_commands(stage: Stage) -> None:
    """Print what to do after the first deployment of a stage."""
    stack = stage.describe()
    print("\nNext, after the first deployment:")
    for number, (what, command) in enumerate(next_commands(stage, stack, outputs_of(stack)), 1):
        print(f"\n{number}. {what}\n\n     {shlex.join(command)}")
    print("\nThen send the first SMS: docs/deploy.md#the-first-sms")


def outputs_of(stack: "StackTypeDef") -> dict[str, str]:
    """The outputs of a stack by name; empty if its first deployment failed or was declined."""
    return {it["OutputKey"]: it["OutputValue"] for it in stack.get("Outputs", [])}


def next_commands(
    stage: Stage, stack: "StackTypeDef", outputs: dict[str, str]
) -> Iterator[tuple[str, list[str]]]:
    """Yield what each command does, and the command."""
    put = ["aws", "secretsmanager", "put-secret-value", *stage.place]
    # An argument would be visible in the shell's history and in the list of processes.
    put += ["--secret-string", "file:///dev/stdin", "--secret-id"]
    enter = "Start the command, enter the JSON with your values, and press Enter and Ctrl-D:"
    if renewer := outputs.get("TokenRenewerFunctionName"):
        example = (
            '{"client_id": "…", "client_secret": "…", '
            '"auth_base_url": "https://SUBDOMAIN.auth.marketingcloudapis.com"}'
        )
        yield (
            f"Store the client credentials of Marketing Cloud. {enter}\n   {example}",
            [*put, outputs["CredentialsSecretArn"]],
        )
        yield (
            'Fetch an access token with them. It prints "renewed", or "kept" if a token exists.',
            ["aws", "lambda", "invoke", *stage.place, "--function-name", renewer, "/dev/stdout"],
        )
    else:
        example = (
            '{"access_token": "…", "expires_at": 1791230460, '
            '"rest_instance_url": "https://SUBDOMAIN.rest.marketingcloudapis.com"}'
        )
        yield (
            f"Store an access token of Marketing Cloud. {enter}\n   {example}",
            [*put, outputs["TokenSecretArn"]],
        )
    parameters = {it["ParameterKey"]: it["ParameterValue"] for it in stack["Parameters"]}
    yield (
        "Add the first client. The command prints its API key.",
        stage.smsrelay_command("client", "add", parameters["DefaultClient"], "--default", "--show"),
    )


def delete(stage: Stage, *, yes: bool) -> None:
    """Delete the clients of a stage with their usage plans and keys, then its stack.

    API Gateway refuses to delete a stage that a usage plan refers to. Secrets of webhooks and
    callbacks stay, because their values can't be made again.

    Raises:
        DeployError: something could not be deleted. The command can be repeated.
    """
    stack = stage.describe()
    if stack.get("EnableTerminationProtection"):
        raise DeployError(f"{stage.stack_name} has termination protection; nothing was changed")
    outputs = outputs_of(stack)
    clients = []
    if outputs:
        clients = [it["client"] for it in json.loads(stage.smsrelay("client", "list", "--json"))]
    print(f"This will delete {stage.stack_name} in {stage.session.region_name}")
    print(f"and the API keys of its clients: {', '.join(clients) or 'none'}.")
    print("Messages that wait in its queues will be lost.")
    if not yes:
        print("Delete it? [y/N] ", end="", flush=True)
        if sys.stdin.readline().strip().lower() not in {"y", "yes"}:
            raise DeployError("aborted: nothing was changed")
    for client in clients:
        print(stage.smsrelay("client", "remove", client, "--keep-webhook-secret", "--yes"), end="")
    stage.sam("delete", "--no-prompts")
    print(f"\n{stage.stack_name} is deleted. These resources remain, and may cost money:\n")
    for kind, name in remaining(stage, stack, outputs):
        print(f"  {kind:<30}{name}")
    print("\nSNS subscriptions and EventBridge targets that posted to its queue also remain.")


def remaining(
    stage: Stage, stack: "StackTypeDef", outputs: dict[str, str]
) -> Iterator[tuple[str, str]]:
    """Yield the type and name of each resource that remains after the stack was deleted."""
    # A deleted stack can be found by its id, but not by its name.
    pages = stage.session.client("cloudformation").get_paginator("describe_stack_events")
    yield from sorted(
        (event["ResourceType"], event["PhysicalResourceId"])
        for page in pages.paginate(StackName=stack["StackId"])
        for event in page["StackEvents"]
        if event["ResourceStatus"] == "DELETE_SKIPPED"
    )
    secrets = stage.session.client("secretsmanager").get_paginator("list_secrets")
    prefix = f"{stage.stack_name}/"  # webhooks/CLIENT and callbacks/CLIENT
    for found in secrets.paginate(Filters=[{"Key": "name", "Values": [prefix]}]):
        for secret in found["SecretList"]:
            yield "AWS::SecretsManager::Secret", secret["Name"]
    if catalogue := outputs.get("CatalogueParameter"):
        ssm = stage.session.client("ssm")
        for parameter in ssm.get_parameters(Names=[catalogue])["Parameters"]:
            yield "AWS::SSM::Parameter", parameter["Name"]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command, and return its exit code."""
    parser = argparse.ArgumentParser(prog="python -m tools.deploy", description=__doc__)
    parser.add_argument(
        "--config-file",
        type=Path,
        default=SAMCONFIG,
        metavar="FILE",
        help="the file with the stages (default: samconfig.toml)",
    )
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("deploy", help="build and deploy a stage").add_argument("stage")
    deleted = commands.add_parser("delete", help="delete the clients of a stage, then its stack")
    deleted.add_argument("stage")
    deleted.add_argument("--yes", action="store_true", help="do not ask for confirmation")
    options = parser.parse_args(arguments)
    sys.stdout.reconfigure(line_buffering=True)  # type: ignore[union-attr]  # sam writes between
    try:
        stage = load(options.stage, options.config_file)
        if options.command == "deploy":
            if deploy(stage):
                print_next_commands(stage)
        else:
            delete(stage, yes=options.yes)
    except (DeployError, BotoCoreError, ClientError) as error:
        print(f"{options.command}: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print(f"\n{options.command}: interrupted", file=sys.stderr)
        return INTERRUPTED
    return 0


if __name__ == "__main__":
    sys.exit(main())
