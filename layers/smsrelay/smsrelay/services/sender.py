"""The use case: one request in, every recipient once or somebody is told why not."""

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
)
from smsrelay.messages.refusals import Refusal
from smsrelay.messages.request import MessageRequest
from smsrelay.messages.segments import Segments
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
from smsrelay.sends.send import OnUnknown, Send, SendKey, Status, reference_body
from smsrelay.services.upstream_pause import UpstreamPause

logger = logging.getLogger(__name__)

STORE_SECONDS, STORE_ATTEMPTS = 7.0, 3
"""Seconds that it may take to store a result, and how often that is tried while time is left."""
RESERVED_SECONDS = 5.0 + STORE_SECONDS
"""Seconds of an invocation that are kept: to connect and write, and to store the result."""
MIN_CALL_SECONDS = 10.0
"""Seconds below which no call of the upstream is begun: cut short it would end as unknown."""
MAX_CLOCK_SKEW = 30.0
"""Seconds by which the clocks of two functions may differ; a lease outlives its process by them."""
STALLED_AFTER = 300.0
"""Seconds after which a queued send's message must have come; else it is enqueued once more."""


PAUSED = Outcome(OutcomeKind.NOT_SENT, "paused")
"""The relay is not sure that the upstream accepts calls: another send is the probe."""
PAUSED_BY_OPERATOR = Outcome(OutcomeKind.NOT_SENT, REASON)


class Timing(Enum):
    """When the calls of a request are made."""

    NOW = "now"  # all of them, side by side
    SINGLE_NOW = "lone-now"  # a lone one; several spread over the workers
    DEFERRED = "later"  # by the workers


class Policy(NamedTuple):
    """The numbers that a deployment chooses."""

    max_attempts: int
    max_age: float
    """Seconds after which a send is not tried any more: who needed it has given up."""
    upstream_timeout: float
    concurrent_sends: int
    polls_delivery: bool = False
    """Whether somebody asks for the delivery of what was accepted."""


class Submission(NamedTuple):
    """A request and its client; `upstream_message_id` is the id that its message stands for."""

    request: MessageRequest
    upstream_message_id: str
    client: str
    identity: ids.Identity | None
    """None: the request has no key, so every submission is a new message."""
    correlation_id: str | None = None
    poll_delivery: bool = True
    """Whether the catalogue wants the delivery to be polled."""
    segments: Segments | None = None
    """How many SMS the text becomes; None: the request has no text."""


class MessageState(NamedTuple):
    """A message as its sends are now; `replayed` if this request was not the one that made it."""

    id: str
    sends: Sequence[Send]
    replayed: bool = False
    upstream_seconds: float | None = None
    """How long the upstream took, if there was one call and it was made at once."""


class Sender:
    """Stores validated requests and calls the upstream. Safe to be used by several threads.

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

    def submit(self, submission: Submission, deadline: Deadline, timing: Timing) -> MessageState:
        """Store the sends of a request, and make their calls now or leave them to the workers.

        The caller must give the queued sends of the result to `enqueue`. If this raises, nothing
        was sent: `RequestRefusedError` (too large to be stored), `IdempotencyKeyReusedError`.
        """
        now = self._clock()
        sends = _plan(submission, now)
        message_id, _ = sends[0].key
        if transitions.has_expired(sends[0], now):  # it waited in the queue for too long
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
            # One write instead of two: the put that stores a lone send claims it, too.
            sends = [transitions.begin_attempt(sends[0], now, self._lease(now, deadline))]
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
        """Find what `submit` stored of a request that is refused now; else raise `refused`.

        Rules, catalogue, rights and limits may have changed since then.
        """
        sends = self._ledger.load(identity.message_id) if identity else ()
        if not identity or not sends:
            raise refused
        return self._replay(sends, identity.fingerprint)

    def attempt(self, key: SendKey, deadline: Deadline, *, keep_rejected: bool = True) -> Send:
        """Claim a queued send that is due, and make its call; return it as it is then.

        Without `keep_rejected` a rejected send loses its body, because its caller learns of it.
        Raises `NotFoundError`.
        """
        now = self._clock()
        # Read before the claim: after it, an error would leave the send unknown.
        pauses = self._pauses.current()
        may_wait = self._upstream_pause.is_on or active(pauses)
        if may_wait and (paused := self._postpone(key, now)):
            return paused
        claim = self._ledger.claim(
            key, written_by=ids.new_message_id(), now=now, lease_until=self._lease(now, deadline)
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
        """Whether a call can still have the time that it may need."""
        needed = min(self._policy.upstream_timeout, MIN_CALL_SECONDS)
        return deadline() - RESERVED_SECONDS >= needed

    def pause_remaining(self) -> float:
        """Seconds for which the upstream has no room for anything, as far as is known here."""
        return self._upstream_pause.remaining()

    def enqueue(self, sends: Iterable[Send]) -> None:
        """Put the queued sends into the queue."""
        now = self._clock()
        waits = {
            send.key: max(0.0, send.due_at - now) for send in sends if send.status is Status.QUEUED
        }
        if waits:
            self._queue.put(waits)

    def dead_letter(self, send: Send, trace: str | None) -> None:
        """Put a failed or rejected send where a person looks."""
        self._dead_letters.put(
            reference_body(send.key),
            {
                "reason": "rejected" if send.status is Status.REJECTED else "too-old",
                "errors": send.reason or "",
                "messageId": send.key.message_id,
                "client": send.client,
            },
            trace,
        )

    def recover_stalled(self, key: SendKey) -> Send | None:
        """Recover a stalled send and return it; None: it is not stalled.

        A send whose lease has expired becomes `unknown` (or `queued`, if the caller chose so). A
        queued send whose SQS message never arrived is queued again: its process died between ledger
        and queue.
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
            # Due again, so that the next sweep does not find it while it waits its turn.
            due = replace(send, due_at=now, updated_at=now, written_by=ids.new_message_id())
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
        """The send after it was cancelled, or as it is when it is no longer queued."""
        while send.status is Status.QUEUED:
            after = transitions.end_queued(
                send, Status.CANCELLED, now=self._clock(), written_by=ids.new_message_id()
            )
            if ended := self._end(send, after):
                return ended
            # A worker has claimed it, or has put it off.
            send = self._ledger.load_one(send.key) or after
        return send

    def load(
        self, message_id: str, client: str, *, bodies: bool = False
    ) -> MessageState | RefusedMessage:
        """A client's own message. Raises `NotFoundError`."""
        sends = self._ledger.load(message_id, bodies=bodies)
        if sends and sends[0].client == client:
            return MessageState(message_id, sends)
        refused = None if sends else self._ledger.load_refusal(message_id)
        if refused is None or refused.client != client:
            raise NotFoundError(message_id)
        return refused

    def find_by_token_id(self, token_id: str, client: str) -> SendKey:
        """The client's send that has this tokenId. Raises `NotFoundError`."""
        key = self._ledger.find_by_token_id(token_id)
        send = self._ledger.load_one(key) if key else None
        if send is None or send.client != client:
            raise NotFoundError(token_id)
        return send.key

    def find_by_reference(
        self, reference: str, client: str, after: MessagePosition | None
    ) -> Iterator[tuple[MessagePosition, MessageState]]:
        """A client's messages with a reference, the newest first, as they are read."""
        for position in self._ledger.find_by_reference(client, reference, after):
            sends = self._ledger.load(position.message_id, bodies=False)
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
        """Record that a body from the queue can never work, and keep it where a person looks."""
        # The letter keeps the whole pointers: it holds the body, too.
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

    def _lease(self, now: float, deadline: Deadline) -> float:
        """When this invocation is dead for certain, by anybody's clock."""
        return now + max(0.0, deadline()) + MAX_CLOCK_SKEW

    def _attempt_all(self, sends: Sequence[Send], deadline: Deadline) -> list[Send]:
        """Make the calls side by side; what there is no time for stays queued."""

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
        """A queued send that must wait for the end of a pause; None: it may be claimed."""
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
        # So that a sweeper that has read the send before doesn't enqueue it as well.
        after = replace(after, written_by=ids.new_message_id())
        return after if self._ledger.replace_if_unchanged(send, after) else None

    def _postponed(self, send: Send, now: float, pause: float) -> Send:
        after = replace(send, updated_at=now, reason=PAUSED.reason)
        return transitions.queue(after, now + self._spread(pause))

    def _spread(self, pause: float) -> float:
        """Seconds until a send is due again; they differ, so that not all are due at once."""
        return pause * (1.0 + 0.2 * self._random())

    def _call(self, send: Send, deadline: Deadline, *, keep_rejected: bool) -> tuple[Send, float]:
        """Call the upstream for a claimed send; return the stored result and the call's seconds."""
        seconds = pause = 0.0
        pauses = self._pauses.current()
        age = transitions.age(send, self._clock(), pauses)
        too_old = age > self._policy.max_age
        if too_old:
            outcome = Outcome(OutcomeKind.NOT_SENT, "too-old")
        elif not self.has_time_for_call(deadline):
            outcome = OUT_OF_TIME
        elif is_paused(pauses, send.client):  # since it was claimed
            outcome, pause = PAUSED_BY_OPERATOR, RETURN_SECONDS
        elif isinstance(call := self._upstream_pause.begin_call(send.upstream_message_id), float):
            outcome, pause = PAUSED, self._spread(call)
        else:
            began = self._clock()
            response = self._ask_upstream(send, deadline)
            if response.kind is OutcomeKind.ACCEPTED:
                # Before anything can fail, so the log has the tokenId. It is not a secret.
                _without_errors(_log, send, Status.ACCEPTED, response)
            errors = _without_errors(lambda: fit_errors(redact(response.errors, send.body or "")))
            outcome = response._replace(errors=errors or ())
            seconds = max(0.0, self._clock() - began)
            _without_errors(self._metrics.time, "UpstreamTime", seconds)
            # Another send is the next probe, so that this one can't stop the others.
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

    def _ask_upstream(self, send: Send, deadline: Deadline) -> Outcome:
        timeout = min(self._policy.upstream_timeout, deadline() - RESERVED_SECONDS)
        try:
            return self._upstream.send(send.upstream_message_id, send.body or "", timeout)
        except Exception:
            # The last net: whatever it was, the SMS may be out, and the send must not hang.
            with suppress(Exception):
                logger.exception("unexpected error during the call", extra=send.log_fields)
            return Outcome(OutcomeKind.UNKNOWN, "internal-error")

    def _count(self, send: Send, outcome: Outcome) -> None:
        self._metrics.count(send.status.metric)
        if send.status is Status.ACCEPTED and send.token_id is None:
            self._metrics.count("TokensMissing")
        if outcome.reason == "throttled":
            self._metrics.count("UpstreamThrottled")
        if outcome.reason == "blocked":
            self._metrics.count("UpstreamBlocked")
        if outcome.reason in WRONG_ROUTE_REASONS | {NOT_FOUND}:
            self._metrics.count("WrongRoute")

    def _store(self, before: Send, after: Send, deadline: Deadline) -> None:
        """Write a result; if that fails, log all that an operator needs to put it back."""
        for _ in range(STORE_ATTEMPTS):
            try:
                result = self._ledger.replace_if_unchanged(before, after)
                if result:
                    return
                problem = ", put it back: the ledger is changed meanwhile"
                if result is ReplaceResult.GONE:
                    problem = ": the item is gone"
                break
            except LedgerUnavailableError:
                problem = ", put it back: the ledger is out of reach"
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
        # Somebody else may be quicker, and know more.
        return self._end_lease(send, now) or self._ledger.load_one(send.key) or send

    def _end_lease(self, send: Send, now: float) -> Send | None:
        """The send without its expired lease; None: another process was quicker."""
        after = transitions.expire_lease(
            send, now=now, max_attempts=self._policy.max_attempts, written_by=ids.new_message_id()
        )
        return self._end(send, after)

    def _end(self, before: Send, after: Send) -> Send | None:
        """The send after it was written without a call; None: another process was quicker."""
        if not self._ledger.replace_if_unchanged(before, after):
            return None
        self._record_end(after)
        return after

    def _expired(self, send: Send, now: float) -> Send:
        return transitions.end_queued(
            send, Status.EXPIRED, now=now, written_by=ids.new_message_id()
        )

    def _record_end(self, send: Send) -> None:
        """Count and log an end without a call."""
        outcome = Outcome(OutcomeKind.UNKNOWN, send.reason or "")
        self._count(send, outcome)
        _log(send, send.status, outcome)


def _plan(submission: Submission, now: float) -> list[Send]:
    """The sends of a request, all of them queued."""
    request, identity = submission.request, submission.identity
    message_id = identity.message_id if identity else ids.new_message_id()
    written_by = ids.new_message_id()
    return [
        Send(
            key=SendKey(message_id, n),
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
        for n, call in enumerate(build_calls(request, datetime.fromtimestamp(now, UTC)), start=1)
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
    """Run a step after a response; None if it fails: the result is stored anyway."""
    try:
        return step(*arguments, **named)
    except Exception:
        with suppress(Exception):
            logger.exception("a step failed after the response")
        return None
