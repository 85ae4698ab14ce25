"""Tests the cancellation and the expiry of queued sends through the handlers."""

import time
from datetime import UTC, datetime
from typing import Any
from unittest.mock import patch

import pytest

from smsrelay.adapters.dynamodb_ledger import DynamoDbLedger
from tests.conftest import WallClock
from tests.support import permissions
from tests.support.environment import CLIENT, Environment, HttpAnswer
from tools.mobileconnect_simulator import Simulator
from tools.mobileconnect_simulator.faults import Then

Json = dict[str, Any]

MESSAGE: Json = {"message": "MzA6Nzg6MA", "to": ["+1 212 555 0100"], "text": "Hello"}
TWO: Json = MESSAGE | {"to": ["+1 212 555 0100", {"mobile": "+12125550101", "key": "k"}]}
ASYNC = {"Prefer": "respond-async"}
KEY = {"Idempotency-Key": "order-8812"}


def cancel(relay: Environment, message_id: str, client: str = CLIENT) -> HttpAnswer:
    return relay.delete(f"/messages/{message_id}", client=client)


def statuses(answer: HttpAnswer) -> list[str]:
    return [send["status"] for send in answer.body["sends"]]


def at(wall_clock: WallClock, seconds: float) -> str:
    """Return the time so many seconds from now, in ISO format."""
    return datetime.fromtimestamp(wall_clock.now + seconds, UTC).isoformat()


def settle(relay: Environment) -> None:
    """Run worker and sweeper once, with all messages visible."""
    relay.show_all()
    relay.work()
    relay.sweep()


def test_a_queued_message_is_cancelled_and_never_sent(
    relay: Environment, simulator: Simulator
) -> None:
    posted = relay.post(TWO, headers=ASYNC | KEY)
    message_id = posted.body["id"]
    for _ in range(2):  # a repetition gets the same response
        answer = cancel(relay, message_id)
        assert answer.status == 200
        assert (answer.body["status"], statuses(answer)) == ("cancelled", ["cancelled"] * 2)
    assert all("body" not in item for item in relay.items())
    settle(relay)
    assert simulator.sent() == []
    assert relay.dead_letters() == []
    assert relay.waiting() == 0
    assert relay.get(f"/messages/{message_id}").body["status"] == "cancelled"

    again = relay.post(TWO, headers=KEY)
    assert (again.status, again.body["code"]) == (409, "message-cancelled")
    assert again.body["id"] == message_id
    relay.enqueue(TWO, {"client": CLIENT, **KEY})
    settle(relay)
    assert simulator.sent() == []
    assert relay.waiting() == 0


def test_a_sent_message_cannot_be_cancelled(relay: Environment, simulator: Simulator) -> None:
    sent = relay.post(MESSAGE).body["id"]
    refused = cancel(relay, sent)
    assert (refused.status, refused.body["code"], refused.body["id"]) == (409, "too-late", sent)

    queued = relay.post(TWO, headers=ASYNC).body["id"]
    simulator.fail("send", Then.RATE_LIMITED, times=1)
    relay.show_all()
    relay.work()
    answer = cancel(relay, queued)
    assert answer.status == 200
    assert sorted(statuses(answer)) == ["accepted", "cancelled"]
    assert answer.body["status"] == "partial"
    assert cancel(relay, queued).body == answer.body
    settle(relay)
    assert len(simulator.sent()) == 2


def test_a_client_cancels_its_own_messages_only(relay: Environment) -> None:
    message_id = relay.post(MESSAGE, headers=ASYNC).body["id"]
    for answer in (
        cancel(relay, message_id, client="other"),
        cancel(relay, "0" * 26),
        cancel(relay, "x" * 3_000),
    ):
        assert (answer.status, answer.body["code"]) == (404, "not-found")
    assert relay.get(f"/messages/{message_id}").body["status"] == "queued"


def test_a_send_that_may_have_been_sent_becomes_unknown_instead_of_cancelled(
    relay: Environment, simulator: Simulator
) -> None:
    simulator.fail("send", Then.RESET_AFTER_ACCEPT, times=1)
    posted = relay.post(MESSAGE | {"onUnknown": "resend"}, headers=KEY).body
    assert posted["status"] == "queued"
    answer = cancel(relay, posted["id"])
    assert answer.status == 200
    [send] = answer.body["sends"]
    assert (send["status"], send["reason"]) == ("unknown", "cancelled")
    relay.make_due()
    settle(relay)
    assert len(simulator.sent()) == 1
    assert relay.post(MESSAGE | {"onUnknown": "resend"}, headers=KEY).status == 504


def test_a_claim_before_the_cancellation_prevents_it(
    relay: Environment, simulator: Simulator
) -> None:
    """In both orders, only the first of the two conditional writes counts."""
    replace_if_unchanged = DynamoDbLedger.replace_if_unchanged

    def after_the_claim(ledger: DynamoDbLedger, *sends: Any) -> Any:
        with patch.object(DynamoDbLedger, "replace_if_unchanged", replace_if_unchanged):
            with permissions.calls_of("operator"):
                settle(relay)
            return ledger.replace_if_unchanged(*sends)

    message_id = relay.post(MESSAGE, headers=ASYNC).body["id"]
    with patch.object(DynamoDbLedger, "replace_if_unchanged", after_the_claim):
        assert cancel(relay, message_id).body["code"] == "too-late"
    assert len(simulator.sent()) == 1

    claim = DynamoDbLedger.claim

    def after_the_cancellation(ledger: DynamoDbLedger, *key: Any, **more: Any) -> Any:
        assert cancel(relay, message_id).status == 200
        return claim(ledger, *key, **more)

    message_id = relay.post(MESSAGE, headers=ASYNC).body["id"]
    with patch.object(DynamoDbLedger, "claim", after_the_cancellation):
        settle(relay)
    assert len(simulator.sent()) == 1
    assert relay.get(f"/messages/{message_id}").body["status"] == "cancelled"


@pytest.mark.parametrize("way", ["worker", "sweeper"])
def test_an_expired_message_ends_without_being_sent(
    wall_clock: WallClock, relay: Environment, simulator: Simulator, way: str
) -> None:
    simulator.fail("send", Then.UNAVAILABLE, times=1, retry_after=600)
    message = MESSAGE | {"expiresAt": at(wall_clock, 60)}
    posted = relay.post(message, headers=KEY).body
    assert posted["status"] == "queued"
    [item] = relay.items()
    assert float(item["dueAt"]["N"]) == float(item["expiresAt"]["N"])
    wall_clock.now += 61
    if way == "worker":
        relay.show_all()
        relay.work()
    else:
        assert relay.sweep() == {"expired": 1}
    found = relay.get(f"/messages/{posted['id']}").body
    [send] = found["sends"]
    assert (found["status"], send["status"], send["reason"]) == ("expired",) * 3
    again = relay.post(message, headers=KEY)
    assert (again.status, again.body["code"]) == (502, "not-sent")
    assert [send["reason"] for send in again.body["sends"]] == ["expired"]
    settle(relay)
    assert simulator.sent() == []
    assert relay.dead_letters() == []
    assert "body" not in relay.items()[0]


def test_a_message_that_expires_in_the_queue_is_stored_as_expired(
    wall_clock: WallClock, relay: Environment, simulator: Simulator
) -> None:
    wall_clock.now = time.time()  # SQS uses the machine's time
    relay.enqueue(TWO | {"expiresAt": at(wall_clock, 60)}, {"client": CLIENT, **KEY})
    wall_clock.now += 61
    settle(relay)
    assert {item["status"]["S"] for item in relay.items()} == {"expired"}
    assert all("deleteAt" in item and "body" not in item for item in relay.items())
    assert simulator.sent() == []
    assert relay.waiting() == 0
    assert relay.dead_letters() == []


def test_a_send_that_may_have_been_sent_does_not_expire(
    wall_clock: WallClock, relay: Environment, simulator: Simulator
) -> None:
    simulator.fail("send", Then.RESET_AFTER_ACCEPT, times=1)
    message = MESSAGE | {"onUnknown": "resend", "expiresAt": at(wall_clock, 60)}
    message_id = relay.post(message).body["id"]
    wall_clock.now += 61
    settle(relay)
    [send] = relay.get(f"/messages/{message_id}").body["sends"]
    assert (send["status"], send["reason"]) == ("unknown", "expired")
    assert len(simulator.sent()) == 1


def test_a_message_sent_in_time_does_not_expire(
    wall_clock: WallClock, relay: Environment, simulator: Simulator
) -> None:
    message_id = relay.post(MESSAGE | {"expiresAt": at(wall_clock, 60)}).body["id"]
    wall_clock.now += 3_600
    settle(relay)
    assert relay.get(f"/messages/{message_id}").body["status"] == "accepted"
    assert len(simulator.sent()) == 1


@pytest.mark.parametrize(
    ("fields", "code"),
    [
        ({"expiresAt": "2026-09-21T14:13:20Z"}, "expires-too-early"),  # now
        (
            {"expiresAt": "2030-01-15T16:00:00Z", "sendAt": "2030-01-15T16:00:00Z"},
            "expires-too-early",
        ),
        ({"expiresAt": "tomorrow"}, "invalid-time"),
        ({"expiresAt": "tomorrow", "sendAt": "2030-01-15T16:00:00Z"}, "invalid-time"),
        ({"expiresAt": "2030-01-15T16:01:00"}, "time-without-offset"),
        ({"expiresAt": None}, "wrong-type"),
    ],
)
def test_a_message_expires_after_now_and_after_its_send_time(
    wall_clock: WallClock, relay: Environment, fields: Json, code: str
) -> None:
    assert wall_clock.now == datetime(2026, 9, 21, 14, 13, 20, tzinfo=UTC).timestamp()
    refused = relay.post(MESSAGE | fields)
    assert refused.status == 422
    assert [(one["pointer"], one["code"]) for one in refused.body["errors"]] == [
        ("/expiresAt", code)
    ]


def test_a_time_is_the_same_before_and_after_it_was_stored(
    wall_clock: WallClock, relay: Environment
) -> None:
    wall_clock.now += 0.0006
    message_id = relay.post(MESSAGE, headers=ASYNC).body["id"]
    assert cancel(relay, message_id).body == relay.get(f"/messages/{message_id}").body
