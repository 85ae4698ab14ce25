"""Tests `smsrelay pause` and `resume`: messages wait during a pause, and none is lost."""

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any
from unittest.mock import patch

import pytest
from botocore.client import BaseClient
from botocore.exceptions import EndpointConnectionError

from smsrelay.adapters.dynamodb_ledger import DynamoDbLedger
from smsrelay.adapters.dynamodb_operator_pauses import DynamoDbOperatorPauses
from smsrelay.sends.ids import message_id
from smsrelay.sends.operator_pause import REASON, OperatorPause
from smsrelay.wiring import sending
from smsrelay_cli import pauses
from tests.cli.conftest import MESSAGE, Operator
from tests.conftest import WallClock
from tests.support import permissions
from tests.support.aws_calls import intercepted
from tests.support.environment import CLIENT, DEFAULT_CLIENT, Environment, running
from tests.support.template import properties
from tools.mobileconnect_simulator import Simulator

QUARTER_HOUR, HOUR = 900.0, 3_600.0
TWO_SENDS = MESSAGE | {"to": [*MESSAGE["to"], {"mobile": "+1 212 555 0102", "key": "k"}]}
KEY = {"Idempotency-Key": "order-8812"}


def pass_quarter_hours(relay: Environment, wall_clock: WallClock, number: int = 1) -> None:
    """Run the worker with each waiting message every quarter of an hour."""
    for _ in range(number):
        wall_clock.now += QUARTER_HOUR
        relay.show_all()
        while relay.work():
            pass


def statuses(relay: Environment) -> set[str]:
    return {item["status"]["S"] for item in relay.items()}


def test_messages_of_both_ways_wait_until_the_pause_ends(
    wall_clock: WallClock, operator: Operator
) -> None:
    relay, simulator = operator.relay, operator.simulator
    operator.simulator.fail("send", "503-50300")
    waited_before = relay.post(MESSAGE).body["id"]
    simulator.reset()
    assert operator.run("pause", "--note", "wrong text").code == 0
    wall_clock.now += 31

    posted = relay.post(MESSAGE, headers=KEY)
    assert (posted.status, posted.body["status"]) == (202, "queued")
    assert [send["reason"] for send in posted.body["sends"]] == ["paused-by-operator"]
    several = relay.post(TWO_SENDS)
    assert [send["status"] for send in several.body["sends"]] == ["queued"] * 2
    relay.post(MESSAGE, headers={"Prefer": "respond-async"})
    relay.enqueue(MESSAGE, KEY | {"client": DEFAULT_CLIENT})
    relay.enqueue(TWO_SENDS)
    relay.work()
    pass_quarter_hours(relay, wall_clock, 5)
    assert relay.post(MESSAGE, headers=KEY).body == posted.body, "a repeated request"
    assert simulator.calls() == []
    assert relay.dead_letters() == []
    assert statuses(relay) == {"queued"}
    by_queue = relay.get(f"/messages/{message_id(DEFAULT_CLIENT, 'order-8812')}",
                         client=DEFAULT_CLIENT).body  # fmt: skip
    assert [send["reason"] for send in by_queue["sends"]] == [REASON]

    assert operator.run("resume").code == 0
    wall_clock.now += 31
    assert relay.post(MESSAGE, client="other").body["status"] == "accepted"
    pass_quarter_hours(relay, wall_clock, 2)

    assert statuses(relay) == {"accepted"}
    assert relay.waiting() == 0
    assert len(simulator.sent()) == 1 + 1 + 2 + 1 + 1 + 2 + 1
    assert relay.get(f"/messages/{waited_before}").body["status"] == "accepted"


def test_a_pause_that_begins_after_the_claim_stops_the_call(operator: Operator) -> None:
    began = [OperatorPause("", began=0.0)]
    with patch.object(sending.parts().pauses, "current", side_effect=[[], began]):
        posted = operator.relay.post(MESSAGE).body
    assert [send["reason"] for send in posted["sends"]] == [REASON]
    assert operator.simulator.calls() == []
    assert operator.works() != [], "the send must be sent later"


def test_a_sweep_does_not_enqueue_a_message_that_a_worker_returns(
    wall_clock: WallClock, operator: Operator, monkeypatch: pytest.MonkeyPatch
) -> None:
    relay = operator.relay
    relay.post(MESSAGE, headers={"Prefer": "respond-async"})
    operator.run("pause")
    wall_clock.now += QUARTER_HOUR
    replace_if_unchanged = DynamoDbLedger.replace_if_unchanged
    worked: list[Any] = []

    def meanwhile(*arguments: Any) -> Any:
        monkeypatch.setattr(DynamoDbLedger, "replace_if_unchanged", replace_if_unchanged)
        with permissions.calls_of("operator"):
            worked.append(relay.work())
        return replace_if_unchanged(*arguments)

    monkeypatch.setattr(DynamoDbLedger, "replace_if_unchanged", meanwhile)
    assert relay.sweep() == {}
    assert len(worked[0]) == 1, "the worker must return it"
    assert relay.waiting() == 1


def test_one_client_is_paused_alone(wall_clock: WallClock, operator: Operator) -> None:
    _ = wall_clock
    relay = operator.relay
    operator.run("pause", "--client", CLIENT)
    assert relay.post(MESSAGE).body["status"] == "queued"
    relay.enqueue(MESSAGE, {"client": CLIENT})
    assert len(relay.work()) == 1
    assert relay.post(MESSAGE, client="other").body["status"] == "accepted"
    relay.enqueue(MESSAGE)
    relay.work()
    assert len(operator.simulator.sent()) == 2


def test_time_in_a_pause_does_not_count_for_the_age(
    aws: None, wall_clock: WallClock, operator: Operator, simulator: Simulator
) -> None:
    """Uses two pauses of an hour, then one of the client only, with MaxAgeHours 1."""
    _ = aws
    with (
        running(simulator.url, MAX_AGE_HOURS="1") as relay,
        patch.dict(operator.outputs, TableName=relay.table),
    ):
        simulator.fail("send", "503-50300", times=-1)
        first = relay.post(MESSAGE).body["id"]
        for arguments in ([], [], ["--client", CLIENT]):
            wall_clock.now += 600
            operator.run("pause", *arguments)
            pass_quarter_hours(relay, wall_clock, 4)
            operator.run("resume", *arguments)
            wall_clock.now += 31
        assert statuses(relay) == {"queued"}
        later = relay.post(MESSAGE, client="other").body["id"]
        simulator.reset()
        relay.end_pauses()
        pass_quarter_hours(relay, wall_clock)
        assert relay.get(f"/messages/{first}").body["status"] == "accepted"

        simulator.fail("send", "503-50300")
        last = relay.post(MESSAGE).body["id"]
        simulator.reset()
        relay.end_pauses()
        wall_clock.now += 50 * 60
        operator.run("pause")
        wall_clock.now += 31
        while relay.work():
            pass
        operator.run("resume")
        pass_quarter_hours(relay, wall_clock)
        assert relay.get(f"/messages/{last}").body["status"] == "accepted", "the late message"

        simulator.fail("send", "503-50300", times=-1)
        relay.end_pauses()
        too_old = relay.post(MESSAGE).body["id"]
        pass_quarter_hours(relay, wall_clock, 5)
        assert relay.get(f"/messages/{too_old}").body["status"] == "failed"
        assert relay.get(f"/messages/{later}", client="other").body["status"] == "accepted"


def test_the_sweeper_puts_a_paused_send_back_whose_message_is_lost(
    wall_clock: WallClock, operator: Operator
) -> None:
    relay = operator.relay
    operator.run("pause")
    posted = relay.post(MESSAGE).body["id"]
    relay.client("sqs").purge_queue(QueueUrl=relay.queue_url)
    wall_clock.now += 25 * HOUR
    assert relay.sweep() == {"queued": 1}
    wall_clock.now += 60
    assert relay.sweep() == {}, "its new message is in the queue"
    pass_quarter_hours(relay, wall_clock, 2)
    assert operator.simulator.calls() == []

    operator.run("resume")
    pass_quarter_hours(relay, wall_clock, 2)
    assert relay.get(f"/messages/{posted}").body["status"] == "accepted"


def test_the_item_is_read_at_most_once_in_thirty_seconds(
    wall_clock: WallClock, operator: Operator
) -> None:
    relay, made = operator.relay, list[str]()

    def note(_: BaseClient, operation: str, parameters: Any, call: Callable[[], Any]) -> Any:
        key = parameters.get("ExpressionAttributeValues", {}).get(":pk", {}).get("S", "")
        made.append("pauses" if key == "PAUSES" else operation)
        return call()

    with intercepted(note):
        for seconds in (0, 10, 19, 2, 28):
            wall_clock.now += seconds
            relay.post(MESSAGE)
            made.append("-")
    posts = " ".join(made).split(" - ")
    assert [post.count("pauses") for post in posts] == [1, 0, 0, 1, 0]
    assert posts[1] == posts[2] == "PutItem PutItem", "a warm request makes two writes and no read"


def test_during_an_outage_the_last_pauses_stay_in_force(
    wall_clock: WallClock, operator: Operator
) -> None:
    relay = operator.relay
    away = EndpointConnectionError(endpoint_url="https://dynamodb.invalid")

    def fail(_: BaseClient, _operation: str, parameters: Any, call: Callable[[], Any]) -> Any:
        if "PAUSES" in str(parameters.get("ExpressionAttributeValues")):
            raise away
        return call()

    with intercepted(fail):
        assert relay.post(MESSAGE).body["code"] == "not-stored", "the pauses were never read"
        relay.enqueue(MESSAGE)
        assert len(relay.work()) == 1
    assert relay.items() == []
    operator.run("pause")
    assert relay.post(MESSAGE).body["status"] == "queued"
    with intercepted(fail):
        wall_clock.now += 31
        assert relay.post(MESSAGE).body["status"] == "queued"
    operator.run("resume")
    wall_clock.now += 31
    assert relay.post(MESSAGE).body["status"] == "accepted"


@pytest.mark.parametrize("read_before", [False, True])
def test_an_item_that_this_version_can_t_read_does_not_stop_all_sends(
    wall_clock: WallClock, operator: Operator, *, read_before: bool
) -> None:
    relay = operator.relay
    if read_before:
        operator.run("pause")
        assert relay.post(MESSAGE).body["status"] == "queued"
        wall_clock.now += 31
    item = {"pk": {"S": "PAUSES"}, "sk": {"S": "SENDS"}, "pauses": {"S": '{"of": "later"}'}}
    relay.client("dynamodb").put_item(TableName=relay.table, Item=item)
    assert relay.post(MESSAGE).body["status"] == "accepted"
    assert "can't read the item PAUSES/SENDS" in operator.run("pause").err


def test_pause_prints_until_when_messages_can_wait(
    wall_clock: WallClock, operator: Operator
) -> None:
    wall_clock.now = datetime(2026, 11, 27, 8, 0, tzinfo=UTC).timestamp()
    first = operator.run("pause", "--note", "wrong text")
    assert "all clients are paused since 2026-11-27T08:00:00+00:00" in first.out
    assert "Resume before 2026-12-07T08:00:00+00:00" in first.out
    assert "Note: wrong text" in first.out
    wall_clock.now += HOUR
    assert operator.run("pause", "--json").json == {
        "client": None,
        "since": "2026-11-27T08:00:00+00:00",
        "note": "wrong text",
        "resumeBefore": "2026-12-07T08:00:00+00:00",
    }, "a second pause must not change the first one"
    again = operator.run("pause", "--note", "another")
    assert "paused before, so the note was not changed" in again.err
    assert "Note: wrong text" in again.out
    redrive = properties("Queue")["RedrivePolicy"]
    assert redrive["maxReceiveCount"] == pauses.RECEIVES


def test_resume_ends_one_pause_and_names_the_others(
    wall_clock: WallClock, operator: Operator
) -> None:
    _ = wall_clock
    assert "the sends of all clients are not paused" in operator.run("resume").err
    operator.run("pause", "--client", "shop")
    refused = operator.run("resume")
    assert (refused.code, "`smsrelay resume --client shop`" in refused.err) == (1, True)
    operator.run("pause")
    ended = operator.run("resume")
    assert (ended.code, "smsrelay resume --client shop" in ended.err) == (0, True)
    assert operator.run("resume", "--client", "shop", "--json").json["stillPaused"] == []
    for name in ("Not A Name", ""):  # an empty shell variable must not mean all clients
        assert operator.run("pause", "--client", name).code == 2
        assert operator.run("resume", "--client", name).code == 2
    assert operator.run("pause", "--note", "x" * 201).code == 2


@pytest.mark.parametrize("command", ["pause", "resume"])
def test_a_write_whose_response_is_lost_is_done(operator: Operator, command: str) -> None:
    """Then botocore repeats it."""

    def repeat(_: BaseClient, operation: str, __: Any, call: Callable[[], Any]) -> Any:
        if operation == "PutItem":
            call()
        return call()

    if command == "resume":
        operator.run("pause")
    with intercepted(repeat):
        ended = operator.run(command)
    assert (ended.code, "all clients" in ended.out) == (0, True)


@pytest.mark.parametrize("name", ["shop", ""])
def test_two_operators_at_once_lose_no_pause(operator: Operator, name: str) -> None:
    load, others = DynamoDbOperatorPauses.load, iter([("pause", "--client", "other")])

    def load_before_another(stored: DynamoDbOperatorPauses) -> Any:
        found = load(stored)
        for arguments in others:
            operator.run(*arguments)
        return found

    with patch.object(DynamoDbOperatorPauses, "load", load_before_another):
        assert operator.run("pause", *(["--client", name] if name else [])).code == 0
    stored = DynamoDbOperatorPauses(operator.relay.client("dynamodb"), operator.relay.table)
    assert {it.client for it in stored.load()[0]} == {name, "other"}
