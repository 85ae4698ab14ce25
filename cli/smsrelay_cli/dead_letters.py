"""`smsrelay redrive` returns dead letters to the queue, `smsrelay discard` removes them."""

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from enum import StrEnum
from itertools import batched
from time import monotonic
from typing import Any, NamedTuple

from botocore.exceptions import BotoCoreError, ClientError

from smsrelay.adapters.sqs import with_trace
from smsrelay.errors import (
    NotJsonError,
    QueueUnavailableError,
    RelayError,
    TooLargeError,
    UnreadableItemError,
)
from smsrelay.messages.refusals import RequestRefusedError
from smsrelay.security.redaction import without_names
from smsrelay.sends import transitions
from smsrelay.sends.ids import fingerprint, message_id, new_id
from smsrelay.sends.queue_envelopes import (
    CLIENT_ATTRIBUTE,
    INVALID_CLIENT,
    KEY_ATTRIBUTE,
    KEY_REUSED,
    TOPIC_NOT_LISTED,
    QueueMessage,
    QueueRequest,
    open_envelope,
)
from smsrelay.sends.send import (
    ACCEPTED_STATUSES,
    Send,
    SendKey,
    Status,
    reference_body,
)
from smsrelay_cli.deployed_stack import DeployedStack
from smsrelay_cli.exit_codes import DONE, FAILED, AbortedError, CommandError
from smsrelay_cli.terminal import (
    Row,
    confirm,
    counted,
    print_json,
    print_line,
    print_notice,
    print_table,
)

BATCH = 10
"""Messages in one call, SQS's maximum."""
HIDDEN_SECONDS = 900
"""How long dead letters are invisible to other readers while the operator decides."""
MARGIN_SECONDS = 120
"""Time that the changes may take after the operator's answer."""
POLL_SECONDS = 1
"""A long poll asks all servers of SQS; a short one can miss messages."""
MOST_READ = 10_000
RELAY_ATTRIBUTES = {"reason", "errors", "messageId"}
"""Attributes that the relay itself writes on a dead letter."""
MOVED = "received-too-often"
"""The reason of a dead letter that SQS moved, which has no attribute `reason`."""
_CODE = re.compile("[a-z-]+")
_UNFINISHED = {
    Status.QUEUED: "queued: cancel it first",
    Status.SENDING: "being sent: run the command again in some minutes",
    Status.UNKNOWN: "unknown: resolve it first",
}


class Action(StrEnum):
    """What the command will do with a dead letter, or has done."""

    QUEUE = "queue"
    REMOVE = "remove"
    KEEP = "keep"
    QUEUED = "queued"
    REMOVED = "removed"
    UNCHANGED = "kept"


_DONE = {Action.QUEUE: Action.QUEUED, Action.REMOVE: Action.REMOVED, Action.KEEP: Action.UNCHANGED}


class DeadLetter(NamedTuple):
    """A dead letter as SQS delivers it."""

    id: str
    receipt: str
    body: str
    attributes: Mapping[str, Any]
    trace: str | None
    """AWS's trace header of the original message."""

    def text(self, name: str) -> str | None:
        """Return a string attribute of the message, or None."""
        value: str | None = self.attributes.get(name, {}).get("StringValue")
        return value

    @property
    def reason(self) -> str:
        """Why the message is in the dead-letter queue."""
        return self.text("reason") or MOVED

    @property
    def errors(self) -> list[tuple[str, str]]:
        """Pointer and code of each refusal. The dead letter of a send has one code, its reason."""
        entries = (self.text("errors") or "").split(", ")
        return [(pointer, code) for pointer, _, code in (it.rpartition(" ") for it in entries)]


class Plan(NamedTuple):
    """What to do with a dead letter: enqueue its send or its body, remove or keep it."""

    letter: DeadLetter
    action: Action
    detail: str | None = None
    key: SendKey | None = None
    client: str | None = None
    """The message's client, if the dead letter has no attribute for it."""
    ended: Send | None = None
    new_key: str | None = None
    without_client: bool = False
    """The message had no client, so the dead letter has the `DefaultClient` of that time."""
    without_key: bool = False
    """The body contains the key; the dead letter's key is the id of the SQS message."""


def redrive(target: DeployedStack, options: Any, now: float) -> int:
    """Read dead letters, ask, and enqueue those that can succeed; the others stay visible."""

    def plan(letter: DeadLetter) -> Plan | None:
        if options.reason is not None and letter.reason != options.reason:
            return None
        client = letter.text(CLIENT_ATTRIBUTE) or _client_of_content(target, letter)
        if options.client is not None and client != options.client:
            return None
        return _plan(target, letter, now)._replace(client=client)

    def ask(plans: Sequence[Plan]) -> None:
        if to_do := [plan for plan in plans if plan.action is not Action.KEEP]:
            confirm(_question(to_do), yes=options.yes)

    return _handle(target, options, now, plan, ask)


def discard(target: DeployedStack, options: Any, now: float) -> int:
    """Show the codes of a message's dead letters, ask, and remove them; others stay visible."""

    def plan(letter: DeadLetter) -> Plan | None:
        content = _content(letter, letter.id)
        key = content if isinstance(content, SendKey) else None
        if options.id not in {letter.id, letter.text("messageId"), key and key.message_id}:
            return None
        if options.send is not None and (key is None or key.number != options.send):
            return None
        for send in _sends_of(target, letter, content):
            if send.status in _UNFINISHED:
                # The operator has only SQS's id of a message that SQS moved.
                of_message = "" if key else f" of {send.key.message_id}"
                detail = f"the send{of_message} is {_UNFINISHED[send.status]}"
                return Plan(letter, Action.KEEP, detail, key)
        return Plan(letter, Action.REMOVE, key=key)

    def ask(plans: Sequence[Plan]) -> None:
        if not plans:
            raise CommandError(f"no visible dead letter belongs to {options.id}")
        to_do = [plan for plan in plans if plan.action is not Action.KEEP]
        if not to_do:
            raise CommandError(f"refused: {plans[0].detail}")
        letters = counted(len(to_do), "dead letter")
        whys = "; ".join(dict.fromkeys(_why(plan.letter) for plan in to_do))
        confirm(f"Remove {letters} ({whys})? This can't be undone.", yes=options.yes)

    return _handle(target, options, now, plan, ask)


def _handle(
    target: DeployedStack,
    options: Any,
    now: float,
    plan_of: Callable[[DeadLetter], Plan | None],
    ask: Callable[[Sequence[Plan]], None],
) -> int:
    """Plan an action for each dead letter, ask, and carry it out; the others do not change."""
    began = monotonic()
    plans: list[Plan] = []
    others: list[DeadLetter] = []
    handled: set[str] = set()
    try:
        _collect(target, options, plan_of, plans, others)
        to_do = [plan for plan in plans if plan.action is not Action.KEEP]
        if options.dry_run:
            _print_plans(plans, len(others), options)
            return DONE
        ask(plans)
        if monotonic() - began > HIDDEN_SECONDS - MARGIN_SECONDS:
            raise AbortedError(
                "aborted: the answer came too late, and nothing was changed; run the command again"
            )
        results: list[Plan] = []
        try:
            for plan in plans:
                results.append(_carried_out(target, plan, now))  # noqa: PERF401 - Ctrl-C keeps them
        finally:
            handled = {
                plan.letter.id for plan in results if plan.action in {Action.QUEUED, Action.REMOVED}
            }
            unknown = "interrupted; repeat this, it sends nothing twice"
            results += [
                plan if plan.action is Action.KEEP else plan._replace(detail=unknown)
                for plan in plans[len(results) :]
            ]
            _print_plans(results, len(others), options)
        return DONE if len(handled) == len(to_do) else FAILED
    finally:
        letters = [*others, *(plan.letter for plan in plans)]
        _release(target, [letter for letter in letters if letter.id not in handled])


def _collect(
    target: DeployedStack,
    options: Any,
    plan_of: Callable[[DeadLetter], Plan | None],
    plans: list[Plan],
    others: list[DeadLetter],
) -> None:
    """Receive dead letters until `--limit` of them have an action, or no more arrive."""
    received_ids: set[str] = set()
    while len(received_ids) < MOST_READ:
        letters = [letter for letter in _receive(target) if letter.id not in received_ids]
        if not letters:
            return
        received_ids |= {letter.id for letter in letters}
        for n, letter in enumerate(letters):
            try:
                plan = plan_of(letter)
                if plan is None:
                    others.append(letter)
                    continue
                plans.append(plan)
            except UnreadableItemError as error:
                plans.append(Plan(letter, Action.KEEP, str(error)))
            except BaseException:  # also Ctrl-C
                others += letters[n:]
                raise
            if sum(plan.action is not Action.KEEP for plan in plans) >= options.limit:
                others += letters[n + 1 :]
                print_notice(
                    f"The first {options.limit} dead letters only (--limit N); there may be more."
                )
                return
    print_notice(f"Only the first {MOST_READ:,} dead letters were read; there may be more.")


def _receive(target: DeployedStack) -> list[DeadLetter]:
    answer = target.sqs.receive_message(
        QueueUrl=target.dead_letter_queue_url,
        MaxNumberOfMessages=BATCH,
        MessageAttributeNames=["All"],
        MessageSystemAttributeNames=["AWSTraceHeader"],
        VisibilityTimeout=HIDDEN_SECONDS,
        WaitTimeSeconds=POLL_SECONDS,
    )
    return [
        DeadLetter(
            message["MessageId"],
            message["ReceiptHandle"],
            message["Body"],
            message.get("MessageAttributes", {}),
            message.get("Attributes", {}).get("AWSTraceHeader"),
        )
        for message in answer.get("Messages", [])
    ]


def _content(letter: DeadLetter, key: str = "none") -> QueueRequest | SendKey | None:
    """Parse a dead letter, or return None if it is not valid. `key` is for a letter without one."""
    texts = {name: letter.text(name) for name in letter.attributes}
    attributes = {name: text for name, text in texts.items() if text is not None}
    try:
        return open_envelope(QueueMessage(letter.body, key, attributes))
    except (NotJsonError, TooLargeError, RequestRefusedError):
        return None


def _sends_of(
    target: DeployedStack, letter: DeadLetter, content: QueueRequest | SendKey | None
) -> Sequence[Send]:
    """Return the send that a dead letter names, or those stored before SQS moved their body."""
    if isinstance(content, SendKey):
        send = target.ledger.load_one(content)
        return [send] if send else []
    if content is None or letter.text("reason"):
        return []
    return target.ledger.load(message_id(content.client, content.key))


def _client_of_content(target: DeployedStack, letter: DeadLetter) -> str | None:
    content = _content(letter)
    if isinstance(content, SendKey):
        send = target.ledger.load_one(content)
        return send.client if send else None
    return (content.client or target.default_client) if content else None


def _plan(target: DeployedStack, letter: DeadLetter, now: float) -> Plan:  # noqa: PLR0911 - one return for each kind of letter
    """Decide what to do with a dead letter. Changes nothing."""
    if INVALID_CLIENT[:2] in letter.errors:
        # The dead letter has the default client instead, but must not become that client's message.
        return Plan(letter, Action.KEEP, "its client name is not valid: post it with a valid one")
    if letter.reason == KEY_REUSED:
        detail = "its key belongs to another message: post it again with a new key"
        return Plan(letter, Action.KEEP, detail)
    if TOPIC_NOT_LISTED[:2] in letter.errors:
        # SNS sends no attributes. The relay wrote these, because it did not trust the body.
        detail = "accepted only if QueueSenderArns now contains its topic"
        return Plan(letter, Action.QUEUE, detail, without_client=True, without_key=True)
    unused_key = new_id()  # the key if the body contains none
    content = _content(letter, unused_key)
    if content is None:
        return Plan(letter, Action.KEEP, "its body can't be read, so it would fail again")
    if isinstance(content, SendKey):
        return _plan_of_send(target, letter, content, now)
    before = letter.text("messageId") if letter.text("reason") else None
    if before is None:
        # SQS moved it. If the message has no key, its SQS id is the key.
        return Plan(letter, Action.QUEUE, new_key=letter.id if content.key == unused_key else None)
    sends = target.ledger.load(before)
    if sends and sends[0].fingerprint != _fingerprint(content):
        return Plan(
            letter, Action.KEEP, f"{before} has used its key since: post it again with a new key"
        )
    if message_id(content.client, content.key) == before:
        return Plan(letter, Action.QUEUE)
    if message_id("", content.key) == before:
        return Plan(letter, Action.QUEUE, without_client=True)
    # The key was an attribute or the id of the SQS message, which the dead letter does not contain.
    # A key made of its message id sends it once, however often it is redriven.
    return Plan(letter, Action.QUEUE, "under a new key", new_key=f"dead-letter-{before}")


def _fingerprint(content: QueueRequest) -> str | None:
    """Return the fingerprint of a request; None if it is nested too deeply to have one."""
    try:
        return fingerprint(content.document, content.key)
    except NotJsonError:
        return None


def _plan_of_send(target: DeployedStack, letter: DeadLetter, key: SendKey, now: float) -> Plan:
    """Decide what to do with a dead letter that refers to a send of the ledger."""
    send = target.ledger.load_one(key)
    if send is None:
        return Plan(letter, Action.KEEP, "the ledger does not contain its send", key)
    if send.can_be_redriven and send.is_past_expiry(now):
        detail = "its expiresAt has passed: post it again, or discard it"
        return Plan(letter, Action.KEEP, detail, key)
    if send.can_be_redriven:
        return Plan(letter, Action.QUEUE, key=key, ended=send)
    if send.status in ACCEPTED_STATUSES:
        return Plan(letter, Action.REMOVE, f"the send is {send.status}", key)
    action, detail = {
        Status.REJECTED: (Action.REMOVE, "the send is rejected"),
        Status.QUEUED: (Action.QUEUE, "the send is queued already"),
        Status.SENDING: (Action.KEEP, "the send is being sent"),
        Status.UNKNOWN: (Action.KEEP, "the send is unknown: use resolve or resend"),
        Status.FAILED: (Action.KEEP, "the send's body was deleted: post it again"),
        Status.CANCELLED: (Action.REMOVE, "the send is cancelled"),
        Status.EXPIRED: (Action.REMOVE, "the send has expired"),
    }[send.status]
    return Plan(letter, action, detail, key)


def _question(to_do: Sequence[Plan]) -> str:
    queued = sum(plan.action is Action.QUEUE for plan in to_do)
    removed = len(to_do) - queued
    if not queued:
        sends_need = "Its send needs" if removed == 1 else "Their sends need"
        return f"Remove {counted(removed, 'dead letter')}? {sends_need} no further attempt."
    also = f" and remove {removed} whose send has ended" if removed else ""
    letters = counted(queued, "dead letter")
    return f"Return {letters} to the queue{also}? No SMS will go out twice."


def _carried_out(target: DeployedStack, plan: Plan, now: float) -> Plan:
    """Enqueue first, then remove, so that a crash in between never loses the message."""
    if plan.action is Action.KEEP:
        return plan._replace(action=Action.UNCHANGED)
    failure = "it is unknown whether the ledger stored the change ({}); repeat this"
    try:
        if plan.action is Action.QUEUE:
            if plan.ended and not _revived(target, plan.ended, now):
                return plan._replace(
                    action=Action.UNCHANGED, detail="the send has changed in the meantime"
                )
            if plan.key:
                failure = (
                    "queued in the ledger, so the sweeper enqueues it within minutes; "
                    "SQS did not accept its message ({})"
                )
            else:
                failure = "not queued: {}"
            _enqueue(target, plan)
    except (RelayError, BotoCoreError, ClientError) as error:
        detail = failure.format(_name(error))
        return plan._replace(action=Action.UNCHANGED, detail=detail)
    try:
        target.sqs.delete_message(
            QueueUrl=target.dead_letter_queue_url, ReceiptHandle=plan.letter.receipt
        )
    except (BotoCoreError, ClientError) as error:
        queued = "queued, but " if plan.action is Action.QUEUE else ""
        return plan._replace(
            action=Action.UNCHANGED,
            detail=f"{queued}not removed ({_name(error)}); repeat this, it sends nothing twice",
        )
    return plan._replace(action=_DONE[plan.action])


def _revived(target: DeployedStack, ended: Send, now: float) -> bool:
    after = transitions.requeue_by_operator(ended, now=round(now, 3), written_by=new_id())
    return bool(target.ledger.replace_if_unchanged(ended, after))


def _enqueue(target: DeployedStack, plan: Plan) -> None:
    if plan.key:
        target.sqs.send_message(
            QueueUrl=target.queue_url,
            MessageBody=reference_body(plan.key),
            **with_trace(plan.letter.trace),
        )
        return
    relays_own = RELAY_ATTRIBUTES if plan.letter.text("reason") else set()
    attributes: dict[str, Any] = {
        name: value for name, value in plan.letter.attributes.items() if name not in relays_own
    }
    if plan.without_client:
        attributes.pop(CLIENT_ATTRIBUTE, None)
    if plan.without_key:
        attributes.pop(KEY_ATTRIBUTE, None)
    if plan.new_key:
        attributes[KEY_ATTRIBUTE] = {"DataType": "String", "StringValue": plan.new_key}
    target.sqs.send_message(
        QueueUrl=target.queue_url,
        MessageBody=plan.letter.body,
        MessageAttributes=attributes,
        **with_trace(plan.letter.trace),
    )


def _release(target: DeployedStack, letters: Iterable[DeadLetter]) -> None:
    """Make dead letters visible again at once; if that fails, they are after `HIDDEN_SECONDS`."""
    for batch in batched(letters, BATCH, strict=False):
        try:
            target.sqs.change_message_visibility_batch(
                QueueUrl=target.dead_letter_queue_url,
                Entries=[
                    {"Id": str(n), "ReceiptHandle": letter.receipt, "VisibilityTimeout": 0}
                    for n, letter in enumerate(batch)
                ],
            )
        except (BotoCoreError, ClientError) as error:
            print_notice(
                f"smsrelay: dead letters stay invisible for up to {HIDDEN_SECONDS // 60} minutes "
                f"({_name(error)})"
            )
            return


def _print_plans(plans: Sequence[Plan], others: int, options: Any) -> None:
    rows = [
        {
            "message": plan.letter.id,
            "id": plan.key.message_id if plan.key else plan.letter.text("messageId"),
            "n": plan.key.number if plan.key else None,
            "client": plan.client or plan.letter.text(CLIENT_ATTRIBUTE),
            "reason": plan.letter.reason,
            "errors": [{"pointer": it, "code": code} for it, code in _shown_errors(plan.letter)],
            "action": plan.action,
            "detail": plan.detail,
        }
        for plan in plans
    ]
    if options.json:
        print_json({"dryRun": options.dry_run, "letters": rows, "others": others})
        return
    if rows:
        columns = ["id", "n", "client", "reason", "code", "pointer", "action", "detail"]
        print_table(columns, [_row(row) for row in rows])
    else:
        print_line("There are no such dead letters.")
    if others:
        print_notice(f"{counted(others, 'other dead letter')} not changed.")
    if options.dry_run:
        print_notice("Nothing was changed.")


def _row(row: dict[str, Any]) -> Row:
    """Return a dead letter as a row: its first error, and SQS's id if the message has no id."""
    [first, *others] = row["errors"] or [{}]
    code = first.get("code")
    return {
        **row,
        "id": row["id"] or row["message"],
        "code": f"{code} (+{len(others)})" if others else code,
        "pointer": first.get("pointer"),
    }


def _why(letter: DeadLetter) -> str:
    """Return the reason of a dead letter and its first three errors."""
    errors = [f"{code} at {it}" if it else code for it, code in _shown_errors(letter)]
    omitted = f", and {len(errors) - 3} more" if len(errors) > 3 else ""  # noqa: PLR2004 - as above
    words = ", ".join(errors[:3]) + omitted
    return letter.reason if words in {"", letter.reason} else f"{letter.reason}: {words}"


def _shown_errors(letter: DeadLetter) -> list[tuple[str, str]]:
    """Return errors without names that the sender chose, which can be texts or phone numbers."""
    errors = [(without_names(it), code) for it, code in letter.errors if it or code]
    return [(it, code if _CODE.fullmatch(code) else "…") for it, code in errors]


def _name(error: Exception) -> str:
    if isinstance(error, ClientError):
        return error.response.get("Error", {}).get("Code", "ClientError")
    return str(error) if isinstance(error, QueueUnavailableError) else type(error).__name__
