"""Checks that template.yaml and monitoring.yaml fit together, for all combinations of options."""

import itertools
import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

import pytest

from tests.support.template import ROOT, Stack, monitoring
from tools.local_stack import build
from tools.local_stack.aws import REGION

PARENT, NESTED = "smsrelay-test", "smsrelay-test-Monitoring-1ABC"
OFF = "-"

type Pairs = Sequence[tuple[Stack, Stack]]

OPTIONS: Mapping[str, tuple[str, str]] = {
    "TokenRenewal": ("on", "off"),
    "IamAccess": ("off", "on"),
    "Webhooks": ("off", "on"),
    "Catalogue": ("off", "on"),
    "DeliveryPolling": ("all", "none"),
    "EventBus": ("", "bus"),
    "Callbacks": ("off", "on"),
    "AlarmTopicArn": ("", "arn:aws:sns:us-east-1:123456789012:alarms"),
}
MOST_METRICS = 10
"""CloudWatch's maximum of metrics in an alarm on metric math."""


@pytest.fixture(scope="module")
def packaged() -> build.Artefacts:
    return build.artefacts(lambda _: None)


def nested_template(packaged: build.Artefacts) -> Mapping[str, Any]:
    """Return the template that the packaged parent refers to."""
    url = packaged.template["Resources"]["Monitoring"]["Properties"]["TemplateURL"]
    prefix = f"https://s3.{REGION}.amazonaws.com/{build.BUCKET}/"
    return packaged.nested[url.removeprefix(prefix)]


@pytest.fixture(scope="module")
def pairs(packaged: build.Artefacts) -> Pairs:
    """Parent and nested stack for each combination of options."""
    found = []
    for values in itertools.product(*OPTIONS.values()):
        parent = Stack(PARENT, packaged.template, **dict(zip(OPTIONS, values, strict=True)))
        passed = parent.properties("Monitoring")["Parameters"]
        found.append((parent, Stack(NESTED, nested_template(packaged), **passed)))
    return found


def of_type(stack: Stack, kind: str) -> dict[str, dict[str, Any]]:
    return {
        name: stack.properties(name)
        for name, resource in stack.resources.items()
        if resource["Type"] == kind
    }


def functions_of(alarm: Mapping[str, Any]) -> list[str]:
    metrics = [it["MetricStat"]["Metric"] for it in alarm["Metrics"] if "MetricStat" in it]
    return [it["Dimensions"][0]["Value"] for it in metrics if it["Namespace"] == "AWS/Lambda"]


def test_the_nested_template_is_packaged_unchanged(packaged: build.Artefacts) -> None:
    assert nested_template(packaged) == monitoring()


def test_exactly_the_parameters_are_passed(packaged: build.Artefacts) -> None:
    passed = packaged.template["Resources"]["Monitoring"]["Properties"]["Parameters"]
    assert list(passed) == list(monitoring()["Parameters"]), "the order must be the same"
    assert not [name for name, it in monitoring()["Parameters"].items() if "Default" in it]


def test_a_parameter_has_the_name_of_the_resource_that_it_names(pairs: Pairs) -> None:
    for parent, nested in pairs:
        passed = parent.parameters | {"StackName": PARENT}
        for name, value in nested.parameters.items():
            if name in passed:
                assert value == passed[name]
            elif name != "LogGroups":
                assert value == (name if name in parent.resources else OFF)


def test_conditions_of_the_same_name_agree(packaged: build.Artefacts, pairs: Pairs) -> None:
    shared = monitoring()["Conditions"].keys() & packaged.template["Conditions"].keys()
    assert shared == monitoring()["Conditions"].keys() - {"HasAlarmTopic"}
    for parent, nested in pairs:
        expected = {name: parent.conditions[name] for name in shared}
        has_topic = parent.parameters["AlarmTopicArn"] != ""
        assert nested.conditions == expected | {"HasAlarmTopic": has_topic}


def test_no_alarm_watches_an_option_that_is_off(pairs: Pairs) -> None:
    for _, nested in pairs:
        for name, alarm in of_type(nested, "AWS::CloudWatch::Alarm").items():
            assert f'"{OFF}"' not in json.dumps(alarm), name


def test_the_sums_are_over_all_functions_that_exist(pairs: Pairs) -> None:
    for parent, nested in pairs:
        functions = set(of_type(parent, "AWS::Lambda::Function"))
        assert set(functions_of(nested.properties("FunctionErrorsAlarm"))) == functions
        # The token renewer is throttled by design, because its concurrency is reserved.
        others = functions - {"TokenRenewerFunction"}
        assert set(functions_of(nested.properties("ThrottlesAlarm"))) == others


def test_the_schedules_of_the_sweeper_and_the_delivery_poller_are_watched(pairs: Pairs) -> None:
    for parent, nested in pairs:
        watched = set(functions_of(nested.properties("SchedulesStoppedAlarm")))
        exist = parent.resources.keys() & {"SweeperFunction", "DeliveryPollerFunction"}
        assert watched == exist, "AccessTokenMissingAlarm watches the token renewer"
        returned, *metrics = nested.properties("SchedulesStoppedAlarm")["Metrics"]
        filled = [f"FILL({it['Id']}, 0)" for it in metrics]
        assert returned["Expression"] == " * ".join(filled)


def test_no_alarm_reaches_an_eleventh_metric(pairs: Pairs) -> None:
    for _, nested in pairs:
        for name, alarm in of_type(nested, "AWS::CloudWatch::Alarm").items():
            metrics = [entry for entry in alarm.get("Metrics", []) if "MetricStat" in entry]
            assert len(metrics) <= MOST_METRICS, name


def test_saved_queries_search_the_logs_of_all_functions(pairs: Pairs) -> None:
    for parent, nested in pairs:
        functions = of_type(parent, "AWS::Lambda::Function").values()
        logs = {function["LoggingConfig"]["LogGroup"] for function in functions}
        assert set(nested.parameters["LogGroups"].split(",")) == logs
    queries = of_type(nested, "AWS::Logs::QueryDefinition").values()
    assert {query["LogGroupNames"] for query in queries} == {nested.parameters["LogGroups"]}


def test_nothing_in_the_nested_stack_is_named_after_the_nested_stack() -> None:
    text = json.dumps(monitoring())
    assert "AWS::StackName" not in text
    assert "AWS::StackId" not in text


def test_a_deployment_may_expand_the_nested_stack() -> None:
    text = (ROOT / "samconfig.toml").read_text()
    capabilities = re.findall(r'^capabilities = "(.*)"$', text, re.MULTILINE)
    assert capabilities == ["CAPABILITY_IAM CAPABILITY_AUTO_EXPAND"] * 3, "dev, prod and trial"
