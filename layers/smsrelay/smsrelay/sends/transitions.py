"""The steps of a send's life: pure functions from one state of it to the next."""

from collections.abc import Sequence
from dataclasses import replace

from smsrelay.sends import polling_schedule
from smsrelay.sends.call_outcome import Outcome, OutcomeKind
from smsrelay.sends.delivery_report import DeliveryCounts, DeliveryReport, count_recipients
from smsrelay.sends.operator_pause import REASON, RETURN_SECONDS, OperatorPause, paused_seconds
from smsrelay.sends.send import NOT_POLLED, NOT_SENT_STATUSES, OnUnknown, Send, Status

NOBODY_SUBSCRIBED = "no-subscribed-recipient"


def begin_attempt(send: Send, now: float, lease_until: float) -> Send:
    """The send while its owner calls the upstream; until `lease_until` nobody else touches it."""
    return replace(
        send,
        status=Status.SENDING,
        attempts=send.attempts + 1,
        updated_at=now,
        due_at=lease_until,
        reason=None,
        errors=(),
    )


def finish_attempt(  # noqa: PLR0913 - what became of it, and three numbers of the policy
    send: Send,
    outcome: Outcome,
    *,
    now: float,
    wait: float,
    max_attempts: int,
    is_last: bool = False,
    poll_delivery: bool = False,
    keep_rejected: bool = False,
) -> Send:
    """The send after a call.

    The outcome's errors are stored as they are, so redact and limit them first. `wait` is in
    seconds, until the next attempt. `max_attempts` limits the attempts in doubt of a send with
    `onUnknown: "resend"`. A send that is too old has no other attempt: this one `is_last`. With
    `keep_rejected` a rejected send keeps its body, so that an operator can redrive it.
    """
    after = replace(
        send,
        updated_at=now,
        due_at=now,
        reason=outcome.reason,
        errors=outcome.errors,
        may_have_been_sent=send.may_have_been_sent or outcome.kind is OutcomeKind.UNKNOWN,
    )
    if outcome.kind is OutcomeKind.ACCEPTED:
        after = replace(after, status=Status.ACCEPTED, token_id=outcome.token_id, body=None)
        polls = poll_delivery and outcome.token_id is not None
        return _await_report(after, now) if polls else after
    # What may have gone out, at an earlier attempt too, is never called rejected or failed:
    # somebody would send it again.
    if outcome.kind is OutcomeKind.REJECTED and not after.may_have_been_sent:
        return replace(after, status=Status.REJECTED, body=send.body if keep_rejected else None)
    awaits_operator = outcome.kind is OutcomeKind.UNKNOWN and send.on_unknown is OnUnknown.HOLD
    if outcome.kind is OutcomeKind.REJECTED or awaits_operator:
        return replace(after, status=Status.UNKNOWN)
    if outcome.kind is OutcomeKind.NOT_SENT:
        # This says nothing about the send: only its age ends it.
        after = replace(after, attempts_put_off=send.attempts_put_off + 1)
        if is_last:
            ended = Status.UNKNOWN if after.may_have_been_sent else Status.FAILED
            return replace(after, status=ended)
    elif counted_attempts(send) >= max_attempts:
        return replace(after, status=Status.UNKNOWN)
    return queue(after, now + wait)


def queue(send: Send, due_at: float) -> Send:
    """The send as queued. If it expires before, it is due then, so that it ends in time."""
    if send.expires_at is not None:
        due_at = min(due_at, send.expires_at)
    return replace(send, status=Status.QUEUED, due_at=due_at)


def has_expired(send: Send, now: float) -> bool:
    """Whether a queued send must no longer be begun with."""
    expires_at = send.expires_at
    return send.status is Status.QUEUED and expires_at is not None and expires_at <= now


def end_queued(send: Send, status: Status, *, now: float, written_by: str) -> Send:
    """A queued send that is `cancelled` or `expired`: no further attempt is made.

    If an earlier attempt may have gone out it is `unknown`, with the status as its reason, and
    keeps its body: an operator decides.
    """
    after = replace(
        send, reason=status.value, updated_at=now, due_at=now, written_by=written_by, errors=()
    )
    if send.may_have_been_sent:
        return replace(after, status=Status.UNKNOWN)
    return replace(after, status=status, body=None)


def expire_lease(send: Send, *, now: float, max_attempts: int, written_by: str) -> Send:
    """A sending send whose lease ran out: its process died, and nobody knows how far it came."""
    outcome = Outcome(OutcomeKind.UNKNOWN, "lease-expired")
    after = finish_attempt(send, outcome, now=now, wait=0.0, max_attempts=max_attempts)
    return replace(after, written_by=written_by)


def lease_expired(send: Send, now: float) -> bool:
    """Whether the process that was sending it must be dead."""
    return send.lease_until is not None and send.lease_until <= now


def counted_attempts(send: Send) -> int:
    """The attempts that count towards the most: those in doubt, since the last resend."""
    return attempts_since_resend(send) - send.attempts_put_off


def attempts_since_resend(send: Send) -> int:
    """The attempts since an operator's last resend, if there was one."""
    return send.attempts - send.attempts_before


def age(send: Send, now: float, pauses: Sequence[OperatorPause] = ()) -> float:
    """Seconds since its message came in or an operator resent it, without the time in pauses."""
    since = send.created_at if send.resent_at is None else send.resent_at
    return now - since - paused_seconds(pauses, send.client, since, now)


def wait_for_operator(send: Send, now: float) -> Send:
    """A queued send while an operator's pause goes on."""
    return queue(replace(send, updated_at=now, reason=REASON), now + RETURN_SECONDS)


def is_undecided(send: Send, now: float) -> bool:
    """Whether nobody can know if it went out, whoever has noticed so far."""
    return send.status is Status.UNKNOWN or lease_expired(send, now)


def requeue_by_operator(send: Send, *, now: float, written_by: str) -> Send:
    """The send that an operator resends: its age and the attempts that count begin again.

    `attempts` goes on, so that a late result of an earlier attempt does not match a new one.
    """
    return replace(
        send,
        status=Status.QUEUED,
        attempts_before=send.attempts,
        attempts_put_off=0,
        resent_at=now,
        may_have_been_sent=send.may_have_been_sent or send.status not in NOT_SENT_STATUSES,
        updated_at=now,
        due_at=now,
        written_by=written_by,
        reason="resent-by-operator",
        note=None,
        errors=(),
    )


def resolve_by_operator(  # noqa: PLR0913 - what an operator says, and when
    send: Send,
    status: Status,
    *,
    token_id: str | None,
    note: str | None,
    now: float,
    written_by: str,
) -> Send:
    """The send as an operator ends it.

    `failed` means that it was certainly not sent: it keeps its body, so that it can be resent.
    """
    is_failed = status is Status.FAILED
    return replace(
        send,
        status=status,
        token_id=token_id,
        updated_at=now,
        due_at=now,
        written_by=written_by,
        may_have_been_sent=send.may_have_been_sent and not is_failed,
        reason="resolved-by-operator",
        note=note,
        errors=(),
        body=send.body if is_failed else None,
    )


def _await_report(send: Send, now: float) -> Send:
    """An accepted send whose delivery is asked for from when it begins."""
    poll_from = max(now, send.scheduled_for or now)
    return replace(
        send,
        awaits_report=True,
        scheduled_for=poll_from,
        due_at=poll_from + polling_schedule.FIRST_POLL,
    )


def apply_report(send: Send, report: DeliveryReport, *, now: float, written_by: str) -> Send:
    """A followed send after the upstream has told how far its delivery has come."""
    counts = count_recipients(report, send.recipients, now)
    after = replace(send, delivery=counts, written_by=written_by, updated_at=now)
    has_failed = report.has_failed and not counts.delivered
    if not (report.has_ended and not counts.pending) and not has_failed:
        return schedule_next_poll(after, now=now, written_by=written_by)
    status, reason = _result_of(counts)
    return replace(after, status=status, awaits_report=False, due_at=now, reason=reason)


def schedule_next_poll(send: Send, *, now: float, written_by: str) -> Send:
    """A followed send of which the upstream has not told enough: it is asked for again.

    The last poll is due after 71 hours; then it ends as it is known.
    """
    began = send.poll_from or send.created_at
    if now - began < polling_schedule.LAST_POLL:
        due_at = now + polling_schedule.next_poll_delay(now - began)
        last = began + polling_schedule.LAST_POLL
        return replace(send, polled=True, written_by=written_by, due_at=min(due_at, last))
    return _stop_polling(send, now, written_by)


def end_unpolled(send: Send, *, now: float, written_by: str) -> Send:
    """A send whose next poll could not be made within the 72 hours: it ends as it is known."""
    return replace(_stop_polling(send, now, written_by), reason=NOT_POLLED, updated_at=now)


def _stop_polling(send: Send, now: float, written_by: str) -> Send:
    reached = send.delivery and send.delivery.delivered
    return replace(
        send,
        status=Status.PARTIALLY_DELIVERED if reached else send.status,
        awaits_report=False,
        written_by=written_by,
        due_at=now,
    )


def _result_of(counts: DeliveryCounts) -> tuple[Status, str | None]:
    """The final status, and the reason if the upstream reached nobody."""
    missed = counts.undelivered or counts.pending
    if not counts.delivered:
        reason = NOBODY_SUBSCRIBED if counts.unsubscribed and not missed else "not-delivered"
        return Status.UNDELIVERED, reason
    is_partial = missed or counts.unsubscribed
    return Status.PARTIALLY_DELIVERED if is_partial else Status.DELIVERED, None
