"""Events go to versions of functions: each deployment must make the versions that it needs.

A version holds what the function was when it was published. Where nothing makes a new one, a
deployment changes the function and nobody notices; where the function is the same, Lambda refuses.
"""

import json
from typing import Any

import pytest

from local import build
from tests.support.template import template

PUBLISHED = ("ApiFunction", "IamFunction", "WebhookFunction", "WorkerFunction")
LONGEST_DESCRIPTION = 256


def transformed(layer: str = "layer") -> dict[str, Any]:
    """What CloudFormation makes of the template, with a layer of this content."""
    given = json.loads(json.dumps(template()))
    for name, resource in given["Resources"].items():
        for code in build.CODE_PROPERTIES:
            if code in resource.get("Properties", {}):
                key = layer if name == "Layer" else name
                resource["Properties"][code] = f"s3://bucket/{key}"
    made: dict[str, Any] = build.transform(given)["Resources"]
    return made


@pytest.fixture(scope="module")
def resources() -> dict[str, Any]:
    return transformed()


def version_of(function: str, resources: dict[str, Any]) -> tuple[str, dict[str, Any]]:
    """The logical id of a function's version, and the version."""
    [found] = [
        (name, resource)
        for name, resource in resources.items()
        if resource["Type"] == "AWS::Lambda::Version"
        and resource["Properties"]["FunctionName"] == {"Ref": function}
    ]
    return found


def parameters_in(value: Any) -> set[str]:
    """The parameters that a piece of the template depends on; `P.C` is what P is mapped to in C."""
    found: set[str] = set()
    match value:
        case {"Ref": name}:
            found = {name} & set(template()["Parameters"])
        case {"Fn::FindInMap": [_, {"Ref": parameter}, column]}:
            found = {f"{parameter}.{column}"}
        case {"Fn::If": [condition, *branches]}:
            found = parameters_in([{"Condition": condition}, *branches])
        case {"Condition": name}:
            found = parameters_in(template()["Conditions"][name])
        case {"Fn::Sub": [text, named]}:
            found = parameters_in([{"Fn::Sub": text}, named])
        case {"Fn::Sub": text}:
            found = {name for name in template()["Parameters"] if f"${{{name}}}" in text}
        case dict():
            found = parameters_in(list(value.values()))
        case list():
            found = set().union(*map(parameters_in, value))
    return found


@pytest.mark.parametrize("function", PUBLISHED)
def test_a_parameter_that_changes_a_function_changes_its_version_and_no_other_does(
    function: str, resources: dict[str, Any]
) -> None:
    _, version = version_of(function, resources)
    described = parameters_in(version["Properties"]["Description"])
    assert described == parameters_in(resources[function]["Properties"])


@pytest.mark.parametrize("function", PUBLISHED)
def test_a_new_layer_makes_a_new_version(function: str, resources: dict[str, Any]) -> None:
    before, _ = version_of(function, resources)
    after, _ = version_of(function, transformed("another-layer"))
    assert before != after
    assert before in transformed()  # and the same layer none


@pytest.mark.parametrize("function", PUBLISHED)
def test_a_description_is_never_too_long(function: str, resources: dict[str, Any]) -> None:
    _, version = version_of(function, resources)
    text, named = version["Properties"]["Description"]["Fn::Sub"]
    longest = text.replace("${Each}", max(str(row["Each"]) for row in _sends_at_once()))
    for name in parameters_in(version["Properties"]["Description"]) - {"SendsAtOnce.Each"}:
        longest = longest.replace(f"${{{name}}}", "x" * _length(template()["Parameters"][name]))
    assert set(named) == {"Each"}
    assert "$" not in longest
    assert len(longest) <= LONGEST_DESCRIPTION


def _sends_at_once() -> list[dict[str, int]]:
    return list(template()["Mappings"]["SendsAtOnce"].values())


def _length(parameter: dict[str, Any]) -> int:
    """Characters of the longest value."""
    if "AllowedValues" in parameter:
        return max(map(len, parameter["AllowedValues"]))
    if parameter["Type"] == "Number":
        return len(str(parameter["MaxValue"]))
    longest: int = parameter["MaxLength"]
    return longest


def test_who_is_invoked_is_always_the_version_in_use(resources: dict[str, Any]) -> None:
    invoked = [
        resource["Properties"]["FunctionName"]
        for resource in resources.values()
        if resource["Type"] in {"AWS::Lambda::Permission", "AWS::Lambda::EventSourceMapping"}
    ]
    assert {reference["Ref"] for reference in invoked} >= {f"{name}Aliaslive" for name in PUBLISHED}
    assert not {reference["Ref"] for reference in invoked} & set(PUBLISHED)
    routes = json.dumps(resources["Api"]["Properties"]["Body"])
    for function in ("ApiFunction", "IamFunction", "WebhookFunction"):
        assert f"${{{function}Aliaslive}}" in routes
        assert f"${{{function}.Arn}}" not in routes


def test_snapshots_are_taken_only_if_somebody_wants_to_pay_for_them(
    resources: dict[str, Any],
) -> None:
    assert template()["Parameters"]["SnapStart"]["Default"] == "off"
    wanted = {"ApplyOn": {"Fn::If": ["UsesSnapStart", "PublishedVersions", "None"]}}
    has = {name: r["Properties"].get("SnapStart") for name, r in resources.items() if _runs(r)}
    assert has == dict.fromkeys(has, None) | dict.fromkeys(PUBLISHED, wanted)


def test_old_versions_and_their_snapshots_do_not_pile_up(resources: dict[str, Any]) -> None:
    for function in PUBLISHED:
        _, version = version_of(function, resources)
        assert version["DeletionPolicy"] == "Delete"
        assert "UpdateReplacePolicy" not in version


def _runs(resource: dict[str, Any]) -> bool:
    return bool(resource["Type"] == "AWS::Lambda::Function")
