"""Tests waits, pauses, and a send's next state."""

from dataclasses import replace
from functools import partial

import pytest

from smsrelay.sends import transitions
from smsrelay.sends.backoff import MAX_PAUSE, pause_after, retry_delay
from smsrelay.sends.call_outcome import Outcome, OutcomeKind
from smsrelay.sends.send import OnUnknown, Send, SendKey, Status
from smsrelay.sends.status_events import StatusChange, event_id, event_of
from smsrelay.services.upstream_pause import Call, UpstreamPause

NOW = 1_790_000_000.0
SENDING = Send(
    key=SendKey("01K", 1),
    client="c",
    upstream_message_id="m",
    recipients=1,
    status=Status.SENDING,
    on_unknown=OnUnknown.HOLD,
    fingerprint="f",
    created_at=NOW,
    updated_at=NOW,
    due_at=NOW + 60,
    written_by="o",
    attempts=1,
    body="{}",
)
THROTTLED = Outcome(OutcomeKind.NOT_SENT, "throttled", 429)


@pytest.mark.parametrize(
    ("outcome", "attempt", "least", "most"),
    [
        (THROTTLED, 1, 1.0, 2.0),
        (THROTTLED, 2, 1.0, 4.0),
        (THROTTLED, 5, 1.0, 32.0),
        (THROTTLED, 50, 1.0, 600.0),
        (THROTTLED, 5_000, 1.0, 600.0),
        (THROTTLED._replace(retry_after=5.0), 1, 5.0, 7.0),
        (THROTTLED._replace(retry_after=5.0), 9, 5.0, 517.0),
        (THROTTLED._replace(retry_after=0.0), 1, 1.0, 2.0),
        (THROTTLED._replace(retry_after=10_000.0), 1, 10_000.0, 10_002.0),
        (THROTTLED._replace(reason="blocked"), 1, 300.0, 302.0),
        (Outcome(OutcomeKind.NOT_SENT, "no-connection"), 1, 1.0, 2.0),
    ],
)
def test_waits(outcome: Outcome, attempt: int, least: float, most: float) -> None:
    assert retry_delay(outcome, attempt, lambda: 0.0) == least
    assert retry_delay(outcome, attempt, lambda: 1.0) == most
    assert retry_delay(outcome, attempt, lambda: 1.0, longest=100.0) == min(most, 100.0)


@pytest.mark.parametrize(
    ("outcome", "refusals", "least", "most"),
    [
        (THROTTLED, 1, 0.0, 2.0),
        (THROTTLED, 3, 0.0, 8.0),
        (THROTTLED, 50, 0.0, MAX_PAUSE),
        (THROTTLED, 5_000, 0.0, MAX_PAUSE),
        (THROTTLED._replace(retry_after=5.0), 3, 5.0, 5.0),
        (THROTTLED._replace(retry_after=900.0), 1, MAX_PAUSE, MAX_PAUSE),
        (THROTTLED._replace(reason="blocked"), 2, 0.0, 4.0),
        (Outcome(OutcomeKind.NOT_SENT, "unavailable", 503, retry_after=3.0), 1, 3.0, 3.0),
        # These outcomes do not affect the next call.
        (Outcome(OutcomeKind.NOT_SENT, "no-connection"), 1, 0.0, 0.0),
        (Outcome(OutcomeKind.UNKNOWN, "server-error", 500), 1, 0.0, 0.0),
        (Outcome(OutcomeKind.REJECTED, "refused", 400), 1, 0.0, 0.0),
        (Outcome(OutcomeKind.ACCEPTED, "accepted", 202), 1, 0.0, 0.0),
    ],
)
def test_the_pause_after_each_outcome(
    outcome: Outcome, refusals: int, least: float, most: float
) -> None:
    assert pause_after(outcome, refusals, lambda: 0.0) == least
    assert pause_after(outcome, refusals, lambda: 1.0) == most


def test_pauses_end_in_time_and_grow_with_each_throttled_call() -> None:
    now = [NOW]
    pause = UpstreamPause(lambda: now[0], lambda: 1.0)
    call = Call("m", [])
    accepted = Outcome(OutcomeKind.ACCEPTED, "accepted", 202)
    pause.end_call(call, accepted)
    assert pause.remaining() == 0
    for hold in (2.0, 4.0, 8.0):
        for _ in range(10):  # parallel calls count once
            pause.end_call(call, THROTTLED)
        assert pause.remaining() == hold
        pause.end_call(call, accepted._replace(kind=OutcomeKind.UNKNOWN))
        now[0] += hold / 2
        assert pause.remaining() == hold / 2, "other outcomes must not change the pause"
        now[0] += hold / 2
        assert pause.remaining() == 0
    pause.end_call(call, accepted)
    pause.end_call(call, THROTTLED)
    assert pause.remaining() == 2.0, "an accepted call must reset the pause"
    now[0] -= 3_600
    assert pause.remaining() == MAX_PAUSE, "a clock set back must not extend the pause"


HOLD, RESEND = OnUnknown.HOLD, OnUnknown.RESEND


@pytest.mark.parametrize(
    ("kind", "on_unknown", "attempt", "status", "keeps_body"),
    [
        (OutcomeKind.ACCEPTED, HOLD, 1, Status.ACCEPTED, False),
        (OutcomeKind.ACCEPTED, RESEND, 4, Status.ACCEPTED, False),
        (OutcomeKind.REJECTED, HOLD, 1, Status.REJECTED, False),
        (OutcomeKind.NOT_SENT, HOLD, 1, Status.QUEUED, True),
        (OutcomeKind.NOT_SENT, HOLD, 3, Status.QUEUED, True),
        (OutcomeKind.NOT_SENT, HOLD, 40, Status.QUEUED, True),
        (OutcomeKind.UNKNOWN, HOLD, 1, Status.UNKNOWN, True),
        (OutcomeKind.UNKNOWN, HOLD, 4, Status.UNKNOWN, True),
        (OutcomeKind.UNKNOWN, RESEND, 1, Status.QUEUED, True),
        (OutcomeKind.UNKNOWN, RESEND, 4, Status.UNKNOWN, True),
    ],
)
def test_a_send_after_a_call(
    kind: OutcomeKind, on_unknown: OnUnknown, attempt: int, status: Status, keeps_body: bool
) -> None:
    send = replace(SENDING, on_unknown=on_unknown, attempts=attempt)
    outcome = Outcome(
        kind, "why", 400, "token" if kind is OutcomeKind.ACCEPTED else None, ("words",)
    )
    after = transitions.finish_attempt(send, outcome, now=NOW + 1, wait=7.0, max_attempts=4)
    assert after.status is status
    assert (after.body is not None) == keeps_body
    assert after.token_id == ("token" if status is Status.ACCEPTED else None)
    assert (after.reason, after.errors) == ("why", ("words",))
    assert after.due_at == (NOW + 8 if status is Status.QUEUED else NOW + 1)


def test_a_rejected_send_keeps_its_body_if_an_operator_may_redrive_it() -> None:
    outcome = Outcome(OutcomeKind.REJECTED, "refused", 400)
    after = transitions.finish_attempt(
        SENDING, outcome, now=NOW + 1, wait=7.0, max_attempts=4, keep_rejected=True
    )
    assert (after.status, after.body) == (Status.REJECTED, "{}")
    again = transitions.requeue_by_operator(after, now=NOW + 100, written_by="operator")
    assert (again.status, again.attempts, again.resent_at) == (Status.QUEUED, 1, NOW + 100)
    assert not again.may_have_been_sent


@pytest.mark.parametrize(
    ("kind", "attempt"), [(OutcomeKind.REJECTED, 2), (OutcomeKind.NOT_SENT, 4)]
)
def test_a_send_that_may_have_been_sent_never_becomes_rejected_or_failed(
    kind: OutcomeKind, attempt: int
) -> None:
    def tried(send: Send, outcome: Outcome, attempt: int) -> Send:
        begun = replace(transitions.begin_attempt(send, NOW, NOW + 60), attempts=attempt)
        return transitions.finish_attempt(
            begun, outcome, now=NOW + 1, wait=7.0, max_attempts=4, is_last=attempt > 1
        )

    in_doubt = tried(
        replace(SENDING, on_unknown=RESEND), Outcome(OutcomeKind.UNKNOWN, "read-timeout"), 1
    )
    assert in_doubt.status is Status.QUEUED
    after = tried(in_doubt, Outcome(kind, "why"), attempt)
    assert (after.status, after.reason, after.body) == (Status.UNKNOWN, "why", "{}")
    # The same after an operator resent it.
    held = transitions.requeue_by_operator(
        replace(SENDING, status=Status.UNKNOWN), now=NOW, written_by="o"
    )
    assert tried(held, Outcome(kind, "why"), attempt + 1).status is Status.UNKNOWN
    for status in (Status.FAILED, Status.REJECTED):
        certain = transitions.requeue_by_operator(
            replace(SENDING, status=status), now=NOW, written_by="o"
        )
        ended = tried(certain, Outcome(kind, "why"), attempt + 1)
        assert ended.status in {Status.REJECTED, Status.FAILED}


def test_a_send_with_an_expired_lease_becomes_unknown_and_is_not_tried_again() -> None:
    assert not transitions.lease_expired(SENDING, NOW + 59)
    assert transitions.lease_expired(SENDING, NOW + 60)
    assert SENDING.lease_until == NOW + 60
    assert replace(SENDING, status=Status.QUEUED).lease_until is None
    assert not transitions.lease_expired(replace(SENDING, status=Status.QUEUED), NOW + 60)
    expired = partial(transitions.expire_lease, now=NOW + 60, max_attempts=4, written_by="sweeper")
    after = expired(SENDING)
    assert (after.status, after.reason) == (Status.UNKNOWN, "lease-expired")
    assert after.written_by == "sweeper"
    again = expired(replace(SENDING, on_unknown=RESEND))
    assert (again.status, again.due_at) == (Status.QUEUED, NOW + 60)


def test_an_operators_resend_restarts_age_and_counted_attempts_but_not_their_numbers() -> None:
    spent = replace(
        SENDING, status=Status.FAILED, attempts=4, reason="throttled", errors=("words",)
    )
    again = transitions.requeue_by_operator(spent, now=NOW + 100, written_by="operator")
    assert (again.status, again.due_at, again.written_by) == (Status.QUEUED, NOW + 100, "operator")
    assert (
        again.attempts,
        transitions.counted_attempts(again),
        transitions.age(again, NOW + 107),
    ) == (
        4,
        0,
        7,
    )
    assert (again.body, again.errors, transitions.age(spent, NOW + 107)) == ("{}", (), 107)
    begun = replace(
        transitions.begin_attempt(again, NOW + 101, NOW + 160), on_unknown=OnUnknown.RESEND
    )
    doubtful = Outcome(OutcomeKind.UNKNOWN, "read-timeout")
    for attempt, status in ((5, Status.QUEUED), (7, Status.QUEUED), (8, Status.UNKNOWN)):
        tried = replace(begun, attempts=attempt)
        after = transitions.finish_attempt(tried, doubtful, now=NOW + 102, wait=1.0, max_attempts=4)
        assert after.status is status
    assert (
        transitions.counted_attempts(
            transitions.requeue_by_operator(replace(begun, attempts=8), now=NOW, written_by="o")
        )
        == 0
    )


@pytest.mark.parametrize(
    "reason", ["throttled", "blocked", "no-token", "no-connection", "forbidden", "out-of-time"]
)
def test_only_attempts_in_doubt_count_and_only_age_ends_the_others(reason: str) -> None:
    send = replace(SENDING, status=Status.QUEUED, attempts=0, on_unknown=OnUnknown.RESEND)

    def attempt(send: Send, outcome: Outcome, *, is_last: bool = False) -> Send:
        begun = transitions.begin_attempt(send, NOW, NOW + 60)
        return transitions.finish_attempt(
            begun, outcome, now=NOW + 1, wait=7.0, max_attempts=2, is_last=is_last
        )

    not_sent = Outcome(OutcomeKind.NOT_SENT, reason)
    for _ in range(30):
        send = attempt(send, not_sent)
        assert (send.status, send.due_at) == (Status.QUEUED, NOW + 8)
    assert (send.attempts, transitions.counted_attempts(send)) == (30, 0)
    ended = attempt(send, not_sent, is_last=True)
    assert (ended.status, ended.body) == (Status.FAILED, "{}")
    doubtful = Outcome(OutcomeKind.UNKNOWN, "read-timeout")
    for status in (Status.QUEUED, Status.UNKNOWN):
        send = attempt(send, doubtful)
        assert send.status is status
    again = transitions.requeue_by_operator(send, now=NOW, written_by="operator")
    assert (again.attempts, transitions.counted_attempts(again)) == (32, 0)


@pytest.mark.parametrize("status", [Status.ACCEPTED, Status.REJECTED])
def test_an_operator_ends_an_undecided_send(status: Status) -> None:
    assert transitions.is_undecided(SENDING, NOW + 60)
    assert not transitions.is_undecided(SENDING, NOW + 59)
    unknown = replace(SENDING, status=Status.UNKNOWN, errors=("words",))
    assert transitions.is_undecided(unknown, NOW)
    ended = transitions.resolve_by_operator(
        unknown, status, token_id="t", note="it rang", now=NOW + 5, written_by="operator"
    )
    assert (ended.status, ended.token_id, ended.body) == (status, "t", None)
    assert (ended.reason, ended.note) == ("resolved-by-operator", "it rang")
    assert ended.errors == ()
    silent = transitions.resolve_by_operator(
        unknown, status, token_id=None, note=None, now=NOW, written_by="o"
    )
    assert (silent.reason, silent.note) == ("resolved-by-operator", None)


def test_an_operator_can_end_the_doubt_of_a_send_that_was_not_sent() -> None:
    unknown = replace(SENDING, status=Status.UNKNOWN, may_have_been_sent=True)
    failed = transitions.resolve_by_operator(
        unknown, Status.FAILED, token_id=None, note="none", now=NOW + 5, written_by="operator"
    )
    assert (failed.status, failed.body, failed.may_have_been_sent) == (Status.FAILED, "{}", False)
    again = transitions.requeue_by_operator(failed, now=NOW + 6, written_by="operator")
    assert again.note is None, "the note belongs to the earlier end"
    assert (again.status, again.body, again.may_have_been_sent) == (Status.QUEUED, "{}", False)


@pytest.mark.parametrize(
    ("scheduled_for", "poll_from"), [(None, NOW + 1), (NOW - 60, NOW + 1), (NOW + 900, NOW + 900)]
)
def test_polling_starts_at_the_requested_time_or_when_the_send_is_accepted(
    scheduled_for: float | None, poll_from: float
) -> None:
    scheduled = replace(SENDING, scheduled_for=scheduled_for)
    accepted = Outcome(OutcomeKind.ACCEPTED, "accepted", token_id="t")
    after = transitions.finish_attempt(
        scheduled, accepted, now=NOW + 1, wait=0.0, max_attempts=4, poll_delivery=True
    )
    assert (scheduled.poll_from, after.poll_from) == (None, poll_from)
    assert after.due_at == poll_from + 60


def test_two_events_with_the_same_status_and_attempts_have_different_ids() -> None:
    first = replace(SENDING, status=Status.UNKNOWN, may_have_been_sent=True)
    again = transitions.requeue_by_operator(first, now=NOW + 1, written_by="r")
    second = transitions.end_queued(again, Status.CANCELLED, now=NOW + 2, written_by="c")
    assert second.status is Status.UNKNOWN
    events = [event_of(StatusChange(SENDING, first)), event_of(StatusChange(again, second))]
    assert event_id(events[0]) != event_id(events[1])
