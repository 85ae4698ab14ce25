"""Sends messages: stores their sends in the ledger, calls the upstream, and stores the outcomes."""

import logging
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime
from enum import Enum
from typing import NamedTuple

from smsrelay.errors import (
    IdempotencyKeyReusedError,
    LedgerUnavailableError,
    NotFoundError,
    RelayError,
    TooLateError,
    UnreadableItemError,
)
from smsrelay.messages.refusals import Refusal
from smsrelay.messages.request import Submission
from smsrelay.messages.upstream_calls import build_calls
from smsrelay.ports import (
    Clock,
    DeadLetterQueue,
    Deadline,
    Ledger,
    MessagePosition,
    Metrics,
    OperatorPauses,
    Random,
    RefusedMessage,
    ReplaceResult,
    RetryQueue,
    Upstream,
)
from smsrelay.security.redaction import redact, without_names
from smsrelay.sends import ids, transitions
from smsrelay.sends.backoff import MAX_DELAY, retry_delay
from smsrelay.sends.call_outcome import (
    NOT_FOUND,
    OUT_OF_TIME,
    WRONG_ROUTE_REASONS,
    Outcome,
    OutcomeKind,
    fit_errors,
)
from smsrelay.sends.operator_pause import REASON, RETURN_SECONDS, active, is_paused
from smsrelay.sends.send import MessageState, OnUnknown, Send, SendKey, Status, reference_body
from smsrelay.services.upstream_pause import UpstreamPause

logger = logging.getLogger(__name__)

STORE_SECONDS, STORE_ATTEMPTS = 7.0, 3
"""Seconds needed for an attempt to store a result, and the most attempts."""
RESERVED_SECONDS = 5.0 + STORE_SECONDS
"""Seconds of an invocation reserved to connect and write, and to store the result."""
MIN_CALL_SECONDS = 10.0
"""No call begins with less time, in seconds, because a call that is cut short ends as unknown."""
MAX_CLOCK_SKEW = 30.0
"""The largest difference of two functions' clocks in seconds; leases are longer by it."""
STALLED_AFTER = 300.0
"""A queued send is enqueued again so many seconds after its due time."""


PAUSED = Outcome(OutcomeKind.NOT_SENT, "paused")
"""Calls are paused, or another send is the probe."""
PAUSED_BY_OPERATOR = Outcome(OutcomeKind.NOT_SENT, REASON)
EXPIRED = Outcome(OutcomeKind.NOT_SENT, Status.EXPIRED.value)


class Timing(Enum):
    """When the calls of a request are made."""

    NOW = "now"  # all of them, concurrently
    SINGLE_NOW = "single-now"  # now if the request has one send; otherwise by the workers
    DEFERRED = "deferred"  # by the workers


class Policy(NamedTuple):
    """The settings of a deployment."""

    max_attempts: int
    max_age: float
    """Seconds after which a send is not tried again: its recipients no longer need it."""
    upstream_timeout: float
    concurrent_sends: int
    polls_delivery: bool = False
    """Whether the deployment polls the delivery of accepted sends."""


class Sender:
    """Stores validated requests and calls the upstream. Thread-safe.

    Methods raise `LedgerUnavailableError` or `QueueUnavailableError` if a store is unavailable.
    """

    def __init__(  # noqa: PLR0913 - one argument for each port
        self,
        *,
        ledger: Ledger,
        upstream: Upstream,
        queue: RetryQueue,
        dead_letters: DeadLetterQueue,
        pauses: OperatorPauses,
        metrics: Metrics,
        clock: Clock,
        random: Random,
        policy: Policy,
    ) -> None:
        self._ledger = ledger
        self._upstream = upstream
        self._queue = queue
        self._dead_letters = dead_letters
        self._pauses = pauses
        self._metrics = metrics
        self._clock = clock
        self._random = random
        self._policy = policy
        self._upstream_pause = UpstreamPause(clock, random)

    def submit(
        self,
        submission: Submission,
        identity: ids.Identity | None,
        deadline: Deadline,
        timing: Timing,
    ) -> MessageState:
        """Store the sends of a request, and make their calls now or leave them to the workers.

        `identity` is None if the request has no key: then every submission is a new message.
        The caller must pass the queued sends of the result to `enqueue`. Raises, before anything is
        sent, `RequestRefusedError` (too large to be stored) or `IdempotencyKeyReusedError`.
        """
        now = self._clock()
        sends = _plan(submission, identity, now)
        message_id, _ = sends[0].key
        if transitions.has_expired(sends[0], now):  # the request waited in the queue for too long
            sends = [self._expired(send, now) for send in sends]
            timing = Timing.DEFERRED
        elif is_paused(self._pauses.current(), submission.client):
            timing = Timing.DEFERRED
            sends = [transitions.wait_for_operator(send, now) for send in sends]
        at_once = len(sends) == 1 and timing is not Timing.DEFERRED
        pause = self._upstream_pause.wait(submission.upstream_message_id) if at_once else 0.0
        if pause:
            at_once, sends = False, [self._postponed(sends[0], now, pause)]
        if at_once:
            # One write instead of two: the put that stores a single send also claims it.
            sends = [transitions.begin_attempt(sends[0], now, self._lease(deadline))]
        creation = self._ledger.create(sends)
        if not creation.created:
            stored = self._ledger.load(message_id) or creation.sends
            return self._replay(stored, sends[0].fingerprint)
        for send in sends:
            if send.status is Status.EXPIRED:
                self._record_end(send)
        if at_once:
            keep_rejected = timing is Timing.SINGLE_NOW
            send, seconds = self._call(sends[0], deadline, keep_rejected=keep_rejected)
            return MessageState(message_id, [send], upstream_seconds=seconds)
        if timing is Timing.NOW and len(sends) > 1:
            sends = self._attempt_all(sends, deadline)
        return MessageState(message_id, sends)

    def replay(self, identity: ids.Identity | None, refused: RelayError) -> MessageState:
        """Return the message that `submit` stored for a request that is now refused.

        Rules, catalogue, rights and limits may have changed since then. Raises `refused` if no
        message is stored.
        """
        sends = self._ledger.load(identity.message_id) if identity else ()
        if not identity or not sends:
            raise refused
        return self._replay(sends, identity.fingerprint)

    def attempt(self, key: SendKey, deadline: Deadline, *, keep_rejected: bool = True) -> Send:
        """Claim a queued send that is due, make its call, and return its new state.

        Without `keep_rejected` a rejected send loses its body, because its caller gets the
        rejection. Raises `NotFoundError`.
        """
        now = self._clock()
        # Read before the claim: an error after it would leave the send unknown.
        pauses = self._pauses.current()
        may_wait = self._upstream_pause.is_on or active(pauses)
        if may_wait and (paused := self._postpone(key, now)):
            return paused
        claim = self._ledger.claim(
            key, written_by=ids.new_id(), now=now, lease_until=self._lease(deadline)
        )
        if claim is None:
            raise NotFoundError(str(key))
        if claim.won:
            return self._call(claim.send, deadline, keep_rejected=keep_rejected)[0]
        if transitions.has_expired(claim.send, now):
            ended = self._end(claim.send, self._expired(claim.send, now))
            return ended or self._ledger.load_one(key) or claim.send
        return self._expire_lease(claim.send)

    def has_time_for_call(self, deadline: Deadline) -> bool:
        """Whether enough time is left for a call."""
        needed = min(self._policy.upstream_timeout, MIN_CALL_SECONDS)
        return deadline() - RESERVED_SECONDS >= needed

    def pause_remaining(self) -> float:
        """Seconds until the end of a throttling pause, as far as this environment knows."""
        return self._upstream_pause.remaining()

    def enqueue(self, sends: Iterable[Send]) -> None:
        now = self._clock()
        waits = {
            send.key: max(0.0, send.due_at - now) for send in sends if send.status is Status.QUEUED
        }
        if waits:
            self._queue.put(waits)

    def dead_letter(self, send: Send, trace: str | None) -> None:
        """Put a failed or rejected send into the dead-letter queue, where operators find it."""
        reason = "rejected" if send.status is Status.REJECTED else "too-old"
        if send.reason == transitions.RESOLVED:
            reason = transitions.RESOLVED
        self._dead_letters.put(
            reference_body(send.key),
            {
                "reason": reason,
                "errors": send.reason or "",
                "messageId": send.key.message_id,
                "client": send.client,
            },
            trace,
        )

    def recover_stalled(self, key: SendKey) -> Send | None:
        """Recover a stalled send and return it; None: it is not stalled.

        A send with an expired lease becomes `unknown` (or `queued` with `onUnknown: "resend"`). A
        queued send whose SQS message never arrived is enqueued again: its process died between the
        ledger and the queue.
        """
        send = self._ledger.load_one(key)
        now = self._clock()
        if send is None:
            return None
        after = None
        if transitions.lease_expired(send, now):
            after = self._end_lease(send, now)
        elif transitions.has_expired(send, now):
            after = self._end(send, self._expired(send, now))
        elif send.status is Status.QUEUED and send.due_at + STALLED_AFTER <= now:
            # A new due time, so that the next sweep does not find it while it waits in the queue.
            due = replace(send, due_at=now, updated_at=now, written_by=ids.new_id())
            if is_paused(self._pauses.current(), send.client):
                due = transitions.wait_for_operator(due, now)
            after = due if self._ledger.replace_if_unchanged(send, due) else None
        if after:
            self.enqueue([after])
        return after

    def cancel(self, message_id: str, client: str) -> MessageState:
        """Cancel the sends of a client's message that are still queued.

        Raises `NotFoundError`, or `TooLateError` if none was cancelled, now or before.
        """
        message = self.load(message_id, client, bodies=True)
        if isinstance(message, RefusedMessage):
            raise TooLateError(message_id)
        sends = [self._cancel(send) for send in message.sends]
        if not any(send.reason == Status.CANCELLED for send in sends):
            raise TooLateError(message_id)
        return MessageState(message_id, sends)

    def _cancel(self, send: Send) -> Send:
        """Cancel a send; return it cancelled, or unchanged if it is no longer queued."""
        while send.status is Status.QUEUED:
            after = transitions.end_queued(
                send, Status.CANCELLED, now=self._clock(), written_by=ids.new_id()
            )
            if ended := self._end(send, after):
                return ended
            # A worker has claimed or postponed it.
            send = self._ledger.load_one(send.key) or after
        return send

    def load(
        self, message_id: str, client: str, *, bodies: bool = False
    ) -> MessageState | RefusedMessage:
        """Return a message of the client. Raises `NotFoundError`."""
        sends = self._ledger.load(message_id, bodies=bodies)
        if sends and sends[0].client == client:
            return MessageState(message_id, sends)
        refused = None if sends else self._ledger.load_refusal(message_id)
        if refused is None or refused.client != client:
            raise NotFoundError(message_id)
        return refused

    def find_by_token_id(self, token_id: str, client: str) -> SendKey:
        """Return the client's send with this tokenId. Raises `NotFoundError`."""
        key = self._ledger.find_by_token_id(token_id)
        send = self._ledger.load_one(key) if key else None
        if send is None or send.client != client:
            raise NotFoundError(token_id)
        return send.key

    def find_by_reference(
        self, reference: str, client: str, after: MessagePosition | None
    ) -> Iterator[tuple[MessagePosition, MessageState]]:
        """Yield the client's messages with a reference, the newest first."""
        for position in self._ledger.find_by_reference(client, reference, after):
            try:
                sends = self._ledger.load(position.message_id, bodies=False)
            except UnreadableItemError:
                continue  # it must not hide the other messages
            if sends and sends[0].client == client:
                yield position, MessageState(position.message_id, sends)

    def reject(  # noqa: PLR0913 - what the dead letter contains
        self,
        body: str,
        *,
        message_id: str,
        client: str,
        key: str,
        refusals: Sequence[Refusal],
        reason: str,
        trace: str | None,
    ) -> None:
        """Record that a queue message was refused, and put it into the dead-letter queue."""
        # The dead letter has the whole pointers: it also contains the body.
        stored = [refusal._replace(pointer=without_names(refusal.pointer)) for refusal in refusals]
        self._ledger.record_refusal(message_id, client, stored, self._clock())
        codes = sorted({refusal.code for refusal in refusals})
        logger.warning(
            "refused a message from the queue",
            extra={"message_id": message_id, "client": client, "reason": reason, "codes": codes},
        )
        self._metrics.count("MessagesRefused")
        self._dead_letters.put(
            body,
            {
                "reason": reason,
                "errors": ", ".join(f"{entry.pointer} {entry.code}" for entry in refusals),
                "messageId": message_id,
                "client": client,
                "Idempotency-Key": key,
            },
            trace,
        )

    def _lease(self, deadline: Deadline) -> float:
        """Return the time at which this invocation has certainly ended, by any function's clock."""
        return self._clock() + max(0.0, deadline()) + MAX_CLOCK_SKEW

    def _attempt_all(self, sends: Sequence[Send], deadline: Deadline) -> list[Send]:
        """Make the calls concurrently; sends without enough time left stay queued."""

        def attempt(send: Send) -> Send:
            if not self.has_time_for_call(deadline):
                return send
            try:
                return self.attempt(send.key, deadline, keep_rejected=False)
            except LedgerUnavailableError:
                return send

        with ThreadPoolExecutor(self._policy.concurrent_sends) as pool:
            return list(pool.map(attempt, sends))

    def _postpone(self, key: SendKey, now: float) -> Send | None:
        """Postpone a queued send if calls are paused; None: it may be claimed."""
        send = self._ledger.load_one(key)
        if send is None or send.status is not Status.QUEUED or send.due_at > now:
            return None
        if transitions.has_expired(send, now):
            return None
        pauses = self._pauses.current()
        if transitions.age(send, now, pauses) > self._policy.max_age:
            return None
        if is_paused(pauses, send.client):
            after = transitions.wait_for_operator(send, now)
        elif pause := self._upstream_pause.wait(send.upstream_message_id):
            after = self._postponed(send, now, pause)
        else:
            return None
        self._metrics.time("QueuedSendAge", transitions.age(send, now))
        # So that a sweeper that read the send earlier doesn't enqueue it as well.
        after = replace(after, written_by=ids.new_id())
        return after if self._ledger.replace_if_unchanged(send, after) else None

    def _postponed(self, send: Send, now: float, pause: float) -> Send:
        after = replace(send, updated_at=now, reason=PAUSED.reason)
        return transitions.queue(after, now + self._spread(pause))

    def _spread(self, pause: float) -> float:
        """Return the pause with jitter, so that the sends are not all due at the same time."""
        return pause * (1.0 + 0.2 * self._random())

    def _call(self, send: Send, deadline: Deadline, *, keep_rejected: bool) -> tuple[Send, float]:
        """Call the upstream for a claimed send; return the stored send and the call's seconds."""
        seconds = pause = 0.0
        pauses = self._pauses.current()
        now = self._clock()
        age = transitions.age(send, now, pauses)
        too_old = age > self._policy.max_age
        if too_old:
            outcome = Outcome(OutcomeKind.NOT_SENT, "too-old")
        elif send.is_past_expiry(now):  # during a read or write
            outcome = EXPIRED
        elif not self.has_time_for_call(deadline):
            outcome = OUT_OF_TIME
        elif is_paused(pauses, send.client):  # the pause began after the claim
            outcome, pause = PAUSED_BY_OPERATOR, RETURN_SECONDS
        elif isinstance(call := self._upstream_pause.begin_call(send.upstream_message_id), float):
            outcome, pause = PAUSED, self._spread(call)
        else:
            began = self._clock()
            outcome = self._call_upstream(send, deadline)
            if outcome.kind is OutcomeKind.ACCEPTED:
                # Log the tokenId before anything can fail. It is not a secret.
                _without_errors(_log, send, Status.ACCEPTED, outcome)
            errors = _without_errors(lambda: fit_errors(redact(outcome.errors, send.body or "")))
            outcome = outcome._replace(errors=errors or ())
            seconds = max(0.0, self._clock() - began)
            _without_errors(self._metrics.time, "UpstreamTime", seconds)
            # Twice, so that another send is the next probe: this one could fail each time.
            pause = 2.0 * (_without_errors(self._upstream_pause.end_call, call, outcome) or 0.0)
        wait = _without_errors(
            retry_delay,
            outcome,
            transitions.attempts_since_resend(send),
            self._random,
            longest=max(1.0, self._policy.max_age - age + 1.0),
        )
        after = transitions.finish_attempt(
            send,
            outcome,
            now=self._clock(),
            wait=max(MAX_DELAY if wait is None else wait, pause),
            max_attempts=self._policy.max_attempts,
            is_last=too_old,
            poll_delivery=self._policy.polls_delivery and send.poll_delivery,
            keep_rejected=keep_rejected,
        )
        self._store(send, after, deadline)
        _without_errors(self._count, after, outcome)
        if outcome.kind is not OutcomeKind.ACCEPTED:
            _without_errors(_log, after, after.status, outcome)
        return after, seconds

    def _call_upstream(self, send: Send, deadline: Deadline) -> Outcome:
        timeout = min(self._policy.upstream_timeout, deadline() - RESERVED_SECONDS)
        try:
            return self._upstream.send(send.upstream_message_id, send.body or "", timeout)
        except Exception:
            # The SMS may be out, and the send must not stay claimed, whatever the error was.
            with suppress(Exception):
                logger.exception("unexpected error during the call", extra=send.log_fields)
            return Outcome(OutcomeKind.UNKNOWN, "internal-error")

    def _count(self, send: Send, outcome: Outcome) -> None:
        self._metrics.count(send.status.metric)
        if send.status is Status.QUEUED:
            self._metrics.time("QueuedSendAge", transitions.age(send, send.updated_at))
        if send.status is Status.ACCEPTED and send.token_id is None:
            self._metrics.count("TokensMissing")
        if outcome.reason == "throttled":
            self._metrics.count("UpstreamThrottled")
        if outcome.reason == "blocked":
            self._metrics.count("UpstreamBlocked")
        if outcome.reason in WRONG_ROUTE_REASONS | {NOT_FOUND}:
            self._metrics.count("WrongRoute")

    def _store(self, before: Send, after: Send, deadline: Deadline) -> None:
        """Write a result; if that fails, log everything that an operator needs to restore it."""
        for _ in range(STORE_ATTEMPTS):
            try:
                result = self._ledger.replace_if_unchanged(before, after)
                if result:
                    return
                problem = ", put it back: the send has changed meanwhile"
                if result is ReplaceResult.GONE:
                    problem = ": the item is gone"
                break
            except LedgerUnavailableError as error:
                problem = f", put it back: {error}"
            if deadline() < STORE_SECONDS:
                break
        self._metrics.count("ResultsNotStored")
        extra = after.log_fields | {
            "status": after.status.value,
            "token_id": after.token_id,
            "reason": after.reason,
            "may_have_been_sent": after.may_have_been_sent,
        }
        logger.error("result not stored%s", problem, extra=extra)

    def _replay(self, stored: Sequence[Send], fingerprint: str | None) -> MessageState:
        message_id = stored[0].key.message_id
        if stored[0].fingerprint != fingerprint:
            raise IdempotencyKeyReusedError(message_id)
        sends = [self._expire_lease(send) for send in stored]
        return MessageState(message_id, sends, replayed=True)

    def _expire_lease(self, send: Send) -> Send:
        now = self._clock()
        if not transitions.lease_expired(send, now):
            return send
        # Another process may have ended the attempt first, with its real outcome.
        return self._end_lease(send, now) or self._ledger.load_one(send.key) or send

    def _end_lease(self, send: Send, now: float) -> Send | None:
        """End an attempt whose lease has expired; None: another process was faster."""
        after = transitions.expire_lease(
            send, now=now, max_attempts=self._policy.max_attempts, written_by=ids.new_id()
        )
        return self._end(send, after)

    def _end(self, before: Send, after: Send) -> Send | None:
        """Store a change that needs no call; None: another process was faster."""
        if not self._ledger.replace_if_unchanged(before, after):
            return None
        self._record_end(after)
        return after

    def _expired(self, send: Send, now: float) -> Send:
        return transitions.end_queued(send, Status.EXPIRED, now=now, written_by=ids.new_id())

    def _record_end(self, send: Send) -> None:
        """Count and log a send that ended without a call."""
        outcome = Outcome(OutcomeKind.UNKNOWN, send.reason or "")
        self._count(send, outcome)
        _log(send, send.status, outcome)


def _plan(submission: Submission, identity: ids.Identity | None, now: float) -> list[Send]:
    """Create the sends of a request, all queued."""
    request = submission.request
    message_id = identity.message_id if identity else ids.new_id()
    written_by = ids.new_id()
    return [
        Send(
            key=SendKey(message_id, number),
            client=submission.client,
            upstream_message_id=submission.upstream_message_id,
            recipients=call.recipients,
            status=Status.QUEUED,
            on_unknown=OnUnknown(request.on_unknown),
            fingerprint=identity.fingerprint if identity else None,
            created_at=now,
            updated_at=now,
            due_at=now,
            written_by=written_by,
            body=call.body,
            reference=request.reference,
            correlation_id=submission.correlation_id,
            scheduled_for=request.send_at.timestamp() if request.send_at else None,
            expires_at=request.expires_at.timestamp() if request.expires_at else None,
            poll_delivery=submission.poll_delivery,
            segments=submission.segments,
        )
        for number, call in enumerate(
            build_calls(request, datetime.fromtimestamp(now, UTC)), start=1
        )
    ]


def _log(send: Send, status: Status, outcome: Outcome) -> None:
    level = {
        Status.ACCEPTED: logging.INFO if outcome.token_id else logging.WARNING,
        Status.UNKNOWN: logging.ERROR,
        Status.FAILED: logging.ERROR,
    }.get(status, logging.WARNING)
    extra = send.log_fields | {
        "attempt": send.attempts,
        "recipients": send.recipients,
        "reason": outcome.reason,
        "upstream_status": outcome.status,
        "token_id": outcome.token_id,
    }
    logger.log(level, "send %s", status.value, extra=extra)


def _without_errors[**P, T](
    step: Callable[P, T], *arguments: P.args, **named: P.kwargs
) -> T | None:
    """Run a step after a response; return None if it fails, so that the result is stored anyway."""
    try:
        return step(*arguments, **named)
    except Exception:
        with suppress(Exception):
            logger.exception("a step failed after the response")
        return None
