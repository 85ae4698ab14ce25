"""Tests every reader of the ledger with stored items of each status and unreadable ones."""

import time
from dataclasses import replace
from functools import partial
from typing import Any

import pytest

from smsrelay.adapters.dynamodb_ledger import (
    POLLED_BEFORE,
    REFUSED,
    DynamoDbLedger,
    report_unreadable,
)
from smsrelay.errors import UnreadableItemError
from smsrelay.sends.send import SendKey, Status, reference_body
from smsrelay.services import sweeper
from smsrelay.wiring import delivery_poller
from tests.support.cloudwatch_metrics import metrics
from tests.support.environment import Environment, running
from tests.support.golden import READABLE, UNREADABLE, put, put_unreadable_in
from tools.mobileconnect_simulator import Simulator

LATER = 1_800_000_000.0
UNUSED = {"priority", "history", "flags", "comment"}
"""The attributes of `unknown-attributes` that this version does not use."""
MESSAGE: dict[str, Any] = {"message": "MzA6Nzg6MA", "to": ["+1 212 555 0100"], "text": "Hello"}


class Counts:
    """Metrics that record the counted names."""

    def __init__(self) -> None:
        self.counted: list[str] = []

    def count(self, name: str, value: int = 1) -> None:
        self.counted += [name] * value

    def time(self, name: str, seconds: float) -> None:
        raise NotImplementedError


@pytest.fixture
def counts() -> Counts:
    return Counts()


@pytest.fixture
def ledger(relay: Environment, counts: Counts) -> DynamoDbLedger:
    return DynamoDbLedger(
        relay.client("dynamodb"), relay.table, 90, partial(report_unreadable, counts)
    )


def test_there_is_an_item_of_each_status() -> None:
    assert {item["status"]["S"] for item in READABLE.values()} == set(Status)


@pytest.mark.parametrize("name", READABLE)
def test_a_stored_item_is_read_and_written_again(
    relay: Environment, ledger: DynamoDbLedger, counts: Counts, name: str
) -> None:
    item = READABLE[name]
    put(relay, item)
    [send] = ledger.load(f"golden-{name}")
    assert ledger.load_one(send.key) == send
    assert ledger.load_sends([send.key]) == [send]
    assert ledger.load(f"golden-{name}", bodies=False) == [replace(send, body=None)]
    assert ledger.replace_if_unchanged(send, send)
    [again] = relay.items()
    assert again == {key: value for key, value in item.items() if key not in UNUSED}
    assert counts.counted == []


@pytest.mark.parametrize("name", UNREADABLE)
def test_an_unreadable_item_is_an_error_of_its_message_alone(
    relay: Environment, ledger: DynamoDbLedger, counts: Counts, name: str
) -> None:
    put(relay, UNREADABLE[name], READABLE["unknown"])
    with pytest.raises(UnreadableItemError, match=f"MSG#golden-{name}/SEND#"):
        ledger.load(f"golden-{name}")
    assert counts.counted == ["UnreadableItems"]
    assert len(ledger.load("golden-unknown")) == 1


def test_an_unreadable_refusal_is_counted(
    relay: Environment, ledger: DynamoDbLedger, counts: Counts
) -> None:
    put(relay, {"pk": {"S": "MSG#golden-refusal"}, "sk": {"S": REFUSED}})
    with pytest.raises(UnreadableItemError):
        ledger.load_refusal("golden-refusal")
    assert counts.counted == ["UnreadableItems"]


@pytest.mark.parametrize("name", sorted(UNREADABLE.keys() - {"key-of-another-shape"}))
def test_an_unreadable_item_is_neither_claimed_nor_created_again(
    relay: Environment, ledger: DynamoDbLedger, name: str
) -> None:
    put(relay, UNREADABLE[name])
    key = SendKey(f"golden-{name}", 1)
    with pytest.raises(UnreadableItemError):
        ledger.load_one(key)
    with pytest.raises(UnreadableItemError):
        ledger.claim(key, written_by="o", now=LATER, lease_until=LATER + 60)
    put(relay, READABLE["queued"])
    [queued] = ledger.load("golden-queued")
    with pytest.raises(UnreadableItemError):
        ledger.create([queued.__replace__(key=key)])
    assert UNREADABLE[name] in relay.items()


def test_due_polls_skip_and_count_unreadable_items(
    relay: Environment, ledger: DynamoDbLedger, counts: Counts
) -> None:
    put(relay, READABLE["awaiting-report"])
    unreadable = put_unreadable_in(relay, f"{POLLED_BEFORE}#0")
    due = ledger.due_polls(LATER, 100)
    assert [send.key.message_id for send in (*due.on_time, *due.late)] == ["golden-awaiting-report"]
    assert counts.counted == ["UnreadableItems"] * unreadable


@pytest.mark.parametrize("group", ["open", "unknown", "failed", POLLED_BEFORE])
def test_the_sparse_index_is_read_past_unreadable_keys(
    relay: Environment, ledger: DynamoDbLedger, counts: Counts, group: str
) -> None:
    unreadable = put_unreadable_in(relay, f"{group}#0")
    found = {key.message_id for key in ledger.unfinished(group)}
    assert found == UNREADABLE.keys() - {"key-of-another-shape"}
    assert counts.counted == ["UnreadableItems"]
    assert ledger.count_unfinished(group)[0] == unreadable
    assert len(list(ledger.stalled(LATER))) == (len(found) if group == "open" else 0)
    assert ledger.count_unknown(100) == (unreadable if group == "unknown" else 0)


def test_a_token_id_is_found_beside_unreadable_items(
    relay: Environment, ledger: DynamoDbLedger
) -> None:
    put(relay, *READABLE.values(), *UNREADABLE.values())
    assert ledger.find_by_token_id("token-accepted") == SendKey("golden-accepted", 1)
    assert ledger.find_by_token_id("token-unknown-status") == SendKey("golden-unknown-status", 1)
    assert ledger.find_by_token_id("token-key-of-another-shape") is None


def test_the_sweeper_recovers_the_others(
    relay: Environment, capsys: pytest.CaptureFixture[str]
) -> None:
    unreadable = put_unreadable_in(relay, "open#0")
    put(relay, READABLE["queued"], READABLE["sending"], READABLE["resent"])
    assert relay.sweep() == {"queued": 2, "unknown": 1}
    assert sum(metrics(capsys.readouterr().out)["UnreadableItems"]) == unreadable


def test_the_sweeper_recovers_sends_that_are_due_after_many_unreadable_items(
    relay: Environment, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sweeper, "MOST_PER_SWEEP", 3)
    assert put_unreadable_in(relay, "open#0") > 3
    put(relay, READABLE["queued"], READABLE["sending"], READABLE["resent"])
    assert relay.sweep() == {"queued": 2, "unknown": 1}


def test_the_delivery_poller_polls_the_others(
    aws: None, simulator: Simulator, capsys: pytest.CaptureFixture[str]
) -> None:
    _ = aws
    with running(simulator.url, DELIVERY_POLLING="all") as relay:
        relay.post(MESSAGE)
        relay.make_due()
        unreadable = put_unreadable_in(relay, f"{POLLED_BEFORE}#0")
        assert relay.follow() == {"accepted": 1}
        assert sum(metrics(capsys.readouterr().out)["UnreadableItems"]) == unreadable
        delivery_poller.parts().connections.close()


def test_unreadable_items_do_not_count_towards_the_limit_of_a_run(
    relay: Environment, ledger: DynamoDbLedger
) -> None:
    group = READABLE["awaiting-report"]["unfinished"]["S"].partition("#")[0]
    put(relay, READABLE["awaiting-report"])
    earlier = {"dueAt": {"N": "1"}, "deliverAt": READABLE["awaiting-report"]["deliverAt"]}
    for name, item in UNREADABLE.items():
        where = {"pk": {"S": f"MSG#{name}"}, "unfinished": {"S": f"{group}#0"}}
        put(relay, item | earlier | where)
    now = float(READABLE["awaiting-report"]["dueAt"]["N"])
    found = ledger.due_polls(now, 1).on_time
    assert [send.key.message_id for send in found] == ["golden-awaiting-report"]


def test_the_worker_returns_a_message_with_an_unreadable_item(
    relay: Environment, simulator: Simulator, capsys: pytest.CaptureFixture[str]
) -> None:
    """Another version may be able to read it; otherwise SQS moves it to the dead-letter queue."""
    key = SendKey("50RA3E77SKYE6PJ2PSKS6WFK3N", 1)
    queued = {"pk": {"S": f"MSG#{key.message_id}"}, "status": {"S": "queued"}}
    put(relay, UNREADABLE["fractional-number"] | queued)
    body = reference_body(key)
    relay.client("sqs").send_message(QueueUrl=relay.queue_url, MessageBody=body)
    relay.enqueue(MESSAGE)
    assert len(relay.work()) == 1
    assert len(simulator.sent()) == 1, "the other message of the batch must be sent"
    assert metrics(capsys.readouterr().out)["UnreadableItems"]
    [stored] = [item for item in relay.items() if item["pk"] == queued["pk"]]
    assert stored["status"] == {"S": "queued"}
    assert stored["attempts"] == UNREADABLE["fractional-number"]["attempts"]


def test_a_send_that_could_not_be_read_is_sent_by_a_version_that_can(
    relay: Environment, simulator: Simulator
) -> None:
    """No call was made, so the end of the lease must not make the send unknown."""
    key = SendKey("50RA3E77SKYE6PJ2PSKS6WFK3N", 1)
    queued = {"pk": {"S": f"MSG#{key.message_id}"}, "createdAt": {"N": str(time.time())}}
    put(relay, READABLE["queued"] | queued | {"onUnknown": {"S": "ask"}})
    relay.enqueue(reference_body(key))
    assert len(relay.work()) == 1
    assert simulator.calls() == []
    [item] = relay.items()
    put(relay, item | {"onUnknown": {"S": "hold"}})
    relay.make_due()
    relay.sweep()
    relay.work()
    assert [send["status"] for send in relay.items()] == [{"S": "accepted"}]


def test_the_api_reports_an_unreadable_item(relay: Environment) -> None:
    put(relay, UNREADABLE["unknown-status"])
    answer = relay.get("/messages/golden-unknown-status")
    assert (answer.status, answer.body["code"]) == (503, "not-read")
