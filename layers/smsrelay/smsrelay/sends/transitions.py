"""The steps of a send's life: pure functions from one state of it to the next."""

from dataclasses import replace
from http import HTTPStatus

from smsrelay.sends import delivery_report
from smsrelay.sends.call_outcome import Kind, Outcome
from smsrelay.sends.delivery_report import Delivery, Report
from smsrelay.sends.send import OnUnknown, Send, Status

NOBODY_SUBSCRIBED = "no-subscribed-recipient"


def started(send: Send, now: float, lease_until: float) -> Send:
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


def ended(  # noqa: PLR0913 - what became of it, and three numbers of the policy
    send: Send,
    outcome: Outcome,
    *,
    now: float,
    wait: float,
    max_attempts: int,
    follow: bool = False,
) -> Send:
    """The send after a call.

    Args:
        send: As it was while the call ran.
        outcome: What became of the call; its errors are stored as they are, so redact them first.
        now: Seconds since the epoch.
        wait: Seconds until the next attempt, if there is one.
        max_attempts: How many attempts a send has.
        follow: Whether an accepted send's delivery is to be asked for.
    """
    after = replace(
        send,
        updated_at=now,
        due_at=now,
        reason=outcome.reason,
        errors=outcome.errors,
        in_doubt=send.in_doubt or outcome.kind is Kind.UNKNOWN,
    )
    if outcome.kind is Kind.ACCEPTED:
        after = replace(after, status=Status.ACCEPTED, token_id=outcome.token_id, body=None)
        return _followed(after, now) if follow and outcome.token_id is not None else after
    # What may have gone out, at an earlier attempt too, is never called rejected or failed:
    # somebody would send it again.
    if outcome.kind is Kind.REJECTED and not after.in_doubt:
        return replace(after, status=Status.REJECTED, body=None)
    is_held = outcome.kind is Kind.UNKNOWN and send.on_unknown is OnUnknown.HOLD
    if outcome.kind is Kind.REJECTED or is_held:
        return replace(after, status=Status.UNKNOWN)
    if outcome.status == HTTPStatus.TOO_MANY_REQUESTS:
        # This says how much is sent, and nothing of this send: its age alone ends it.
        after = replace(after, attempts_put_off=send.attempts_put_off + 1)
    elif counted(send) >= max_attempts:
        return replace(after, status=Status.UNKNOWN if after.in_doubt else Status.FAILED)
    return replace(after, status=Status.QUEUED, due_at=now + wait)


def lapsed(send: Send, *, now: float, max_attempts: int) -> Send:
    """A sending send whose lease ran out: its process died, and nobody knows how far it came."""
    outcome = Outcome(Kind.UNKNOWN, "lease-expired")
    return ended(send, outcome, now=now, wait=0.0, max_attempts=max_attempts)


def has_lapsed(send: Send, now: float) -> bool:
    """Whether the process that was sending it must be dead."""
    return send.status is Status.SENDING and send.due_at <= now


def counted(send: Send) -> int:
    """The attempts that count towards the most: the upstream has not put them off (429)."""
    return tried(send) - send.attempts_put_off


def tried(send: Send) -> int:
    """The attempts since an operator's last resend, if there was one."""
    return send.attempts - send.attempts_before


def age(send: Send, now: float) -> float:
    """Seconds since its message came in, or since an operator's last resend."""
    return now - (send.created_at if send.resent_at is None else send.resent_at)


def is_undecided(send: Send, now: float) -> bool:
    """Whether nobody can know if it went out, whoever has noticed so far."""
    return send.status is Status.UNKNOWN or has_lapsed(send, now)


def resent(send: Send, *, now: float, owner: str) -> Send:
    """The send as an operator has it tried again, with a fresh count of attempts and a fresh age.

    The number of the attempt goes on, so that a result of an earlier attempt that comes late fits
    no attempt of the new life.
    """
    return replace(
        send,
        status=Status.QUEUED,
        attempts_before=send.attempts,
        attempts_put_off=0,
        resent_at=now,
        in_doubt=send.in_doubt or send.status is not Status.FAILED,
        updated_at=now,
        due_at=now,
        owner=owner,
        reason="resent-by-operator",
        errors=(),
    )


def resolved(  # noqa: PLR0913 - what an operator says, and when
    send: Send, status: Status, *, token_id: str | None, note: str | None, now: float, owner: str
) -> Send:
    """The send as an operator ends it who found out what became of it."""
    reason = "resolved-by-operator"
    return replace(
        send,
        status=status,
        token_id=token_id,
        updated_at=now,
        due_at=now,
        owner=owner,
        reason=f"{reason}: {note}" if note else reason,
        errors=(),
        body=None,
    )


def _followed(send: Send, now: float) -> Send:
    """An accepted send whose delivery is asked for from when it begins."""
    begins = max(now, send.deliver_at or now)
    return replace(
        send, followed=True, deliver_at=begins, due_at=begins + delivery_report.FIRST_LOOK
    )


def reported(send: Send, report: Report, *, now: float, owner: str) -> Send:
    """A followed send after the upstream has told how far its delivery has come."""
    known = delivery_report.tally(report, send.recipients, now)
    after = replace(send, delivery=known, owner=owner, updated_at=now)
    has_failed = report.has_failed and not known.delivered
    if not (report.has_ended and not known.pending) and not has_failed:
        return unreported(after, now=now, owner=owner)
    return replace(
        after,
        status=_reached(known),
        followed=False,
        due_at=now,
        reason=_why(known) if _reached(known) is Status.UNDELIVERED else None,
    )


def unreported(send: Send, *, now: float, owner: str) -> Send:
    """A followed send of which the upstream has not told enough: it is asked for again.

    After 72 hours it is not: it ends as it is known by then.
    """
    age = now - (send.deliver_at or send.created_at)
    if age < delivery_report.LONGEST_FOLLOWED:
        return replace(send, owner=owner, due_at=now + delivery_report.next_gap(age))
    after = replace(send, owner=owner, followed=False, due_at=now)
    known = send.delivery
    return replace(after, status=Status.PARTLY) if known and known.delivered else after


def _reached(known: Delivery) -> Status:
    """The status of a send of which nothing more will be told."""
    if not known.delivered:
        return Status.UNDELIVERED
    missed = known.undelivered or known.pending or known.unsubscribed
    return Status.PARTLY if missed else Status.DELIVERED


def _why(known: Delivery) -> str:
    """Why nobody was reached, in one word."""
    nobody = known.unsubscribed and not known.undelivered and not known.pending
    return NOBODY_SUBSCRIBED if nobody else "not-delivered"
