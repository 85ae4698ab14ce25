"""Checks the names of resources: two stacks share none, and all names fit their limits."""

from collections.abc import Iterator

from tests.support.template import Stack, monitoring
from tools.deploy import LONGEST_STACK_NAME
from tools.local_stack import build

ALL_OPTIONS = {
    "IamAccess": "on",
    "Webhooks": "on",
    "Catalogue": "on",
    "Callbacks": "on",
    "EventBus": "bus",
    "RecipientResults": "on",
    "CustomerManagedKey": "on",
    "AccessLog": "on",
}
NAMES_OF_OTHERS = {
    "MetricName",  # metrics have the stack's name as a dimension
    "StageName",  # unique within its API
}


LIMITS = {
    "AWS::CloudWatch::Dashboard": 255,
    "AWS::Lambda::LayerVersion": 140,
    "AWS::Logs::QueryDefinition": 255,
    "AWS::SQS::Queue": 80,
}
"""Each service's limit of characters in a name; for a REST API none is documented."""


def test_two_stacks_have_no_physical_name_in_common() -> None:
    one, other = (physical_names(name) for name in ("sms-retail", "sms-travel"))
    assert len(one) >= 10, "names of queues, API, layer, dashboard or saved queries are missing"
    assert one & other == set()


def test_the_longest_name_of_a_stack_is_as_long_as_its_resources_allow() -> None:
    """The names that CloudFormation chooses are shortened, so only the others count."""
    names = physical_names("s" * LONGEST_STACK_NAME)
    room = [LIMITS[kind] - len(name) for kind, name in names if kind in LIMITS]
    assert min(room) == 0
    assert {kind for kind, _ in names} - LIMITS.keys() == {"AWS::ApiGateway::RestApi"}


def physical_names(stack_name: str) -> set[tuple[str, str]]:
    parent = Stack(stack_name, build.artefacts(lambda _: None).template, **ALL_OPTIONS)
    passed = parent.properties("Monitoring")["Parameters"]
    nested = Stack(f"{stack_name}-Monitoring-1ABC", monitoring(), **passed)
    return {*names_given_by(parent), *names_given_by(nested)}


def names_given_by(stack: Stack) -> Iterator[tuple[str, str]]:
    """Yield type and name of each resource whose name CloudFormation does not choose."""
    for logical_id, resource in stack.resources.items():
        for name, value in stack.properties(logical_id).items():
            is_reference = resource["Properties"][name] == {"Ref": value}
            if name.endswith("Name") and name not in NAMES_OF_OTHERS and not is_reference:
                yield resource["Type"], value
