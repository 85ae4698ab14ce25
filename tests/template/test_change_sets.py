"""Checks that no changed parameter replaces or drops a resource with data."""

from typing import Any

import pytest
from cfnlint.schema.manager import (  # type: ignore[import-untyped]  # no type marker
    PROVIDER_SCHEMA_MANAGER,
)

from tests.support.template import Stack, template
from tools.local_stack import build
from tools.local_stack.aws import REGION

HOLDS_DATA = (
    "AWS::ApiGateway::RestApi",  # its id is in the URL that clients call
    "AWS::ApiGateway::Stage",  # the usage plans of clients refer to it
    "AWS::DynamoDB::Table",
    "AWS::KMS::Key",
    "AWS::Logs::LogGroup",
    "AWS::SQS::Queue",
    "AWS::SecretsManager::Secret",
)
HOLDS_NO_DATA = (
    "AWS::ApiGateway::Deployment",
    "AWS::CloudFormation::Stack",  # dashboard, alarms and saved queries
    "AWS::IAM::Role",
    "AWS::Lambda::EventInvokeConfig",
    "AWS::Lambda::EventSourceMapping",  # a new mapping reads the stream from its oldest record
    "AWS::Lambda::Function",
    "AWS::Lambda::LayerVersion",
    "AWS::Lambda::Permission",
    "AWS::SQS::QueuePolicy",
    "AWS::Scheduler::Schedule",
)
DROPPED = {
    # The key stays in the account, so encrypted data stays readable (docs/security.md).
    ("CustomerManagedKey", "Key"),
    # The logs of an option that is turned off; the ledger is the record of sends.
    ("AccessLog", "AccessLogs"),
    ("Callbacks", "CallbackSenderLogs"),
    ("Callbacks", "EventPublisherLogs"),
    ("DeliveryPolling", "DeliveryPollerLogs"),
    ("EventBus", "EventPublisherLogs"),
    ("TokenRenewal", "TokenRenewerLogs"),
}
REPLACED = {("Stage", "ApiStage")}
"""Clients' keys belong to the old stage, as docs/deploy.md and the parameter's description say."""
OTHER_VALUES = {
    "Stage": ["dev"],
    "RestBaseUrl": ["https://rest.example.com"],
    "UpstreamHosts": ["*.example.com"],
    "ClientRecipientsPerMinute": ["1"],
    "DefaultClient": ["shop"],
    "QueueSenderArns": ["arn:aws:sns:us-east-1:123456789012:orders"],
    "AllowedSourceRanges": ["192.0.2.0/24"],
    "CountryCodes": ["1,44"],
    "UpstreamTimeoutSeconds": ["10"],
    "MaxAgeHours": ["1"],
    "YearlyApiCalls": ["0"],
    "EventBus": ["bus"],
    "RetentionDays": ["30"],
    "AlarmTopicArn": ["arn:aws:sns:us-east-1:123456789012:alarms"],
}
"""A value for each parameter without a list of values."""


@pytest.fixture(scope="module")
def transformed() -> dict[str, Any]:
    return build.artefacts(lambda _: None).template


def values(parameter: str) -> list[str]:
    """Return a parameter's default and its other values."""
    found = template()["Parameters"][parameter]
    others = found.get("AllowedValues") or OTHER_VALUES[parameter]
    return [str(found["Default"]), *(str(it) for it in others if it != found["Default"])]


def data(stack: Stack) -> dict[str, dict[str, Any]]:
    """Return the resources with data, and the properties whose change replaces them."""
    found = {}
    for name, resource in stack.resources.items():
        if resource["Type"] in HOLDS_DATA:
            schema = PROVIDER_SCHEMA_MANAGER.get_resource_schema(REGION, resource["Type"]).schema
            paths = [
                *schema.get("createOnlyProperties", []),
                *schema.get("conditionalCreateOnlyProperties", []),
            ]
            create_only = {path.split("/")[2] for path in paths}
            properties = stack.properties(name)
            found[name] = {key: properties.get(key) for key in create_only}
    return found


def test_each_type_of_resource_is_classified(transformed: dict[str, Any]) -> None:
    types = {resource["Type"] for resource in transformed["Resources"].values()}
    assert types == {*HOLDS_DATA, *HOLDS_NO_DATA}


@pytest.mark.parametrize("parameter", template()["Parameters"])
def test_no_changed_parameter_replaces_or_drops_data(
    transformed: dict[str, Any], parameter: str
) -> None:
    stacks = [
        data(Stack("smsrelay-test", transformed, **{parameter: value}))
        for value in values(parameter)
    ]
    assert {"Ledger", "TokenSecret", "Queue", "DeadLetterQueue"} <= stacks[0].keys()
    dropped, replaced = set(), set()
    for before in stacks:
        for after in stacks:
            dropped |= {(parameter, name) for name in before.keys() - after.keys()}
            replaced |= {
                (parameter, name)
                for name in before.keys() & after.keys()
                if before[name] != after[name]
            }
    assert dropped == {it for it in DROPPED if it[0] == parameter}
    assert replaced == {it for it in REPLACED if it[0] == parameter}


def test_a_change_of_a_name_counts_as_a_replacement(transformed: dict[str, Any]) -> None:
    """Another stack name changes the queues' names, which replaces the queues."""
    before, after = (data(Stack(name, transformed)) for name in ("one", "other"))
    assert before["Queue"] != after["Queue"]
    assert before["Ledger"] == after["Ledger"]
