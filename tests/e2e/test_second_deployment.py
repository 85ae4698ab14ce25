"""Tests changes of a stack: its roles, its parameters, and a second stack beside it."""

import json
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import httpx
import pytest

from tests.support.cloudwatch_metrics import documents
from tests.support.stack_resources import existing
from tools.local_stack.build import BUCKET
from tools.local_stack.deployment import STACK_NAME, TEMPLATE_KEY
from tools.local_stack.polling import wait_for
from tools.local_stack.roles import Roles
from tools.local_stack.simulator_client import SimulatorControl
from tools.local_stack.stack import LocalStack, Stack
from tools.mobileconnect_simulator import Simulator

TAKES_MESSAGES = ("ApiFunction", "IamFunction", "WebhookFunction", "QueueWorkerFunction")
MESSAGE = {"message": "MzA6Nzg6MA", "to": ["+12125550100"]}
SECOND = "smsrelay-second"


@pytest.fixture(scope="module")
def own_stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """A separate stack, because these tests change it."""
    with LocalStack(tmp_path_factory.mktemp("stack")) as running:
        yield running


def parameters_of(stack: Stack) -> dict[str, str]:
    [found] = stack.clients.cloudformation.describe_stacks(StackName=STACK_NAME)["Stacks"]
    return {each["ParameterKey"]: each["ParameterValue"] for each in found["Parameters"]}


def deploy_again(stack: Stack, **changed: str) -> None:
    """Deploy the stack again with changed parameters."""
    stack.clients.cloudformation.update_stack(
        StackName=STACK_NAME,
        UsePreviousTemplate=True,
        Capabilities=["CAPABILITY_IAM"],
        Parameters=[
            {"ParameterKey": name, "ParameterValue": value}
            for name, value in (parameters_of(stack) | changed).items()
        ],
    )
    assert settled(stack, STACK_NAME)["StackStatus"] == "UPDATE_COMPLETE"


def create(stack: Stack, name: str, template: str = TEMPLATE_KEY, **changed: str) -> Any:
    """Create another stack with the first one's parameters, except the changed ones."""
    stack.clients.cloudformation.create_stack(
        StackName=name,
        TemplateURL=f"https://s3.amazonaws.com/{BUCKET}/{template}",
        Capabilities=["CAPABILITY_IAM"],
        Parameters=[
            {"ParameterKey": key, "ParameterValue": value}
            for key, value in (parameters_of(stack) | changed).items()
        ],
    )
    return settled(stack, name)


def settled(stack: Stack, name: str) -> Any:
    """Wait for the end of a stack's deployment, and return the stack."""

    def ended() -> Any:
        [now] = stack.clients.cloudformation.describe_stacks(StackName=name)["Stacks"]
        return None if now["StackStatus"].endswith("_IN_PROGRESS") else now

    return wait_for(ended, what=f"the deployment of {name}", seconds=60)


def variables(stack: Stack, function: str) -> dict[str, str]:
    configuration: Any = stack.clients.lambda_.get_function_configuration(
        FunctionName=stack.functions[function]
    )
    found: dict[str, str] = configuration["Environment"]["Variables"]
    return found


def post(stack: Stack, api_id: str = "") -> httpx.Response:
    """Post with the stack's key, to its own API or to another one."""
    *_, own_id, _ = stack.api_url.split("/")
    url = stack.api_url.replace(own_id, api_id or own_id)
    with httpx.Client(trust_env=False, timeout=60) as client:
        return client.post(f"{url}/messages", json=MESSAGE, headers={"x-api-key": stack.api_key})


def test_a_role_without_a_permission_is_denied_the_call(own_stack: Stack) -> None:
    """Tests one example of what `make iam` tests."""
    roles = Roles(own_stack)
    [permission] = [it for it in roles.permissions() if it[:2] == ("ApiRole", "dynamodb:PutItem")]
    before = roles.denials()

    with roles.without(permission):
        assert post(own_stack).status_code == 503

    assert roles.denials() - before == roles.denials(permission) > 0
    assert post(own_stack).status_code == 202


def test_a_condition_decides_which_item_a_role_may_write(own_stack: Stack) -> None:
    roles = Roles(own_stack)
    [permission] = roles.conditional()
    assert permission[:2] == ("TokenRenewerRole", "dynamodb:UpdateItem")

    with roles.with_other_condition(permission):
        own_stack.clients.secretsmanager.put_secret_value(
            SecretId=own_stack.token_secret, SecretString="{}"
        )
        own_stack.clients.lambda_.invoke(FunctionName=own_stack.token_renewer, Payload="{}")

    assert roles.denials(permission) > 0


def test_a_changed_parameter_takes_effect_with_the_deployment(own_stack: Stack) -> None:
    before = parameters_of(own_stack)
    assert post(own_stack).status_code == 202

    deploy_again(own_stack, RetentionDays="91", ClientRecipientsPerMinute="599")

    for function in TAKES_MESSAGES:
        assert variables(own_stack, function)["RETENTION_DAYS"] == "91"
    assert variables(own_stack, "IamFunction")["CLIENT_RECIPIENTS_PER_MINUTE"] == "599"
    assert post(own_stack).status_code == 202

    # With these hosts, the API function may not call the simulator.
    deploy_again(own_stack, UpstreamHosts="*.marketingcloudapis.com")
    answer = post(own_stack)
    assert (answer.status_code, answer.json()["status"]) == (202, "queued")
    deploy_again(own_stack, **before)


def test_two_stacks_side_by_side_share_nothing(own_stack: Stack) -> None:
    clients = own_stack.clients
    with Simulator(client_id="second", client_secret="of the second") as second_upstream:
        created = create(own_stack, SECOND)
        assert created["StackStatus"] == "CREATE_COMPLETE"
        second = {output["OutputKey"]: output["OutputValue"] for output in created["Outputs"]}
        credentials = {
            "client_id": "second",
            "client_secret": "of the second",
            "auth_base_url": second_upstream.url,
        }
        clients.secretsmanager.put_secret_value(
            SecretId=second["CredentialsSecretArn"], SecretString=json.dumps(credentials)
        )
        clients.lambda_.invoke(FunctionName=second["TokenRenewerFunctionName"], Payload="{}")
        queues = {STACK_NAME: own_stack.queue_url, SECOND: second["QueueUrl"]}
        for name, queue_url in queues.items():
            body = MESSAGE | {"text": f"by {name}", "idempotencyKey": "the-same"}
            clients.sqs.send_message(QueueUrl=queue_url, MessageBody=json.dumps(body))
        with SimulatorControl(own_stack.simulator_url) as first_upstream:
            sent: dict[str, Callable[[], list[Any]]] = {
                STACK_NAME: first_upstream.sent,
                SECOND: second_upstream.sent,
            }
            token_ids = {name: one_token_id(of, f"by {name}") for name, of in sent.items()}
            texts = {
                name: {call["body"].get("messageText") for call in of()}
                for name, of in sent.items()
            }
    assert f"by {SECOND}" not in texts[STACK_NAME]
    assert texts[SECOND] == {f"by {SECOND}"}

    tables = {STACK_NAME: own_stack.table, SECOND: second["TableName"]}
    secrets = {STACK_NAME: own_stack.token_secret, SECOND: second["TokenSecretArn"]}
    access_tokens = {access_token(own_stack, secret) for secret in secrets.values()}
    assert len(access_tokens) == 2
    for name, other in ((STACK_NAME, SECOND), (SECOND, STACK_NAME)):
        stored = wait_for(
            partial(holds, own_stack, tables[name], token_ids[name]),
            what=f"the result of {name}",
            seconds=60,
        )
        assert token_ids[other] not in stored
        assert metrics_of(own_stack, name) == {name}
    refused = post(own_stack, second["RestApiId"])
    assert (refused.status_code, refused.json()["code"]) == (403, "api-key-required")


def test_a_failed_first_deployment_leaves_nothing_behind(own_stack: Stack) -> None:
    """The last resource fails, with all options on that have data."""
    clients = own_stack.clients
    body = clients.s3.get_object(Bucket=BUCKET, Key=TEMPLATE_KEY)["Body"].read()
    template = json.loads(body)
    retained = {
        name
        for name, one in template["Resources"].items()
        if "Retain" in one.get("DeletionPolicy", "")
    }
    template["Resources"]["Broken"] = {
        "Type": "AWS::SQS::Queue",
        "Properties": {"DelaySeconds": 901},  # more than SQS allows
        "DependsOn": sorted(retained),
    }
    clients.s3.put_object(Bucket=BUCKET, Key="broken.json", Body=json.dumps(template).encode())
    before = existing(own_stack.aws_endpoint_url)

    failed = create(
        own_stack, "smsrelay-failed", "broken.json", CustomerManagedKey="on", RecipientResults="on"
    )

    assert failed["StackStatus"] == "ROLLBACK_COMPLETE"
    events = clients.cloudformation.describe_stack_events(StackName="smsrelay-failed")
    deleted = {
        event["LogicalResourceId"]
        for event in events["StackEvents"]
        if event["ResourceStatus"] == "DELETE_COMPLETE"
    }
    assert retained
    assert retained <= deleted
    assert existing(own_stack.aws_endpoint_url) == before


def one_token_id(sent: Callable[[], list[Any]], text: str) -> str:
    """Return the tokenId of the only send with this text."""
    [call] = wait_for(
        lambda: [it for it in sent() if it["body"].get("messageText") == text],
        what=f"the send with the text {text}",
        seconds=60,
    )
    token_id: str = call["tokenId"]
    return token_id


def access_token(stack: Stack, secret: str) -> str:
    value = stack.clients.secretsmanager.get_secret_value(SecretId=secret)["SecretString"]
    token: str = json.loads(value)["access_token"]
    return token


def holds(stack: Stack, table: str, token_id: str) -> str | None:
    """Return a table's items as text once one of them has the tokenId."""
    items = json.dumps(stack.clients.dynamodb.scan(TableName=table)["Items"], default=str)
    return items if token_id in items else None


def metrics_of(stack: Stack, name: str) -> set[str]:
    """Return the stack names in the metrics of a stack's log groups."""
    logs, found = stack.clients.logs, set()
    for it in stack.clients.cloudformation.describe_stack_resources(StackName=name)[
        "StackResources"
    ]:
        if it["ResourceType"] == "AWS::Logs::LogGroup":
            events = logs.filter_log_events(logGroupName=it["PhysicalResourceId"])["events"]
            lines = "\n".join(event["message"] for event in events)
            found |= {document["service"] for document in documents(lines)}
    return found
