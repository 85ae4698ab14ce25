"""Tests the sweeper, which recovers the sends of dead processes once."""

import time
from typing import Any

import pytest

from smsrelay.adapters.dynamodb_ledger import SHARDS, DynamoDbLedger
from smsrelay.services import sweeper as use_case
from smsrelay.wiring import sweeper
from tests.support.cloudwatch_metrics import metrics
from tests.support.environment import Environment
from tools.mobileconnect_simulator import Simulator

MESSAGE: dict[str, Any] = {"message": "MzA6Nzg6MA", "to": ["+1 212 555 0100"], "text": "Hello"}
ASYNC = {"Prefer": "respond-async"}
LONG_AGO = 1_000.0


def drop_all(relay: Environment) -> None:
    """Delete the queue's messages, as if a process died between ledger and queue."""
    relay.client("sqs").purge_queue(QueueUrl=relay.queue_url)
    assert relay.waiting() == 0


def test_a_queued_send_whose_message_never_came_is_queued_again_and_sent_once(
    relay: Environment, simulator: Simulator
) -> None:
    relay.post(MESSAGE, headers=ASYNC)
    drop_all(relay)
    assert relay.sweep() == {}, "its message may still arrive"
    relay.change(dueAt=time.time() - LONG_AGO)
    assert relay.sweep() == {"queued": 1}
    assert relay.sweep() == {}, "the next sweep must not queue it again"
    assert relay.waiting() == 1
    assert relay.work() == []
    assert len(simulator.sent()) == 1
    assert relay.sweep() == {}


@pytest.mark.parametrize(("choice", "status"), [("hold", "unknown"), ("resend", "queued")])
def test_an_expired_lease_is_found_without_a_message(
    relay: Environment, simulator: Simulator, choice: str, status: str
) -> None:
    posted = relay.post(MESSAGE | {"onUnknown": choice}, headers=ASYNC)
    drop_all(relay)
    relay.begin_elsewhere(lease=60.0)
    assert relay.sweep() == {}, "another process is sending it"
    relay.change(dueAt=time.time() - 1)
    assert relay.sweep() == {status: 1}
    while relay.waiting():
        assert relay.work() == []
    stored = relay.get(f"/messages/{posted.body['id']}").body
    assert stored["status"] == ("accepted" if choice == "resend" else "unknown")
    assert len(simulator.sent()) == (1 if choice == "resend" else 0)
    assert relay.sweep() == {}


def test_ended_sends_are_skipped(relay: Environment, simulator: Simulator) -> None:
    relay.post(MESSAGE)
    simulator.fail("send", "400")
    relay.post(MESSAGE)
    simulator.fail("send", "500")
    relay.post(MESSAGE)
    assert relay.sweep() == {}
    assert relay.waiting() == 0


def test_a_sweep_has_a_limit_and_the_next_one_continues(
    relay: Environment, monkeypatch: pytest.MonkeyPatch
) -> None:
    count = 20
    for _ in range(count):
        relay.post(MESSAGE, headers=ASYNC)
    relay.make_due()
    client = sweeper.parts().sweeper.ledger._client  # type: ignore[attr-defined]  # noqa: SLF001 - the relay's client
    ask, asked = client.query, []

    def note(**question: Any) -> Any:
        asked.append(question)
        return ask(**question)

    with monkeypatch.context() as patch:
        patch.setattr(client, "query", note)
        assert relay.sweep() == {"queued": count}
    of_index = [question for question in asked if "IndexName" in question]
    pages = SHARDS["open"] + SHARDS["unknown"]
    assert len(of_index) == pages, "one page of each shard for overdue and unknown sends"
    assert all(question["Limit"] <= 100 for question in of_index)
    relay.make_due()
    monkeypatch.setattr(use_case, "MOST_PER_SWEEP", 8)
    assert [relay.sweep().get("queued", 0) for _ in range(4)] == [8, 8, 4, 0]


def test_the_next_sweep_tries_again_after_an_outage_of_the_queue(relay: Environment) -> None:
    relay.post(MESSAGE, headers=ASYNC)
    relay.change(dueAt=time.time() - LONG_AGO)
    relay.client("sqs").delete_queue(QueueUrl=relay.queue_url)
    assert relay.sweep() == {}
    [item] = relay.items()
    assert item["status"] == {"S": "queued"}
    assert item["unfinished"]["S"].startswith("open#")


def test_a_send_that_is_too_old_becomes_failed(relay: Environment, simulator: Simulator) -> None:
    relay.post(MESSAGE, headers=ASYNC)
    relay.change(createdAt=time.time() - 25 * 3600)
    assert relay.work() == []
    assert simulator.calls() == []
    [letter] = relay.dead_letters()
    assert letter["reason"] == "too-old"
    assert [item["status"] for item in relay.items()] == [{"S": "failed"}]


def test_a_resend_restarts_the_age(relay: Environment, simulator: Simulator) -> None:
    posted = relay.post(MESSAGE, headers=ASYNC)
    relay.change(createdAt=time.time() - 480 * 3600, resentAt=time.time())
    assert relay.work() == []
    assert relay.get(f"/messages/{posted.body['id']}").body["status"] == "accepted"
    assert len(simulator.sent()) == 1


def other_sweep_before_write(relay: Environment, monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """Let another sweep read the same sends and write first; return what it recovered."""
    replace = DynamoDbLedger.replace_if_unchanged
    done: list[Any] = []

    def meanwhile(*arguments: Any) -> Any:
        with monkeypatch.context() as patch:
            patch.setattr(DynamoDbLedger, "replace_if_unchanged", replace)
            if not done:
                done.append(relay.sweep())
        return replace(*arguments)

    monkeypatch.setattr(DynamoDbLedger, "replace_if_unchanged", meanwhile)
    return done


def test_two_sweeps_at_once_queue_a_send_once(
    relay: Environment, simulator: Simulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    relay.post(MESSAGE, headers=ASYNC)
    drop_all(relay)
    relay.change(dueAt=time.time() - LONG_AGO)
    other = other_sweep_before_write(relay, monkeypatch)
    assert relay.sweep() == {}
    assert other == [{"queued": 1}]
    assert relay.waiting() == 1
    assert relay.work() == []
    assert len(simulator.sent()) == 1


@pytest.mark.parametrize(("choice", "status"), [("hold", "unknown"), ("resend", "queued")])
def test_two_sweeps_at_once_find_an_expired_lease(
    relay: Environment,
    simulator: Simulator,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    choice: str,
    status: str,
) -> None:
    posted = relay.post(MESSAGE | {"onUnknown": choice}, headers=ASYNC)
    drop_all(relay)
    relay.begin_elsewhere(lease=60.0)
    relay.change(dueAt=time.time() - 1)
    other = other_sweep_before_write(relay, monkeypatch)
    capsys.readouterr()
    assert relay.sweep() == {}
    assert other == [{status: 1}]
    counted = metrics(capsys.readouterr().out)
    assert counted["SendsUnknown" if choice == "hold" else "SendsQueued"] == [1]
    monkeypatch.undo()
    while relay.waiting():
        assert relay.work() == []
    stored = relay.get(f"/messages/{posted.body['id']}").body
    assert stored["status"] == ("accepted" if choice == "resend" else "unknown")
    assert len(simulator.sent()) == (1 if choice == "resend" else 0)
