"""Tests the yearly API calls: how many polls a day may make, and which sends are polled.

It runs the delivery poller's handler with the simulator and a clock that the tests advance.
"""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any
from unittest.mock import patch

import boto3
import pytest

from smsrelay.adapters import dynamodb_ledger
from smsrelay.adapters.dynamodb_call_budget import DynamoDbCallBudget
from smsrelay.adapters.dynamodb_ledger import DynamoDbLedger, change_of
from smsrelay.adapters.mobileconnect import MobileConnect
from smsrelay.errors import LedgerUnavailableError
from smsrelay.sends.call_budget import TOKEN_CALLS, CallBudget
from smsrelay.sends.status_events import event_of
from smsrelay.services import delivery_poller as services_delivery_poller
from smsrelay.wiring import delivery_poller, sending
from tests.support.cloudwatch_metrics import metrics
from tests.support.environment import ACCESS_TOKEN, REGION, Environment, running
from tools.mobileconnect_simulator import Simulator

MESSAGE: dict[str, Any] = {"message": "MzA6Nzg6MA", "to": ["+1 212 555 0100"], "text": "Hello"}
MIDNIGHT = 1_799_971_200.0
"""2027-01-15T00:00:00Z, in seconds since the epoch."""
DAY = 86_400.0
SHARE = 4
"""The polls of a day."""
YEARLY = str(365 * (TOKEN_CALLS + SHARE))


class Tenant:
    """A relay and a simulator that share a clock, which tests advance."""

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
            self.post_to(1)

    def post_to(self, recipients: int, **headers: str) -> str:
        """Post a message, and return its id."""
        to = [f"+1 212 555 01{number:02}" for number in range(recipients)]
        posted = self.relay.post(MESSAGE | {"to": to}, headers=headers).body
        assert posted["status"] == "accepted"
        message_id: str = posted["id"]
        return message_id

    def polled(self) -> list[str]:
        """Run the poller, and return the polled messages in order."""
        ids = {
            item["tokenId"]["S"]: item["pk"]["S"].removeprefix("MSG#")
            for item in self.relay.items()
        }
        asked: list[str] = []
        report = MobileConnect.report

        def noted(reports: MobileConnect, message: str, token_id: str, timeout: float) -> Any:
            asked.append(ids[token_id])
            return report(reports, message, token_id, timeout)

        with (
            patch.object(MobileConnect, "report", noted),
            patch.object(services_delivery_poller, "MAX_PARALLEL_CALLS", 1),
        ):
            self.relay.follow()
        return asked

    def send(self, message_id: str) -> dict[str, Any]:
        """Return the only send of a message, as its client sees it."""
        [send] = self.relay.get(f"/messages/{message_id}").body["sends"]
        found: dict[str, Any] = send
        return found

    def polls(self) -> int:
        """Make all sends due, run the poller, and return the number of its calls."""
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
    assert tenant.polls() == SHARE, "days must be those of UTC"


def test_a_run_makes_300_calls_at_most(aws: None) -> None:
    _ = aws
    with shared_clock(YEARLY_API_CALLS="0") as tenant:
        tenant.post(301)
        tenant.now += 60
        assert tenant.polls() == 300
        tenant.relay.follow()
        assert tenant.calls() == 301, "the next run must poll the rest"


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
    for _ in range(2):
        tenant.now += DAY
        tenant.post(SHARE + 1)
        assert tenant.polls() == SHARE, "saved calls must be used only once"


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
    """Let another run happen before the nth write of the budget; yield that run's results."""
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
    tenant.relay.restart_delivery_poller()
    assert [tenant.polls(), tenant.polls()] == [SHARE - 1, 0]


def test_unused_calls_are_given_back_beside_another_run(tenant: Tenant) -> None:
    tenant.post(2)
    tenant.now += 60
    tenant.simulator.fail("deliveries", "429-50100")
    with another_run_before_write(2) as done:
        assert tenant.relay.follow() == {"throttled": 1, "left": 1}
    assert done == [{"accepted": 2}]
    assert tenant.calls() == 3
    tenant.relay.restart_delivery_poller()
    assert [tenant.polls(), tenant.polls()] == [SHARE - 3, 0]


def test_calls_of_a_saved_share_are_given_back_to_it(tenant: Tenant) -> None:
    tenant.post(SHARE)
    tenant.now += 60
    assert tenant.polls() == SHARE
    tenant.now += 3 * DAY
    tenant.post(4 * SHARE)
    tenant.simulator.fail("deliveries", "429-50100")
    assert tenant.polls() == 1, "one of the 12 calls of today and of two saved days"
    tenant.relay.restart_delivery_poller()
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
        patch.object(MobileConnect, "report", side_effect=SystemExit),
        pytest.raises(SystemExit),
    ):
        tenant.polls()
    assert tenant.calls() == 0
    assert tenant.relay.follow() == {"no-calls-left": 1}
    tenant.now += DAY
    assert tenant.polls() == SHARE, "the reserved calls must not be saved either"


def test_calls_that_can_not_be_given_back_count_as_used(tenant: Tenant) -> None:
    tenant.post(SHARE)
    tenant.now += 60
    tenant.simulator.fail("deliveries", "429-50100")
    with patch.object(DynamoDbCallBudget, "give_back", side_effect=LedgerUnavailableError):
        assert tenant.polls() == 1
    tenant.relay.restart_delivery_poller()
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
        assert not item.keys() & indexed, "sweeper, list, stats, TTL or tokens find it"
        assert not item["sk"]["S"].startswith("SEND#"), "the stream's filter must drop the item"
        assert tenant.relay.sweep() == {}
        changed = [
            record for record in tenant.relay.stream() if record["dynamodb"]["Keys"] == key_of(item)
        ]
        assert changed
        of_poller = delivery_poller.parts().metrics
        assert [change_of(of_poller, record) for record in changed] == [None]
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


def test_first_polls_come_before_later_ones_then_more_recipients_first(tenant: Tenant) -> None:
    polled_before = tenant.post_to(9)
    tenant.now += 60
    assert tenant.polled() == [polled_before]
    one, two, another_one, five = [tenant.post_to(number) for number in (1, 2, 1, 5)]
    tenant.now += 600
    assert tenant.polled()[:2] == [five, two], "these come before the other ones"
    [unpolled] = [item for item in tenant.relay.items() if "delivery" not in item]
    assert unpolled["pk"]["S"].removeprefix("MSG#") in {one, another_one}
    tenant.now += DAY
    assert tenant.polled() == [
        unpolled["pk"]["S"].removeprefix("MSG#"),
        polled_before,
        five,
        two,
    ]


def test_a_broadcast_does_not_wait_behind_many_single_messages(tenant: Tenant) -> None:
    """A run chooses from the oldest due sends of each group, up to a limit."""
    tenant.post(SHARE + 6)
    tenant.now += 60
    broadcast = tenant.post_to(2)
    tenant.now += 60
    with patch.object(dynamodb_ledger, "MAX_CANDIDATES", SHARE):
        assert tenant.polled()[0] == broadcast


def test_a_send_that_is_not_polled_within_72_hours_ends(
    aws: None, capsys: pytest.CaptureFixture[str]
) -> None:
    _ = aws
    with shared_clock(YEARLY_API_CALLS=str(365 * TOKEN_CALLS), EVENT_BUS="") as tenant:
        accepted = tenant.now
        key = {"Idempotency-Key": "order-8812"}
        message_id = tenant.post_to(1, **key)
        tenant.post_to(2)
        tenant.now = accepted + 3 * DAY - 0.001
        assert tenant.relay.follow() == {"no-calls-left": 1}
        assert "reason" not in tenant.send(message_id)
        capsys.readouterr()
        tenant.now = accepted + 3 * DAY
        assert tenant.relay.follow() == {"no-calls-left": 1, "not-polled": 2}
        assert metrics(capsys.readouterr().out)["DeliveriesNotPolled"] == [2]
        assert tenant.relay.follow() == {"no-calls-left": 1}
        assert tenant.calls() == 0
        send = tenant.send(message_id)
        assert (send["status"], send["reason"]) == ("accepted", "not-polled")
        for item in tenant.relay.items():
            assert "unfinished" not in item
            assert int(item["deleteAt"]["N"]) == int(tenant.now + 90 * DAY)
        change = change_of(delivery_poller.parts().metrics, tenant.relay.stream()[-1])
        assert change
        assert change.is_event
        data = event_of(change)["data"]
        assert (data["status"], data["final"], data["reason"]) == ("accepted", True, "not-polled")
        again = tenant.relay.post(MESSAGE | {"to": ["+1 212 555 0100"]}, headers=key)
        assert again.body["id"] == message_id
        assert "reason" not in again.body["sends"][0], "a repetition must get the first response"


def test_without_a_later_poll_a_send_ends_with_the_last_report(
    tenant: Tenant,
) -> None:
    message_id = tenant.post_to(2)
    tenant.now += 60
    assert tenant.polls() == 1
    [item] = tenant.relay.items()
    counts = json.loads(item["delivery"]["S"]) | {"delivered": 1, "pending": 1}
    tenant.relay.change(delivery=json.dumps(counts))
    tenant.now += 3 * DAY
    assert tenant.relay.follow() == {"not-polled": 1}, "calls are left, but the time is up"
    send = tenant.send(message_id)
    assert (send["status"], send["reason"]) == ("partially_delivered", "not-polled")
    assert send["delivery"]["delivered"] == 1


def test_late_sends_end_while_the_upstream_refuses_polls(tenant: Tenant) -> None:
    tenant.post(1)
    tenant.now += 3 * DAY - 60
    tenant.post(1)
    tenant.now += 60
    tenant.simulator.fail("deliveries", "429-50200")
    assert tenant.relay.follow() == {"blocked": 1, "not-polled": 1}
    assert tenant.relay.follow() == {"paused": 1}


def test_an_ending_that_is_not_stored_is_repeated(tenant: Tenant) -> None:
    tenant.post(1)
    tenant.now += 3 * DAY
    with tenant.relay.ledger_refuses_writes():
        assert tenant.relay.follow() == {}
    assert tenant.relay.follow(remaining=4.0) == {}
    assert tenant.relay.follow() == {"not-polled": 1}


def test_a_contracts_year_lasts_for_a_year() -> None:
    """With every load, a year makes at most 365 shares and those saved before."""
    for pattern in ([9], [0, 40], [0] * 7 + [40], [3, 0, 0, 9, 1, 7, 0, 0, 2], [0] * 12 + [99]):
        budget, used = CallBudget(0, {}), 0
        for day in range(365):
            demand = pattern[day % len(pattern)]
            reserved = budget.reserve(SHARE, day, demand)
            assert reserved.calls >= min(demand, SHARE), "each day must have its share"
            assert reserved.calls == min(demand, budget.left(SHARE, day))
            budget = budget.after(reserved)
            used += reserved.calls
            assert len(budget.days) <= 8
        assert used <= 365 * SHARE


def test_two_runs_at_once_end_an_unpolled_send_once(
    tenant: Tenant, capsys: pytest.CaptureFixture[str]
) -> None:
    tenant.post(1)
    tenant.now += 4 * DAY
    other, replace = delivery_poller.parts.__wrapped__(), DynamoDbLedger.replace_if_unchanged
    done: list[Any] = []

    def meanwhile(*arguments: Any) -> Any:
        with patch.object(DynamoDbLedger, "replace_if_unchanged", replace):
            done.append(other.delivery_poller.run(lambda: 55.0))
        return replace(*arguments)

    capsys.readouterr()
    with patch.object(DynamoDbLedger, "replace_if_unchanged", meanwhile):
        assert tenant.relay.follow() == {}
    other.metrics.flush()
    other.connections.close()
    assert done == [{"not-polled": 1}]
    assert metrics(capsys.readouterr().out)["DeliveriesNotPolled"] == [1]
