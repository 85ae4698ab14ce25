"""A deployment over another one: what it changes reaches whoever answers, by a version."""

from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from local.deployment import STACK_NAME
from local.stack import LocalStack, Stack
from local.waiting import wait_for

PUBLISHED = ("ApiFunction", "IamFunction", "WebhookFunction", "WorkerFunction")
MESSAGE = {"message": "MzA6Nzg6MA", "to": ["12125550100"]}


@pytest.fixture
def own_stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """Not the session's: it is deployed again."""
    with LocalStack(tmp_path_factory.mktemp("stack")) as running:
        yield running


def deploy_again(stack: Stack, **changed: str) -> None:
    """`sam deploy` with other parameters."""
    cloudformation = stack.clients.cloudformation
    [before] = cloudformation.describe_stacks(StackName=STACK_NAME)["Stacks"]
    parameters = {each["ParameterKey"]: each["ParameterValue"] for each in before["Parameters"]}
    cloudformation.update_stack(
        StackName=STACK_NAME,
        UsePreviousTemplate=True,
        Capabilities=["CAPABILITY_IAM"],
        Parameters=[
            {"ParameterKey": name, "ParameterValue": value}
            for name, value in (parameters | changed).items()
        ],
    )

    def settled() -> str | None:
        [now] = cloudformation.describe_stacks(StackName=STACK_NAME)["Stacks"]
        return None if now["StackStatus"].endswith("_IN_PROGRESS") else now["StackStatus"]

    assert wait_for(settled, what="the deployment", seconds=60) == "UPDATE_COMPLETE"


def versions(stack: Stack) -> list[str]:
    """Which versions are in use; each is the only one of its function."""
    in_use = []
    for name in PUBLISHED:
        function = stack.functions[name]
        alias = stack.clients.lambda_.get_alias(FunctionName=function, Name="live")
        all_of_it = stack.clients.lambda_.list_versions_by_function(FunctionName=function)
        there = [version["Version"] for version in all_of_it["Versions"]]
        assert there == ["$LATEST", alias["FunctionVersion"]]
        in_use.append(alias["FunctionVersion"])
    return in_use


def live(stack: Stack, name: str) -> Any:
    return stack.clients.lambda_.get_function_configuration(
        FunctionName=stack.functions[name], Qualifier="live"
    )


def post(stack: Stack) -> int:
    with httpx.Client(trust_env=False, timeout=60) as client:
        answer = client.post(
            f"{stack.api_url}/messages", json=MESSAGE, headers={"x-api-key": stack.api_key}
        )
    return answer.status_code


def test_what_a_deployment_changes_reaches_who_answers(own_stack: Stack) -> None:
    assert versions(own_stack) == ["1", "1", "1", "1"]
    assert live(own_stack, "ApiFunction")["SnapStart"]["ApplyOn"] == "None"

    deploy_again(own_stack, MaxAttempts="7", SnapStart="on")
    assert versions(own_stack) == ["2", "2", "2", "2"]
    for name in PUBLISHED:
        assert live(own_stack, name)["Environment"]["Variables"]["MAX_ATTEMPTS"] == "7"
        assert live(own_stack, name)["SnapStart"]["ApplyOn"] == "PublishedVersions"
    assert post(own_stack) == 202

    # Nothing of a function: Lambda would refuse another version of the same.
    deploy_again(own_stack, BurstLimit="41", TokenSchedule="rate(2 minutes)")
    assert versions(own_stack) == ["2", "2", "2", "2"]

    deploy_again(own_stack, ClientPerMinute="599")
    assert versions(own_stack) == ["2", "3", "3", "2"]
    assert post(own_stack) == 202
