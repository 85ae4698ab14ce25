"""The project's templates as data, with CloudFormation's conditions and functions, and the build.

A resource's name, and its attribute QueueName, is its logical id here.
"""

import os
import re
import subprocess
import sys
from collections.abc import Mapping
from functools import cache, cached_property
from pathlib import Path
from typing import Any

from samtranslator.yaml_helper import yaml_parse

ROOT = Path(__file__).parents[2]


@cache
def template() -> dict[str, Any]:
    return _parsed("template.yaml")


@cache
def monitoring() -> dict[str, Any]:
    """The nested stack with dashboard, alarms and saved queries."""
    return _parsed("monitoring.yaml")


def properties(resource: str) -> dict[str, Any]:
    """Properties of a resource in template.yaml."""
    found: dict[str, Any] = template()["Resources"][resource]["Properties"]
    return found


def alarm(name: str) -> dict[str, Any]:
    """Properties of an alarm in monitoring.yaml."""
    found: dict[str, Any] = monitoring()["Resources"][name]["Properties"]
    return found


STACK_NAME = "smsrelay-test"
SAMPLE_TOPIC_ARN = "arn:aws:sns:us-east-1:123456789012:orders"
"""The topic of events/envelopes/sns-notification.json."""


def variables(
    *, table: str, queue_url: str, dead_letter_queue_url: str, token_secret: str, **others: str
) -> dict[str, str]:
    """The functions' environment variables for these parts; `others` are added or replace one.

    tests/template checks the names against the template and the settings.
    """
    return {
        "TABLE_NAME": table,
        "QUEUE_URL": queue_url,
        "DEAD_LETTER_QUEUE_URL": dead_letter_queue_url,
        "TOKEN_SECRET_ARN": token_secret,
        "REST_BASE_URL": "",
        "DEFAULT_CLIENT": "internal",
        "RETENTION_DAYS": "90",
        "MAX_ATTEMPTS": "4",
        "MAX_AGE_HOURS": "24",
        "UPSTREAM_TIMEOUT_SECONDS": "2",
        "CONCURRENT_SENDS": "10",
        "DELIVERY_POLLING": "none",
        "RECIPIENT_RESULTS": "off",
        "COUNTRY_CODES": "",
        "UPSTREAM_HOSTS": "http://127.0.0.1",
        "QUEUE_SENDER_ARNS": SAMPLE_TOPIC_ARN,
        "POWERTOOLS_SERVICE_NAME": STACK_NAME,
        "POWERTOOLS_METRICS_NAMESPACE": "smsrelay",
        **others,
    }


def run_built(
    script: str, *arguments: Path | str, environment: Mapping[str, str] | None = None
) -> str:
    """Run a script without this folder and the environment's packages; return its output."""
    result = subprocess.run(  # noqa: S603 - the running Python
        [sys.executable, "-B", "-I", "-S", "-c", script, *map(str, arguments)],
        env={"PATH": os.environ["PATH"], **(environment or {})},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert result.returncode == 0, result.stderr
    return result.stdout


def _parsed(name: str) -> dict[str, Any]:
    parsed: dict[str, Any] = yaml_parse((ROOT / name).read_text())
    return parsed


_NO_VALUE = "AWS::NoValue"


class Stack:
    """A template with values for its parameters."""

    def __init__(self, name: str, template: Mapping[str, Any], **parameters: str) -> None:
        """Set the parameters; the others have their defaults."""
        self._name = name
        self._template = template
        defaults = {
            key: str(parameter["Default"])
            for key, parameter in template["Parameters"].items()
            if "Default" in parameter
        }
        self.parameters = defaults | parameters
        assert self.parameters.keys() == template["Parameters"].keys()

    @cached_property
    def conditions(self) -> dict[str, bool]:
        return {name: self._is_true(name) for name in self._template["Conditions"]}

    @cached_property
    def resources(self) -> dict[str, dict[str, Any]]:
        """The resources that these parameters create, not resolved."""
        return {
            name: resource
            for name, resource in self._template["Resources"].items()
            if "Condition" not in resource or self.conditions[resource["Condition"]]
        }

    def properties(self, name: str) -> dict[str, Any]:
        """The properties of a resource, resolved.

        Raises:
            AssertionError: they refer to a name that is not in this stack.
        """
        found: dict[str, Any] = self._resolved(self.resources[name].get("Properties", {}))
        return found

    def _is_true(self, condition: str) -> bool:
        return self._holds(self._template["Conditions"][condition])

    def _holds(self, node: Mapping[str, Any]) -> bool:
        [(function, operands)] = node.items()
        match function:
            case "Condition":
                return self._is_true(operands)
            case "Fn::Not":
                return not self._holds(operands[0])
            case "Fn::Or":
                return any(self._holds(operand) for operand in operands)
            case "Fn::Equals":
                one, other = (str(self._resolved(operand)) for operand in operands)
                return one == other
        raise AssertionError(function)

    def _resolved(self, node: Any) -> Any:
        resolved = node
        match node:
            case {"Ref": str(name)} | {"Fn::GetAtt": [str(name), "QueueName"]}:
                resolved = self._value(name)
            case {"Fn::If": [str(condition), if_true, if_false]}:
                resolved = self._resolved(if_true if self.conditions[condition] else if_false)
            case {"Fn::Join": [str(delimiter), parts]}:
                resolved = delimiter.join(self._resolved(parts))
            case {"Fn::Sub": str(text)}:
                resolved = re.sub(r"\$\{([\w:]+)\}", lambda found: self._value(found[1]), text)
            case dict():
                values = ((key, self._resolved(value)) for key, value in node.items())
                resolved = {key: value for key, value in values if value != _NO_VALUE}
            case list():
                entries = map(self._resolved, node)
                resolved = [entry for entry in entries if entry != _NO_VALUE]
        return resolved

    def _value(self, name: str) -> str:
        if name == "AWS::StackName":
            return self._name
        if name.startswith("AWS::"):
            return name
        if name in self.parameters:
            return self.parameters[name]
        assert name in self.resources, f"{name} is not in {self._name}"
        return name
