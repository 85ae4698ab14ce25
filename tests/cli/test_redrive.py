"""Tests `smsrelay redrive`: which dead letters are queued again, with which key, and which stay."""

import itertools
import json
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any
from unittest.mock import Mock

import pytest
from botocore.exceptions import ClientError, EndpointConnectionError

from smsrelay.adapters.dynamodb_ledger import DynamoDbLedger
from smsrelay.adapters.sqs import with_trace
from smsrelay.errors import LedgerUnavailableError
from smsrelay.sends.ids import message_id
from smsrelay.sends.send import SendKey, Status, reference_body
from smsrelay_cli import dead_letters
from tests.cli.conftest import MESSAGE, Operator
from tests.conftest import WallClock
from tests.support.aws_calls import intercepted
from tests.support.environment import CLIENT, Environment
from tests.support.golden import UNREADABLE, put
from tests.support.template import ROOT

OURS = {"client": CLIENT, "Idempotency-Key": "order-8812"}
REASONS = {"reason": "refused", "errors": "/keyword keyword-not-needed", "client": CLIENT}


def bury(
    relay: Environment, body: Mapping[str, Any] | str, attributes: Mapping[str, str] = {}
) -> str:
    """Put a dead letter into its queue, as the worker or SQS does; return its SQS id."""
    answer = relay.client("sqs").send_message(
        QueueUrl=relay.dead_letter_queue_url,
        MessageBody=body if isinstance(body, str) else json.dumps(body),
        MessageAttributes={
            name: {"DataType": "String", "StringValue": value} for name, value in attributes.items()
        },
    )
    return str(answer["MessageId"])


def refused(relay: Environment, key: str, **fields: Any) -> str:
    """Put a dead letter of a refused body that has become valid, because a rule has changed."""
    before = message_id(CLIENT, key)
    bury(relay, MESSAGE | fields, REASONS | {"messageId": before})
    return before


def only_item(relay: Environment) -> Any:
    [item] = relay.items()
    return item


def test_a_failed_send_is_queued_again_with_fresh_attempts(
    operator: Operator, relay: Environment
) -> None:
    failed = operator.failed()
    ended = operator.run("redrive", answer="y\n")
    assert ended.code == 0
    assert "1 dead letter" in ended.err
    assert "No SMS will go out twice" in ended.err
    assert ended.rows == [[failed, "1", CLIENT, "too-old", "too-old", "-", "queued", "-"]]
    assert relay.dead_letters() == []
    [send] = operator.sends(failed)
    assert (send.status, send.attempts, send.attempts_before) == (Status.QUEUED, 2, 2)
    assert len(operator.works()) == 1
    assert operator.sends(failed)[0].status is Status.ACCEPTED
    assert relay.waiting() == 0


def test_a_rejected_send_is_queued_again_as_the_same_send(
    operator: Operator, relay: Environment
) -> None:
    operator.simulator.fail("send", "400")
    relay.enqueue(MESSAGE, OURS)
    relay.work()
    rejected = message_id(CLIENT, "order-8812")
    ended = operator.run("redrive", answer="y\n")
    assert ended.code == 0
    assert ended.rows == [[rejected, "1", CLIENT, "rejected", "refused", "-", "queued", "-"]]
    assert relay.dead_letters() == []
    [send] = operator.sends(rejected)
    assert (send.status, send.attempts, send.attempts_before) == (Status.QUEUED, 1, 1)
    assert "deleteAt" not in only_item(relay)
    operator.simulator.fail("send", "400")
    assert operator.works() == [], "the upstream must reject it again"
    assert operator.sends(rejected)[0].status is Status.REJECTED
    assert len(relay.dead_letters()) == 1
    assert operator.run("redrive", "--reason", "rejected", "--yes").code == 0
    [token] = operator.works()
    [send] = operator.sends(rejected)
    assert (send.status, send.token_id, send.attempts) == (Status.ACCEPTED, token, 3)
    assert (send.body, relay.dead_letters(), relay.waiting()) == (None, [], 0)


def test_a_send_whose_expiry_has_passed_is_not_redriven(
    operator: Operator, relay: Environment, wall_clock: WallClock
) -> None:
    operator.simulator.fail("send", "400")
    expiring = MESSAGE | {"expiresAt": "2026-09-21T14:14:20Z"}
    posted = relay.post(expiring, headers={"Prefer": "respond-async"}).body
    relay.work()
    wall_clock.now += 61
    ended = operator.run("redrive", "--yes")
    assert "its expiresAt has passed: post it again, or discard it" in ended.out
    assert operator.sends(posted["id"])[0].status is Status.REJECTED
    assert len(relay.dead_letters()) == 1


def test_a_body_goes_back_with_client_and_key(operator: Operator, relay: Environment) -> None:
    before = refused(relay, "order-8812", idempotencyKey="order-8812")
    assert operator.run("redrive", "--yes").code == 0
    operator.works()
    item = only_item(relay)
    assert item["pk"] == {"S": f"MSG#{before}"}, "the body's key must be kept"
    assert item["client"] == {"S": CLIENT}
    assert relay.dead_letters() == []


@pytest.mark.parametrize(
    ("name", "key"),
    [
        ("sns-notification", "order-8813-shipped"),  # a message attribute of SNS
        ("eventbridge-event", None),
    ],
)
def test_an_envelope_contains_its_key(
    operator: Operator, relay: Environment, name: str, key: str | None
) -> None:
    body = (ROOT / f"events/envelopes/{name}.json").read_text()
    expected = message_id(CLIENT, key or json.loads(body)["id"])
    bury(relay, body, REASONS | {"messageId": expected})
    assert operator.run("redrive", "--yes").code == 0
    operator.works()
    assert only_item(relay)["pk"] == {"S": f"MSG#{expected}"}


def test_a_key_that_the_letter_lacks_is_replaced_by_a_stable_one(
    operator: Operator, relay: Environment
) -> None:
    before = refused(relay, "order-8812")
    assert "under a new key" in operator.run("redrive", "--yes").out
    refused(relay, "order-8812")  # as if the dead letter had not been removed
    assert operator.run("redrive", "--yes").code == 0
    operator.works()
    assert len(operator.simulator.sent()) == 1
    assert only_item(relay)["pk"] == {"S": f"MSG#{message_id(CLIENT, f'dead-letter-{before}')}"}


def test_a_key_as_an_attribute_of_the_letter_is_kept(
    operator: Operator, relay: Environment
) -> None:
    before = message_id(CLIENT, "order-8812")
    bury(relay, MESSAGE, REASONS | OURS | {"messageId": before})
    assert operator.run("redrive", "--yes").code == 0
    operator.works()
    assert only_item(relay)["pk"] == {"S": f"MSG#{before}"}


def test_a_letter_of_a_message_without_a_client_keeps_its_identity(
    operator: Operator, relay: Environment
) -> None:
    before = message_id("", "order-8812")
    ours = {"client": "internal", "Idempotency-Key": "order-8812", "messageId": before}
    bury(relay, MESSAGE, REASONS | ours)
    with relay.default_client("calendar"):
        assert [row[6] for row in operator.run("redrive", "--yes").rows] == ["queued"]
        operator.works()
    item = only_item(relay)
    assert item["pk"] == {"S": f"MSG#{before}"}
    assert item["client"] == {"S": "calendar"}, "the first default client must stay"


def test_a_letter_refused_for_its_client_does_not_become_the_default_clients(
    operator: Operator, relay: Environment
) -> None:
    relay.enqueue(MESSAGE, {"client": "Shop"})
    assert relay.work() == []
    ended = operator.run("redrive", "--yes")
    assert (ended.code, ended.rows[0][3:7]) == (0, ["refused", "invalid-client", "-", "kept"])
    assert operator.works() == []
    assert len(relay.dead_letters()) == 1


@pytest.mark.parametrize("was_sent", [False, True])
def test_a_letter_of_a_topic_that_is_listed_by_now_keeps_client_and_key(
    operator: Operator, relay: Environment, *, was_sent: bool
) -> None:
    body = json.loads((ROOT / "events/envelopes/sns-notification.json").read_text())
    body["MessageAttributes"]["client"] = {"Type": "String", "Value": CLIENT}
    if was_sent:  # before the topic was removed from the list; SQS delivered it twice
        relay.enqueue(body)
        relay.work()
    with relay.deployed(QUEUE_SENDER_ARNS=""):
        relay.enqueue(body)
        assert relay.work() == []
    ended = operator.run("redrive", "--yes")
    assert [row[6] for row in ended.rows] == ["queued"]
    operator.works()
    assert len(operator.simulator.sent()) == 1
    assert relay.dead_letters() == []
    [sent] = [item for item in relay.items() if item["sk"]["S"] != "REFUSED"]
    assert sent["pk"] == {"S": f"MSG#{message_id(CLIENT, 'order-8813-shipped')}"}
    assert sent["client"] == {"S": CLIENT}


def test_a_letter_whose_key_was_used_since_stays(operator: Operator, relay: Environment) -> None:
    relay.enqueue(MESSAGE | {"keyword": "K"}, OURS)
    relay.work()
    relay.enqueue(MESSAGE, OURS)  # corrected
    relay.work()
    [letter] = relay.dead_letters()
    # A dead letter of an earlier version, without its key.
    bury(relay, letter["body"], REASONS | {"messageId": letter["messageId"]})
    ended = operator.run("redrive", "--yes", "--json")
    assert [row["action"] for row in ended.json["letters"]] == ["kept", "kept"]
    assert {row["detail"] for row in ended.json["letters"]} == {
        f"{letter['messageId']} has used its key since: post it again with a new key"
    }
    operator.works()
    assert len(operator.simulator.sent()) == 1


@pytest.mark.parametrize("attributes", [{}, OURS], ids=["no key", "a key"])
def test_a_message_that_sqs_moved_keeps_its_identity(
    operator: Operator, relay: Environment, attributes: Mapping[str, str]
) -> None:
    sqs_id = bury(relay, MESSAGE, attributes)
    [shown] = operator.run("redrive", "--dry-run", "--json").json["letters"]
    assert shown["reason"] == "received-too-often"
    assert operator.run("redrive", "--yes").code == 0
    operator.works()
    expected = message_id(attributes.get("client", ""), attributes.get("Idempotency-Key", sqs_id))
    assert only_item(relay)["pk"] == {"S": f"MSG#{expected}"}


def test_a_dry_run_changes_nothing_and_hides_nothing(
    operator: Operator, relay: Environment
) -> None:
    failed = operator.failed()
    refused(relay, "order-8812")
    before, dead = relay.items(), sorted(letter["body"] for letter in relay.dead_letters())
    ended = operator.run("redrive", "--dry-run")
    assert ended.code == 0
    assert sorted(row[6] for row in ended.rows if row[0] == failed) == ["queue"]
    assert "Nothing was changed." in ended.err
    assert sorted(letter["body"] for letter in relay.dead_letters()) == dead
    assert relay.items() == before
    assert relay.waiting() == 0
    assert operator.run("redrive", "--dry-run", "--json").json["dryRun"]


def test_a_dry_run_shows_code_and_pointer_of_each_letter(
    operator: Operator, relay: Environment
) -> None:
    wrong = {"+1 212 555 0100": 1, "attributes": {}, "text": " ", "keyword": "JOIN"}
    relay.enqueue(MESSAGE | wrong, OURS)
    relay.enqueue(MESSAGE | {"keyword": "JOIN"}, {"Idempotency-Key": "k"})
    relay.enqueue("no JSON", {"Idempotency-Key": "l"})
    relay.work()
    shown = operator.run("redrive", "--dry-run", "--json").json["letters"]
    errors = {row["id"]: row["errors"] for row in shown}
    assert errors.pop(message_id("", "l")) == [{"pointer": "", "code": "not-json"}]
    keyword = {"pointer": "/keyword", "code": "keyword-not-needed"}
    assert errors.pop(message_id("", "k")) == [keyword]
    [several] = errors.values()
    assert {"pointer": "/…", "code": "unknown-field"} in several, "the field's name is a number"
    assert {"pointer": "/text", "code": "blank-text"} in several
    rows = {row[0]: row[3:] for row in operator.run("redrive", "--dry-run").rows}
    expected = ["refused", "keyword-not-needed", "/keyword", "queue", "under"]
    assert rows[message_id("", "k")][:4] == expected[:4]
    assert f"(+{len(several) - 1})" in rows[message_id(CLIENT, "order-8812")]


def test_discard_removes_the_letters_of_one_message(operator: Operator, relay: Environment) -> None:
    failed, other = operator.failed(), refused(relay, "order-8812")
    before = relay.items()
    assert operator.run("discard", other, answer="n\n").code == 3
    assert len(relay.dead_letters()) == 2
    ended = operator.run("discard", other, answer="y\n")
    assert "1 dead letter (refused: keyword-not-needed at /keyword)?" in ended.err
    assert (ended.code, [row[0] for row in ended.rows]) == (0, [other])
    assert ended.rows[0][3:7] == ["refused", "keyword-not-needed", "/keyword", "removed"]
    assert [letter["messageId"] for letter in relay.dead_letters()] == [failed]
    again = operator.run("discard", other, "--yes")
    assert (again.code, again.out) == (1, "")
    assert f"no visible dead letter belongs to {other}" in again.err
    assert operator.run("discard", failed, "--send", "2", "--yes").code == 1
    assert operator.run("discard", failed, "--send", "1", "--yes", "--json").code == 0
    assert relay.dead_letters() == []
    assert (relay.items(), relay.waiting()) == (before, 0)


@pytest.mark.parametrize(
    ("status", "what"),
    [
        (Status.QUEUED, "queued: cancel it first"),
        (Status.SENDING, "being sent: run the command again in some minutes"),
        (Status.UNKNOWN, "unknown: resolve it first"),
    ],
)
def test_the_letter_of_a_send_that_has_not_ended_is_not_discarded(
    operator: Operator, relay: Environment, status: Status, what: str
) -> None:
    [send] = operator.sends(operator.failed())
    operator.ledger.replace_if_unchanged(send, replace(send, status=status))
    ended = operator.run("discard", send.key.message_id, "--yes")
    assert (ended.code, ended.out) == (1, "")
    assert f"refused: the send is {what}\n" in ended.err
    assert len(relay.dead_letters()) == 1


def test_a_letter_without_a_message_is_discarded_by_the_id_of_sqs(
    operator: Operator, relay: Environment
) -> None:
    moved, _ = bury(relay, MESSAGE), bury(relay, "no JSON")
    assert moved in [row[0] for row in operator.run("redrive", "--dry-run").rows]
    assert operator.run("discard", moved, "--yes").code == 0
    assert [letter["body"] for letter in relay.dead_letters()] == ["no JSON"]


def test_a_body_that_sqs_moved_is_not_discarded_before_its_send_has_ended(
    operator: Operator, relay: Environment
) -> None:
    """SQS moves the message of a paused send after 1,000 receives; the send is queued."""
    operator.run("pause")
    relay.enqueue(MESSAGE, OURS)
    assert len(relay.work()) == 1
    relay.client("sqs").purge_queue(QueueUrl=relay.queue_url)
    moved, stored = bury(relay, MESSAGE, OURS), message_id(CLIENT, "order-8812")

    ended = operator.run("discard", moved, "--yes")

    assert (ended.code, ended.out) == (1, "")
    assert f"refused: the send of {stored} is queued: cancel it first\n" in ended.err
    assert len(relay.dead_letters()) == 1
    assert operator.run("cancel", stored, "--yes").code == 0
    assert operator.run("discard", moved, "--yes").code == 0
    assert relay.dead_letters() == []


@pytest.mark.parametrize("answer", ["n\n", ""])
def test_without_a_yes_letters_stay_visible(
    operator: Operator, relay: Environment, answer: str
) -> None:
    operator.failed()
    before = relay.items()
    assert operator.run("redrive", answer=answer).code == 3
    assert len(relay.dead_letters()) == 1
    assert relay.items() == before
    assert relay.waiting() == 0


def test_only_matching_letters_are_redriven(operator: Operator, relay: Environment) -> None:
    operator.failed()
    refused(relay, "order-8812")
    bury(relay, MESSAGE, REASONS | {"client": "other", "messageId": message_id("other", "k")})
    ended = operator.run("redrive", "--reason", "refused", "--client", "other", "--yes", "--json")
    assert [row["client"] for row in ended.json["letters"]] == ["other"]
    assert ended.json["others"] == 2
    assert {letter["reason"] for letter in relay.dead_letters()} == {"too-old", "refused"}
    assert relay.waiting() == 1
    nothing = operator.run("redrive", "--reason", "no-such-reason", "--yes")
    assert (nothing.code, nothing.out) == (0, "There are no such dead letters.\n")


def test_a_letter_whose_key_another_message_has_is_kept(
    operator: Operator, relay: Environment
) -> None:
    for text in ("Hello", "Something else"):
        relay.enqueue(MESSAGE | {"text": text}, OURS)
        relay.work()
    ended = operator.run("redrive", "--yes")
    assert "its key belongs to another message: post it again with a new key" in ended.out
    assert [letter["reason"] for letter in relay.dead_letters()] == ["idempotency-key-reused"]


def test_letters_that_sqs_moved_have_the_client_of_their_message(
    operator: Operator, relay: Environment
) -> None:
    failed = operator.failed()
    operator.run("discard", failed, "--yes")
    bury(relay, f'{{"send":{{"id":"{failed}","n":1}}}}')
    bury(relay, MESSAGE)
    for client, number in ((CLIENT, "1"), ("internal", "-")):
        ended = operator.run("redrive", "--client", client, "--dry-run")
        assert [row[1:3] for row in ended.rows] == [[number, client]]


def test_a_change_whose_response_is_lost_is_reported_as_unknown(
    operator: Operator, monkeypatch: pytest.MonkeyPatch
) -> None:
    def lose(*_: object) -> None:
        raise LedgerUnavailableError("the response is lost")

    failed = operator.failed()
    monkeypatch.setattr(DynamoDbLedger, "replace_if_unchanged", lose)
    ended = operator.run("redrive", "--yes")
    assert ended.code == 1
    assert f"{failed}  1  {CLIENT}  too-old  too-old  -        kept" in ended.out
    assert "it is unknown whether the ledger stored the change" in ended.out


def test_a_limit_leaves_the_rest(operator: Operator, relay: Environment) -> None:
    for n in range(25):
        refused(relay, f"order-{n}")
    ended = operator.run("redrive", "--limit", "12", "--yes", "--json")
    assert [row["action"] for row in ended.json["letters"]] == ["queued"] * 12
    assert "The first 12 dead letters only (--limit N); there may be more." in ended.err
    depth = operator.run("stats", "--json").json["deadLetters"]
    assert depth == {"waiting": 13, "delayed": 0, "inWork": 0}
    assert operator.run("redrive", "--yes").code == 0
    assert relay.dead_letters() == []
    assert relay.waiting() == 25


@pytest.mark.parametrize(
    ("status", "action", "left"),
    [
        (Status.ACCEPTED, "removed", 0),
        (Status.DELIVERED, "removed", 0),
        (Status.PARTIALLY_DELIVERED, "removed", 0),
        (Status.UNDELIVERED, "removed", 0),
        (Status.REJECTED, "removed", 0),  # without a body, as after `resolve`
        (Status.QUEUED, "queued", 0),
        (Status.SENDING, "kept", 1),
        (Status.UNKNOWN, "kept", 1),
    ],
)
def test_the_status_of_the_send_decides(
    operator: Operator, relay: Environment, status: Status, action: str, left: int
) -> None:
    failed = operator.failed()
    [send] = operator.sends(failed)
    body = None if status is Status.REJECTED else send.body
    operator.ledger.replace_if_unchanged(send, replace(send, status=status, body=body))
    before = relay.items()
    ended = operator.run("redrive", "--yes", "--json")
    assert ended.code == 0
    assert [row["action"] for row in ended.json["letters"]] == [action]
    assert len(relay.dead_letters()) == left
    assert relay.items() == before


@pytest.mark.parametrize(
    ("body", "why"),
    [
        ("this is not JSON", "can't be read"),
        ('{"send":{"id":"01ARZ3NDEKTSV4RRFFQ69G5FAV","n":1}}', "does not contain its send"),
    ],
)
def test_a_letter_that_would_be_refused_again_stays(
    operator: Operator, relay: Environment, body: str, why: str
) -> None:
    relay.enqueue(body, OURS)
    relay.work()
    ended = operator.run("redrive", "--yes")
    assert ended.code == 0
    assert why in ended.out
    assert len(relay.dead_letters()) == 1
    assert relay.waiting() == 0


def test_a_failed_send_without_its_body_stays(operator: Operator, relay: Environment) -> None:
    [send] = operator.sends(operator.failed())
    operator.ledger.replace_if_unchanged(send, replace(send, body=None))
    assert "post it again" in operator.run("redrive", "--yes").out
    assert len(relay.dead_letters()) == 1


def test_a_change_before_the_operators_wins(operator: Operator, relay: Environment) -> None:
    [send] = operator.sends(operator.failed())
    other = replace(send, status=Status.QUEUED, attempts_before=send.attempts, written_by="other")
    ended = operator.run(
        "redrive", answer="y\n", before=lambda: operator.ledger.replace_if_unchanged(send, other)
    )
    assert ended.code == 1
    assert "changed in the meantime" in ended.out
    assert operator.sends(send.key.message_id) == [other]
    assert len(relay.dead_letters()) == 1


def test_if_the_queue_fails_the_letter_stays_and_repeating_finishes_it(
    operator: Operator, relay: Environment
) -> None:
    def fail(_: Any, operation: str, __: Any, call: Callable[[], Any]) -> Any:
        if operation == "SendMessage":
            raise EndpointConnectionError(endpoint_url="https://sqs.example.com")
        return call()

    operator.failed()
    with intercepted(fail):
        ended = operator.run("redrive", "--yes")
    assert ended.code == 1
    assert "queued in the ledger, so the sweeper enqueues it within minutes" in ended.out
    assert "SQS did not accept its message (EndpointConnectionError)" in ended.out
    assert len(relay.dead_letters()) == 1
    assert operator.run("redrive", "--yes").code == 0
    assert relay.dead_letters() == []
    assert len(operator.works()) == 1


def test_an_interrupted_redrive_prints_what_it_has_done(
    operator: Operator, relay: Environment
) -> None:
    calls = itertools.count(1)

    def interrupt(_: Any, operation: str, __: Any, call: Callable[[], Any]) -> Any:
        if operation == "SendMessage" and next(calls) > 1:
            raise KeyboardInterrupt
        return call()

    for n in range(3):
        refused(relay, f"order-{n}")
    with intercepted(interrupt):
        ended = operator.run("redrive", "--yes", "--json")
    assert ended.code == 3
    rows = [(row["action"], row["detail"]) for row in ended.json["letters"]]
    unknown = ("queue", "interrupted; repeat this, it sends nothing twice")
    assert rows == [("queued", "under a new key"), unknown, unknown]
    assert (relay.waiting(), len(relay.dead_letters())) == (1, 2)


def test_unread_letters_become_visible_again(
    operator: Operator, relay: Environment, monkeypatch: pytest.MonkeyPatch
) -> None:
    for n in range(2):
        refused(relay, f"order-{n}")
    monkeypatch.setattr(dead_letters, "_plan", Mock(side_effect=KeyboardInterrupt))
    assert operator.run("redrive", "--yes").code == 3
    assert len(relay.dead_letters()) == 2


def test_unread_letters_are_reported(
    operator: Operator, relay: Environment, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dead_letters, "MOST_READ", 1)
    refused(relay, "order-8812")
    ended = operator.run("redrive", "--dry-run")
    assert "Only the first 1 dead letters were read; there may be more." in ended.err


def test_letters_that_are_only_removed_are_not_called_queued(
    operator: Operator, relay: Environment
) -> None:
    [send] = operator.sends(operator.failed())
    operator.ledger.replace_if_unchanged(send, replace(send, status=Status.ACCEPTED))
    ended = operator.run("redrive", answer="y\n")
    assert "Remove 1 dead letter? Its send needs no further attempt. [y/N]" in ended.err
    assert relay.dead_letters() == []


def test_a_letter_that_can_not_be_removed_is_reported(
    operator: Operator, relay: Environment, monkeypatch: pytest.MonkeyPatch
) -> None:
    refused(relay, "order-8812")

    class Keeps:
        """An SQS client that can send messages, but not delete them or change their visibility."""

        def __getattr__(self, name: str) -> Any:
            if name in {"delete_message", "change_message_visibility_batch"}:
                return self._fail
            return getattr(relay.client("sqs"), name)

        def _fail(self, **_: object) -> None:
            words: Any = {"Error": {"Code": "AccessDenied", "Message": "no"}}
            raise ClientError(words, "DeleteMessage")

    original = dead_letters._carried_out  # noqa: SLF001 - the function whose call must fail

    def carried_out(target: Any, plan: Any, now: float) -> Any:
        return original(replace(target, sqs=Keeps()), plan, now)

    with monkeypatch.context() as patch:
        patch.setattr(dead_letters, "_carried_out", carried_out)
        ended = operator.run("redrive", "--yes")
    assert ended.code == 1
    assert "not removed (AccessDenied)" in ended.out
    assert operator.run("redrive", "--yes").code == 0
    operator.works()
    operator.works()
    assert len(operator.simulator.sent()) == 1


def test_a_late_answer_to_the_question_redrives_nothing(
    operator: Operator, relay: Environment, monkeypatch: pytest.MonkeyPatch
) -> None:
    operator.failed()
    moments = itertools.count(time.monotonic(), dead_letters.HIDDEN_SECONDS)
    monkeypatch.setattr("smsrelay_cli.dead_letters.monotonic", lambda: next(moments))
    assert operator.run("redrive", "--yes").code == 3
    assert len(relay.dead_letters()) == 1
    assert relay.waiting() == 0


def test_if_the_ledger_fails_the_letters_become_visible_again(
    operator: Operator, relay: Environment
) -> None:
    operator.failed()
    refused(relay, "order-8812")
    relay.client("dynamodb").delete_table(TableName=relay.table)
    ended = operator.run("redrive", "--yes")
    assert ended.code == 1
    assert len(ended.err.splitlines()) == 1
    assert len(relay.dead_letters()) == 2


def test_texts_cannot_control_the_terminal(operator: Operator, relay: Environment) -> None:
    """The text contains DEL, C1 controls (0x9B begins a sequence like ESC [) and bidi marks."""
    reason = "Grüße\x7f\x85\x9b31m\u202e\U000e0041"
    bury(relay, MESSAGE, {"reason": reason, "messageId": "m-1"})
    in_json = operator.run("redrive", "--dry-run", "--json")
    assert in_json.json["letters"][0]["reason"] == reason
    assert r'"reason": "Grüße\u007f\u0085\u009b31m\u202e\udb40\udc41"' in in_json.out
    in_table = operator.run("redrive", "--dry-run")
    assert "Grüße\ufffd\ufffd\ufffd31m\ufffd\ufffd" in in_table.out
    for shown in (in_json.out, in_json.err, in_table.out, in_table.err):
        assert all(line.isprintable() for line in shown.split("\n"))


def test_a_letter_of_an_unreadable_item_does_not_stop_the_others(
    operator: Operator, relay: Environment
) -> None:
    operator.failed()
    key = SendKey("50RA3E77SKYE6PJ2PSKS6WFK3N", 1)
    put(relay, UNREADABLE["unknown-status"] | {"pk": {"S": f"MSG#{key.message_id}"}})
    relay.client("sqs").send_message(
        QueueUrl=relay.dead_letter_queue_url, MessageBody=reference_body(key)
    )
    ended = operator.run("redrive", "--yes")
    assert ended.code == 0
    assert "this version can't read the item" in ended.out
    assert relay.waiting() == 1


def test_a_message_keeps_its_trace_as_a_dead_letter_and_after_a_redrive(
    operator: Operator, relay: Environment
) -> None:
    trace = "Root=1-67891233-abcdef012345678912345678;Sampled=1"

    def traces(queue_url: str) -> list[str]:
        answer = relay.client("sqs").receive_message(
            QueueUrl=queue_url,
            MessageSystemAttributeNames=["AWSTraceHeader"],
            VisibilityTimeout=0,
        )
        return [message["Attributes"]["AWSTraceHeader"] for message in answer["Messages"]]

    relay.client("sqs").send_message(
        QueueUrl=relay.queue_url,
        MessageBody=json.dumps(MESSAGE | {"keyword": "JOIN"}),
        **with_trace(trace),
    )
    assert relay.work() == []
    assert traces(relay.dead_letter_queue_url) == [trace]
    assert operator.run("redrive", answer="y\n").code == 0
    assert traces(relay.queue_url) == [trace]


def test_a_rejected_send_keeps_the_trace_until_it_is_redriven(
    operator: Operator, relay: Environment
) -> None:
    operator.simulator.fail("send", "400")
    trace = "Root=1-67891233-abcdef012345678912345678;Sampled=1"
    relay.client("sqs").send_message(
        QueueUrl=relay.queue_url,
        MessageBody=json.dumps(MESSAGE),
        **with_trace(trace),
    )
    assert relay.work() == []

    def traces(queue_url: str) -> list[Any]:
        answer = relay.client("sqs").receive_message(
            QueueUrl=queue_url,
            VisibilityTimeout=0,
            MessageSystemAttributeNames=["AWSTraceHeader"],
        )
        return [message["Attributes"] for message in answer["Messages"]]

    assert traces(relay.dead_letter_queue_url) == [{"AWSTraceHeader": trace}]
    assert operator.run("redrive", "--yes").code == 0
    assert traces(relay.queue_url) == [{"AWSTraceHeader": trace}]
