"""The smaller pure decisions: waits, a send's next state, ids."""

from dataclasses import replace

import pytest

from smsrelay.sends import transitions
from smsrelay.sends.backoff import LONGEST_HOLD, hold_seconds, wait_seconds
from smsrelay.sends.call_outcome import Kind, Outcome
from smsrelay.sends.ids import message_id, new_message_id
from smsrelay.sends.send import OnUnknown, Send, SendKey, Status, message_status
from smsrelay.services.upstream_pause import Brake

NOW = 1_790_000_000.0
SENDING = Send(
    key=SendKey("01K", 1),
    client="c",
    template="m",
    recipients=1,
    status=Status.SENDING,
    on_unknown=OnUnknown.HOLD,
    fingerprint="f",
    created_at=NOW,
    updated_at=NOW,
    due_at=NOW + 60,
    owner="o",
    attempts=1,
    body="{}",
)
THROTTLED = Outcome(Kind.NOT_SENT, "throttled", 429)


@pytest.mark.parametrize(
    ("outcome", "attempt", "least", "most"),
    [
        (THROTTLED, 1, 1.0, 2.0),
        (THROTTLED, 2, 1.0, 4.0),
        (THROTTLED, 5, 1.0, 32.0),
        (THROTTLED, 50, 1.0, 600.0),
        (THROTTLED._replace(retry_after=5.0), 1, 5.0, 7.0),
        (THROTTLED._replace(retry_after=5.0), 9, 5.0, 517.0),
        (THROTTLED._replace(retry_after=0.0), 1, 1.0, 2.0),
        (THROTTLED._replace(retry_after=10_000.0), 1, 900.0, 900.0),
        (THROTTLED._replace(reason="blocked"), 1, 300.0, 302.0),
        (Outcome(Kind.NOT_SENT, "no-connection"), 1, 1.0, 2.0),
    ],
)
def test_waits(outcome: Outcome, attempt: int, least: float, most: float) -> None:
    assert wait_seconds(outcome, attempt, lambda: 0.0) == least
    assert wait_seconds(outcome, attempt, lambda: 1.0) == most


@pytest.mark.parametrize(
    ("outcome", "refusals", "least", "most"),
    [
        (THROTTLED, 1, 0.0, 2.0),
        (THROTTLED, 3, 0.0, 8.0),
        (THROTTLED, 50, 0.0, LONGEST_HOLD),
        (THROTTLED._replace(retry_after=5.0), 3, 5.0, 5.0),
        (THROTTLED._replace(retry_after=900.0), 1, LONGEST_HOLD, LONGEST_HOLD),
        (THROTTLED._replace(reason="blocked"), 2, 0.0, 4.0),
        (Outcome(Kind.NOT_SENT, "unavailable", 503, retry_after=3.0), 1, 3.0, 3.0),
        # These say nothing of the next call.
        (Outcome(Kind.NOT_SENT, "no-connection"), 1, 0.0, 0.0),
        (Outcome(Kind.UNKNOWN, "server-error", 500), 1, 0.0, 0.0),
        (Outcome(Kind.REJECTED, "refused", 400), 1, 0.0, 0.0),
        (Outcome(Kind.ACCEPTED, "accepted", 202), 1, 0.0, 0.0),
    ],
)
def test_how_long_a_worker_holds_back(
    outcome: Outcome, refusals: int, least: float, most: float
) -> None:
    assert hold_seconds(outcome, refusals, lambda: 0.0) == least
    assert hold_seconds(outcome, refusals, lambda: 1.0) == most


def test_a_worker_holds_back_until_its_time_and_longer_each_time() -> None:
    now = [NOW]
    brake = Brake(lambda: now[0], lambda: 1.0)
    accepted = Outcome(Kind.ACCEPTED, "accepted", 202)
    brake.heard(accepted)
    assert brake.seconds() == 0
    for hold in (2.0, 4.0, 8.0):
        for _ in range(10):  # calls that ran side by side count once
            brake.heard(THROTTLED)
        assert brake.seconds() == hold
        brake.heard(accepted._replace(kind=Kind.UNKNOWN))
        now[0] += hold / 2
        assert brake.seconds() == hold / 2, "what else is heard changes nothing"
        now[0] += hold / 2
        assert brake.seconds() == 0
    brake.heard(accepted)
    brake.heard(THROTTLED)
    assert brake.seconds() == 2.0, "it begins anew after one that was taken"
    now[0] -= 3_600
    assert brake.seconds() == LONGEST_HOLD, "a clock that is put back holds nobody for an hour"


HOLD, RESEND = OnUnknown.HOLD, OnUnknown.RESEND


@pytest.mark.parametrize(
    ("kind", "on_unknown", "attempt", "status", "keeps_body"),
    [
        (Kind.ACCEPTED, HOLD, 1, Status.ACCEPTED, False),
        (Kind.ACCEPTED, RESEND, 4, Status.ACCEPTED, False),
        (Kind.REJECTED, HOLD, 1, Status.REJECTED, False),
        (Kind.NOT_SENT, HOLD, 1, Status.QUEUED, True),
        (Kind.NOT_SENT, HOLD, 3, Status.QUEUED, True),
        (Kind.NOT_SENT, HOLD, 4, Status.FAILED, True),
        (Kind.UNKNOWN, HOLD, 1, Status.UNKNOWN, True),
        (Kind.UNKNOWN, HOLD, 4, Status.UNKNOWN, True),
        (Kind.UNKNOWN, RESEND, 1, Status.QUEUED, True),
        (Kind.UNKNOWN, RESEND, 4, Status.UNKNOWN, True),
    ],
)
def test_a_send_after_a_call(
    kind: Kind, on_unknown: OnUnknown, attempt: int, status: Status, keeps_body: bool
) -> None:
    send = replace(SENDING, on_unknown=on_unknown, attempts=attempt)
    outcome = Outcome(kind, "why", 400, "token" if kind is Kind.ACCEPTED else None, ("words",))
    after = transitions.ended(send, outcome, now=NOW + 1, wait=7.0, max_attempts=4)
    assert after.status is status
    assert (after.body is not None) == keeps_body
    assert after.token_id == ("token" if status is Status.ACCEPTED else None)
    assert (after.reason, after.errors) == ("why", ("words",))
    assert after.due_at == (NOW + 8 if status is Status.QUEUED else NOW + 1)


@pytest.mark.parametrize(("kind", "attempt"), [(Kind.REJECTED, 2), (Kind.NOT_SENT, 4)])
def test_what_may_have_gone_out_is_never_called_rejected_or_failed(
    kind: Kind, attempt: int
) -> None:
    def tried(send: Send, outcome: Outcome, attempt: int) -> Send:
        begun = replace(transitions.started(send, NOW, NOW + 60), attempts=attempt)
        return transitions.ended(begun, outcome, now=NOW + 1, wait=7.0, max_attempts=4)

    unheard = tried(replace(SENDING, on_unknown=RESEND), Outcome(Kind.UNKNOWN, "read-timeout"), 1)
    assert unheard.status is Status.QUEUED
    after = tried(unheard, Outcome(kind, "why"), attempt)
    assert (after.status, after.reason, after.body) == (Status.UNKNOWN, "why", "{}")
    # The same when it was an operator who had it sent again.
    held = transitions.resent(replace(SENDING, status=Status.UNKNOWN), now=NOW, owner="o")
    assert tried(held, Outcome(kind, "why"), attempt + 1).status is Status.UNKNOWN
    certain = transitions.resent(replace(SENDING, status=Status.FAILED), now=NOW, owner="o")
    ended = tried(certain, Outcome(kind, "why"), attempt + 1)
    assert ended.status in {Status.REJECTED, Status.FAILED}


def test_a_lease_that_ran_out_means_unknown_and_never_again() -> None:
    assert not transitions.has_lapsed(SENDING, NOW + 59)
    assert transitions.has_lapsed(SENDING, NOW + 60)
    assert not transitions.has_lapsed(replace(SENDING, status=Status.QUEUED), NOW + 60)
    after = transitions.lapsed(SENDING, now=NOW + 60, max_attempts=4)
    assert (after.status, after.reason) == (Status.UNKNOWN, "lease-expired")
    again = transitions.lapsed(replace(SENDING, on_unknown=RESEND), now=NOW + 60, max_attempts=4)
    assert (again.status, again.due_at) == (Status.QUEUED, NOW + 60)


def test_an_operators_resend_counts_attempts_and_age_anew_and_numbers_them_on() -> None:
    spent = replace(
        SENDING, status=Status.FAILED, attempts=4, reason="throttled", errors=("words",)
    )
    again = transitions.resent(spent, now=NOW + 100, owner="operator")
    assert (again.status, again.due_at, again.owner) == (Status.QUEUED, NOW + 100, "operator")
    assert (again.attempts, transitions.counted(again), transitions.age(again, NOW + 107)) == (
        4,
        0,
        7,
    )
    assert (again.body, again.errors, transitions.age(spent, NOW + 107)) == ("{}", (), 107)
    begun = transitions.started(again, NOW + 101, NOW + 160)
    away = Outcome(Kind.NOT_SENT, "no-connection")
    for attempt, status in ((5, Status.QUEUED), (7, Status.QUEUED), (8, Status.FAILED)):
        tried = replace(begun, attempts=attempt)
        after = transitions.ended(tried, away, now=NOW + 102, wait=1.0, max_attempts=4)
        assert after.status is status
    assert (
        transitions.counted(transitions.resent(replace(begun, attempts=8), now=NOW, owner="o")) == 0
    )


@pytest.mark.parametrize("reason", ["throttled", "blocked"])
def test_what_the_upstream_puts_off_is_not_given_up_for_it(reason: str) -> None:
    """However often: what counts is why it could not be made, apart from how much was sent."""
    send = replace(SENDING, status=Status.QUEUED, attempts=0)
    for _ in range(30):
        begun = transitions.started(send, NOW, NOW + 60)
        send = transitions.ended(
            begun, THROTTLED._replace(reason=reason), now=NOW + 1, wait=7.0, max_attempts=2
        )
        assert (send.status, send.due_at) == (Status.QUEUED, NOW + 8)
    assert (send.attempts, transitions.tried(send), transitions.counted(send)) == (30, 30, 0)
    away = Outcome(Kind.NOT_SENT, "no-connection")
    for status in (Status.QUEUED, Status.FAILED):
        send = transitions.ended(
            transitions.started(send, NOW, NOW + 60), away, now=NOW + 1, wait=7.0, max_attempts=2
        )
        assert send.status is status
    again = transitions.resent(send, now=NOW, owner="operator")
    assert (again.attempts, transitions.tried(again), transitions.counted(again)) == (32, 0, 0)


@pytest.mark.parametrize("status", [Status.ACCEPTED, Status.REJECTED])
def test_an_operator_ends_what_is_undecided(status: Status) -> None:
    assert transitions.is_undecided(SENDING, NOW + 60)
    assert not transitions.is_undecided(SENDING, NOW + 59)
    unknown = replace(SENDING, status=Status.UNKNOWN, errors=("words",))
    assert transitions.is_undecided(unknown, NOW)
    ended = transitions.resolved(
        unknown, status, token_id="t", note="it rang", now=NOW + 5, owner="operator"
    )
    assert (ended.status, ended.token_id, ended.body) == (status, "t", None)
    assert (ended.reason, ended.errors) == ("resolved-by-operator: it rang", ())
    silent = transitions.resolved(unknown, status, token_id=None, note=None, now=NOW, owner="o")
    assert silent.reason == "resolved-by-operator"


@pytest.mark.parametrize(
    ("statuses", "together"),
    [
        (["accepted"], "accepted"),
        (["accepted", "accepted"], "accepted"),
        (["accepted", "queued"], "partial"),
        (["queued", "sending"], "queued"),
        (["sending"], "sending"),
        (["rejected", "rejected"], "rejected"),
        (["accepted", "rejected"], "partial"),
        (["queued", "rejected"], "partial"),
        (["accepted", "unknown", "rejected"], "unknown"),
        (["failed", "failed"], "failed"),
    ],
)
def test_a_message_is_what_its_sends_are(statuses: list[str], together: str) -> None:
    assert message_status([Status(status) for status in statuses]) == together


def test_ids_follow_from_client_and_key() -> None:
    assert message_id("shop", "k") == message_id("shop", "k")
    assert len({message_id("shop", "k"), message_id("sho", "pk"), message_id("shop", "l")}) == 3
    assert len(message_id("shop", "k")) == len(new_message_id()) == 26
    assert new_message_id() != new_message_id()
