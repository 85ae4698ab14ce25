"""Judges a run from outside: compares its requests, its history and its results. No I/O."""

import json
from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass

from tests.promise.faults import Effect
from tests.promise.history import MAX_CLOCK_SKEW, Answer, Attempt, History, Json
from tests.promise.observation import (
    ACCEPTED_STATUSES,
    LOST,
    Arrival,
    Content,
    DeadLetter,
    Observation,
    StoredSend,
)
from tests.promise.scenarios import EVENTS, POLLER, RENEWER, Message

ENDED = ACCEPTED_STATUSES | {"rejected", "failed", "cancelled", "expired", "unknown"}
DOCUMENTED = {202, 409, 422, 502, 503, 504}
"""The statuses with which the API may respond to a well-formed post, whatever fails."""

QUEUES_KEEP = 28 * 86_400.0
"""Seconds for which the queue and the dead-letter queue together keep a message."""
NOT_STORED = "result not stored"
"""Part of the log line from which an operator can restore a result."""
POLLS_UNTIL = 71 * 3_600.0
"""Seconds until the last poll of an accepted send."""
MOST_OF_AN_INVOCATION = 60.0
"""The most seconds between the check of `expiresAt` and the call."""
PAUSE_CACHED = 30.0
"""The most seconds until each process notices an operator's pause."""


@dataclass(frozen=True)
class Case:
    """All facts about one send of a message."""

    message: Message
    content: Content
    stored: StoredSend
    attempts: Sequence[Attempt]
    arrivals: Sequence[Arrival]
    abandoned: int
    """How often a process ended between the claim and the result."""
    resent: int
    """How often an operator resent it although it may have been sent."""
    resolved: str | None
    """The status that an operator gave it."""
    is_decided: bool
    """Whether an operator changed it."""

    @property
    def doubts(self) -> int:
        """The number of attempts in doubt: the SMS may have been sent."""
        return self.abandoned + sum(it.effect is Effect.DOUBT for it in self.attempts)

    @property
    def is_held(self) -> bool:
        """Whether a doubt must prevent another attempt."""
        return self.message.holds and not self.is_decided

    @property
    def is_refused(self) -> bool:
        return any(it.effect is Effect.REFUSED for it in self.attempts)


def violations(history: History, seen: Observation) -> list[str]:
    """Return each way in which the promise is broken."""
    facts = Facts(history, seen)
    found = list(history.problems)
    for message in history.messages.values():
        found += _of_message(message, facts)
    asked = {content for it in history.messages.values() for content in it.contents}
    found += [
        f"{it.content.recipient} got an SMS without a request"
        for it in seen.arrivals
        if it.content not in asked
    ]
    if history.has_newer_item and not seen.is_newer_item_as_it_was:
        found.append("an item of a newer version was changed")
    if RENEWER in history.parts and not seen.is_token_good:
        found.append("the stored token is not good")
    if seen.waiting:
        found.append(f"{seen.waiting} messages stay in the queue")
    return found


def redrive_violations(history: History, before: Observation, after: Observation) -> list[str]:
    """Return what is wrong after all dead letters were redriven without faults."""
    found = []
    bodies = {it.body for it in before.dead_letters}
    for send in before.sends:
        if send.status not in {"failed", "rejected"} or reference_body(send) not in bodies:
            continue
        if (send.reference, send.number) in history.expired:
            continue  # it was sent before its item was deleted
        message = history.messages[send.reference]
        own = message.contents[send.number - 1]
        arrived = sum(it.content == own for it in after.arrivals)
        if message.expires_at is not None and not arrived:
            continue  # it had expired
        if arrived != 1:
            found.append(
                f"{send.name} was redriven, and {own.recipient} got {arrived} SMS of its text"
            )
    left = {it.body for it in after.dead_letters}
    found += [
        f"{send.name} was redriven, and its dead letter is still there"
        for send in after.sends
        if send.is_accepted and reference_body(send) in left
    ]
    lost = {it.body for it in before.dead_letters if '{"send":' not in it.body}
    return found + [f"a dead letter was redriven, and lost: {body}" for body in lost - left]


def reference_body(send: StoredSend) -> str:
    """Return the body of a queue message that names a send."""
    return f'{{"send":{{"id":"{send.message_id}","n":{send.number}}}}}'


class Facts:
    """The history and the observation, grouped by message and by send."""

    def __init__(self, history: History, seen: Observation) -> None:
        self.history = history
        self.seen = seen
        self.stored = _grouped(seen.sends, lambda it: it.reference)
        self.attempts = _grouped(history.attempts, lambda it: it.content)
        self.arrivals = _grouped(seen.arrivals, lambda it: it.content)
        self.answers = _grouped(history.answers, lambda it: it.reference)
        self.found = _grouped(history.found, lambda it: it["send"])
        self.published = _grouped(history.published, _send_of_event)
        self.called_back = _grouped(history.called_back, _send_of_event)
        self.enqueued = set(history.enqueued.values())
        self.put_back = frozenset(_logged_tokens(seen.log))
        self.keys = Counter(it.key for it in history.messages.values())
        self.expired = defaultdict[str, dict[int, str]](dict)
        """The statuses of the deleted sends of a message, by number."""
        for (reference, number), status in history.expired.items():
            self.expired[reference][number] = status
        self.expired_keys = {history.messages[it].key for it in self.expired} - {None}


def _logged_tokens(log: str) -> Iterator[str]:
    """Yield the tokenIds of the log lines from which an operator can restore a result."""
    for line in log.splitlines():
        if NOT_STORED in line:
            entry = json.loads(line)
            if entry["status"] == "accepted" and entry["token_id"]:
                yield entry["token_id"]


def _grouped[Key, It](items: Iterable[It], key: Callable[[It], Key]) -> dict[Key, list[It]]:
    groups = defaultdict[Key, list[It]](list)
    for item in items:
        groups[key(item)].append(item)
    return groups


def _of_message(message: Message, facts: Facts) -> Iterator[str]:
    for answer in facts.answers[message.reference]:
        if answer.status not in DOCUMENTED | ({401} if answer.is_to_webhook else set()):
            yield f"an answer was {answer.status}"
    # A send that was deleted and then stored again is not judged.
    expired = facts.expired[message.reference]
    stored = [it for it in facts.stored[message.reference] if it.number not in expired]
    for number, status in expired.items():
        if status == LOST:
            content = message.contents[number - 1]
            yield from _lost_tokens(facts.attempts[content], facts.put_back)
        elif status not in ENDED - {"unknown"}:
            yield f"{message.reference}/{number} was deleted while it was {status}"
    if not stored and not expired:
        yield from _not_stored(message, facts)
        return
    numbers = sorted([*expired, *(it.number for it in stored)])
    if numbers != [n for n, _ in enumerate(message.recipients, 1)]:
        names = ", ".join(it.name for it in stored)
        yield f"{message.reference} has {len(message.recipients)} sends; in the ledger are {names}"
        return
    for send in stored:
        yield from _of_send(message, send, message.contents[send.number - 1], facts)


def _of_send(message: Message, send: StoredSend, content: Content, facts: Facts) -> Iterator[str]:
    history, answers = facts.history, facts.answers[message.reference]
    case = Case(
        message,
        content,
        send,
        sorted(facts.attempts[content], key=lambda it: it.at),
        facts.arrivals[content],
        history.abandoned[send.name],
        history.resent[send.name],
        history.resolved.get(send.name),
        send.name in history.decided,
    )
    checks = [
        _arrivals(case, clock_error=history.clock_error),
        _status(case, history),
        _tokens(case, facts.put_back),
        _body(case, may_be_rejected_at_once=_may_be_rejected_at_once(send, facts)),
        _retention(case),
        _dead_letter(case, facts.seen.dead_letters),
        _answers(case, answers, facts.put_back),
        _found(case, facts.found[send.name]),
    ]
    if POLLER in history.parts and send.is_accepted and send.token_id:
        checks.append(_report(case))
    if EVENTS in history.parts:
        is_reused = message.key in facts.expired_keys
        checks += [
            _event(case, "event", facts.published[send.name], is_reused=is_reused),
            _event(case, "callback", facts.called_back[send.name], is_reused=is_reused),
        ]
    if not case.is_decided:
        checks += [_delays(case, history.clock_error), _pauses(case, history)]
        checks += [_expiry(case, history.clock_error)]
    for check in checks:
        yield from (f"{send.name} {problem}" for problem in check)


def _not_stored(message: Message, facts: Facts) -> Iterator[str]:
    """Check a message without a send: the API did not accept it, or it is a dead letter."""
    for content in message.contents:
        if facts.arrivals[content]:
            yield f"{content.recipient} got an SMS, and is in no ledger"
    if any(it.status // 100 == 2 for it in facts.answers[message.reference]):
        yield f"{message.reference} was promised, and is in no ledger"
    if message.reference not in facts.enqueued:
        return
    letters = [it for it in facts.seen.dead_letters if it.body == message.body]
    if message.is_valid and (message.key is None or facts.keys[message.key] == 1):
        yield f"{message.reference} is gone from the queue, and is in no ledger"
    elif not letters:
        yield f"{message.reference} was refused, and is not in the dead-letter queue"
    for letter in letters:
        if letter.attributes.get("messageId") not in facts.seen.refused:
            yield f"{message.reference} was refused, and is not recorded"
        if not letter.attributes.get("reason"):
            yield f"the dead letter of {message.reference} has no reason"


def _lost_tokens(attempts: Sequence[Attempt], put_back: Collection[str]) -> Iterator[str]:
    """Check that the log has each tokenId of a deleted send that a living process received."""
    for attempt in attempts:
        if attempt.is_token_known and not attempt.died and attempt.token_id not in put_back:
            yield f"the item of {attempt.content.recipient} is lost, and so is {attempt.token_id}"


def _may_be_rejected_at_once(send: StoredSend, facts: Facts) -> bool:
    """Whether a response said that it is rejected, or a process died before it responded."""
    answers = facts.answers[send.reference]
    reported = [it for answer in answers for it in answer.body.get("sends", ())]
    is_reported = any((it["n"], it["status"]) == (send.number, "rejected") for it in reported)
    return is_reported or facts.history.posted[send.reference] > len(answers)


def _arrivals(case: Case, *, clock_error: float) -> Iterator[str]:
    # A process whose clock is ahead ends a lease too early, and counts the attempt as in doubt.
    doubts = case.doubts + (1 if clock_error > MAX_CLOCK_SKEW else 0)
    most = 1 + case.resent + (0 if case.message.holds else doubts)
    if len(case.arrivals) > most:
        recipient = case.content.recipient
        yield f"got {len(case.arrivals)} SMS to {recipient}, {most} at most are allowed"


def _status(case: Case, history: History) -> Iterator[str]:  # noqa: C901, PLR0912 - rules for each status
    send = case.stored
    if case.resolved:
        if send.status != case.resolved:
            yield f"is {send.status}; an operator made it {case.resolved}"
        return
    is_too_old = send.updated_at - send.created_at > history.max_age
    match send.status:
        case _ if send.is_accepted:
            if not case.arrivals:
                yield "is accepted, and got no SMS"
        case "rejected":
            if not case.is_refused:
                yield "is rejected, and the upstream refused no call of it"
            if case.arrivals:
                yield "is rejected, and arrived"
        case "failed":
            if not is_too_old and not case.is_decided:
                yield "is failed, and is not too old"
            if case.arrivals:
                yield "is failed, and arrived"
        case "cancelled" | "expired":
            if case.arrivals or case.doubts:
                yield f"is {send.status}, and arrived, or a call of it left a doubt"
        case "unknown":
            if not case.doubts:
                yield "is unknown, and none of its own calls left a doubt"
            elif send.reason == "lease-expired" and not case.abandoned:
                yield "is unknown by its lease, and no process left it"
            elif send.reason != "lease-expired" and case.is_held and case.doubts == case.abandoned:
                yield f"is unknown ({send.reason}), and only its lease was in doubt"
            is_exhausted = case.doubts >= history.max_attempts or case.is_refused or is_too_old
            is_ended = is_exhausted or send.reason in {"cancelled", "expired"}
            if not case.message.holds and not is_ended:
                yield "is unknown, and resend would have tried it again"
        case _:
            yield f"stays {send.status}"
    if case.is_held and send.status != "unknown" and case.doubts > case.abandoned:
        yield f"is {send.status}, and a call of it left a doubt"


def _tokens(case: Case, put_back: Collection[str]) -> Iterator[str]:
    send, own = case.stored, {it.token_id for it in case.arrivals}
    if send.token_id is not None and send.token_id not in own and not case.resolved:
        yield f"has the tokenId {send.token_id}, which is not its own"
    for attempt in case.attempts:
        token_id = attempt.token_id
        if token_id is None or token_id == send.token_id:
            continue
        is_withheld = attempt.response is not None and not attempt.is_token_known
        if attempt.is_token_known and not attempt.died:
            if token_id not in put_back:
                yield f"lost the tokenId {token_id}, which its process knew"
        elif case.is_held and send.status != "unknown" and not is_withheld:
            yield f"is {send.status}, and its tokenId {token_id} is not known"


def _body(case: Case, *, may_be_rejected_at_once: bool) -> Iterator[str]:
    send = case.stored
    if send.status in {"queued", "unknown", "failed"} and send.body is None:
        yield f"is {send.status} without its body"
    # Only an API call that responds 422 at once removes the body of a rejected send.
    may_lack_body = may_be_rejected_at_once or case.resolved
    if send.status == "rejected" and not (send.body or may_lack_body):
        yield "is rejected without its body"
    if (send.is_accepted or send.status in {"cancelled", "expired"}) and send.body is not None:
        yield f"is {send.status}, and keeps its body"
    if send.body and not all(part in send.body for part in case.content):
        yield "has the body of another send"
    if len({it.body for it in case.attempts}) > 1:
        yield "was tried again with another body"


def _retention(case: Case) -> Iterator[str]:
    """Unfinished sends are not deleted; others stay as long as the queues keep messages."""
    send = case.stored
    if not send.delete_at:
        return
    if send.awaits_report or send.status in {"queued", "sending", "unknown"}:
        yield f"is {send.status}, and may be deleted"
    if send.delete_at - send.updated_at < QUEUES_KEEP - 1:
        yield f"may be deleted {send.delete_at - send.updated_at:.0f} s after it ended"


def _dead_letter(case: Case, letters: Sequence[DeadLetter]) -> Iterator[str]:
    send = case.stored
    if send.status not in {"failed", "rejected"} or send.body is None or case.resolved:
        return
    own = [it for it in letters if it.body == reference_body(send)]
    if not own:
        yield f"is {send.status} without a dead letter"
    for letter in own:
        values = {name: letter.attributes.get(name) for name in ("messageId", "client")}
        if values != {"messageId": send.message_id, "client": send.client}:
            yield f"has a dead letter of {values}"
        if not letter.attributes.get("reason"):
            yield "has a dead letter without a reason"


def _answers(case: Case, answers: Sequence[Answer], put_back: Collection[str]) -> Iterator[str]:
    """What the API reported as final is still true."""
    send = case.stored
    statuses = [it.status for it in answers]
    if 202 in statuses[:-1] and statuses[-1] == 422 and not case.is_refused:
        yield "was promised, and then refused"
    for answer in answers:
        if "id" not in answer.body or answer.body.get("code") == "idempotency-key-reused":
            continue
        if answer.body["id"] != send.message_id:
            yield f"was called {answer.body['id']} in an answer"
        for reported in answer.body.get("sends", ()):
            if reported["n"] != send.number or reported["status"] != "accepted" or case.is_decided:
                continue
            token_id = reported.get("tokenId")
            is_true = send.is_accepted and send.token_id == token_id
            if not is_true and token_id not in put_back:
                yield f"was called accepted with {token_id}; it is {send.status}"


def _found(case: Case, entries: Sequence[Json]) -> Iterator[str]:
    """The API found the send by each id, tokenId and key that was requested."""
    send = case.stored
    stored = {"n": send.number, "tokenId": send.token_id}
    # A delivery can be reported between the request and the look at the ledger.
    statuses = ACCEPTED_STATUSES if send.is_accepted else {send.status}
    for entry in entries:
        body, question = entry["body"], entry["question"]
        if question.startswith("/tokens/"):
            is_found = (body.get("id"), body.get("n")) == (send.message_id, send.number)
        else:
            messages = body.get("messages", [body])
            sends = [it for of in messages if of.get("id") == send.message_id for it in of["sends"]]
            is_found = any(
                stored == {name: it.get(name) for name in stored} and it["status"] in statuses
                for it in sends
            )
        if not is_found:
            yield f"is not found by {question}: {entry['status']} {body}"


def _report(case: Case) -> Iterator[str]:
    """Its status is `delivered`, because the simulator delivers each SMS."""
    send = case.stored
    is_late = send.reason == "not-polled" and send.updated_at - send.created_at >= POLLS_UNTIL
    if case.stored.awaits_report:
        yield "still awaits its report"
    elif case.stored.status != "delivered" and not case.resolved and not is_late:
        yield f"is {case.stored.status}, and was reported delivered"


def _event(case: Case, kind: str, events: Sequence[Json], *, is_reused: bool) -> Iterator[str]:
    """Its last status was published with its own tokenId, and no event has another's tokenId.

    `is_reused`: an earlier, deleted message had the same key, and so the same id.
    """
    send, own = case.stored, {it.token_id for it in case.attempts}
    last = {"status": send.status, "tokenId": send.token_id}
    if not any(last == {name: it.get(name) for name in last} for it in events):
        yield f"is {send.status}, and no {kind} says so"
    if not is_reused and any(it.get("tokenId") not in {None, *own} for it in events):
        yield f"has {kind} with the tokenId of another send"


def _send_of_event(data: Json) -> str:
    return f"{data['id']}/{data['n']}"


def _delays(case: Case, clock_error: float) -> Iterator[str]:
    for attempt, following in zip(case.attempts, case.attempts[1:], strict=False):
        gap = following.at - attempt.at
        if gap < attempt.delay - clock_error:
            yield f"was tried again after {gap:.1f} s instead of {attempt.delay:g} s"


def _pauses(case: Case, history: History) -> Iterator[str]:
    for began, ended in history.pauses:
        for attempt in case.attempts:
            if began + PAUSE_CACHED + history.clock_error < attempt.at < ended:
                yield f"was sent {attempt.at - began:.0f} s after an operator paused all sends"


def _expiry(case: Case, clock_error: float) -> Iterator[str]:
    """It is sent until its `expiresAt`, and does not expire earlier."""
    expires_at, ended_at = case.message.expires_at, case.stored.updated_at
    is_expired = case.stored.status == "expired"
    if is_expired and (expires_at is None or ended_at < expires_at - clock_error):
        yield "is expired before its expiresAt"
    if expires_at is None:
        return
    for attempt in case.attempts:
        late = attempt.at - expires_at
        if late > MOST_OF_AN_INVOCATION + clock_error:
            yield f"was sent {late:.0f} s after its expiresAt"
