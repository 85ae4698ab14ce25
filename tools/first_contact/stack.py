"""The stack that first contact uses: it deploys one, and deletes it."""

import shlex
import signal
import sys
from argparse import Namespace
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from smsrelay.security.allowed_hosts import AllowedHosts
from smsrelay_cli.deployed_stack import DeployedStack, find_stack
from smsrelay_cli.exit_codes import UsageError
from tools import deploy


def new_stage(name: str) -> deploy.Stage:
    """Return a stage of samconfig.toml.

    Raises:
        UsageError: it has a stack already, which must not be deleted.
    """
    stage = deploy.load(name)
    with suppress(deploy.DeployError):
        stage.describe()
        raise UsageError(f"{stage.stack_name} exists already: use a stage that has no stack")
    return stage


def upstream_hosts(stage: deploy.Stage) -> AllowedHosts:
    """Return the hosts that the stage lets the relay call as Marketing Cloud.

    Raises:
        UsageError: its stack would not renew its access token.
    """
    values = dict(it.split("=", 1) for it in shlex.split(stage.parameter_overrides))
    if values["TokenRenewal"] != "on":
        raise UsageError(f"{stage.name} has TokenRenewal=off: use a stage with TokenRenewal=on")
    return AllowedHosts(values["UpstreamHosts"])


@contextmanager
def _signals_interrupt() -> Iterator[None]:
    """Raise KeyboardInterrupt on SIGTERM and SIGHUP, which otherwise skip each `finally`."""
    numbers = (signal.SIGTERM, signal.SIGHUP)
    before = [signal.signal(number, signal.default_int_handler) for number in numbers]
    try:
        yield
    finally:
        for number, handler in zip(numbers, before, strict=True):
            signal.signal(number, handler)


@contextmanager
def deployed(stage: deploy.Stage) -> Iterator[DeployedStack]:
    """Deploy the stack of a stage, and delete it at the end."""
    is_deleted = False
    with _signals_interrupt():
        try:
            deploy.deploy(stage)
            try:
                print("\nDon't run these commands: first contact does the same.\n")
                yield find(
                    stack_name=stage.stack_name,
                    region=stage.session.region_name,
                    profile=stage.settings.get("profile"),
                )
            finally:
                deploy.delete(stage, yes=True)
                is_deleted = True
        finally:
            if not is_deleted:
                print(
                    f"{stage.stack_name} may still exist: run `make delete STAGE={stage.name}`",
                    file=sys.stderr,
                )


def find(**options: object) -> DeployedStack:
    names = ("stack_file", "stack_name", "region", "profile")
    return find_stack(Namespace(local=False, **{**dict.fromkeys(names), **options}))
