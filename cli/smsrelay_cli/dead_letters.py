"""`smsrelay redrive` puts dead letters back into the queue, `smsrelay discard` removes them."""

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
from smsrelay.sends.ids import message_id, new_message_id
from smsrelay.sends.queue_envelopes import (
    CLIENT_ATTRIBUTE,
    INVALID_CLIENT,
    KEY_ATTRIBUTE,
    TOPIC_NOT_LISTED,
    QueueMessage,
    QueueRequest,
    open_envelope,
)
from smsrelay.sends.send import (
    ACCEPTED_STATUSES,
    UNFINISHED_STATUSES,
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
"""Messages in one call, the most that SQS takes."""
HIDDEN_SECONDS = 900
"""As long as letters are kept from others, while the operator thinks."""
MARGIN_SECONDS = 120
"""As long as the doing may take."""
POLL_SECONDS = 1
"""A long poll asks all of SQS's servers; a short one can overlook messages."""
MOST_READ = 10_000
RELAY_ATTRIBUTES = {"reason", "errors", "messageId"}
"""What the relay itself wrote on a dead letter."""
MOVED = "received-too-often"
"""The reason of a letter that SQS moved by itself: it has no other."""
_CODE = re.compile("[a-z-]+")


class Action(StrEnum):
    """What is to be done with a dead letter, or was."""

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
    """AWS's trace header of the message that ended as this letter."""

    def text(self, name: str) -> str | None:
        """A message attribute that is a string."""
        value: str | None = self.attributes.get(name, {}).get("StringValue")
        return value

    @property
    def reason(self) -> str:
        """Why it is dead."""
        return self.text("reason") or MOVED

    @property
    def errors(self) -> list[tuple[str, str]]:
        """The pointer and the code of each refusal. A letter of a send has one code, its reason."""
        entries = (self.text("errors") or "").split(", ")
        return [(pointer, code) for pointer, _, code in (it.rpartition(" ") for it in entries)]


class Plan(NamedTuple):
    """What a letter needs: a send of the ledger to be queued, or its body under a key."""

    letter: DeadLetter
    action: Action
    detail: str | None = None
    key: SendKey | None = None
    ended: Send | None = None
    new_key: str | None = None
    without_client: bool = False
    """The message named no client: the letter's is the `DefaultClient` that it belonged to."""
    without_key: bool = False
    """The body contains the key: the letter's is the id of the SQS message."""


def redrive(target: DeployedStack, options: Any, now: float) -> int:
    """Look at dead letters, ask, and put those back that can work; the others stay visible."""

    def plan(letter: DeadLetter) -> Plan | None:
        if options.reason is not None and letter.reason != options.reason:
            return None
        if options.client is not None and letter.text(CLIENT_ATTRIBUTE) != options.client:
            return None
        return _plan(target, letter)

    def ask(plans: Sequence[Plan]) -> None:
        if to_do := [plan for plan in plans if plan.action is not Action.KEEP]:
            confirm(_question(to_do), yes=options.yes)

    return _handle(target, options, now, plan, ask)


def discard(target: DeployedStack, options: Any, now: float) -> int:
    """Show the codes of a message's dead letters, ask, and remove them; others stay visible."""

    def plan(letter: DeadLetter) -> Plan | None:
        content = _content(letter)
        key = content if isinstance(content, SendKey) else None
        if options.id not in {letter.id, letter.text("messageId"), key and key.message_id}:
            return None
        if options.send is not None and (key is None or key.number != options.send):
            return None
        send = target.ledger.load_one(key) if key else None
        if send and send.status in UNFINISHED_STATUSES:
            detail = f"the send is {send.status}: end it first, with cancel or resolve"
            return Plan(letter, Action.KEEP, detail, key)
        return Plan(letter, Action.REMOVE, key=key)

    def ask(plans: Sequence[Plan]) -> None:
        if not plans:
            raise CommandError(f"no dead letter that is visible now belongs to {options.id}")
        to_do = [plan for plan in plans if plan.action is not Action.KEEP]
        if not to_do:
            raise CommandError(f"refused: {plans[0].detail}")
        letters = counted(len(to_do), "dead letter")
        whys = "; ".join(dict.fromkeys(_why(plan.letter) for plan in to_do))
        confirm(f"Remove {letters} ({whys})? Nothing can put it back.", yes=options.yes)

    return _handle(target, options, now, plan, ask)


def _handle(
    target: DeployedStack,
    options: Any,
    now: float,
    plan_of: Callable[[DeadLetter], Plan | None],
    ask: Callable[[Sequence[Plan]], None],
) -> int:
    """Plan for each letter, ask, and carry out; a letter without a plan stays as it is."""
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
            raise AbortedError("aborted: the letters may be in other hands by now; ask again")
        results = [_carried_out(target, plan, now) for plan in plans]
        handled = {
            plan.letter.id for plan in results if plan.action in {Action.QUEUED, Action.REMOVED}
        }
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
    """Receive letters until there are plans for enough of them, or there is none left."""
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
            except RelayError:
                others += letters[n:]
                raise
            if sum(plan.action is not Action.KEEP for plan in plans) >= options.limit:
                others += letters[n + 1 :]
                return


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
    """What a letter contains; `key` stands for the key that it does not name. None: unreadable."""
    texts = {name: letter.text(name) for name in letter.attributes}
    attributes = {name: text for name, text in texts.items() if text is not None}
    try:
        return open_envelope(QueueMessage(letter.body, key, attributes))
    except (NotJsonError, TooLargeError, RequestRefusedError):
        return None


def _plan(target: DeployedStack, letter: DeadLetter) -> Plan:  # noqa: PLR0911 - one for each kind of letter
    """What can be done with a letter; changes nothing."""
    if INVALID_CLIENT[:2] in letter.errors:
        # The letter holds the default client instead, whose message it must not become.
        return Plan(letter, Action.KEEP, "its client's name breaks the rule: post it with another")
    if TOPIC_NOT_LISTED[:2] in letter.errors:
        # SNS sends no attributes: the letter's are the relay's, which did not believe the body.
        detail = "for a topic that QueueSenderArns contains by now"
        return Plan(letter, Action.QUEUE, detail, without_client=True, without_key=True)
    none = new_message_id()  # stands for "the body says no key"
    content = _content(letter, none)
    if content is None:
        return Plan(letter, Action.KEEP, "its body can't be read: it would die again")
    if isinstance(content, SendKey):
        return _plan_of_send(target, letter, content)
    before = letter.text("messageId") if letter.text("reason") else None
    if before is None:
        # SQS moved it: its key, if it has none of its own, is the id of the message.
        return Plan(letter, Action.QUEUE, new_key=letter.id if content.key == none else None)
    if message_id(content.client, content.key) == before:
        return Plan(letter, Action.QUEUE)
    if message_id("", content.key) == before:
        return Plan(letter, Action.QUEUE, without_client=True)
    if target.ledger.load(before):
        return Plan(letter, Action.KEEP, f"its key was used again, by {before}: post it anew")
    # The key was an attribute or the id of the SQS message, which the letter does not hold; one
    # that follows from its message sends it once, however often it is put back.
    return Plan(letter, Action.QUEUE, "under a new key", new_key=f"dead-letter-{before}")


def _plan_of_send(target: DeployedStack, letter: DeadLetter, key: SendKey) -> Plan:
    """What can be done with a letter that names a send of the ledger."""
    send = target.ledger.load_one(key)
    if send is None:
        return Plan(letter, Action.KEEP, "there is no such send in the ledger", key)
    if send.can_be_redriven:
        return Plan(letter, Action.QUEUE, key=key, ended=send)
    if send.status in ACCEPTED_STATUSES:
        return Plan(letter, Action.REMOVE, f"the send is {send.status}", key)
    action, detail = {
        Status.REJECTED: (Action.REMOVE, "the send is rejected"),
        Status.QUEUED: (Action.QUEUE, "the send is queued already"),
        Status.SENDING: (Action.KEEP, "the send is being sent"),
        Status.UNKNOWN: (Action.KEEP, "the send is unknown: decide with resend"),
        Status.FAILED: (Action.KEEP, "the send's body is gone: post it anew"),
        Status.CANCELLED: (Action.REMOVE, "the send is cancelled"),
        Status.EXPIRED: (Action.REMOVE, "the send has expired"),
    }[send.status]
    return Plan(letter, action, detail, key)


def _question(to_do: Sequence[Plan]) -> str:
    queued = sum(plan.action is Action.QUEUE for plan in to_do)
    removed = len(to_do) - queued
    also = f" and remove {removed} whose send has ended" if removed else ""
    letters = counted(queued, "dead letter")
    return f"Put {letters} back into the queue{also}? No SMS goes out twice by it."


def _carried_out(target: DeployedStack, plan: Plan, now: float) -> Plan:
    """Queue first, then remove: whatever dies in between leaves the letter, never nothing."""
    if plan.action is Action.KEEP:
        return plan._replace(action=Action.UNCHANGED)
    try:
        if plan.action is Action.QUEUE:
            if plan.ended and not _revived(target, plan.ended, now):
                return plan._replace(
                    action=Action.UNCHANGED, detail="the send has changed meanwhile"
                )
            _enqueue(target, plan)
    except (RelayError, BotoCoreError, ClientError) as error:
        return plan._replace(action=Action.UNCHANGED, detail=f"not queued: {_name(error)}")
    try:
        target.sqs.delete_message(
            QueueUrl=target.dead_letter_queue_url, ReceiptHandle=plan.letter.receipt
        )
    except (BotoCoreError, ClientError) as error:
        queued = "queued, but " if plan.action is Action.QUEUE else ""
        return plan._replace(
            action=Action.UNCHANGED,
            detail=f"{queued}not removed ({_name(error)}); doing it again sends nothing twice",
        )
    return plan._replace(action=_DONE[plan.action])


def _revived(target: DeployedStack, ended: Send, now: float) -> bool:
    after = transitions.requeue_by_operator(ended, now=round(now, 3), written_by=new_message_id())
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
    """Let others see letters again at once; what can't be done is done by time."""
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
                f"smsrelay: dead letters stay hidden for up to {HIDDEN_SECONDS // 60} minutes "
                f"({_name(error)})"
            )
            return


def _print_plans(plans: Sequence[Plan], others: int, options: Any) -> None:
    rows = [
        {
            "message": plan.letter.id,
            "id": plan.key.message_id if plan.key else plan.letter.text("messageId"),
            "n": plan.key.number if plan.key else None,
            "client": plan.letter.text(CLIENT_ATTRIBUTE),
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
        print_line("There is no dead letter to put back.")
    if others:
        print_notice(f"{counted(others, 'dead letter')} more not touched.")
    if options.dry_run:
        print_notice("Nothing was changed.")


def _row(row: dict[str, Any]) -> Row:
    """A letter in a line: with its first error, and with SQS's id if its message has none."""
    [first, *others] = row["errors"] or [{}]
    code = first.get("code")
    return {
        **row,
        "id": row["id"] or row["message"],
        "code": f"{code} (+{len(others)})" if others else code,
        "pointer": first.get("pointer"),
    }


def _why(letter: DeadLetter) -> str:
    """The reason of a letter and its first three errors."""
    errors = [f"{code} at {it}" if it else code for it, code in _shown_errors(letter)]
    omitted = f", and {len(errors) - 3} more" if len(errors) > 3 else ""  # noqa: PLR2004 - as above
    words = ", ".join(errors[:3]) + omitted
    return letter.reason if words in {"", letter.reason} else f"{letter.reason}: {words}"


def _shown_errors(letter: DeadLetter) -> list[tuple[str, str]]:
    """A letter's errors without names that its sender chose: they can be texts or numbers."""
    errors = [(without_names(it), code) for it, code in letter.errors if it or code]
    return [(it, code if _CODE.fullmatch(code) else "…") for it, code in errors]


def _name(error: Exception) -> str:
    if isinstance(error, ClientError):
        return error.response.get("Error", {}).get("Code", "ClientError")
    return str(error) if isinstance(error, QueueUnavailableError) else type(error).__name__
