"""Checks dashboard, alarms and saved queries: their metrics exist, and each alarm can ring."""

import ast
import json
import re
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from functools import partial
from itertools import pairwise
from typing import Any
from unittest.mock import patch

import pytest

from smsrelay.adapters.dynamodb_ledger import DynamoDbLedger
from smsrelay.adapters.dynamodb_operator_pauses import DynamoDbOperatorPauses
from smsrelay.errors import LedgerUnavailableError, UnexpectedError
from smsrelay.sends.backoff import retry_delay
from smsrelay.sends.call_outcome import Outcome, OutcomeKind
from smsrelay.sends.operator_pause import begin
from smsrelay.sends.send import Status
from smsrelay.wiring import delivery_poller, sending
from tests.conftest import WallClock
from tests.support.cloudwatch_metrics import documents, metrics, solved
from tests.support.environment import CLIENT, Environment, running
from tests.support.golden import put_unreadable_in
from tests.support.template import ROOT, STACK_NAME, monitoring, template
from tools.mobileconnect_simulator import Simulator

NAMESPACE = "smsrelay"
MESSAGE: dict[str, Any] = {"message": "MzA6Nzg6MA", "to": ["+1 212 555 0100"], "text": "Hello"}
PAGE = (ROOT / "docs/runbook.md").read_text()
METRICS_PAGE = (ROOT / "docs/monitoring.md").read_text()


def resources(kind: str, whose: Mapping[str, Any]) -> dict[str, Any]:
    return {
        name: resource["Properties"]
        for name, resource in whose["Resources"].items()
        if resource["Type"] == kind
    }


FUNCTIONS = resources("AWS::Serverless::Function", template())
ALARMS = resources("AWS::CloudWatch::Alarm", monitoring())
[DASHBOARD] = resources("AWS::CloudWatch::Dashboard", monitoring()).values()
QUERIES = resources("AWS::Logs::QueryDefinition", monitoring())


def math_entries(alarm: Mapping[str, Any]) -> list[Any]:
    """The metrics and expressions of an alarm on metric math, with every option on."""
    return [entry.get("Fn::If", [None, entry])[1] for entry in alarm.get("Metrics", [])]


def in_metric_math(alarm: Mapping[str, Any]) -> list[Any]:
    return [it["MetricStat"]["Metric"] for it in math_entries(alarm) if "MetricStat" in it]


def on_one_metric(alarm: dict[str, Any]) -> dict[str, Any]:
    """An alarm with the properties of its metric, also if this is the only one in metric math."""
    watched = [it["MetricStat"] for it in math_entries(alarm) if "MetricStat" in it]
    if len(watched) != 1:
        return alarm
    [metric] = watched
    found = {"Statistic": metric["Stat"], "Period": metric["Period"]}
    return {**alarm, **metric["Metric"], **found}


OURS = {
    name: alarm
    for name, alarm in zip(ALARMS, map(on_one_metric, ALARMS.values()), strict=True)
    if alarm.get("Namespace") == NAMESPACE
}


def emitted() -> set[str]:
    """Read the code, and return the metrics that it counts or times."""
    found: set[str] = set()
    for path in (ROOT / "layers/smsrelay/smsrelay").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if not isinstance(node, ast.Call):
                continue
            # `_metrics.count(name)`, or as arguments: `f(_metrics.count, name)`
            call = [node.func, *node.args]
            for method, name in pairwise(call):
                if ast.unparse(method).endswith(("metrics.count", "metrics.time")):
                    found |= _names(name)
    return found


def _names(name: ast.expr) -> set[str]:
    match name:
        case ast.Constant(str(value)):
            return {value}
        case ast.Attribute(attr="metric"):
            return {status.metric for status in Status}
    assert ast.unparse(name) == "name", "only the recipients' metrics use a variable"
    return {"RecipientsDelivered", "RecipientsUndelivered", "RecipientsUnsubscribed"}


def body() -> dict[str, Any]:
    found: dict[str, Any] = json.loads(DASHBOARD["DashboardBody"]["Fn::Sub"])
    return found


def shown() -> list[list[Any]]:
    return [metric for widget in body()["widgets"] for metric in widget["properties"]["metrics"]]


def test_the_dashboard_shows_what_the_code_emits() -> None:
    ours = {metric[1] for metric in shown() if metric[0] == NAMESPACE}
    assert sorted(ours - emitted()) == []


def service_dimensions(node: Any) -> Iterator[Any]:
    """Yield the value of each dimension `service` in a part of the template."""
    if isinstance(node, dict):
        if node.get("Name") == "service":
            yield node["Value"]
        node = list(node.values())
    if isinstance(node, list):
        for entry in node:
            yield from service_dimensions(entry)


def test_each_stack_has_metrics_of_its_own() -> None:
    stack_name = {"Ref": "AWS::StackName"}
    common = template()["Globals"]["Function"]["Environment"]["Variables"]
    assert common["POWERTOOLS_SERVICE_NAME"] == stack_name
    assert common["POWERTOOLS_METRICS_NAMESPACE"] == NAMESPACE
    for function in FUNCTIONS.values():
        own = function.get("Environment", {}).get("Variables", {})
        assert not {name for name in own if name.startswith("POWERTOOLS_")}

    watched = list(service_dimensions(monitoring()))
    metrics = [metric for it in ALARMS.values() for metric in in_metric_math(it) or [it]]
    ours = [metric for metric in metrics if metric["Namespace"] == NAMESPACE]
    assert watched == [{"Ref": "StackName"}] * len(ours)
    on_dashboard = [metric[2:4] for metric in shown() if metric[0] == NAMESPACE]
    assert on_dashboard == [["service", "${StackName}"]] * len(on_dashboard)


ON_THE_DASHBOARD = {
    "requests": {"Count", "NumberOfMessagesSent", "4XXError", "5XXError"},
    "sends by outcome": {
        "SendsAccepted", "SendsQueued", "SendsRejected", "SendsUnknown", "SendsFailed",
        "SendsDelivered", "SendsPartiallyDelivered", "SendsUndelivered", "SendsWithoutSubscribers",
    },
    "queue age": {"ApproximateAgeOfOldestMessage"},
    "unknown": {"UnknownSends", "ResultsNotStored"},
    "tokens": {"TokenGood", "TokensRenewed", "TokenRenewalsFailed", "CredentialDaysLeft"},
}  # fmt: skip


@pytest.mark.parametrize("wanted", ON_THE_DASHBOARD.values(), ids=ON_THE_DASHBOARD)
def test_the_dashboard_leaves_nothing_out(wanted: set[str]) -> None:
    assert wanted <= {metric[1] for metric in shown() if isinstance(metric[0], str)}


@pytest.mark.parametrize("name", ["UpstreamTime", "OverheadLatency"])
def test_times_are_shown_as_percentiles(name: str) -> None:
    assert {metric[-1]["stat"] for metric in shown() if name in metric} == {"p50", "p95", "p99"}


def test_widgets_do_not_overlap() -> None:
    places = [
        (widget["x"] + x, widget["y"] + y)
        for widget in body()["widgets"]
        for x in range(widget["width"])
        for y in range(widget["height"])
    ]
    assert len(places) == len(set(places))
    assert max(x for x, _ in places) < 24


def cost(**metrics: float) -> float | None:
    [widget] = [it for it in body()["widgets"] if "Cost" in it["properties"]["title"]]
    expressions = {
        it["id"]: it["expression"]
        for [it] in (line for line in widget["properties"]["metrics"] if len(line) == 1)
    }
    ids = {line[-1]["id"] for line in widget["properties"]["metrics"]}
    assert metrics.keys() <= ids
    return solved(expressions, "cost", metrics)


def test_the_cost_of_a_thousand_sends_is_that_of_the_price_list() -> None:
    # An hour of 1,000 requests, each with 30 ms, two writes and 1 KB of log.
    found = cost(http=1_000, i0=1_000, d0=30_000, writes=2_000, l0=1_000_000, sends=1_000)
    gateway, starts, work, writes, logs = 0.0035, 0.0002, 30 * 0.0000066667, 0.00125, 0.0005
    assert found == pytest.approx(gateway + starts + work + writes + logs)
    # The same for the queue, which sends, receives and deletes, without API Gateway.
    found = cost(queued=1_000, i3=100, d3=30_000, writes=2_000, l1=1_000_000, sends=1_000)
    assert found == pytest.approx(0.0012 + 0.00002 + work + writes + logs)
    assert cost(http=1_000, i0=1_000, d0=30_000) is None, "nothing was sent"


def test_the_cost_is_that_of_all_functions() -> None:
    assert template()["Globals"]["Function"]["MemorySize"] == 512, "a second is half a GB-second"
    for metric in ("Invocations", "Duration"):
        counted = {line[3].strip("${}") for line in shown() if line[:2] == ["AWS/Lambda", metric]}
        assert counted == set(FUNCTIONS)


def test_exactly_the_emitted_metrics_are_documented() -> None:
    table = METRICS_PAGE.partition("## Metrics")[2].partition("## Logs")[0]
    cells = [line.split("|")[1] for line in table.splitlines() if line.startswith("| ")]
    documented = {name.strip() for cell in cells for name in cell.split(",")} - {"metric", "---"}
    # A send that is being sent is not counted.
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
def test_each_alarm_has_a_runbook_and_notifies_the_topic(name: str) -> None:
    alarm = ALARMS[name]
    assert f"\n### {name}\n" in PAGE
    topic = {"Fn::If": ["HasAlarmTopic", [{"Ref": "AlarmTopicArn"}], {"Ref": "AWS::NoValue"}]}
    assert alarm["AlarmActions"] == alarm["OKActions"] == topic
    assert alarm["TreatMissingData"] in {"breaching", "notBreaching", "ignore"}


def test_each_runbook_has_an_alarm() -> None:
    runbooks = PAGE.partition("## When an alarm rings")[2].partition("\n## ")[0]
    assert sorted(re.findall(r"^### (\w+)$", runbooks, re.MULTILINE)) == sorted(ALARMS)


def test_queues_of_alarms_are_queues_of_the_template() -> None:
    queues = resources("AWS::SQS::Queue", template())
    for alarm in ALARMS.values():
        for metric in in_metric_math(alarm) or [alarm]:
            for dimension in metric["Dimensions"]:
                if dimension["Name"] == "QueueName":
                    assert dimension["Value"]["Ref"] in queues


@pytest.mark.parametrize("name", QUERIES)
def test_saved_queries_use_fields_that_are_logged(name: str) -> None:
    logged = {
        "@timestamp", "@log", "@message", "message", "send", "client", "attempt", "reason",
        "upstream_status", "token_id", "correlation_id", "message_id", "status", "level",
        "exception_name", "request_id", "may_have_been_sent",
    }  # fmt: skip
    text = QUERIES[name]["QueryString"]
    fields = re.search(r"^fields (.*)$", text, re.MULTILINE)
    asked = {field.strip() for field in fields[1].split(",")} if fields else set()
    asked |= set(re.findall(r"(?:filter|by) (\w+)", text)) - {"bin"}
    assert asked <= logged | {"sends"}


def test_saved_queries_find_what_they_are_for(
    relay: Environment, simulator: Simulator, caplog: pytest.LogCaptureFixture
) -> None:
    simulator.fail("send", "reset-after-accept")
    relay.post(MESSAGE)
    relay.end_pauses()
    with relay.ledger_refuses_writes():
        relay.post(MESSAGE)
    relay.client("dynamodb").delete_table(TableName=relay.table)
    with pytest.raises(UnexpectedError):
        relay.sweep()
    lines = [
        json.loads(sending.parts().logger.registered_formatter.format(record))
        for record in caplog.records
    ]

    def found(query: str, wanted: Callable[[Mapping[str, Any]], object]) -> list[Any]:
        assert FILTERS[query] in QUERIES[query]["QueryString"]
        return [line for line in lines if wanted(line)]

    [unknown] = found("UnknownQuery", lambda line: line["message"] == "send unknown")
    assert {"reason", "client"} <= unknown.keys()
    lost = found("PutBackQuery", lambda line: "put it back" in line["message"])
    assert {"send", "status", "token_id", "may_have_been_sent"} <= lost[0].keys()
    outcomes = found("OutcomesQuery", lambda line: line["message"].startswith("send "))
    assert {"client", "message", "reason"} <= outcomes[0].keys()
    failed = found("UnexpectedQuery", lambda line: line["level"] == "ERROR")
    assert {"exception_name", "request_id"} <= failed[-1].keys()


FILTERS = {
    "UnknownQuery": "filter message = 'send unknown'",
    "PutBackQuery": "filter message like 'put it back'",
    "OutcomesQuery": "filter message like /^send /",
    "UnexpectedQuery": "filter level = 'ERROR'",
}


@pytest.mark.parametrize(
    "line",
    [
        "2026-11-27T18:00:00.000Z 5e2f1a30 Task timed out after 30.03 seconds",
        "RequestId: 5e2f1a30 Error: Runtime exited with error: signal: killed",
        "[ERROR] Runtime.ImportModuleError: Unable to import module 'app': No module named 'x'",
    ],
)
def test_the_query_for_unexpected_errors_finds_lines_of_lambda_itself(line: str) -> None:
    text = QUERIES["UnexpectedQuery"]["QueryString"]
    assert re.search(r"^fields .*@message", text), "these lines are plain text without other fields"
    [pattern] = re.findall(
        r"^\| filter level = 'ERROR' or @message like /(.*)/$", text, re.MULTILINE
    )
    assert re.search(pattern, line)


WANTED = {
    "API 5xx": ("AWS/ApiGateway", "5XXError"),
    "dead letters": ("AWS/SQS", "ApproximateNumberOfMessagesVisible"),
    "queue age": ("AWS/SQS", "ApproximateAgeOfOldestMessage"),
    "unknown": (NAMESPACE, "UnknownSends"),
    "paused": (NAMESPACE, "SendingPaused"),
    "unreadable items": (NAMESPACE, "UnreadableItems"),
    "token renewal fails": (NAMESPACE, "TokenRenewalsFailed"),
    "upstream blocks": (NAMESPACE, "UpstreamBlocked"),
    "rejected": (NAMESPACE, "SendsRejected"),
    "wrong route": (NAMESPACE, "WrongRoute"),
    "tokens missing": (NAMESPACE, "TokensMissing"),
    "function errors": ("AWS/Lambda", "Errors"),
    "throttles": ("AWS/Lambda", "Throttles"),
}


@pytest.mark.parametrize("wanted", WANTED.values(), ids=WANTED)
def test_no_alarm_is_missing(wanted: tuple[str, str]) -> None:
    watched = {
        (metric["Namespace"], metric["MetricName"])
        for alarm in ALARMS.values()
        for metric in (in_metric_math(alarm) or [alarm])
    }
    assert wanted in watched


# Scenarios that make each alarm ring.


STATISTICS: Mapping[str, Callable[[list[float]], float]] = {
    "Sum": sum,
    "Maximum": max,
    "Minimum": min,
}


def data_points(alarm: Mapping[str, Any], periods: Sequence[list[float]]) -> list[float]:
    """The value of each period that has one, the oldest first."""
    statistic = STATISTICS[alarm.get("Statistic", "Sum")]
    points = [statistic(values) if values else None for values in periods]
    if "Statistic" in alarm and "Metrics" in alarm:
        expression, metric = math_entries(alarm)
        expressions = {"returned": expression["Expression"]}
        points = [
            solved(expressions, "returned", {metric["Id"]: point} if any(periods) else {})
            for point in points
        ]
    return [point for point in points if point is not None]


def rings(alarm: Mapping[str, Any], *periods: list[float]) -> bool:
    """What CloudWatch makes of the values of consecutive periods, the oldest first.

    It reads more periods than it evaluates. As long as they have enough data, it evaluates the
    newest data, and ignores `TreatMissingData`.
    """
    assert alarm["EvaluationPeriods"] == 1
    points = data_points(alarm, periods)
    if not points:
        return bool(alarm["TreatMissingData"] == "breaching")
    value = points[-1]
    threshold = float(alarm["Threshold"])
    if alarm["ComparisonOperator"] == "LessThanThreshold":
        return value < threshold
    if alarm["ComparisonOperator"] == "LessThanOrEqualToThreshold":
        return value <= threshold
    assert alarm["ComparisonOperator"] == "GreaterThanOrEqualToThreshold"
    return value >= threshold


def unknown(relay: Environment, simulator: Simulator) -> None:
    simulator.fail("send", "reset-after-accept")
    assert relay.post(MESSAGE).status == 504
    relay.sweep()


def not_stored(relay: Environment, _: Simulator) -> None:
    with relay.ledger_refuses_writes():
        relay.post(MESSAGE)


def unreadable(relay: Environment, _: Simulator) -> None:
    put_unreadable_in(relay, "open#0")
    relay.sweep()


def paused(relay: Environment, _: Simulator) -> None:
    stored = DynamoDbOperatorPauses(relay.client("dynamodb"), relay.table)
    assert stored.replace(begin([], "", "", time.time()), 0)
    relay.forget()
    relay.sweep()


def blocked(relay: Environment, simulator: Simulator) -> None:
    simulator.fail("send", "429-50200")
    relay.post(MESSAGE)


def not_renewed(relay: Environment, simulator: Simulator) -> None:
    relay.put_credentials(client_id="i", client_secret="s", auth_base_url=simulator.url)
    simulator.fail("token", "401")
    relay.put_secret("{}")
    relay.renew()


def without_a_date(relay: Environment, simulator: Simulator) -> None:
    relay.put_credentials(client_id="i", client_secret="s", auth_base_url=simulator.url)
    relay.put_secret("{}")
    relay.renew()


def expires_in_a_week(relay: Environment, simulator: Simulator) -> None:
    expires = datetime.now(UTC) + timedelta(days=7)
    relay.put_credentials(
        client_id="i",
        client_secret="s",
        auth_base_url=simulator.url,
        expires_at=expires.isoformat(),
    )
    relay.put_secret("{}")
    relay.renew()


def activated(relay: Environment, simulator: Simulator) -> None:
    relay.put_credentials(
        client_id="i",
        client_secret="old",
        auth_base_url=simulator.url,
        staged_client_secret="new",
    )
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
        relay.restart_delivery_poller()
        relay.make_due()
        relay.follow()


def deliveries_not_polled(relay: Environment, _: Simulator) -> None:
    relay.post(MESSAGE)
    past = {"N": "1"}
    for item in relay.items():
        late = item | {"deliverAt": past, "dueAt": past}
        relay.client("dynamodb").put_item(TableName=relay.table, Item=late)
    relay.follow()


def wrong_route(relay: Environment, simulator: Simulator) -> None:
    simulator.fail("send", "403")
    relay.post(MESSAGE)


def token_missing(relay: Environment, simulator: Simulator) -> None:
    simulator.fail("send", "202-no-token")
    relay.post(MESSAGE)


PROVOKED: Mapping[str, Callable[[Environment, Simulator], None]] = {
    "UnknownAlarm": unknown,
    "ResultsNotStoredAlarm": not_stored,
    "UnreadableItemsAlarm": unreadable,
    "SendingPausedAlarm": paused,
    "UpstreamBlockedAlarm": blocked,
    "WrongRouteAlarm": wrong_route,
    "TokensMissingAlarm": token_missing,
    "TokenNotRenewedAlarm": not_renewed,
    "AccessTokenMissingAlarm": not_renewed,
    "ClientSecretExpiresAlarm": without_a_date,
    "ClientSecretExpiresSoonAlarm": expires_in_a_week,
    "StagedSecretInUseAlarm": activated,
    "CatalogueUnusableAlarm": unusable,
    "DeliveriesRefusedAlarm": deliveries_refused,
    "DeliveriesNotPolledAlarm": deliveries_not_polled,
}


def usual(relay: Environment, simulator: Simulator) -> None:
    relay.put_credentials(
        client_id="i",
        client_secret="s",
        auth_base_url=simulator.url,
        expires_at=(datetime.now(UTC) + timedelta(days=32)).date().isoformat(),
    )
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
        assert document["service"] == STACK_NAME
    return metrics(output)


@pytest.mark.parametrize("name", OURS)
def test_each_alarm_rings_when_it_should_and_only_then(
    aws: None, simulator: Simulator, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    _ = aws
    alarm = OURS[name]
    settings = {
        "DELIVERY_POLLING": "all",
        "CATALOGUE_PARAMETER": f"/{name}/catalogue",
    }
    with running(simulator.url, **settings) as relay:
        well = values(relay, simulator, capsys, usual)
        assert not rings(alarm, well.get(alarm["MetricName"], []))
        badly = values(relay, simulator, capsys, PROVOKED[name])
        assert rings(alarm, badly.get(alarm["MetricName"], []))


def test_a_token_renewer_that_stopped_rings_after_one_period() -> None:
    alarm = OURS["AccessTokenMissingAlarm"]
    assert not rings(alarm, [], [1.0])
    assert rings(alarm, [1.0] * 15, [])
    assert rings(alarm, [], []), "it never ran"


@pytest.mark.parametrize(
    "name", ["StagedSecretInUseAlarm", "UpstreamBlockedAlarm", "WrongRouteAlarm"]
)
def test_an_alarm_ends_as_soon_as_the_runbook_says(name: str) -> None:
    assert rings(OURS[name], [], [1.0])
    assert not rings(OURS[name], [1.0], [])
    assert not rings(OURS[name], [], [])


@pytest.mark.parametrize(("refusals", "expected"), [(1, False), (-1, True)])
def test_runs_that_wait_after_a_refused_poll_count_for_the_alarm(
    aws: None,
    simulator: Simulator,
    capsys: pytest.CaptureFixture[str],
    refusals: int,
    expected: bool,
) -> None:
    _ = aws

    def poll_for_15_minutes(relay: Environment, simulator: Simulator) -> None:
        relay.post(MESSAGE)
        simulator.fail("deliveries", "429-50200", times=refusals)
        poller, began = delivery_poller.parts().delivery_poller, time.time()
        for minute in range(15):
            poller.clock = partial(float, began + 60.0 * minute)
            relay.make_due()
            relay.follow()

    alarm = OURS["DeliveriesRefusedAlarm"]
    with running(simulator.url, DELIVERY_POLLING="all") as relay:
        seen = values(relay, simulator, capsys, poll_for_15_minutes)
    assert rings(alarm, seen[alarm["MetricName"]]) is expected


@pytest.mark.parametrize(
    ("name", "reason"), [("UpstreamBlockedAlarm", "blocked"), ("WrongRouteAlarm", "forbidden")]
)
def test_an_alarm_that_attempts_ring_lasts_from_one_to_the_next(name: str, reason: str) -> None:
    longest = retry_delay(Outcome(OutcomeKind.NOT_SENT, reason), 100, lambda: 1.0)
    assert OURS[name]["Period"] > longest


@pytest.mark.parametrize("name", ["UnknownAlarm", "SendingPausedAlarm"])
def test_an_alarm_of_the_sweeper_lasts_while_sweeps_fail(
    relay: Environment, simulator: Simulator, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    def sweep(relay: Environment, _: Simulator) -> None:
        relay.sweep()

    def fail(relay: Environment, _: Simulator) -> None:
        away = LedgerUnavailableError("refused by a test")
        with (
            patch.object(DynamoDbLedger, "stalled", side_effect=away),
            pytest.raises(UnexpectedError),
        ):
            relay.sweep()

    alarm = OURS[name]
    assert alarm["TreatMissingData"] == "ignore", "missing data must not end the alarm"
    well = values(relay, simulator, capsys, sweep)
    assert well[alarm["MetricName"]] == [0.0], "a success must end the alarm"
    PROVOKED[name](relay, simulator)
    assert rings(alarm, values(relay, simulator, capsys, fail)[alarm["MetricName"]])


# Alarms on AWS's metrics.


def server_errors(relay: Environment) -> list[float]:
    """Make five posts, and return API Gateway's count of 5xx responses."""
    return [1.0 for _ in range(5) if relay.post(MESSAGE).status >= 500]


def failures(relay: Environment) -> list[float]:
    """Return Lambda's count of invocations that end with an exception."""
    try:
        relay.sweep()
    except UnexpectedError:
        return [1.0]
    return []


def dead_letters(relay: Environment) -> list[float]:
    relay.work()
    return [1.0 for _ in relay.dead_letters()]


def no_ledger(relay: Environment, _: Simulator) -> None:
    relay.client("dynamodb").delete_table(TableName=relay.table)


def a_rejected_send(relay: Environment, simulator: Simulator) -> None:
    simulator.fail("send", "400")
    relay.enqueue(MESSAGE)


type Trouble = Callable[[Environment, Simulator], None]

SEEN_BY_AWS: Mapping[str, tuple[Callable[[Environment], list[float]], Trouble]] = {
    "ApiErrorsAlarm": (server_errors, no_ledger),
    "FunctionErrorsAlarm": (failures, no_ledger),
    "DeadLettersAlarm": (dead_letters, a_rejected_send),
}
PROVEN_ELSEWHERE = {
    "ThrottlesAlarm",  # below, for each function
    "SendsRejectedAlarm",  # below, by its share
    "DeliveryCallsFailedAlarm",  # below, by its share
    "QueueAgeAlarm",  # below, by SQS's metric and by the relay's
    "SchedulesStoppedAlarm",  # below, by the runs of each function
    "CallbackDeadLettersAlarm",  # tests/integration/test_event_publisher.py covers their queues
    "EventDeadLettersAlarm",
}


@pytest.mark.parametrize("name", SEEN_BY_AWS)
def test_an_alarm_on_a_metric_of_aws_rings_when_it_should_and_only_then(
    relay: Environment, simulator: Simulator, name: str
) -> None:
    seen, trouble = SEEN_BY_AWS[name]
    relay.enqueue(MESSAGE)
    assert not rings(ALARMS[name], seen(relay))
    trouble(relay, simulator)
    assert rings(ALARMS[name], seen(relay))


def test_every_alarm_has_a_scenario() -> None:
    assert sorted([*OURS, *SEEN_BY_AWS, *PROVEN_ELSEWHERE]) == sorted(ALARMS)


# Alarms on metric math over the relay's metrics.


def compared(name: str, stat: str, period: int, seen: Mapping[str, float]) -> list[float]:
    """Return the value that an alarm compares, from its metrics' values in a period."""
    values, expressions = {}, {}
    for entry in math_entries(ALARMS[name]):
        if "Expression" in entry:
            expressions[entry["Id"]] = entry["Expression"]
            continue
        watched = entry["MetricStat"]
        assert (entry["ReturnData"], watched["Stat"], watched["Period"]) == (False, stat, period)
        if watched["Metric"]["MetricName"] in seen:
            values[entry["Id"]] = seen[watched["Metric"]["MetricName"]]
    [returned] = expressions
    value = solved(expressions, returned, values)
    return [] if value is None else [value]


def rejected_value(sums: Mapping[str, float]) -> list[float]:
    return compared("SendsRejectedAlarm", "Sum", 300, sums)


@pytest.mark.parametrize(
    ("sums", "expected"),
    [
        ({}, False),
        ({"SendsAccepted": 100.0}, False),
        ({"SendsRejected": 9.0}, False),
        ({"SendsRejected": 10.0}, True),
        ({"SendsRejected": 10.0, "SendsAccepted": 40.0}, True),
        ({"SendsRejected": 10.0, "SendsAccepted": 41.0}, False),
        ({"SendsRejected": 10.0, "SendsUnknown": 20.0, "SendsFailed": 20.0}, True),
        ({"SendsRejected": 10.0, "SendsUnknown": 20.0, "SendsFailed": 21.0}, False),
        ({"SendsRejected": 10.0, "SendsAccepted": 40.0, "SendsQueued": 500.0}, True),
        ({"SendsRejected": 500.0, "SendsAccepted": 2_001.0}, False),
    ],
)
def test_rejected_sends_ring_if_they_are_many_and_a_large_share(
    sums: Mapping[str, float], expected: bool
) -> None:
    assert rings(ALARMS["SendsRejectedAlarm"], rejected_value(sums)) is expected


def test_sends_rejected_in_the_worker_are_counted_by_the_alarm(
    relay: Environment, simulator: Simulator, capsys: pytest.CaptureFixture[str]
) -> None:
    def work(relay: Environment, simulator: Simulator) -> None:
        simulator.fail("send", "400", times=10)
        for _ in range(10):
            relay.enqueue(MESSAGE)
        relay.work()

    sums = {name: sum(seen) for name, seen in values(relay, simulator, capsys, work).items()}
    assert rings(ALARMS["SendsRejectedAlarm"], rejected_value(sums))


def delivery_calls_ring(sums: Mapping[str, float]) -> bool:
    name = "DeliveryCallsFailedAlarm"
    return rings(ALARMS[name], compared(name, "Sum", 3_600, sums))


@pytest.mark.parametrize(
    ("sums", "expected"),
    [
        ({}, False),
        ({"DeliveryCalls": 100.0}, False),
        ({"DeliveryCalls": 9.0, "DeliveryCallsFailed": 9.0}, False),
        ({"DeliveryCalls": 20.0, "DeliveryCallsFailed": 10.0}, True),
        ({"DeliveryCalls": 21.0, "DeliveryCallsFailed": 10.0}, False),
        ({"DeliveryCalls": 18_000.0, "DeliveryCallsFailed": 18_000.0}, True),
    ],
)
def test_failed_delivery_calls_ring_if_they_are_many_and_half_of_all(
    sums: Mapping[str, float], expected: bool
) -> None:
    assert delivery_calls_ring(sums) is expected


@pytest.mark.parametrize(("fault", "expected"), [("500", True), ("404", True), (None, False)])
def test_an_upstream_that_reports_no_delivery_rings(
    aws: None,
    simulator: Simulator,
    capsys: pytest.CaptureFixture[str],
    fault: str | None,
    expected: bool,
) -> None:
    _ = aws

    def poll(relay: Environment, simulator: Simulator) -> None:
        for _ in range(10):
            relay.post(MESSAGE)
        if fault:
            simulator.fail("deliveries", fault, times=-1)
        relay.make_due()
        relay.follow()

    with running(simulator.url, DELIVERY_POLLING="all") as relay:
        found = values(relay, simulator, capsys, poll)
    assert sum(found["DeliveryCalls"]) == 10
    assert delivery_calls_ring({name: sum(each) for name, each in found.items()}) is expected


def queue_age_rings(maxima: Mapping[str, float]) -> bool:
    # The period is longer than any delay between attempts, so the alarm lasts.
    return rings(ALARMS["QueueAgeAlarm"], compared("QueueAgeAlarm", "Maximum", 1_200, maxima))


@pytest.mark.parametrize(
    ("maxima", "expected"),
    [
        ({}, False),
        ({"ApproximateAgeOfOldestMessage": 1_799.0}, False),
        ({"ApproximateAgeOfOldestMessage": 1_800.0}, True),
        ({"QueuedSendAge": 1_799_999.0}, False),
        ({"QueuedSendAge": 1_800_000.0}, True),
        ({"ApproximateAgeOfOldestMessage": 1_800.0, "QueuedSendAge": 300.0}, True),
    ],
)
def test_the_queue_age_is_that_of_the_oldest_message_or_send(
    maxima: Mapping[str, float], expected: bool
) -> None:
    assert queue_age_rings(maxima) is expected


@pytest.mark.parametrize(
    "trouble",
    [
        lambda _, simulator: simulator.fail("send", "429-50100", times=-1),
        lambda _, simulator: simulator.fail("send", "401", times=-1),
        paused,
    ],
    ids=["throttled", "unauthorised", "postponed"],
)
def test_a_send_that_stays_queued_rings_although_sqs_no_longer_reports_its_age(
    wall_clock: WallClock,
    relay: Environment,
    simulator: Simulator,
    capsys: pytest.CaptureFixture[str],
    trouble: Trouble,
) -> None:
    def work(relay: Environment, _: Simulator) -> None:
        relay.work()
        assert relay.waiting() == 1

    def age_after(seconds: float) -> float:
        wall_clock.now += seconds
        relay.make_due()
        return max(values(relay, simulator, capsys, work)["QueuedSendAge"])

    relay.enqueue(MESSAGE)
    trouble(relay, simulator)
    relay.work()
    # SQS's metric omits messages that were received three times.
    young = {"ApproximateAgeOfOldestMessage": 60.0, "QueuedSendAge": age_after(900)}
    assert not queue_age_rings(young)
    assert queue_age_rings(young | {"QueuedSendAge": age_after(900)})


def post_a_webhook(relay: Environment) -> None:
    relay.post_webhook(CLIENT, relay.put_webhook_secret(CLIENT), MESSAGE)


def enqueue_and_work(relay: Environment) -> None:
    relay.enqueue(MESSAGE)
    relay.work()


@pytest.mark.parametrize(
    ("part", "act"),
    [
        ("queue_worker.QueueWorker.process", enqueue_and_work),
        ("api.Api.post_message", lambda relay: relay.post(MESSAGE)),
        ("webhook.Webhooks.post", post_a_webhook),
    ],
    ids=["worker", "api", "webhook"],
)
def test_an_unexpected_error_that_lambda_does_not_count_rings(
    relay: Environment,
    simulator: Simulator,
    capsys: pytest.CaptureFixture[str],
    part: str,
    act: Callable[[Environment], None],
) -> None:
    def seen() -> bool:
        found = values(relay, simulator, capsys, lambda relay, _: act(relay))
        sums = {name: sum(each) for name, each in found.items()}
        value = compared("FunctionErrorsAlarm", "Sum", 300, sums)
        return rings(ALARMS["FunctionErrorsAlarm"], value)

    assert not seen()
    with patch(f"smsrelay.services.{part}", side_effect=RuntimeError):
        assert seen()


# Alarms on metric math over Lambda's metrics of each function.


def total(alarm: Mapping[str, Any], metric: str, counts: Mapping[str, float | None]) -> list[float]:
    """The value that an alarm on metric math compares; empty if it has no data.

    Args:
        alarm: Its properties.
        metric: The name of a metric of Lambda.
        counts: Its value for each function; None if only another period has one.
    """
    expressions, seen = {}, {}
    for entry in math_entries(alarm):
        if "Expression" in entry:
            expressions[entry["Id"]] = entry["Expression"]
            continue
        assert (entry["ReturnData"], entry["MetricStat"]["Stat"]) == (False, "Sum")
        watched = entry["MetricStat"]["Metric"]
        if watched["Namespace"] == NAMESPACE:
            continue  # without data
        assert watched["Namespace"] == "AWS/Lambda"
        [dimension] = watched["Dimensions"]
        if watched["MetricName"] == metric and dimension["Value"]["Ref"] in counts:
            seen[entry["Id"]] = counts[dimension["Value"]["Ref"]]
    [returned] = expressions
    value = solved(expressions, returned, seen)
    return [] if value is None else [value]


@pytest.mark.parametrize("function", FUNCTIONS)
@pytest.mark.parametrize(
    ("name", "metric"), [("FunctionErrorsAlarm", "Errors"), ("ThrottlesAlarm", "Throttles")]
)
def test_an_alarm_on_metric_math_rings_for_one_function_alone(
    name: str, metric: str, function: str
) -> None:
    alarm = ALARMS[name]
    quiet = dict.fromkeys(FUNCTIONS, 0.0)
    assert not rings(alarm, total(alarm, metric, quiet))
    assert not rings(alarm, total(alarm, metric, {})), "no function was invoked"
    # The token renewer is throttled by design, because its concurrency is reserved.
    by_design = (metric, function) == ("Throttles", "TokenRenewerFunction")
    assert rings(alarm, total(alarm, metric, quiet | {function: 1.0})) is not by_design
    assert rings(alarm, total(alarm, metric, {function: 1.0})) is not by_design


@pytest.mark.parametrize(
    ("runs", "expected"),
    [
        ({"SweeperFunction": 15.0, "DeliveryPollerFunction": 15.0}, False),
        ({"SweeperFunction": 1.0, "DeliveryPollerFunction": 1.0}, False),
        ({"SweeperFunction": 15.0}, True),
        ({"DeliveryPollerFunction": 15.0}, True),
        ({"SweeperFunction": 0.0, "DeliveryPollerFunction": 15.0}, True),
        ({}, True),
    ],
)
def test_a_schedule_that_does_not_invoke_its_function_rings(
    runs: Mapping[str, float], expected: bool
) -> None:
    alarm = ALARMS["SchedulesStoppedAlarm"]
    assert rings(alarm, total(alarm, "Invocations", runs)) is expected


@pytest.mark.parametrize(
    "stopped",
    [
        ["SweeperFunction"],
        ["DeliveryPollerFunction"],
        ["SweeperFunction", "DeliveryPollerFunction"],
    ],
)
def test_a_schedule_that_stopped_rings_after_one_period(stopped: list[str]) -> None:
    alarm = ALARMS["SchedulesStoppedAlarm"]
    before: dict[str, float | None] = {"SweeperFunction": 15.0, "DeliveryPollerFunction": 15.0}
    after: dict[str, float | None] = {**before, **dict.fromkeys(stopped)}
    periods = [total(alarm, "Invocations", counts) for counts in (before, after)]
    assert rings(alarm, *periods)
