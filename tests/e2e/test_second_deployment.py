"""A second deployment: changed parameters reach the functions that events invoke."""

from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from tools.local_stack.deployment import STACK_NAME
from tools.local_stack.polling import wait_for
from tools.local_stack.stack import LocalStack, Stack

TAKES_MESSAGES = ("ApiFunction", "IamFunction", "WebhookFunction", "QueueWorkerFunction")
MESSAGE = {"message": "MzA6Nzg6MA", "to": ["+12125550100"]}


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


def variables(stack: Stack, function: str) -> dict[str, str]:
    configuration: Any = stack.clients.lambda_.get_function_configuration(
        FunctionName=stack.functions[function]
    )
    found: dict[str, str] = configuration["Environment"]["Variables"]
    return found


def post(stack: Stack) -> httpx.Response:
    with httpx.Client(trust_env=False, timeout=60) as client:
        return client.post(
            f"{stack.api_url}/messages", json=MESSAGE, headers={"x-api-key": stack.api_key}
        )


def test_a_changed_parameter_takes_effect_with_the_deployment(own_stack: Stack) -> None:
    assert post(own_stack).status_code == 202

    deploy_again(own_stack, RetentionDays="91", ClientRecipientsPerMinute="599")

    for function in TAKES_MESSAGES:
        assert variables(own_stack, function)["RETENTION_DAYS"] == "91"
    assert variables(own_stack, "IamFunction")["CLIENT_RECIPIENTS_PER_MINUTE"] == "599"
    assert post(own_stack).status_code == 202

    # With these hosts the API function can't call the simulator any more.
    deploy_again(own_stack, UpstreamHosts="*.marketingcloudapis.com")
    answer = post(own_stack)
    assert (answer.status_code, answer.json()["status"]) == (202, "queued")
