"""Dashboard, alarms and saved queries: what they look at exists, and each alarm can ring."""

import ast
import json
import re
from collections.abc import Callable, Mapping
from typing import Any

import pytest

from local.simulator import Simulator
from smsrelay.send import Status
from tests.support.emf import documents, metrics
from tests.support.environment import Environment, running
from tests.support.template import ROOT, template

NAMESPACE = "smsrelay"
MESSAGE: dict[str, Any] = {"message": "MzA6Nzg6MA", "to": ["+1 212 555 0100"], "text": "Hello"}
PAGE = (ROOT / "docs/operations.md").read_text()


def resources(kind: str) -> dict[str, Any]:
    return {
        name: resource["Properties"]
        for name, resource in template()["Resources"].items()
        if resource["Type"] == kind
    }


ALARMS = resources("AWS::CloudWatch::Alarm")
[DASHBOARD] = resources("AWS::CloudWatch::Dashboard").values()
QUERIES = resources("AWS::Logs::QueryDefinition")
OURS = {name: it for name, it in ALARMS.items() if it.get("Namespace") == NAMESPACE}


def emitted() -> set[str]:
    """The metrics that the code counts or times, by reading it."""
    found: set[str] = set()
    for path in (ROOT / "layers/smsrelay/smsrelay").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute)):
                continue
            owner = ast.unparse(node.func.value)
            if node.func.attr in {"count", "time"} and owner.endswith("_counter"):
                found |= _names(node.args[0])
    return found


def _names(name: ast.expr) -> set[str]:
    match name:
        case ast.Constant(str(value)):
            return {value}
        case ast.JoinedStr([ast.Constant(str(start)), ast.FormattedValue()]):
            return {f"{start}{status.value.capitalize()}" for status in Status}
    assert ast.unparse(name) == "name", "the recipients' three, in a loop"
    return {"RecipientsDelivered", "RecipientsUndelivered", "RecipientsUnsubscribed"}


def body() -> dict[str, Any]:
    text, _ = DASHBOARD["DashboardBody"]["Fn::Sub"]
    found: dict[str, Any] = json.loads(text)
    return found


def shown() -> list[list[Any]]:
    return [metric for widget in body()["widgets"] for metric in widget["properties"]["metrics"]]


def in_metric_math(alarm: Mapping[str, Any]) -> list[Any]:
    found = [entry.get("Fn::If", [None, entry])[1] for entry in alarm.get("Metrics", [])]
    return [entry["MetricStat"]["Metric"] for entry in found if "MetricStat" in entry]


def test_the_dashboard_shows_what_the_code_emits() -> None:
    ours = {metric[1] for metric in shown() if metric[0] == NAMESPACE}
    assert sorted(ours - emitted()) == []
    assert all(
        metric[2:4] == ["service", "smsrelay"] for metric in shown() if metric[0] == NAMESPACE
    )


def test_whatever_the_code_emits_is_documented_and_nothing_else() -> None:
    table = PAGE.partition("## Metrics")[2].partition("## Logs")[0]
    cells = [line.split("|")[1] for line in table.splitlines() if line.startswith("| ")]
    documented = {name.strip() for cell in cells for name in cell.split(",")} - {"metric", "---"}
    # No send is counted while it is sent.
    assert documented == emitted() - {"SendsSending"}


def test_the_alarms_watch_what_the_code_emits() -> None:
    watched = {alarm["MetricName"] for alarm in OURS.values()}
    watched |= {
        metric["MetricName"]
        for alarm in ALARMS.values()
        for metric in in_metric_math(alarm)
        if metric["Namespace"] == NAMESPACE
    }
    assert sorted(watched - emitted()) == []


@pytest.mark.parametrize("name", ALARMS)
def test_each_alarm_has_a_runbook_and_tells_the_topic(name: str) -> None:
    alarm = ALARMS[name]
    assert f"\n### {name}\n" in PAGE
    told = {"Fn::If": ["HasAlarmTopic", [{"Ref": "AlarmTopicArn"}], {"Ref": "AWS::NoValue"}]}
    assert alarm["AlarmActions"] == alarm["OKActions"] == told
    assert alarm["TreatMissingData"] in {"breaching", "notBreaching"}


def test_each_runbook_has_an_alarm() -> None:
    runbooks = PAGE.partition("## When an alarm rings")[2].partition("\n## ")[0]
    assert sorted(re.findall(r"^### (\w+)$", runbooks, re.MULTILINE)) == sorted(ALARMS)


@pytest.mark.parametrize("name", ["FunctionErrorsAlarm", "ThrottlesAlarm"])
def test_no_function_is_forgotten(name: str) -> None:
    watched = {metric["Dimensions"][0]["Value"]["Ref"] for metric in in_metric_math(ALARMS[name])}
    assert watched == set(resources("AWS::Serverless::Function"))


def test_queues_and_functions_of_alarms_and_dashboard_are_those_of_the_template() -> None:
    known = set(template()["Resources"])
    for alarm in ALARMS.values():
        for dimension in alarm.get("Dimensions", []):
            value = dimension["Value"]
            if dimension["Name"] == "QueueName":
                queue, attribute = value["Fn::GetAtt"]
                assert (queue in known, attribute) == (True, "QueueName")
    text, names = DASHBOARD["DashboardBody"]["Fn::Sub"]
    for variable in re.findall(r"\$\{([\w:]+)\}", text):
        assert variable in known | set(names) | {"AWS::Region", "AWS::StackName", "Stage"}


@pytest.mark.parametrize("name", QUERIES)
def test_saved_queries_ask_for_fields_that_are_logged(name: str) -> None:
    logged = {
        "@timestamp", "@log", "message", "send", "client", "attempt", "reason", "upstream_status",
        "token_id", "correlation_id", "message_id", "status", "level", "exception_name",
        "request_id",
    }  # fmt: skip
    text = QUERIES[name]["QueryString"]
    fields = re.search(r"^fields (.*)$", text, re.MULTILINE)
    asked = {field.strip() for field in fields[1].split(",")} if fields else set()
    asked |= set(re.findall(r"(?:filter|by) (\w+)", text)) - {"bin"}
    assert asked <= logged | {"sends"}


# Each alarm on a metric of ours is made to ring, by what it is for.


def rings(alarm: Mapping[str, Any], values: list[float]) -> bool:
    """What CloudWatch makes of one period's values."""
    assert alarm["EvaluationPeriods"] == 1
    if not values:
        return bool(alarm["TreatMissingData"] == "breaching")
    value = sum(values) if alarm["Statistic"] == "Sum" else max(values)
    threshold = float(alarm["Threshold"])
    if alarm["ComparisonOperator"] == "LessThanThreshold":
        return value < threshold
    assert alarm["ComparisonOperator"] == "GreaterThanOrEqualToThreshold"
    return value >= threshold


def unknown(relay: Environment, simulator: Simulator) -> None:
    simulator.fail("send", "reset-after-accept")
    assert relay.post(MESSAGE).status == 504
    relay.sweep()


def not_stored(relay: Environment, _: Simulator) -> None:
    with relay.ledger_refuses_writes():
        relay.post(MESSAGE)


def blocked(relay: Environment, simulator: Simulator) -> None:
    simulator.fail("send", "429-50200")
    relay.post(MESSAGE)


def not_renewed(relay: Environment, simulator: Simulator) -> None:
    relay.put_credentials(client_id="i", client_secret="s", auth_base_url=simulator.url)
    simulator.fail("token", "401")
    relay.put_secret("{}")
    relay.renew()


def unusable(relay: Environment, _: Simulator) -> None:
    relay.put_catalogue("no JSON")
    relay.post(MESSAGE | {"message": "welcome"})


def deliveries_refused(relay: Environment, simulator: Simulator) -> None:
    relay.post(MESSAGE)
    simulator.fail("deliveries", "403", times=-1)
    for _ in range(15):  # minutes
        relay.status_anew()
        relay.make_due()
        relay.follow()


PROVOKED: Mapping[str, Callable[[Environment, Simulator], None]] = {
    "UnknownAlarm": unknown,
    "ResultsNotStoredAlarm": not_stored,
    "UpstreamBlockedAlarm": blocked,
    "TokenNotRenewedAlarm": not_renewed,
    "NoGoodTokenAlarm": not_renewed,
    "CatalogueUnusableAlarm": unusable,
    "DeliveriesRefusedAlarm": deliveries_refused,
}


def usual(relay: Environment, simulator: Simulator) -> None:
    relay.put_credentials(client_id="i", client_secret="s", auth_base_url=simulator.url)
    relay.renew()
    assert relay.post(MESSAGE).status == 202
    relay.sweep()


def values(
    relay: Environment,
    simulator: Simulator,
    capsys: pytest.CaptureFixture[str],
    play: Callable[[Environment, Simulator], None],
) -> Mapping[str, list[float]]:
    capsys.readouterr()
    play(relay, simulator)
    output = capsys.readouterr().out
    for document in documents(output):
        [directive] = document["_aws"]["CloudWatchMetrics"]
        assert (directive["Namespace"], directive["Dimensions"]) == (NAMESPACE, [["service"]])
        assert document["service"] == "smsrelay"
    return metrics(output)


@pytest.mark.parametrize("name", OURS)
def test_each_alarm_rings_when_it_should_and_only_then(
    aws: None, simulator: Simulator, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    _ = aws
    alarm = OURS[name]
    settings = {
        "DELIVERY_CALLS_PER_MINUTE": "9",
        "CATALOGUE_PARAMETER": f"/{name}/catalogue",
    }
    with running(simulator.url, **settings) as relay:
        well = values(relay, simulator, capsys, usual)
        assert not rings(alarm, well.get(alarm["MetricName"], []))
        badly = values(relay, simulator, capsys, PROVOKED[name])
        assert rings(alarm, badly.get(alarm["MetricName"], []))
