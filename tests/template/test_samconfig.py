"""Checks that samconfig.toml sets only existing parameters to allowed values."""

import re
import tomllib
from typing import Any

import pytest

from tests.support.template import ROOT, template


def environments() -> dict[str, dict[str, Any]]:
    """Return the sections of each environment that is deployed."""
    config = tomllib.loads((ROOT / "samconfig.toml").read_text())
    return {name: config[name] for name in config.keys() - {"version", "default"}}


def overrides() -> dict[str, list[str]]:
    """Return the `parameter_overrides` of each environment that is deployed."""
    return {
        name: sections["global"]["parameters"]["parameter_overrides"]
        for name, sections in environments().items()
    }


@pytest.mark.parametrize("environment", sorted(environments()))
def test_build_deploy_and_delete_have_the_same_stack_and_parameters(environment: str) -> None:
    """Otherwise the layer could be built for another processor than the functions'."""
    sections = environments()[environment]
    for name, section in sections.items():
        if name != "global":
            assert section["parameters"].keys().isdisjoint({"parameter_overrides", "stack_name"})
    stack_name = sections["global"]["parameters"]["stack_name"]
    assert sections["deploy"]["parameters"]["s3_prefix"] == stack_name, "`sam delete` empties it"
    capabilities = sections["deploy"]["parameters"]["capabilities"]
    assert capabilities == "CAPABILITY_IAM CAPABILITY_AUTO_EXPAND"


def test_each_stage_of_a_documented_command_is_in_samconfig() -> None:
    pages = [ROOT / "README.md", *(ROOT / "docs").glob("*.md")]
    command = re.compile(r"make (?:first-contact|deploy|delete) STAGE=(\w+)")
    stages = {stage for page in pages for stage in command.findall(page.read_text())}
    assert "trial" in stages
    assert stages - {"retail"} <= environments().keys(), "docs/deploy.md adds only retail"


def problem_of(parameter: dict[str, Any], value: str) -> str | None:
    """Return the constraint of a parameter that a value violates."""
    if parameter["Type"] == "Number":
        number = float(value)
        if number < parameter.get("MinValue", number) or number > parameter.get("MaxValue", number):
            return "it is out of range"
    allowed = [str(entry) for entry in parameter.get("AllowedValues", [value])]
    if value not in allowed:
        return f"it must be one of {', '.join(allowed)}"
    if not re.fullmatch(parameter.get("AllowedPattern", ".*"), value):
        return f"it must match {parameter['AllowedPattern']}"
    return None


@pytest.mark.parametrize("environment", sorted(overrides()))
def test_the_template_accepts_every_override(environment: str) -> None:
    parameters = template()["Parameters"]
    for override in overrides()[environment]:
        name, separator, value = override.partition("=")
        assert separator, f"{override} has no value"
        assert name in parameters, f"the template has no parameter {name}"
        assert problem_of(parameters[name], value) is None, override


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("RetentionDays", "28"),
        ("RetentionDays", "3651"),
        ("Catalogue", "yes"),
        ("DefaultClient", "Internal"),
        ("CountryCodes", "+44"),
        ("CountryCodes", "1, 44"),
    ],
)
def test_a_value_that_cloudformation_refuses_is_found(name: str, value: str) -> None:
    assert problem_of(template()["Parameters"][name], value)


def test_the_ledger_keeps_a_message_longer_than_the_queues() -> None:
    queues = ("Queue", "DeadLetterQueue")
    resources = template()["Resources"]
    days = sum(resources[name]["Properties"]["MessageRetentionPeriod"] / 86_400 for name in queues)
    assert template()["Parameters"]["RetentionDays"]["MinValue"] > days
