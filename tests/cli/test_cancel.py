"""Tests `smsrelay cancel`: queued sends are never sent, and other sends do not change."""

from tests.cli.conftest import MESSAGE, Operator
from tests.conftest import WallClock

ASYNC = {"Prefer": "respond-async"}


def test_an_operator_cancels_the_queued_sends_of_a_message(operator: Operator) -> None:
    message_id = operator.relay.post(MESSAGE, headers=ASYNC).body["id"]
    asked = operator.run("cancel", message_id, answer="n\n")
    assert asked.code == 3
    assert "Cancel 1 queued send (2 recipients)? They are never sent." in asked.err
    ended = operator.run("cancel", message_id, "--yes")
    assert ended.code == 0
    assert ended.rows == [[message_id, "1", "queued", "cancelled", "2"]]
    assert operator.works() == []
    assert operator.relay.get(f"/messages/{message_id}").body["status"] == "cancelled"
    again = operator.run("cancel", message_id, "--yes")
    assert again.code == 1
    assert "it is cancelled, so it was not sent" in again.err
    for command in (["resend"], ["resolve", "--as", "accepted"]):
        assert operator.run(*command, message_id, "--yes").code == 1


def test_the_question_counts_the_sends_that_may_have_been_sent(operator: Operator) -> None:
    message_id = operator.unknown(onUnknown="resend")
    asked = operator.run("cancel", message_id, answer="y\n")
    assert "They are not sent again. 1 of them may have gone out before: it becomes" in asked.err
    [send] = operator.sends(message_id)
    assert (send.status, send.reason) == ("unknown", "cancelled")


def test_filters_choose_queued_sends_only(operator: Operator) -> None:
    unknown = operator.unknown()
    ids = {operator.relay.post(MESSAGE, headers=ASYNC).body["id"] for _ in range(2)}
    ended = operator.run("cancel", "--since", "1h", "--yes", "--json")
    assert {send["id"] for send in ended.json["sends"]} == ids
    assert {send["is"] for send in ended.json["sends"]} == {"cancelled"}
    [send] = operator.sends(unknown)
    assert send.status == "unknown"


def test_a_send_that_a_worker_claims_first_is_not_cancelled(operator: Operator) -> None:
    message_id = operator.relay.post(MESSAGE, headers=ASYNC).body["id"]
    ended = operator.run("cancel", message_id, answer="y\n", before=operator.works)
    assert ended.code == 1
    assert "it has become accepted in the meantime" in ended.out
    assert len(operator.simulator.sent()) == 1


def test_a_send_that_a_worker_only_postpones_meanwhile_is_cancelled(
    wall_clock: WallClock, operator: Operator
) -> None:
    operator.run("pause")
    message_id = operator.relay.post(MESSAGE, headers=ASYNC).body["id"]
    [before] = operator.sends(message_id)

    def work() -> None:
        wall_clock.now += 901
        operator.relay.show_all()
        operator.relay.work()
        [postponed] = operator.sends(message_id)
        assert (postponed.status, postponed.written_by != before.written_by) == ("queued", True)

    ended = operator.run("cancel", message_id, answer="y\n", before=work)
    assert ended.code == 0
    assert [send.status for send in operator.sends(message_id)] == ["cancelled"]
    assert operator.works() == []


def test_a_send_that_expires_during_a_pause_ends(wall_clock: WallClock, operator: Operator) -> None:
    relay = operator.relay
    assert operator.run("pause").code == 0
    posted = relay.post(MESSAGE | {"expiresAt": "2026-09-21T14:14:20Z"}).body
    assert posted["status"] == "queued"
    wall_clock.now += 61
    relay.show_all()
    assert relay.work() == []
    assert relay.get(f"/messages/{posted['id']}").body["status"] == "expired"
    assert relay.waiting() == 0
    assert operator.simulator.calls() == []
