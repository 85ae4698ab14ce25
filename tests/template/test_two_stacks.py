"""Two stacks in one account and region: no resource of one has the name of the other's."""

from collections.abc import Iterator

from tests.support.template import Stack, monitoring
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
    "MetricName",  # of metrics, which have the stack's name as a dimension
    "StageName",  # unique within its API
}


def test_two_stacks_have_no_physical_name_in_common() -> None:
    packaged = build.artefacts(lambda _: None)
    names = []
    for stack_name in ("sms-retail", "sms-travel"):
        parent = Stack(stack_name, packaged.template, **ALL_OPTIONS)
        passed = parent.properties("Monitoring")["Parameters"]
        nested = Stack(f"{stack_name}-Monitoring-1ABC", monitoring(), **passed)
        names.append({*names_given_by(parent), *names_given_by(nested)})
    one, other = names
    assert len(one) >= 10, "queues, API, layer, dashboard, saved queries"
    assert one & other == set()


def names_given_by(stack: Stack) -> Iterator[tuple[str, str]]:
    """The type and name of each resource whose name CloudFormation does not choose."""
    for logical_id, resource in stack.resources.items():
        for name, value in stack.properties(logical_id).items():
            is_reference = resource["Properties"][name] == {"Ref": value}
            if name.endswith("Name") and name not in NAMES_OF_OTHERS and not is_reference:
                yield resource["Type"], value
