"""Checks the figures of docs/capacity.md and docs/costs.md by their own calculations."""

import re
from typing import Any

import pytest

from smsrelay.sends.call_budget import daily_share
from smsrelay.services.delivery_poller import MAX_CALLS
from tests.support.template import ROOT, Stack, alarm, monitoring, template

PAGE = "".join((ROOT / f"docs/{name}.md").read_text() for name in ("capacity", "costs"))
[COSTS] = re.findall(r"<!-- runs: deliveries -->\n```python\n(.*?)```", PAGE, re.DOTALL)
POLLS_OF_A_MESSAGE = 3
MINUTES_OF_A_MONTH = 24 * 60 * 365 / 12


def rows(heading: str) -> list[list[str]]:
    """Return the cells of the table that begins with this line, without the header."""
    lines = PAGE[PAGE.index(heading) :].partition("\n\n")[0].splitlines()[2:]
    return [[cell.strip(" *") for cell in line.strip("|").split("|")] for line in lines]


def number(cell: str) -> float:
    return float(cell.partition(" ")[0].replace(",", ""))


def served(yearly: int, messages: int) -> str:
    each = min(daily_share(yearly), 24 * 60 * MAX_CALLS) / messages
    if each >= POLLS_OF_A_MESSAGE:
        return "all"
    return f"{each:.1f} each" if each >= 1 else f"{100 * each:.2g} % polled"


def test_the_table_of_polls() -> None:
    table = rows("| messages a day | 2,000,000 calls a year |")
    assert [number(messages) for messages, *_ in table][:: len(table) - 1] == [1_000, 10_000_000]
    for messages, *cells in table:
        years = (2_000_000, 6_000_000, 200_000_000)
        assert cells == [served(yearly, int(number(messages))) for yearly in years]


def deliveries(sends: int) -> tuple[float, float]:
    """Return the USD of DynamoDB and of Lambda's time for a million sends, at so many a month."""
    names: dict[str, Any] = {}
    exec(COSTS.replace("sends = 1_000_000 ", f"sends = {sends} "), names)  # noqa: S102 - our own page
    assert names["sends"] == sends
    return names["dynamodb"], names["lambda_time"]


def test_the_calculation_has_the_default_share() -> None:
    assert f"{daily_share(2_000_000):_} * days" in COSTS


def test_deliveries_cost_less_than_they_did() -> None:
    dynamodb, lambda_time = deliveries(1_000_000)
    assert dynamodb + lambda_time < 1.5
    assert f"That is {dynamodb:.2f} and {lambda_time:.2f} USD." in PAGE
    assert sum(deliveries(30_000)) == pytest.approx(6.36, rel=0.05), "three polls for each send"


def test_the_table_of_a_million_messages() -> None:
    *lines, total = rows("| USD for a million messages |")
    found = {name: cells for name, *cells in lines}
    dynamodb, lambda_time = deliveries(1_000_000)
    assert number(found["deliveries, writes and reads"][0]) == round(dynamodb, 2)
    assert number(found["deliveries, Lambda's time"][0]) == round(lambda_time, 2)
    for column in range(2):
        cells = [cells[column] for cells in found.values() if cells[column][0].isdigit()]
        together = number(total[1 + column])
        assert sum(map(number, cells)) == pytest.approx(together, abs=0.02), "rounded lines"
        shares = [int(cell.partition("(")[2].removesuffix("%)")) for cell in cells]
        assert shares == pytest.approx([100 * number(it) / together for it in cells], abs=0.51)


def test_the_table_of_a_month() -> None:
    fixed = sum(number(usd) for _, usd in rows("| USD a month |"))
    _, *together = rows("| USD for a million messages |")[-1]
    for messages, *cells in rows("| messages a day | smsrelay over HTTP |")[:2]:
        sends = round(number(messages) * 365 / 12)
        for cell, at_a_million in zip(cells, together, strict=False):
            others = number(at_a_million) - sum(deliveries(1_000_000))
            usd = fixed + sends * (others + sum(deliveries(sends))) / 1_000_000
            assert number(cell) == pytest.approx(usd, abs=0.03)


def test_what_an_idle_stack_costs() -> None:
    rates = [
        event["Properties"]["ScheduleExpression"]
        for resource in template()["Resources"].values()
        for event in resource.get("Properties", {}).get("Events", {}).values()
        if event["Type"] == "ScheduleV2"
    ]
    assert set(rates) == {"rate(1 minute)"}
    runs = len(rates) * MINUTES_OF_A_MONTH
    polls = 5 * 3 * MINUTES_OF_A_MONTH
    assert f"{runs:,.0f} times a month" in PAGE
    assert f"{polls:,.0f} requests a month" in PAGE
    costs = {name: number(usd) for name, usd in rows("| USD a month |")}
    assert costs["EventBridge Scheduler"] == round(runs * 1.00 / 1_000_000, 2)
    assert costs["X-Ray: traces of the scheduled runs"] == round(runs * 5.00 / 1_000_000, 2)
    assert costs["SQS: long polls of the empty queue"] == round(polls * 0.40 / 1_000_000, 2)


def test_the_page_counts_the_metrics_of_the_largest_alarms() -> None:
    errors, throttles = (
        len([it for it in map(str, alarm(name)["Metrics"]) if "MetricStat" in it])
        for name in ("FunctionErrorsAlarm", "ThrottlesAlarm")
    )
    assert f"FunctionErrorsAlarm has {errors} of them, ThrottlesAlarm {throttles}" in PAGE
    assert max(errors, throttles) <= 10


def test_the_page_counts_the_metrics_of_a_stack_with_the_default_parameters() -> None:
    parent = Stack("smsrelay", template())
    nested = Stack(
        "smsrelay-Monitoring", monitoring(), **parent.properties("Monitoring")["Parameters"]
    )
    alarms = [
        nested.properties(name)
        for name, resource in nested.resources.items()
        if resource["Type"] == "AWS::CloudWatch::Alarm"
    ]
    metrics = sum(
        "MetricStat" in it for alarm in alarms for it in alarm.get("Metrics", [{"MetricStat": {}}])
    )
    costs = {name: number(usd) for name, usd in rows("| USD a month |")}
    assert costs[f"{metrics} metrics in alarms"] == round(metrics * 0.10, 2)
    page = (ROOT / "docs/cli.md").read_text()
    assert f"none of {len(alarms)} is active" in page
