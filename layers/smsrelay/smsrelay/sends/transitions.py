"""The transitions between a send's states. Pure."""

from collections.abc import Sequence
from dataclasses import replace

from smsrelay.sends import polling_schedule
from smsrelay.sends.call_outcome import Outcome, OutcomeKind
from smsrelay.sends.delivery_report import DeliveryCounts, DeliveryReport, count_recipients
from smsrelay.sends.operator_pause import REASON, RETURN_SECONDS, OperatorPause, paused_seconds
from smsrelay.sends.send import NOT_POLLED, NOT_SENT_STATUSES, OnUnknown, Send, Status

RESOLVED = "resolved-by-operator"
NOBODY_SUBSCRIBED = "no-subscribed-recipient"


def begin_attempt(send: Send, now: float, lease_until: float) -> Send:
    """Return the send as `sending`; no other process may change it until `lease_until`."""
    return replace(
        send,
        status=Status.SENDING,
        attempts=send.attempts + 1,
        updated_at=now,
        due_at=lease_until,
        reason=None,
        errors=(),
    )


def finish_attempt(  # noqa: PLR0913 - the outcome, and the numbers of the policy
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
    """Return the send after a call.

    The outcome's errors are stored unchanged, so redact and limit them first. `wait` is the seconds
    until the next attempt. `max_attempts` limits the attempts with an unknown outcome of a send
    with `onUnknown: "resend"`. `is_last` is true for a send that is too old for another attempt.
    With `keep_rejected` a rejected send keeps its body, so that an operator can redrive it.
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
    # A send that may have gone out, even at an earlier attempt, never becomes rejected or failed:
    # its client would send it again.
    if outcome.kind is OutcomeKind.REJECTED and not after.may_have_been_sent:
        return replace(after, status=Status.REJECTED, body=send.body if keep_rejected else None)
    awaits_operator = outcome.kind is OutcomeKind.UNKNOWN and send.on_unknown is OnUnknown.HOLD
    if outcome.kind is OutcomeKind.REJECTED or awaits_operator:
        return replace(after, status=Status.UNKNOWN)
    if outcome.kind is OutcomeKind.NOT_SENT:
        # Such attempts don't count: only its age ends the send.
        after = replace(after, attempts_put_off=send.attempts_put_off + 1)
        if is_last:
            ended = Status.UNKNOWN if after.may_have_been_sent else Status.FAILED
            return replace(after, status=ended)
    elif counted_attempts(send) >= max_attempts:
        return replace(after, status=Status.UNKNOWN)
    return queue(after, now + wait)


def queue(send: Send, due_at: float) -> Send:
    """Return the send as queued. It is due at its expiry at the latest, so that it ends in time."""
    if send.expires_at is not None:
        due_at = min(due_at, send.expires_at)
    return replace(send, status=Status.QUEUED, due_at=due_at)


def has_expired(send: Send, now: float) -> bool:
    """Whether a queued send has passed its `expiresAt`."""
    return send.status is Status.QUEUED and send.is_past_expiry(now)


def end_queued(send: Send, status: Status, *, now: float, written_by: str) -> Send:
    """End a queued send as `cancelled` or `expired`.

    If an earlier attempt may have gone out, the send becomes `unknown` instead, with the status as
    its reason, and keeps its body: an operator decides.
    """
    after = replace(
        send, reason=status.value, updated_at=now, due_at=now, written_by=written_by, errors=()
    )
    if send.may_have_been_sent:
        return replace(after, status=Status.UNKNOWN)
    return replace(after, status=status, body=None)


def expire_lease(send: Send, *, now: float, max_attempts: int, written_by: str) -> Send:
    """End the attempt of a process that died: its outcome is unknown."""
    outcome = Outcome(OutcomeKind.UNKNOWN, "lease-expired")
    after = finish_attempt(send, outcome, now=now, wait=0.0, max_attempts=max_attempts)
    return replace(after, written_by=written_by)


def lease_expired(send: Send, now: float) -> bool:
    """Whether the lease has expired, so that the sending process must be dead."""
    return send.lease_until is not None and send.lease_until <= now


def counted_attempts(send: Send) -> int:
    """Count the attempts with an unknown outcome since the last resend; these are limited."""
    return attempts_since_resend(send) - send.attempts_put_off


def attempts_since_resend(send: Send) -> int:
    """Count the attempts since an operator's last resend, if there was one."""
    return send.attempts - send.attempts_before


def age(send: Send, now: float, pauses: Sequence[OperatorPause] = ()) -> float:
    """Return the seconds since the send's creation or last resend, without the time in pauses."""
    since = send.created_at if send.resent_at is None else send.resent_at
    return now - since - paused_seconds(pauses, send.client, since, now)


def wait_for_operator(send: Send, now: float) -> Send:
    """Queue a send again because of an operator's pause."""
    return queue(replace(send, updated_at=now, reason=REASON), now + RETURN_SECONDS)


def is_undecided(send: Send, now: float) -> bool:
    """Whether it is not known if the send went out, even if that is not stored yet."""
    return send.status is Status.UNKNOWN or lease_expired(send, now)


def requeue_by_operator(send: Send, *, now: float, written_by: str) -> Send:
    """Queue a send that an operator resends: its age and its limited attempts start at zero.

    `attempts` is not reset, so that a late result of an earlier attempt does not match a new one.
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


def resolve_by_operator(  # noqa: PLR0913 - the operator's fields, and the time
    send: Send,
    status: Status,
    *,
    token_id: str | None,
    note: str | None,
    now: float,
    written_by: str,
) -> Send:
    """End a send as an operator decides.

    A `failed` send was certainly not sent: it keeps its body, so that it can be resent.
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
        reason=RESOLVED,
        note=note,
        errors=(),
        body=send.body if is_failed else None,
    )


def _await_report(send: Send, now: float) -> Send:
    """Start polling an accepted send, from its `sendAt` if that is later."""
    poll_from = max(now, send.scheduled_for or now)
    return replace(
        send,
        awaits_report=True,
        scheduled_for=poll_from,
        due_at=poll_from + polling_schedule.FIRST_POLL,
    )


def apply_report(send: Send, report: DeliveryReport, *, now: float, written_by: str) -> Send:
    """Return a polled send with the counts of a delivery report, and end it if they are final."""
    counts = count_recipients(report, send.recipients, now)
    after = replace(send, delivery=counts, written_by=written_by, updated_at=now)
    has_failed = report.has_failed and not counts.delivered
    if not (report.has_ended and not counts.pending) and not has_failed:
        if _polling_age(send, now) >= polling_schedule.LAST_POLL:
            return _stop_polling(after, now, written_by)
        return schedule_next_poll(after, now=now, written_by=written_by)
    status, reason = _result_of(counts)
    return replace(after, status=status, awaits_report=False, due_at=now, reason=reason)


def schedule_next_poll(send: Send, *, now: float, written_by: str) -> Send:
    """Schedule the next poll of a send whose delivery is not final.

    The last poll is due after 71 hours. Without a report it is repeated until the 72 hours are
    over; then the send ends with the counts known so far.
    """
    age = _polling_age(send, now)
    if age < polling_schedule.LAST_POLL:
        wait = min(polling_schedule.next_poll_delay(age), polling_schedule.LAST_POLL - age)
    else:
        wait = polling_schedule.REPEAT_INTERVAL
    if age + wait >= polling_schedule.POLLING_PERIOD:
        return _stop_polling(send, now, written_by)
    return replace(send, polled=True, written_by=written_by, due_at=now + wait)


def end_unpolled(send: Send, *, now: float, written_by: str) -> Send:
    """End a send that could not be polled within the 72 hours, with the counts known so far."""
    return replace(_stop_polling(send, now, written_by), reason=NOT_POLLED)


def _polling_age(send: Send, now: float) -> float:
    """Return the seconds since polling began."""
    return now - (send.poll_from or send.created_at)


def _stop_polling(send: Send, now: float, written_by: str) -> Send:
    reached = send.delivery and send.delivery.delivered
    return replace(
        send,
        status=Status.PARTIALLY_DELIVERED if reached else send.status,
        reason=None if reached else send.reason,
        awaits_report=False,
        written_by=written_by,
        updated_at=now,
        due_at=now,
    )


def _result_of(counts: DeliveryCounts) -> tuple[Status, str | None]:
    """Return the final status, and the reason if no recipient was reached."""
    missed = counts.undelivered or counts.pending
    if not counts.delivered:
        reason = NOBODY_SUBSCRIBED if counts.unsubscribed and not missed else "not-delivered"
        return Status.UNDELIVERED, reason
    is_partial = missed or counts.unsubscribed
    return Status.PARTIALLY_DELIVERED if is_partial else Status.DELIVERED, None
