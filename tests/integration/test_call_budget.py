"""The yearly API calls: how many polls a day may make, through the delivery poller's handler."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any
from unittest.mock import patch

import boto3
import pytest

from smsrelay.adapters.dynamodb_call_budget import DynamoDbCallBudget
from smsrelay.adapters.dynamodb_ledger import change_of
from smsrelay.adapters.mobileconnect import MobileConnect
from smsrelay.errors import LedgerUnavailableError, UnexpectedError
from smsrelay.sends.call_budget import TOKEN_CALLS, CallBudget
from smsrelay.wiring import delivery_poller, sending
from tests.support.environment import ACCESS_TOKEN, REGION, Environment, running
from tools.mobileconnect_simulator import Simulator

MESSAGE: dict[str, Any] = {"message": "MzA6Nzg6MA", "to": ["+1 212 555 0100"], "text": "Hello"}
MIDNIGHT = 1_799_971_200.0
"""2027-01-15T00:00:00Z, in seconds since the epoch."""
DAY = 86_400.0
SHARE = 4
"""Polls of a day."""
YEARLY = str(365 * (TOKEN_CALLS + SHARE))


class Tenant:
    """A relay and a Marketing Cloud that share a clock, which a test puts forward."""

    def __init__(self) -> None:
        self.now = MIDNIGHT
        self.relay: Environment
        self.simulator: Simulator

    def time(self) -> float:
        return self.now

    def utc(self) -> datetime:
        return datetime.fromtimestamp(self.now, UTC)

    def post(self, sends: int) -> None:
        for _ in range(sends):
            assert self.relay.post(MESSAGE).body["status"] == "accepted"

    def polls(self) -> int:
        """Let all sends be due, and the poller run; how many calls it made."""
        before = self.calls()
        self.relay.make_due()
        self.relay.follow()
        return self.calls() - before

    def calls(self) -> int:
        return sum(call["route"] == "deliveries" for call in self.simulator.calls())

    def budget_item(self) -> dict[str, Any]:
        items = self.relay.client("dynamodb").scan(TableName=self.relay.table)["Items"]
        [item] = [item for item in items if item["pk"]["S"] == "BUDGET"]
        found: dict[str, Any] = item
        return found


@contextmanager
def shared_clock(**settings: str) -> Iterator[Tenant]:
    tenant = Tenant()
    settings = {"DELIVERY_POLLING": "all", "YEARLY_API_CALLS": YEARLY} | settings
    with (
        # No delivery is final, so each send can be polled again.
        Simulator(
            access_tokens=[ACCESS_TOKEN], polls_per_status=1_000, time_source=tenant.utc
        ) as tenant.simulator,
        patch.object(delivery_poller, "time", tenant),
        patch.object(sending, "time", tenant),
        running(tenant.simulator.url, **settings) as tenant.relay,
    ):
        yield tenant


@pytest.fixture
def tenant(aws: None) -> Iterator[Tenant]:
    _ = aws
    with shared_clock() as tenant:
        yield tenant


def test_a_day_makes_its_share_of_the_years_calls(tenant: Tenant) -> None:
    tenant.post(SHARE + 3)
    tenant.now += 60
    assert tenant.polls() == SHARE
    assert tenant.polls() == 0
    assert tenant.relay.follow() == {"no-calls-left": 1}
    tenant.now = MIDNIGHT + DAY - 0.001
    assert tenant.polls() == 0
    tenant.now = MIDNIGHT + DAY
    assert tenant.polls() == SHARE, "days are UTC"


def test_a_run_makes_300_calls_at_most(aws: None) -> None:
    _ = aws
    with shared_clock(YEARLY_API_CALLS="0") as tenant:
        tenant.post(301)
        tenant.now += 60
        assert [tenant.polls() for _ in range(2)] == [300, 300]


@pytest.mark.parametrize(("idle", "shares"), [(1, 2), (3, 4), (7, 8), (12, 8)])
def test_a_day_may_use_what_the_last_seven_days_saved(
    tenant: Tenant, idle: int, shares: int
) -> None:
    tenant.post(SHARE + 1)
    tenant.now += 60
    assert tenant.polls() == SHARE
    tenant.now += (1 + idle) * DAY
    tenant.post(8 * SHARE + 1)
    assert tenant.polls() == shares * SHARE
    for _ in range(9):
        tenant.now += DAY
        tenant.post(SHARE + 1)
        assert tenant.polls() == SHARE, "what was saved is used once"


def test_a_part_of_a_share_is_saved_too(tenant: Tenant) -> None:
    tenant.post(1)
    tenant.now += 60
    assert [tenant.polls() for _ in range(3)] == [1, 1, 1]
    tenant.post(2 * SHARE)
    tenant.now += DAY
    assert tenant.polls() == SHARE + 1
    assert tenant.polls() == 0


@contextmanager
def another_run_before_write(number: int) -> Iterator[list[Any]]:
    """Another run happens just before the budget is written for the nth time; what it did."""
    other, replace = delivery_poller.parts.__wrapped__(), DynamoDbCallBudget._replace
    done: list[Any] = []
    writes = 0

    def meanwhile(*arguments: Any) -> bool:
        nonlocal writes
        writes += 1
        if writes == number:
            with patch.object(DynamoDbCallBudget, "_replace", replace):
                done.append(other.delivery_poller.run(lambda: 55.0))
        return replace(*arguments)

    with patch.object(DynamoDbCallBudget, "_replace", meanwhile):
        yield done
    other.metrics.flush()
    other.connections.close()


def test_two_runs_at_once_share_the_calls(tenant: Tenant) -> None:
    tenant.post(SHARE + 1)
    tenant.now += 60
    with another_run_before_write(1) as done:
        assert tenant.relay.follow() == {"no-calls-left": 1}
    assert done == [{"accepted": SHARE}]
    assert tenant.calls() == SHARE
    assert tenant.polls() == 0


def test_unused_calls_are_given_back(tenant: Tenant) -> None:
    tenant.post(SHARE)
    tenant.now += 60
    tenant.simulator.fail("deliveries", "429-50100")
    assert tenant.polls() == 1
    tenant.relay.status_anew()
    assert [tenant.polls(), tenant.polls()] == [SHARE - 1, 0]


def test_unused_calls_are_given_back_beside_another_run(tenant: Tenant) -> None:
    tenant.post(2)
    tenant.now += 60
    tenant.simulator.fail("deliveries", "429-50100")
    with another_run_before_write(2) as done:
        assert tenant.relay.follow() == {"throttled": 1, "left": 1}
    assert done == [{"accepted": 2}]
    assert tenant.calls() == 3
    tenant.relay.status_anew()
    assert [tenant.polls(), tenant.polls()] == [SHARE - 3, 0]


def test_calls_of_a_saved_share_are_given_back_to_it(tenant: Tenant) -> None:
    tenant.post(SHARE)
    tenant.now += 60
    assert tenant.polls() == SHARE
    tenant.now += 3 * DAY
    tenant.post(4 * SHARE)
    tenant.simulator.fail("deliveries", "429-50100")
    assert tenant.polls() == 1, "of 12: today's, and those of two days"
    tenant.relay.status_anew()
    tenant.now += DAY
    assert [tenant.polls(), tenant.polls()] == [4 * SHARE - 1, 0]


def test_a_call_that_never_reached_the_upstream_is_not_used(tenant: Tenant) -> None:
    tenant.post(1)
    tenant.relay.put_secret("{}")
    tenant.now += 3_600
    tenant.relay.make_due()
    assert tenant.relay.follow() == {"no-token": 1}
    assert delivery_poller.parts().delivery_poller.api_calls.left(tenant.now) == SHARE


def test_reserved_calls_count_as_used_after_a_crash(tenant: Tenant) -> None:
    tenant.post(SHARE)
    tenant.now += 60
    with (
        patch.object(MobileConnect, "report", side_effect=RuntimeError),
        pytest.raises(UnexpectedError),
    ):
        tenant.polls()
    assert tenant.calls() == 0
    assert tenant.relay.follow() == {"no-calls-left": 1}
    tenant.now += DAY
    assert tenant.polls() == SHARE, "they are not saved either"


def test_calls_that_can_not_be_given_back_count_as_used(tenant: Tenant) -> None:
    tenant.post(SHARE)
    tenant.now += 60
    tenant.simulator.fail("deliveries", "429-50100")
    with patch.object(DynamoDbCallBudget, "give_back", side_effect=LedgerUnavailableError):
        assert tenant.polls() == 1
    tenant.relay.status_anew()
    assert tenant.polls() == 0


def test_a_write_that_botocore_repeats_counts_once(tenant: Tenant) -> None:
    bodies: list[dict[str, Any]] = []
    client: Any = boto3.client("dynamodb", region_name=REGION)
    client.meta.events.register(
        "before-call.dynamodb.TransactWriteItems",
        lambda params, **_: bodies.append(json.loads(params["body"])),
    )
    budget = DynamoDbCallBudget(client, tenant.relay.table, SHARE)
    budget.give_back(budget.reserve(3, tenant.now), 1)
    assert len({body["ClientRequestToken"] for body in bodies}) == 2
    assert budget.left(tenant.now) == SHARE - 2


def key_of(item: dict[str, Any]) -> dict[str, Any]:
    return {name: item[name] for name in ("pk", "sk")}


def test_no_other_reader_finds_the_item(aws: None) -> None:
    _ = aws
    with shared_clock(EVENT_BUS="") as tenant:
        tenant.post(1)
        tenant.now += 60
        assert tenant.polls() == 1
        item = tenant.budget_item()
        assert item.keys() == {"pk", "sk", "firstDay", "days", "version"}
        indexed = {"unfinished", "dueAt", "tokenId", "deleteAt"}
        assert not item.keys() & indexed, "sweeper, list, stats, TTL and tokens go by these"
        assert not item["sk"]["S"].startswith("SEND#"), "the stream's filter"
        assert tenant.relay.sweep() == {}
        changed = [
            record for record in tenant.relay.stream() if record["dynamodb"]["Keys"] == key_of(item)
        ]
        assert changed
        metrics = delivery_poller.parts().metrics
        assert [change_of(metrics, record) for record in changed] == [None]
        for message_id in ("BUDGET", "CALLS"):
            assert tenant.relay.get(f"/messages/{message_id}").status == 404


def test_without_a_limit_the_calls_are_counted_too(aws: None) -> None:
    _ = aws
    with shared_clock(YEARLY_API_CALLS="0") as tenant:
        tenant.post(2)
        tenant.now += 60
        assert tenant.polls() == 2
        [[day, [used, _taken]]] = json.loads(tenant.budget_item()["days"]["S"])
        assert (day, used) == (int(MIDNIGHT // DAY), 2)


def test_a_contracts_year_lasts_for_a_year() -> None:
    """Whatever the load: at most 365 shares, and those that were saved before."""
    for pattern in ([9], [0, 40], [0] * 7 + [40], [3, 0, 0, 9, 1, 7, 0, 0, 2], [0] * 12 + [99]):
        budget, used = CallBudget(0, {}), 0
        for day in range(365):
            wanted = pattern[day % len(pattern)]
            reserved = budget.reserve(SHARE, day, wanted)
            assert reserved.calls >= min(wanted, SHARE), "each day has its share"
            assert reserved.calls == min(wanted, budget.left(SHARE, day))
            budget = budget.after(reserved)
            used += reserved.calls
            assert len(budget.days) <= 8
        assert used <= 365 * SHARE
