"""Tests `smsrelay resend` and `resolve`, and their races with late results of workers."""

import itertools
import json
import time
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone
from typing import Any
from unittest.mock import patch

import pytest

from smsrelay import __version__
from smsrelay.adapters.dynamodb_ledger import DynamoDbLedger
from smsrelay.adapters.sqs import SqsRetryQueue
from smsrelay.errors import LedgerUnavailableError, QueueUnavailableError
from smsrelay.ports import ReplaceResult
from smsrelay.sends.send import MessageState, Send, Status
from smsrelay.services.responses import of_message
from tests.cli.conftest import MESSAGE, RETENTION_DAYS, Operator
from tests.conftest import WallClock
from tests.support.environment import CLIENT, Environment


def accepted_late(operator: Operator, attempt: Send) -> bool:
    """Write the result of a slow worker whose call was accepted; return whether it was stored."""
    result = replace(attempt, status=Status.ACCEPTED, token_id="late-token", body=None)
    before = replace(attempt, status=Status.SENDING)
    return bool(operator.ledger.replace_if_unchanged(before, result))


def test_an_unknown_send_is_sent_again_after_a_yes(operator: Operator) -> None:
    message_id = operator.unknown()
    ended = operator.run("resend", message_id, answer="y\n")
    assert ended.code == 0
    assert "up to 2 SMS may go out twice" in ended.err
    assert ended.rows == [[message_id, "1", "unknown", "queued", "2"]]
    [token] = operator.works()
    [send] = operator.sends(message_id)
    assert (send.status, send.token_id, send.attempts) == (Status.ACCEPTED, token, 2)


@pytest.mark.parametrize("then", ["503-50300", "500"])
def test_quiet_hours_keep_their_stored_offset_when_the_clocks_change(
    wall_clock: WallClock, operator: Operator, relay: Environment, then: str
) -> None:
    """This holds for a retry by the worker, and for a resend by an operator."""
    window = {"start": "21:00", "end": "08:00", "timezone": "America/Chicago"}
    wall_clock.now = datetime(2026, 11, 1, 0, 0, tzinfo=UTC).timestamp()
    message_id = operator.post(then, quietHours=window)
    wall_clock.now += 12 * 3_600
    if then == "500":
        assert operator.run("resend", message_id, "--yes").code == 0
    operator.works()
    relay.end_pauses()
    relay.post(MESSAGE | {"quietHours": window})
    bodies = [json.loads(sent["raw"]) for sent in operator.simulator.sent()]
    offsets = [body["blackoutWindow"]["UtcOffset"] for body in bodies]
    assert offsets == ["-0500", "-0600"], "the stored offset, and that of a new request"


@pytest.mark.parametrize("answer", ["", "\n", "n\n", "no\n", "yesterday\n"])
@pytest.mark.parametrize("command", [["resend"], ["resolve", "--as", "accepted"]])
def test_without_a_yes_nothing_changes(
    operator: Operator, relay: Environment, answer: str, command: list[str]
) -> None:
    message_id = operator.unknown()
    before = relay.items()
    ended = operator.run(*command, message_id, answer=answer)
    assert (ended.code, ended.out) == (3, "")
    assert relay.items() == before
    assert relay.waiting() == 0


def test_a_failed_send_is_resent_without_a_question_and_its_age_restarts(
    operator: Operator, relay: Environment
) -> None:
    message_id = operator.failed()
    ended = operator.run("resend", message_id, "--json")
    assert (ended.code, ended.err) == (0, "")
    assert ended.json["sends"][0]["is"] == "queued"
    operator.simulator.fail("send", "503-50300", times=3)
    for _ in range(3):
        assert operator.works() == []
        [send] = operator.sends(message_id)
        assert send.status is Status.QUEUED
    assert len(operator.works()) == 1
    [send] = operator.sends(message_id)
    assert (send.status, send.attempts) == (Status.ACCEPTED, 6)
    assert relay.waiting() == 0


def test_a_resent_send_becomes_too_old_as_well(operator: Operator, relay: Environment) -> None:
    message_id = operator.failed()
    operator.run("resend", message_id)
    relay.make_too_old()
    relay.work()
    [send] = operator.sends(message_id)
    assert (send.status, send.attempts) == (Status.FAILED, 3)


@pytest.mark.parametrize("prepare", ["unknown", "failed"])
def test_a_send_that_is_queued_again_does_not_expire(
    operator: Operator, relay: Environment, prepare: str
) -> None:
    message_id = getattr(operator, prepare)()
    assert ("deleteAt" in relay.items()[0]) == (prepare == "failed")
    operator.run("resend", message_id, "--yes")
    [item] = relay.items()
    assert item["status"] == {"S": "queued"}
    assert "deleteAt" not in item


def test_a_resolved_send_expires_after_the_retention(
    operator: Operator, relay: Environment
) -> None:
    message_id = operator.unknown()
    operator.run("resolve", message_id, "--as", "rejected", "--yes")
    [item] = relay.items()
    days = (int(item["deleteAt"]["N"]) - float(item["updatedAt"]["N"])) / 86_400
    assert round(days) == int(RETENTION_DAYS), "as in the stack's parameter"


def test_a_late_result_wins_until_the_operators_decision(
    operator: Operator, relay: Environment
) -> None:
    message_id = operator.unknown()
    [attempt] = operator.sends(message_id)
    ended = operator.run(
        "resend", message_id, answer="y\n", before=lambda: accepted_late(operator, attempt)
    )
    assert ended.code == 1
    assert "accepted in the meantime" in ended.out
    [send] = operator.sends(message_id)
    assert (send.status, send.token_id) == (Status.ACCEPTED, "late-token")
    assert relay.waiting() == 0


def test_a_late_result_does_not_change_a_resent_send(
    operator: Operator,
) -> None:
    message_id = operator.unknown()
    [attempt] = operator.sends(message_id)
    operator.run("resend", message_id, "--yes")
    assert not accepted_late(operator, attempt), "queued"
    [queued] = operator.sends(message_id)
    claim = operator.ledger.claim(
        queued.key, written_by="o", now=time.time() + 1, lease_until=time.time() + 60
    )
    assert claim
    assert claim.won
    assert not accepted_late(operator, attempt), "sending"
    unknown = replace(claim.send, status=Status.UNKNOWN)
    assert operator.ledger.replace_if_unchanged(claim.send, unknown)
    assert not accepted_late(operator, attempt), "unknown again"
    assert accepted_late(operator, claim.send), "the new attempt's result must count"


def test_two_resends_at_once_queue_a_send_once(operator: Operator, relay: Environment) -> None:
    message_id = operator.unknown()

    def other() -> None:
        [send] = operator.sends(message_id)
        after = replace(
            send, status=Status.QUEUED, attempts_before=send.attempts, written_by="other"
        )
        assert operator.ledger.replace_if_unchanged(send, after)

    ended = operator.run("resend", message_id, answer="y\n", before=other)
    assert ended.code == 1
    assert "queued in the meantime" in ended.out
    assert relay.waiting() == 0


def test_commands_for_other_statuses_are_refused(operator: Operator, relay: Environment) -> None:
    accepted, rejected = operator.post(), operator.post("400")
    queued = operator.post("429-50100")
    sending = relay.post(MESSAGE, headers={"Prefer": "respond-async"}).body["id"]
    [send] = operator.sends(sending)
    operator.ledger.claim(
        send.key, written_by="o", now=time.time() + 1, lease_until=time.time() + 60
    )
    before = relay.items()
    for message_id, why in (
        (accepted, "accepted"),
        (rejected, "rejected"),
        (queued, "queued"),
        (sending, "being sent"),
    ):
        for command in (["resend"], ["resolve", "--as", "accepted"]):
            ended = operator.run(*command, message_id, "--yes")
            assert (ended.code, ended.out) == (1, "")
            assert why in ended.err
    assert relay.items() == before


@pytest.mark.parametrize("reported", ["delivered", "partially_delivered", "undelivered"])
@pytest.mark.parametrize("command", [["resend"], ["resolve", "--as", "rejected"]])
def test_a_reported_send_cannot_be_resent_or_resolved(
    operator: Operator, relay: Environment, reported: str, command: list[str]
) -> None:
    message_id = operator.post()
    relay.change(status=reported)
    before = relay.items()
    ended = operator.run(*command, message_id, "--yes")
    assert (ended.code, ended.out) == (1, "")
    assert f"it is {reported}, so it went out" in ended.err
    assert relay.items() == before


def test_an_expired_lease_counts_as_unknown(operator: Operator, relay: Environment) -> None:
    answer = relay.post(MESSAGE, headers={"Prefer": "respond-async"})
    message_id = answer.body["id"]
    relay.client("sqs").purge_queue(QueueUrl=relay.queue_url)  # its worker has died
    relay.begin_elsewhere(lease=-60.0)
    assert operator.run("resend", message_id, "--yes").code == 1, "clocks may differ"
    relay.begin_elsewhere(lease=-301.0)
    listed = operator.run("list", "--status", "sending", "--json").json
    assert listed["sends"][0]["reason"] == "lease-expired"
    ended = operator.run("resend", message_id, answer="yes\n")
    assert "may go out twice" in ended.err
    assert len(operator.works()) == 1


def two_unknown(operator: Operator) -> str:
    """Make a message with two unknown sends; return its id."""
    operator.simulator.fail("send", "500", times=2)
    message_id = operator.post(to=["+12125550100", {"mobile": "+12125550101", "key": "k"}])
    operator.works()  # in case the first doubt paused the second call
    assert {send.status for send in operator.sends(message_id)} == {Status.UNKNOWN}
    return message_id


def test_one_send_of_a_message_can_be_chosen(operator: Operator) -> None:
    message_id = two_unknown(operator)
    ended = operator.run("resend", message_id, "--send", "2", "--yes")
    assert [row[1] for row in ended.rows] == ["2"]
    statuses = [send.status for send in operator.sends(message_id)]
    assert statuses == [Status.UNKNOWN, Status.QUEUED]
    assert operator.run("resend", message_id, "--send", "3").code == 1
    assert operator.run("resolve", message_id, "--as", "accepted", "--send", "2").code == 1


def test_a_send_without_its_body_is_not_sent_empty(operator: Operator) -> None:
    message_id = operator.failed()
    [send] = operator.sends(message_id)
    operator.ledger.replace_if_unchanged(send, replace(send, body=None))
    ended = operator.run("resend", message_id)
    assert ended.code == 1
    assert "post the message again" in ended.err


def test_if_the_queue_fails_the_command_explains_how_to_repeat(
    operator: Operator, relay: Environment, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise QueueUnavailableError("the queue is out of reach")

    message_id = operator.unknown()
    with monkeypatch.context() as patch:
        patch.setattr(SqsRetryQueue, "put", fail)
        ended = operator.run("resend", message_id, "--send", "1", "--yes")
    assert ended.code == 1
    assert f"smsrelay resend {message_id} --queued --send 1\n" in ended.err
    assert operator.sends(message_id)[0].status is Status.QUEUED
    assert relay.waiting() == 0
    assert operator.run("resend", message_id, "--queued").code == 0
    assert len(operator.works()) == 1


def test_sends_that_are_not_queued_are_not_enqueued_again(
    operator: Operator, relay: Environment
) -> None:
    two = MESSAGE | {"to": ["+12125550100", {"mobile": "+12125550101", "key": "k"}]}
    message_id = relay.post(two, headers={"Prefer": "respond-async"}).body["id"]
    relay.make_too_old()
    relay.work()
    assert operator.run("resend", message_id, "--send", "1").code == 0
    ended = operator.run("resend", message_id, "--queued")
    assert [row[1] for row in ended.rows] == ["1"]
    assert [it.status for it in operator.sends(message_id)] == [Status.QUEUED, Status.FAILED]
    ended = operator.run("resend", message_id, "--queued", "--send", "2")
    assert (ended.code, "send 2: it has failed" in ended.err) == (1, True)


@pytest.mark.parametrize(
    ("prepare", "end"), [("unknown", "post it again, or resolve it"), ("failed", "post it again")]
)
def test_an_expired_send_is_not_resent(operator: Operator, prepare: str, end: str) -> None:
    [send] = operator.sends(getattr(operator, prepare)())
    expired = replace(send, expires_at=1.0)
    operator.ledger.replace_if_unchanged(send, expired)
    ended = operator.run("resend", send.key.message_id, "--yes")
    assert ended.code == 1
    assert f"send 1: its expiresAt has passed: {end}\n" in ended.err
    assert operator.sends(send.key.message_id) == [expired]


def test_a_note_that_is_too_long_is_refused(operator: Operator) -> None:
    note = ("--note", "x" * 201)
    assert operator.run("resolve", "any", "--as", "accepted", *note).code == 2


def test_a_send_can_be_resolved_as_accepted(operator: Operator, relay: Environment) -> None:
    message_id = operator.unknown()
    ended = operator.run(
        *("resolve", message_id, "--as", "accepted", "--token-id", "found-token"),
        *("--note", "phoned +1 212 555 0100, it rang"),
        answer="y\n",
    )
    assert (ended.code, ended.rows) == (0, [[message_id, "1", "unknown", "accepted", "2"]])
    [send] = operator.sends(message_id)
    assert (send.status, send.token_id, send.body) == (Status.ACCEPTED, "found-token", None)
    assert (send.reason, send.note) == ("resolved-by-operator", "phoned … it rang")
    shown = operator.run("show", message_id)
    assert shown.out.splitlines()[-1] == "send 1: note: phoned … it rang"
    assert operator.run("show", message_id, "--json").json["sends"][0]["note"] == send.note
    assert relay.get(f"/messages/{message_id}").body["sends"][0]["note"] == send.note
    assert "unfinished" not in relay.items()[0]
    assert relay.get("/tokens/found-token").body["id"] == message_id
    again = operator.unknown()
    taken = operator.run("resolve", again, "--as", "accepted", "--token-id", "found-token")
    assert taken.code == 1
    assert message_id in taken.err


def test_a_send_can_be_resolved_as_rejected(operator: Operator, relay: Environment) -> None:
    message_id = operator.unknown()
    assert operator.run("resolve", message_id, "--as", "rejected", "--yes", "--json").code == 0
    shown = relay.get(f"/messages/{message_id}").body
    assert (shown["status"], shown["sends"][0]["reason"]) == ("rejected", "resolved-by-operator")


def test_a_send_that_was_not_sent_can_be_resolved_as_failed_and_resent(
    operator: Operator, relay: Environment
) -> None:
    message_id = operator.unknown()
    ended = operator.run("resolve", message_id, "--as", "failed", answer="y\n")
    assert "1 send of" in ended.err
    assert "will be failed, and can be resent. Continue?" in ended.err
    [item] = relay.items()
    assert (item["status"], "body" in item, "deleteAt" in item) == ({"S": "failed"}, True, True)
    assert relay.get(f"/messages/{message_id}").body["status"] == "failed"
    resent = operator.run("resend", message_id)
    assert (resent.code, resent.err) == (0, "")
    relay.make_too_old()
    relay.work()
    assert operator.sends(message_id)[0].status is Status.FAILED, "it must not become unknown"


def test_a_late_result_wins_over_a_later_resolve(operator: Operator) -> None:
    message_id = operator.unknown()
    [attempt] = operator.sends(message_id)
    ended = operator.run(
        *("resolve", message_id, "--as", "rejected", "--json"),
        answer="y\n",
        before=lambda: accepted_late(operator, attempt),
    )
    assert ended.code == 1
    assert "accepted in the meantime" in ended.json["sends"][0]["detail"]
    assert operator.sends(message_id)[0].token_id == "late-token"


def test_a_result_after_the_decision_does_not_undo_it(operator: Operator) -> None:
    message_id = operator.unknown()
    [attempt] = operator.sends(message_id)
    operator.run("resolve", message_id, "--as", "rejected", "--yes")
    assert not accepted_late(operator, attempt)


def test_one_token_for_two_sends_is_refused(operator: Operator) -> None:
    message_id = two_unknown(operator)
    ended = operator.run("resolve", message_id, "--as", "accepted", "--token-id", "t", "--yes")
    assert ended.code == 1
    assert "--send N" in ended.err


# Sends that are chosen by filters.


def several(operator: Operator, *changes: dict[str, Any]) -> list[str]:
    """Make an unknown send for each of `changes`, and return the message ids."""
    ids = []
    for n, fields in enumerate(changes):
        ids.append(operator.unknown())
        [send] = operator.sends(ids[-1])
        after = replace(send, due_at=send.due_at - 1_000 + n, **fields)
        assert operator.ledger.replace_if_unchanged(send, after)
    return ids


def statuses(operator: Operator, ids: list[str]) -> list[str]:
    return [operator.sends(message_id)[0].status for message_id in ids]


NOW = time.time()
HOUR_AGO, DAY_AGO = (
    datetime.fromtimestamp(NOW - seconds, timezone(timedelta(hours=2))).isoformat()
    for seconds in (3_600, 86_400)
)
MIXED = (
    {"reason": "server-error", "client": "billing"},
    {"reason": "read-timeout", "updated_at": NOW - 7_200},
    {"reason": "server-error", "updated_at": NOW - 200_000},
)


@pytest.mark.parametrize(
    ("filters", "matching"),
    [
        (["--reason", "server-error"], [0, 2]),
        (["--client", "billing"], [0]),
        (["--client", CLIENT], [1, 2]),
        (["--since", HOUR_AGO], [0]),
        (["--since", DAY_AGO], [0, 1]),
        (["--since", "3h"], [0, 1]),
        (["--since", "3h", "--client", CLIENT], [1]),
        (["--reason", "server-error", "--client", CLIENT], [2]),
        (["--since", "30d", "--limit", "2"], [0, 1]),
        (["--reason", "server"], []),
        (["--client", ""], []),
    ],
)
@pytest.mark.parametrize("command", [["resend"], ["resolve", "--as", "rejected"]])
def test_filters_choose_the_sends(
    operator: Operator,
    relay: Environment,
    command: list[str],
    filters: list[str],
    matching: list[int],
) -> None:
    ids = several(operator, *MIXED)
    ended = operator.run(*command, *filters, "--yes")
    assert ended.code == 0
    after = "queued" if command == ["resend"] else "rejected"
    expected = [after if n in matching else "unknown" for n in range(len(MIXED))]
    assert statuses(operator, ids) == expected
    assert relay.waiting() == (len(matching) if command == ["resend"] else 0)
    if matching:
        assert [row[0] for row in ended.rows] == [ids[n] for n in matching]
    else:
        assert ended.out == "No send matches.\n"
    assert ("More than 2 match" in ended.err) == ("--limit" in filters)


def test_the_question_says_how_many_sends_and_what_will_happen(operator: Operator) -> None:
    failed = operator.failed()
    ids = several(operator, {}, {})
    ended = operator.run("resend", "--client", CLIENT, answer="n\n")
    assert ended.code == 3
    assert ended.err.startswith(
        "It is unknown whether 2 sends went out: up to 4 SMS may go out twice. "
        "1 other send certainly did not go out. Send 3 sends again? [y/N] "
    )
    ended = operator.run("resolve", "--client", CLIENT, "--as", "accepted", answer="n\n")
    assert ended.code == 3
    assert "2 sends (4 recipients) will be accepted, and can't be sent again. " in ended.err
    assert statuses(operator, [*ids, failed]) == ["unknown", "unknown", "failed"]
    ended = operator.run("resend", "--reason", "too-old", answer="y\n")
    assert "1 other send certainly did not go out. Send 1 send again?" in ended.err
    assert statuses(operator, [*ids, failed]) == ["unknown", "unknown", "queued"]


def test_sends_that_filters_choose_are_sent_again(operator: Operator) -> None:
    ids = several(operator, {}, {}, {})
    assert operator.run("resend", "--reason", "server-error", answer="y\n").code == 0
    assert len(operator.works()) == 3
    assert statuses(operator, ids) == ["accepted"] * 3


def test_filters_choose_cancelled_sends_only_by_their_reason(operator: Operator) -> None:
    cancelled, other = several(operator, {"reason": "cancelled"}, {})
    assert operator.run("resend", "--client", CLIENT, "--yes").code == 0
    assert statuses(operator, [cancelled, other]) == ["unknown", "queued"]
    assert operator.run("resend", "--reason", "cancelled", "--yes").code == 0
    assert statuses(operator, [cancelled]) == ["queued"]


def test_a_failed_send_that_an_operator_resolved_is_not_too_old(operator: Operator) -> None:
    message_id = operator.unknown()
    operator.run("resolve", message_id, "--as", "failed", "--yes")
    operator.relay.enqueue({"send": {"id": message_id, "n": 1}})
    operator.relay.work()
    [letter] = operator.relay.dead_letters()
    assert letter["reason"] == "resolved-by-operator"
    answer = of_message(MessageState(message_id, operator.sends(message_id)), deferred=False)
    assert "before an operator resolved it." in answer.body["detail"]


def test_the_note_of_many_sends_is_stored_with_each(operator: Operator) -> None:
    ids = several(operator, {}, {})
    note = ("--note", "the proxy forwarded nothing")
    ended = operator.run("resolve", "--since", "1h", "--as", "failed", *note, "--yes", "--json")
    assert [row["is"] for row in ended.json["sends"]] == ["failed"] * 2
    notes = {operator.sends(message_id)[0].note for message_id in ids}
    assert notes == {"the proxy forwarded nothing"}
    listed = operator.run("list", "--status", "failed")
    assert listed.out.count("resolved-by-operator  the proxy forwarded nothing") == 2


@pytest.mark.parametrize(
    ("error", "code", "words"),
    [
        (LedgerUnavailableError("the ledger is out of reach"), 1, "out of reach"),
        (KeyboardInterrupt(), 3, "interrupted"),
    ],
)
@pytest.mark.parametrize("command", [["resend"], ["resolve", "--as", "accepted"]])
def test_a_stopped_run_reports_its_changes_and_can_be_repeated(
    operator: Operator,
    relay: Environment,
    command: list[str],
    error: BaseException,
    code: int,
    words: str,
) -> None:
    ids = several(operator, {}, {}, {})
    original, calls = DynamoDbLedger.replace_if_unchanged, itertools.count(1)

    def stop(ledger: DynamoDbLedger, before: Send, after: Send) -> ReplaceResult:
        if next(calls) == 2:
            raise error
        return original(ledger, before, after)

    with patch.object(DynamoDbLedger, "replace_if_unchanged", stop):
        ended = operator.run(*command, "--client", CLIENT, "--yes", "--json")
    done = "queued" if command == ["resend"] else "accepted"
    assert ended.code == code
    assert words in ended.err
    assert [(row["id"], row["is"], row["detail"]) for row in ended.json["sends"]] == [
        (ids[0], done, None),
        (ids[1], None, "it is unknown whether the ledger stored the change"),
        (ids[2], None, "not changed"),
    ]
    assert statuses(operator, ids) == [done, "unknown", "unknown"]
    assert relay.waiting() == (1 if command == ["resend"] else 0)
    again = operator.run(*command, "--client", CLIENT, "--yes")
    assert (again.code, len(again.rows)) == (0, 2)
    assert statuses(operator, ids) == [done] * 3
    assert relay.waiting() == (3 if command == ["resend"] else 0)


def test_a_changed_send_does_not_stop_the_others(operator: Operator) -> None:
    ids = several(operator, {}, {}, {})
    [attempt] = operator.sends(ids[1])
    ended = operator.run(
        *("resend", "--client", CLIENT),
        answer="y\n",
        before=lambda: accepted_late(operator, attempt),
    )
    assert ended.code == 1
    assert "it has become accepted in the meantime" in ended.out
    assert statuses(operator, ids) == ["queued", "accepted", "queued"]


def test_if_the_queue_fails_sends_that_filters_chose_are_left_to_the_sweeper(
    operator: Operator, relay: Environment
) -> None:
    several(operator, {}, {})
    unavailable = QueueUnavailableError("the queue is out of reach")
    with patch.object(SqsRetryQueue, "put", side_effect=unavailable):
        ended = operator.run("resend", "--client", CLIENT, "--yes")
    assert ended.code == 1
    assert "the sweeper enqueues them within minutes" in ended.err
    assert "--queued" not in ended.err
    assert [row[3] for row in ended.rows] == ["queued", "queued"]
    relay.make_due()
    assert relay.sweep() == {"queued": 2}


@pytest.mark.parametrize(
    "arguments",
    [
        ["resend"],
        ["resend", "--yes"],
        ["resend", "--limit", "5"],
        ["resend", "01K", "--client", CLIENT],
        ["resend", "01K", "--limit", "5"],
        ["resend", "--client", CLIENT, "--send", "1"],
        ["resend", "--client", CLIENT, "--queued"],
        ["resend", "--since", "yesterday"],
        ["resend", "--since", "2026-11-26T08:00"],
        ["resend", "--since", "2026-11-26"],
        ["resend", "--client", CLIENT, "--limit", "1001"],
        ["resolve", "--as", "accepted"],
        ["resolve", "01K", "--as", "accepted", "--reason", "it rang"],
        ["resolve", "--client", CLIENT, "--as", "accepted", "--send", "1"],
        ["resolve", "--client", CLIENT, "--as", "accepted", "--token-id", "t"],
    ],
)
def test_an_ambiguous_choice_of_sends_is_refused(
    operator: Operator, relay: Environment, arguments: list[str]
) -> None:
    operator.unknown()
    before = relay.items()
    ended = operator.run(*arguments)
    assert (ended.code, ended.out) == (2, "")
    assert ended.err
    assert relay.items() == before


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["list", "--older-than", "1h"],
        ["list", "--status", "accepted"],
        ["list", "--status", "unknown", "--limit", "0"],
        ["list", "--status", "unknown", "--limit", "1001"],
        ["list", "--status", "unknown", "--older-than", "soon"],
        ["resolve", "01K", "--as", "rejected", "--token-id", "t"],
        ["show", "01K", "--local", "--stack-name", "s"],
    ],
)
def test_wrong_usage(operator: Operator, arguments: list[str]) -> None:
    ended = operator.run(*arguments)
    assert (ended.code, ended.out) == (2, "")
    assert ended.err


def test_help_exits_with_0(operator: Operator) -> None:
    assert "exit codes" in operator.run("--help").out


def test_the_command_names_its_version(operator: Operator) -> None:
    ended = operator.run("--version")
    assert (ended.code, ended.out) == (0, f"smsrelay {__version__}\n")


def test_a_stack_must_be_named(
    operator: Operator, monkeypatch: pytest.MonkeyPatch, tmp_path: object
) -> None:
    assert operator.run("--stack-name", "no-such-stack", "stats").code == 1
    missing = operator.run("stats", "--stack-file", f"{tmp_path}/stack.json")
    assert missing.code == 1
    assert "make up" in missing.err
    monkeypatch.delenv("SMSRELAY_STACK")
    ended = operator.run("stats")
    assert ended.code == 2
    assert "SMSRELAY_STACK" in ended.err


def test_a_stack_that_is_no_relay_is_refused(operator: Operator) -> None:
    ended = operator.run("stats", "--stack-name", "other")
    assert ended.code == 1
    assert "not an smsrelay stack" in ended.err


def test_errors_of_aws_are_one_line(
    operator: Operator, relay: Environment, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert operator.run("stats", "--profile", "no-such-profile").code == 1
    relay.client("dynamodb").delete_table(TableName=relay.table)
    for command in (["stats"], ["show", "01K"], ["list", "--status", "failed"]):
        ended = operator.run(*command)
        assert ended.code == 1
        assert len(ended.err.splitlines()) == 1
        assert "ResourceNotFoundException" in ended.err

    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(type(operator.ledger), "load", interrupted)
    assert operator.run("show", "01K").code == 3
