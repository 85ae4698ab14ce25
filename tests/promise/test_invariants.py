"""Tests the invariants: each case breaks one rule, and the invariants must report it."""

import json
from collections import Counter
from dataclasses import replace
from typing import Any

import pytest

from tests.promise.faults import Effect
from tests.promise.history import FIRST_PROBE, Answer, Attempt, History
from tests.promise.invariants import redrive_violations, reference_body, violations
from tests.promise.observation import Arrival, Content, DeadLetter, Observation, StoredSend
from tests.promise.scenarios import EVENTS, POLLER, RENEWER, WEBHOOK, Message

DAY = 86_400.0
FIRST, SECOND = "12125550100", "12125550101"
HOLD = Message("one", [FIRST])
RESEND = replace(HOLD, on_unknown="resend")
TWO = replace(HOLD, recipients=[FIRST, SECOND])
REFUSED = replace(HOLD, is_valid=False)
EXPIRING = replace(HOLD, expires_at=100.0)
OWN, OTHER = TWO.contents

ACCEPTED = StoredSend("01K", 1, "shop", "one", "accepted", 1, 0.0, 1.0, 1.0, token_id="token-1")
UNKNOWN = replace(ACCEPTED, status="unknown", token_id=None, reason="read-timeout", body=HOLD.body)
LAPSED = replace(UNKNOWN, reason="lease-expired")
FAILED = replace(UNKNOWN, status="failed", reason="too-old", updated_at=DAY + 2)
REJECTED = replace(UNKNOWN, status="rejected", reason="refused")
EXPIRED = replace(ACCEPTED, status="expired", token_id=None, updated_at=100.0)
LETTER = DeadLetter(
    reference_body(FAILED), {"messageId": "01K", "client": "shop", "reason": "too-old"}
)
REFUSED_LETTER = DeadLetter(REFUSED.body, {"messageId": "01K", "reason": "refused"})

CALL = Attempt(OWN, 0.0, Effect.ACCEPTED, "token-1", '{"tokenId":"token-1"}')
DOUBT = Attempt(OWN, 0.0, Effect.DOUBT, "token-1")
NOT_SENT = Attempt(OWN, 0.0, Effect.NOT_SENT, response="{}", delay=30.0)
REFUSAL = replace(NOT_SENT, effect=Effect.REFUSED)
SMS = Arrival(OWN, "token-1")
PUT_BACK = '{"message":"result not stored: …","status":"accepted","token_id":"token-1"}'


def case(
    message: Message,
    stored: StoredSend | None,
    *calls: Attempt,
    arrivals: int | None = None,
    letters: tuple[DeadLetter, ...] = (),
    seen: dict[str, Any] | None = None,
    **history: Any,
) -> tuple[History, Observation]:
    """Return a message's history and observation; by default the SMS of its calls arrived."""
    sms = [replace(SMS, token_id=it.token_id) for it in calls if it.token_id][:arrivals]
    facts = History({message.reference: message}, attempts=list(calls), **history)
    observed = Observation([stored] if stored else [], arrivals=sms, dead_letters=letters)
    return facts, replace(observed, **(seen or {}))


def two(*, tokens: tuple[str, str]) -> tuple[History, Observation]:
    """Return the case of a message with two sends, which have these tokenIds in the ledger."""
    calls = [CALL, replace(CALL, content=OTHER, token_id="token-2", response="token-2")]
    stored = [
        replace(ACCEPTED, number=number, token_id=token) for number, token in enumerate(tokens, 1)
    ]
    sms = [SMS, replace(SMS, content=OTHER, token_id="token-2")]
    return History({"one": TWO}, attempts=calls), Observation(stored, arrivals=sms)


def found(**changed: Any) -> list[Any]:
    send = {"n": 1, "status": "accepted", "tokenId": "token-1"} | changed
    body = {"id": "01K", "sends": [send]}
    return [{"send": "01K/1", "question": "/messages/01K", "status": 200, "body": body}]


def answer(status: int = 202, **changed: Any) -> list[Answer]:
    send = {"n": 1, "status": "accepted", "tokenId": "token-1"} | changed
    return [Answer("one", status, {"id": "01K", "sends": [send]})]


def without_reason(letter: DeadLetter) -> DeadLetter:
    return replace(letter, attributes={**letter.attributes, "reason": ""})


def event(**changed: Any) -> Any:
    return {"id": "01K", "n": 1, "status": "accepted", "tokenId": "token-1"} | changed


HOLD_CALL = json.dumps({"mobileNumbers": [FIRST], "messageText": HOLD.text})
ENQUEUED = {"sqs-1": "one"}
LATER = replace(CALL, at=40.0)
LATER_DOUBT = replace(DOUBT, at=40.0, token_id="token-2")


@pytest.mark.parametrize(
    ("history", "seen"),
    [
        case(HOLD, ACCEPTED, CALL, answers=answer(), found=found()),
        case(
            HOLD,
            ACCEPTED,
            CALL,
            parts={EVENTS, RENEWER},
            published=[event()],
            called_back=[event()],
        ),
        case(HOLD, replace(ACCEPTED, status="delivered"), CALL, parts={POLLER}),
        case(HOLD, replace(ACCEPTED, delete_at=90 * DAY), CALL),
        case(HOLD, None, CALL, expired={("one", 1): "lost"}, seen={"log": PUT_BACK}),
        case(HOLD, UNKNOWN, DOUBT, arrivals=0),
        case(HOLD, UNKNOWN, DOUBT),
        case(HOLD, LAPSED, abandoned={"01K/1": 1}),
        case(HOLD, ACCEPTED, NOT_SENT, LATER),
        case(HOLD, replace(ACCEPTED, token_id=None), replace(CALL, response="null", died=True)),
        case(RESEND, ACCEPTED, replace(DOUBT, token_id="token-0"), replace(CALL, at=1.0)),
        case(HOLD, REJECTED, REFUSAL, letters=(LETTER,), enqueued=ENQUEUED),
        case(HOLD, FAILED, NOT_SENT, letters=(LETTER,), enqueued=ENQUEUED),
        case(HOLD, None, answers=answer(503)),
        case(
            REFUSED, None, letters=(REFUSED_LETTER,), seen={"refused": {"01K"}}, enqueued=ENQUEUED
        ),
        two(tokens=("token-1", "token-2")),
        case(HOLD, ACCEPTED, LATER, clock_error=25.0, pauses=[(0.0, 60.0)]),
        case(RESEND, ACCEPTED, CALL, LATER, clock_error=600.0),
        case(HOLD, ACCEPTED, DOUBT, LATER, resent={"01K/1": 1}, decided={"01K/1"}),
        case(HOLD, replace(ACCEPTED, status="cancelled", token_id=None)),
        case(EXPIRING, EXPIRED, NOT_SENT),
        case(EXPIRING, replace(EXPIRED, updated_at=50.0), clock_error=60.0),
        case(replace(EXPIRING, on_unknown="resend"), replace(UNKNOWN, reason="expired"), DOUBT),
        case(
            HOLD,
            replace(REJECTED, body=None),
            REFUSAL,
            posted={"one": 1},
            answers=[Answer("one", 422, {"id": "01K", "sends": [{"n": 1, "status": "rejected"}]})],
        ),
        case(TWO, ACCEPTED, CALL, expired={("one", 2): "accepted"}),
        case(HOLD, None, answers=[Answer("one", 401, {}, is_to_webhook=True)]),
    ],
)
def test_accepts_a_kept_promise(history: History, seen: Observation) -> None:
    history = _counted(history)
    assert violations(history, seen) == []


@pytest.mark.parametrize(
    ("words", "broken"),
    [
        ("not its own", two(tokens=("token-2", "token-1"))),
        ("got 2 SMS", case(HOLD, ACCEPTED, CALL, LATER)),
        (
            "got 3 SMS",
            case(RESEND, ACCEPTED, DOUBT, replace(LATER_DOUBT, effect=Effect.ACCEPTED), LATER),
        ),
        ("got 2 SMS", case(RESEND, ACCEPTED, CALL, LATER, clock_error=25.0)),
        ("got no SMS", case(HOLD, ACCEPTED, CALL, arrivals=0)),
        ("is cancelled, and arrived", case(HOLD, replace(ACCEPTED, status="cancelled"), CALL)),
        ("is expired, and arrived", case(EXPIRING, EXPIRED, CALL)),
        ("before its expiresAt", case(EXPIRING, replace(EXPIRED, updated_at=50.0))),
        ("before its expiresAt", case(HOLD, EXPIRED)),
        ("after its expiresAt", case(EXPIRING, ACCEPTED, replace(CALL, at=200.0))),
        ("expired, and keeps", case(EXPIRING, replace(EXPIRED, body=HOLD.body))),
        ("stays queued", case(HOLD, replace(UNKNOWN, status="queued"))),
        ("none of its own calls", case(HOLD, UNKNOWN, NOT_SENT)),
        ("no process left it", case(HOLD, LAPSED, DOUBT)),
        ("only its lease", case(HOLD, UNKNOWN, abandoned={"01K/1": 1})),
        ("tried it again", case(RESEND, UNKNOWN, DOUBT)),
        ("left a doubt", case(HOLD, ACCEPTED, DOUBT)),
        ("refused no call", case(HOLD, REJECTED, NOT_SENT, letters=(LETTER,))),
        ("is rejected, and arrived", case(HOLD, REJECTED, REFUSAL, DOUBT, letters=(LETTER,))),
        ("not too old", case(HOLD, replace(FAILED, updated_at=2.0), letters=(LETTER,))),
        ("is failed, and arrived", case(HOLD, FAILED, DOUBT, letters=(LETTER,))),
        ("without a dead letter", case(HOLD, FAILED)),
        (
            "a dead letter without a reason",
            case(HOLD, FAILED, letters=(without_reason(LETTER),)),
        ),
        ("a dead letter of", case(HOLD, FAILED, letters=(replace(LETTER, attributes={}),))),
        ("without its body", case(HOLD, replace(FAILED, body=None))),
        (
            "rejected without its body",
            case(HOLD, replace(REJECTED, body=None), REFUSAL),
        ),
        (
            "rejected without its body",
            case(HOLD, replace(REJECTED, body=None), REFUSAL, posted={"one": 1}, answers=answer()),
        ),
        ("keeps its body", case(HOLD, replace(ACCEPTED, body=HOLD.body), CALL)),
        ("the body of another", case(HOLD, replace(UNKNOWN, body="{}"), DOUBT)),
        ("lost the tokenId", case(HOLD, replace(ACCEPTED, token_id=None), CALL)),
        ("is not known", case(HOLD, replace(ACCEPTED, token_id=None), replace(CALL, died=True))),
        ("after 20.0 s", case(HOLD, ACCEPTED, NOT_SENT, replace(CALL, at=20.0))),
        ("an answer was 500", case(HOLD, ACCEPTED, CALL, answers=answer(500))),
        ("called accepted with", case(HOLD, ACCEPTED, CALL, answers=answer(tokenId="token-2"))),
        ("was called 01X", case(HOLD, ACCEPTED, CALL, answers=[Answer("one", 202, {"id": "01X"})])),
        ("is not found by", case(HOLD, ACCEPTED, CALL, found=found(tokenId="token-2"))),
        (
            "is not found by /tokens/",
            case(HOLD, ACCEPTED, CALL, found=[found()[0] | {"question": "/tokens/token-1"}]),
        ),
        (
            "is not found by /messages?",
            case(
                HOLD,
                ACCEPTED,
                CALL,
                found=[
                    found()[0]
                    | {"question": "/messages?idempotencyKey=k", "body": {"messages": []}}
                ],
            ),
        ),
        ("was promised", case(HOLD, None, answers=answer())),
        ("is gone from the queue", case(HOLD, None, enqueued=ENQUEUED)),
        ("not in the dead-letter queue", case(REFUSED, None, enqueued=ENQUEUED)),
        ("not recorded", case(REFUSED, None, letters=(REFUSED_LETTER,), enqueued=ENQUEUED)),
        ("is in no ledger", case(HOLD, None, CALL)),
        (
            "without a request",
            case(HOLD, ACCEPTED, CALL, seen={"arrivals": [SMS, replace(SMS, content=OTHER)]}),
        ),
        ("of a newer version", case(HOLD, None, has_newer_item=True)),
        (
            "lost the tokenId",
            case(
                TWO,
                replace(ACCEPTED, token_id=None),
                CALL,
                expired={("one", 2): "accepted"},
            ),
        ),
        ("an answer was 401", case(HOLD, None, parts={WEBHOOK}, answers=[Answer("one", 401, {})])),
        ("was deleted while it was queued", case(HOLD, None, expired={("one", 1): "queued"})),
        ("after an operator paused", case(HOLD, ACCEPTED, LATER, pauses=[(0.0, 60.0)])),
        (
            "was reported delivered",
            case(
                HOLD,
                replace(ACCEPTED, reason="not-polled", updated_at=DAY),
                CALL,
                parts={POLLER},
            ),
        ),
        ("stay in the queue", case(HOLD, ACCEPTED, CALL, seen={"waiting": 1})),
        ("in the ledger are", case(TWO, ACCEPTED, CALL)),
        ("lives", case(HOLD, ACCEPTED, CALL, problems=["a process lives"])),
        ("refused", case(HOLD, ACCEPTED, CALL, answers=[*answer(), Answer("one", 422, {})])),
        ("another body", case(HOLD, ACCEPTED, NOT_SENT, replace(LATER, body="{}"))),
        ("unknown, and may be deleted", case(HOLD, replace(UNKNOWN, delete_at=90 * DAY), DOUBT)),
        ("may be deleted 172799 s", case(HOLD, replace(ACCEPTED, delete_at=2 * DAY), CALL)),
        ("is lost, and so is token-1", case(HOLD, None, CALL, expired={("one", 1): "lost"})),
        ("is not good", case(HOLD, None, parts={RENEWER}, seen={"is_token_good": False})),
        ("still awaits", case(HOLD, replace(ACCEPTED, awaits_report=True), CALL, parts={POLLER})),
        ("was reported delivered", case(HOLD, ACCEPTED, CALL, parts={POLLER})),
        ("no event says so", case(HOLD, ACCEPTED, CALL, parts={EVENTS})),
        (
            "no callback says so",
            case(HOLD, ACCEPTED, CALL, parts={EVENTS}, published=[event()]),
        ),
        (
            "event with the tokenId of another",
            case(HOLD, ACCEPTED, CALL, parts={EVENTS}, published=[event(tokenId="token-2")]),
        ),
        ("an operator made it", case(HOLD, ACCEPTED, CALL, resolved={"01K/1": "rejected"})),
    ],
)
def test_reports_a_broken_promise(words: str, broken: tuple[History, Observation]) -> None:
    history, seen = broken
    assert any(words in it for it in violations(_counted(history), seen))


@pytest.mark.parametrize("arrived", [0, 2])
def test_a_redriven_dead_letter_delivers_its_own_text_once(arrived: int) -> None:
    history, before = case(HOLD, FAILED, letters=(LETTER,))
    others = Arrival(Content(FIRST, "another text"), "token-9")

    def after(count: int, letters: tuple[DeadLetter, ...] = ()) -> Observation:
        return Observation([ACCEPTED], dead_letters=letters, arrivals=[SMS] * count + [others])

    assert redrive_violations(history, before, after(1)) == []
    assert redrive_violations(history, before, after(1, (LETTER,))) != []
    assert redrive_violations(history, before, after(arrived)) != []


def test_a_refused_dead_letter_is_not_lost_by_redriving_it() -> None:
    history, before = case(REFUSED, None, letters=(REFUSED_LETTER,))

    assert redrive_violations(history, before, before) == []
    assert redrive_violations(history, before, replace(before, dead_letters=())) != []


def test_no_call_follows_a_doubtful_one_within_its_pause() -> None:
    def problems(after: float) -> list[str]:
        history = History({})
        doubt = {"id": "1", "at": 0.0, "fault": "502-html", "body": HOLD_CALL}
        call = {"id": "2", "at": 1.0 + after, "fault": None, "body": HOLD_CALL}
        failed = ("call failed", {"id": "1"})
        events = [("call", doubt), failed, ("invoked", 1.0), ("call", call)]
        history.add(events, [], died=False)
        return history.problems

    assert problems(FIRST_PROBE) == []
    assert problems(FIRST_PROBE - 1.0) == ["a call followed 4.0 s after a doubtful one"]


def test_a_process_that_runs_out_of_time_is_a_problem() -> None:
    history = History({"one": HOLD})
    history.add([("died", "killed")], [], died=True)
    assert history.problems == []
    history.add([("died", "out of time")], [], died=True)
    assert history.problems == ["a process ran out of time"]


def _counted(history: History) -> History:
    """Return the history with counters instead of the dicts of a case."""
    return replace(
        history,
        abandoned=Counter(history.abandoned),
        resent=Counter(history.resent),
        posted=Counter(history.posted),
    )
