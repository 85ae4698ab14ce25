"""Change sets: no changed parameter replaces or drops a resource that holds data."""

from typing import Any

import pytest
from cfnlint.schema.manager import (  # type: ignore[import-untyped]  # no type marker
    PROVIDER_SCHEMA_MANAGER,
)

from tests.support.template import Stack, template
from tools.local_stack import build
from tools.local_stack.aws import REGION

HOLDS_DATA = (
    "AWS::DynamoDB::Table",
    "AWS::SecretsManager::Secret",
    "AWS::SQS::Queue",
    "AWS::KMS::Key",
)
DROPPED = {("CustomerManagedKey", "Key")}
"""The key stays in the account, and what it has encrypted stays readable (docs/security.md)."""
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
"""One for each parameter that has no list of values."""


@pytest.fixture(scope="module")
def transformed() -> dict[str, Any]:
    return build.artefacts(lambda _: None).template


def values(parameter: str) -> list[str]:
    """Its default, and each of the other values."""
    found = template()["Parameters"][parameter]
    others = found.get("AllowedValues") or OTHER_VALUES[parameter]
    return [str(found["Default"]), *(str(it) for it in others if it != found["Default"])]


def data(stack: Stack) -> dict[str, dict[str, Any]]:
    """The resources that hold data, with the properties whose change replaces each of them."""
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


@pytest.mark.parametrize("parameter", template()["Parameters"])
def test_no_changed_parameter_replaces_or_drops_data(
    transformed: dict[str, Any], parameter: str
) -> None:
    stacks = [
        data(Stack("smsrelay-test", transformed, **{parameter: value}))
        for value in values(parameter)
    ]
    assert {"Ledger", "TokenSecret", "Queue", "DeadLetterQueue"} <= stacks[0].keys()
    for before in stacks:
        for after in stacks:
            dropped = before.keys() - after.keys()
            assert {(parameter, name) for name in dropped} <= DROPPED
            replaced = [name for name in before if name in after and before[name] != after[name]]
            assert replaced == []


def test_a_change_of_a_name_counts_as_a_replacement(transformed: dict[str, Any]) -> None:
    """The names of queues have the stack's name, so another one stands for a changed property."""
    before, after = (data(Stack(name, transformed)) for name in ("one", "other"))
    assert before["Queue"] != after["Queue"]
    assert before["Ledger"] == after["Ledger"]
