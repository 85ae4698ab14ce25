"""Tests `smsrelay budget`: used and saved calls, and how many messages the setting serves."""

import time

import pytest

from smsrelay.adapters.dynamodb_call_budget import DynamoDbCallBudget
from smsrelay.sends.call_budget import SECONDS_PER_DAY
from smsrelay_cli.deployed_stack import DEFAULTS
from tests.cli.conftest import Operator
from tests.support.environment import Environment
from tests.support.template import template

SHARE = 2_000_000 // 365 - 120


def test_the_calls_of_today_and_what_was_saved(operator: Operator, relay: Environment) -> None:
    now = time.time()
    calls = DynamoDbCallBudget(relay.client("dynamodb"), relay.table, SHARE)
    calls.reserve(300, now - 2 * SECONDS_PER_DAY)
    calls.reserve(20, now)
    assert operator.run("budget", "--json").json == {
        "deliveryPolling": "all",
        "yearlyApiCalls": 2_000_000,
        "dailyShare": SHARE,
        "usedToday": 20,
        "saved": 2 * SHARE - 300,
        "leftToday": 3 * SHARE - 320,
        "messagesADayWithAllPolls": SHARE // 3,
        "messagesADayWithOnePoll": SHARE,
    }
    lines = dict(line.rsplit(maxsplit=1) for line in operator.run("budget").out.splitlines())
    assert lines["polls today (UTC)"] == "20"
    assert lines["messages per day with 3 polls"] == "1,786"


def test_before_the_first_poll(operator: Operator) -> None:
    found = operator.run("budget", "--json").json
    assert (found["usedToday"], found["saved"], found["leftToday"]) == (0, 0, SHARE)


def test_without_a_limit_the_runs_are_the_limit(operator: Operator, relay: Environment) -> None:
    operator.parameters["YearlyApiCalls"] = "0"
    DynamoDbCallBudget(relay.client("dynamodb"), relay.table, 10**9).reserve(7, time.time())
    found = operator.run("budget", "--json").json
    assert (found["usedToday"], found["dailyShare"], found["leftToday"]) == (7, None, None)
    assert found["messagesADayWithOnePoll"] == 432_000, "300 polls a minute"
    assert "unlimited" in operator.run("budget").out


@pytest.mark.parametrize("yearly", ["0", "2000000"])
def test_without_polling_no_message_is_served(operator: Operator, yearly: str) -> None:
    operator.parameters |= {"DeliveryPolling": "none", "YearlyApiCalls": yearly}
    found = operator.run("budget", "--json").json
    assert (found["deliveryPolling"], found["messagesADayWithOnePoll"]) == ("none", 0)


def test_the_local_stack_has_the_defaults_of_the_template() -> None:
    parameters = template()["Parameters"]
    assert {name: str(parameters[name]["Default"]) for name in DEFAULTS} == DEFAULTS
