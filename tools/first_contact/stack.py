"""The temporary stack of first contact: it has a unique name, and is deleted completely."""

import re
import secrets
import shlex
import signal
import sys
from argparse import Namespace
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from types import FrameType

from botocore.exceptions import BotoCoreError, ClientError

from smsrelay.security.allowed_hosts import AllowedHosts
from smsrelay_cli.deployed_stack import DeployedStack, find_stack
from smsrelay_cli.exit_codes import UsageError
from tools import deploy
from tools.local_stack import ROOT

BUILD = ROOT / ".aws-sam" / "first-contact"
"""Not sam's own folder, because another `sam deploy` must not deploy this build."""
SAM_STACK, SAM_BUCKET = "aws-sam-cli-managed-default", "SamCliSourceBucket"


def trial_of(stage: deploy.Stage) -> deploy.Stage:
    """Return the stage with a unique stack name."""
    name = f"{stage.stack_name}-{secrets.token_hex(4)}"
    return replace(stage, settings=stage.settings | {"stack_name": name})


def upstream_hosts(stage: deploy.Stage) -> AllowedHosts:
    """Return the hosts that the stage lets the relay call as Marketing Cloud."""
    values = dict(it.split("=", 1) for it in shlex.split(stage.parameter_overrides))
    if values["TokenRenewal"] != "on":
        raise UsageError(f"{stage.name} has TokenRenewal=off: use a stage with TokenRenewal=on")
    return AllowedHosts(values["UpstreamHosts"])


@contextmanager
def deployed(stage: deploy.Stage) -> Iterator[DeployedStack]:
    """Deploy the temporary stack, and delete all of it at the end of the block."""
    with _signals_interrupt():
        try:
            _deploy(stage)
            yield find(
                stack_name=stage.stack_name,
                region=stage.session.region_name,
                profile=stage.settings.get("profile"),
            )
        finally:
            _delete(stage)


def find(**options: object) -> DeployedStack:
    names = ("stack_file", "stack_name", "region", "profile")
    return find_stack(Namespace(local=False, **{**dict.fromkeys(names), **options}))


@contextmanager
def _signals_interrupt() -> Iterator[None]:
    """Raise KeyboardInterrupt on SIGTERM and SIGHUP, which otherwise skip all `finally` blocks."""

    def interrupt(number: int, _: FrameType | None) -> None:
        signal.signal(number, signal.SIG_IGN)  # a closed terminal can send it more than once
        raise KeyboardInterrupt

    numbers = (signal.SIGTERM, signal.SIGHUP)
    before = [signal.signal(number, interrupt) for number in numbers]
    try:
        yield
    finally:
        for number, handler in zip(numbers, before, strict=True):
            signal.signal(number, handler)


def _deploy(stage: deploy.Stage) -> None:
    parameters = ("--parameter-overrides", stage.parameter_overrides)
    stage.sam("build", "--no-cached", "--build-dir", str(BUILD), *parameters)
    template = BUILD / "template.yaml"
    # Other stacks retain their data. This one deletes its credential and its data.
    text = re.sub(r"(DeletionPolicy:) \w+", r"\1 Delete", template.read_text())
    template.write_text(re.sub(r"(PointInTimeRecoveryEnabled:) \w+", r"\1 false", text))
    name = stage.stack_name
    place = ("--template-file", str(template), "--stack-name", name, "--s3-prefix", name)
    stage.sam("deploy", *place, "--no-confirm-changeset", *parameters)


def _delete(stage: deploy.Stage) -> None:
    """Delete the stack, if it exists, and the packages that sam has uploaded for it.

    It prints nothing before the call that deletes the stack, because the terminal may be closed.
    """
    stack = stage.stack_name
    try:
        stack = stage.describe()["StackId"]
        cloudformation = stage.session.client("cloudformation")
        cloudformation.delete_stack(StackName=stack)
        _print(f"deleting {stage.stack_name} …")
        cloudformation.get_waiter("stack_delete_complete").wait(StackName=stack)
    except deploy.DeployError:
        return  # the stack was not created
    except BaseException:
        command = ["aws", "cloudformation", "delete-stack", *stage.place, "--stack-name", stack]
        _print(f"{stage.stack_name} may still exist. Delete it with:\n{shlex.join(command)}")
        raise
    _print(f"{stage.stack_name} is deleted, with its table and secrets (and a KMS key in 30 days).")
    try:
        _delete_packages(stage)
    except (BotoCoreError, ClientError):
        _print(f"Delete the files that sam uploaded: {stage.stack_name}/ in sam's bucket.")


def _delete_packages(stage: deploy.Stage) -> None:
    resource = stage.session.resource("cloudformation").StackResource(SAM_STACK, SAM_BUCKET)
    bucket = stage.session.resource("s3").Bucket(resource.physical_resource_id)
    bucket.object_versions.filter(Prefix=f"{stage.stack_name}/").delete()


def _print(line: str) -> None:
    """Print to the standard error, if it still exists."""
    with suppress(OSError):
        print(line, file=sys.stderr, flush=True)
