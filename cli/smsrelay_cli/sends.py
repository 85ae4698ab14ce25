"""The commands for sends: list, show, find, token, resend, cancel, resolve."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import batched, islice
from time import time
from typing import Any, NamedTuple

from smsrelay.adapters.dynamodb_ledger import GROUPS
from smsrelay.errors import QueueUnavailableError
from smsrelay.ports import RefusedMessage
from smsrelay.security.redaction import redact
from smsrelay.sends import transitions
from smsrelay.sends.ids import new_id, possible_message_ids
from smsrelay.sends.message_status import message_status
from smsrelay.sends.send import ACCEPTED_STATUSES, Send, Status
from smsrelay_cli.deployed_stack import DeployedStack
from smsrelay_cli.exit_codes import DONE, FAILED, CommandError, UsageError
from smsrelay_cli.terminal import (
    Row,
    confirm,
    counted,
    print_json,
    print_line,
    print_notice,
    print_table,
    printable,
    shown_age,
    shown_time,
)

MOST_READ = 10_000
"""Maximum of sends that one listing reads; `queued` and `sending` share a group."""
BATCH = 100
DEFAULT_LIMIT = 100
"""Maximum of sends that filters choose, unless the operator passes `--limit`."""
WRONG_CLOCK = 300.0
"""Seconds by which the clock of an operator's machine may be ahead."""


class Change(NamedTuple):
    """A requested change of one send, and whether the ledger stored it."""

    before: Send
    after: Send
    is_done: bool
    detail: str | None = None


def list_sends(target: DeployedStack, options: Any, now: float) -> int:
    """List the sends of one status, or those that changed last. Never scans the table."""
    if options.status is None:
        if options.older_than is not None:
            raise UsageError("--older-than needs --status")
        found = list(target.ledger.newest(options.limit + 1))
        is_cut, what = len(found) > options.limit, "unfinished or failed"
        hint = "--limit N shows more."
    else:
        found, is_cut = _of_status(target, options, now)
        what = f"{options.status}{' for that long' if options.older_than else ''}"
        hint = "--limit N shows more, --older-than AGE shows fewer."
    found = found[: options.limit]
    if options.json:
        print_json({"sends": [_listed(send, now) for send in found], "more": is_cut})
        return DONE
    if found:
        columns = [
            "id", "n", "status", "client", "age", "attempts", "recipients", "reason",
        ]  # fmt: skip
        if any(send.note for send in found):
            columns.append("note")
        print_table(columns, [_listed_row(send, now) for send in found])
    else:
        print_line(f"No send is {what}.")
    if is_cut:
        print_notice(f"There are more: {hint}")
    if options.status is None:
        print_notice(
            "Sends that have ended are not listed, except failed ones: `smsrelay find` and `show` "
            "show them."
        )
    return DONE


def _of_status(target: DeployedStack, options: Any, now: float) -> tuple[list[Send], bool]:
    """Return sends of a status, the earliest due first, and whether `--limit` cut them off."""
    status = Status(options.status)
    youngest = None if options.older_than is None else now - options.older_than
    # A waiting send can be due long after its last change, up to its maximum age.
    due_by = None if GROUPS[status] == "open" else youngest
    keys = target.ledger.unfinished(GROUPS[status], due_by=due_by)
    found: list[Send] = []
    read = 0
    for batch in batched(islice(keys, MOST_READ), BATCH, strict=False):
        read += len(batch)
        found += [
            send
            for send in target.ledger.load_sends(batch)
            if send.status is status and (youngest is None or send.updated_at <= youngest)
        ]
        if len(found) > options.limit:
            break
    return found, len(found) > options.limit or read >= MOST_READ


def show(target: DeployedStack, options: Any, now: float) -> int:
    """Show a message with all its sends, or the reasons why it was refused."""
    sends = target.ledger.load(options.id)
    if sends:
        _show_sends(sends, sends, options, now)
        return DONE
    refused = target.ledger.load_refusal(options.id)
    if refused is None:
        raise CommandError(f"no message has the id {options.id}")
    _show_refused(refused, options)
    return DONE


def find(target: DeployedStack, options: Any, now: float) -> int:
    """Find the messages of a client by idempotency key or reference."""
    client = options.client or target.default_client
    ids: Iterable[str]
    if options.key is not None:
        ids = possible_message_ids(client, options.key)
    else:
        positions = target.ledger.find_by_reference(client, options.reference)
        ids = (position.message_id for position in positions)
    found = (_found(target, it, now) for it in ids)
    matching = (row for row in found if row and options.client in {None, row["client"]})
    rows = list(islice(matching, options.limit + 1))
    if not rows:
        raise CommandError(
            f"{client} has no such message; --client C searches those of another client"
        )
    is_cut, rows = len(rows) > options.limit, rows[: options.limit]
    if options.json:
        print_json({"messages": rows, "more": is_cut})
        return DONE
    columns = ["id", "status", "client", "age", "sends", "recipients"]
    print_table(columns, [row | {"age": shown_age(row["ageSeconds"])} for row in rows])
    if is_cut:
        print_notice("There are more: --limit N shows more.")
    return DONE


def _found(target: DeployedStack, found_id: str, now: float) -> dict[str, Any] | None:
    """Return a message as `find` lists it, or None if no message has this id."""
    sends = target.ledger.load(found_id)
    refused = None if sends else target.ledger.load_refusal(found_id)
    if not sends and refused is None:
        return None
    first = refused or sends[0]
    return {
        "id": found_id,
        "status": message_status([send.status for send in sends]) if sends else Status.REJECTED,
        "client": first.client,
        "ageSeconds": max(0, int(now - first.created_at)),
        "sends": len(sends),
        "recipients": sum(send.recipients for send in sends),
    }


def token(target: DeployedStack, options: Any, now: float) -> int:
    """Show the message and the one send that a tokenId belongs to."""
    key = target.ledger.find_by_token_id(options.token_id)
    if key is None:
        raise CommandError(f"no send has the tokenId {options.token_id}")
    sends = target.ledger.load(key.message_id)
    _show_sends(sends, [send for send in sends if send.key == key], options, now)
    return DONE


def resend(target: DeployedStack, options: Any, now: float) -> int:
    """Change the ledger, then enqueue. If the command dies in between, the sweeper enqueues."""

    def objection(send: Send) -> str | None:
        if options.queued:
            return None if send.status is Status.QUEUED else _standing(send)
        if send.status is not Status.FAILED and not _is_undecided(send, now):
            return _standing(send)
        # Filters select what somebody has cancelled only by its reason.
        if send.reason == Status.CANCELLED and not (options.id or options.reason):
            return "it was cancelled"
        return _obstacle(send, now)

    if options.id is None and options.queued:
        raise UsageError("--queued needs the id of a message")
    chosen = _chosen(target, options, objection, ["unknown", "failed"])
    undecided = [send for send in chosen if _is_undecided(send, now)]
    if undecided or (chosen and options.id is None):
        confirm(_resend_question(chosen, undecided, options), yes=options.yes)
    moment = _moment()

    def requeue(send: Send) -> Change:
        if send.status is Status.QUEUED:
            return Change(send, send, is_done=True)
        after = transitions.requeue_by_operator(send, now=moment, written_by=new_id())
        return _settled(target, send, after)

    return _decide(target, options, chosen, requeue)


def _obstacle(send: Send, now: float) -> str | None:
    """Return why a failed or unknown send can't be sent again."""
    if send.body is None:
        return "its body was deleted: post the message again"
    if not send.is_past_expiry(now):
        return None
    also = "" if send.status is Status.FAILED else ", or resolve it"
    return f"its expiresAt has passed: post it again{also}"


def _resend_question(chosen: Sequence[Send], undecided: Sequence[Send], options: Any) -> str:
    of_message = "" if options.id is None else f" of {options.id}"
    words = []
    if undecided:
        recipients = sum(send.recipients for send in undecided)
        words.append(
            f"It is unknown whether {counted(len(undecided), 'send')}{of_message} went out: "
            f"up to {counted(recipients, 'SMS', 'SMS')} may go out twice."
        )
    if certain := len(chosen) - len(undecided):
        words.append(f"{counted(certain, 'other send')} certainly did not go out.")
    return f"{' '.join(words)} Send {counted(len(chosen), 'send')} again?"


def cancel(target: DeployedStack, options: Any, _now: float) -> int:
    """Cancel queued sends. A send that has gone out, or may have, can't be cancelled."""

    def objection(send: Send) -> str | None:
        return None if send.status is Status.QUEUED else _standing(send)

    chosen = _chosen(target, options, objection, ["open"])
    if chosen:
        confirm(_cancel_question(chosen), yes=options.yes)
    moment = _moment()

    def end(send: Send) -> Change:
        while True:
            after = transitions.end_queued(send, Status.CANCELLED, now=moment, written_by=new_id())
            change = _settled(target, send, after)
            # A worker that only postpones a send also changes it.
            latest = None if change.is_done else target.ledger.load_one(send.key)
            if latest is None or latest.status is not Status.QUEUED:
                return change
            send = latest

    return _decide(target, options, chosen, end)


def _cancel_question(chosen: Sequence[Send]) -> str:
    recipients = counted(sum(send.recipients for send in chosen), "recipient")
    question = f"Cancel {counted(len(chosen), 'queued send')} ({recipients})?"
    in_doubt = sum(send.may_have_been_sent for send in chosen)
    if not in_doubt:
        return f"{question} They are never sent."
    become = "it becomes" if in_doubt == 1 else "they become"
    return (
        f"{question} They are not sent again. {in_doubt} of them may have gone out before: "
        f"{become} unknown."
    )


def resolve(target: DeployedStack, options: Any, now: float) -> int:
    """Set the result of unknown sends, which the operator has found out."""
    status = Status(options.status)
    if options.token_id is not None and status is not Status.ACCEPTED:
        raise UsageError("--token-id needs --as accepted")
    if options.token_id is not None and options.id is None:
        raise UsageError("--token-id needs the id of a message")

    def objection(send: Send) -> str | None:
        return None if _is_undecided(send, now) else _standing(send)

    chosen = _chosen(target, options, objection, ["unknown"])
    if options.token_id is not None:
        if len(chosen) > 1:
            raise CommandError("a tokenId belongs to one send: choose it with --send N")
        owner = target.ledger.find_by_token_id(options.token_id)
        if owner is not None:
            raise CommandError(f"this tokenId belongs to {owner}")
    if chosen:
        of_message = "" if options.id is None else f" of {options.id}"
        recipients = counted(sum(send.recipients for send in chosen), "recipient")
        again = "can be resent" if status is Status.FAILED else "can't be sent again"
        confirm(
            f"{counted(len(chosen), 'send')}{of_message} ({recipients}) will be {status}, "
            f"and {again}. Continue?",
            yes=options.yes,
        )
    moment = _moment()

    def end(send: Send) -> Change:
        after = transitions.resolve_by_operator(
            send,
            status,
            token_id=options.token_id,
            note=_note(options.note, send),
            now=moment,
            written_by=new_id(),
        )
        return _settled(target, send, after)

    return _decide(target, options, chosen, end)


def _chosen(
    target: DeployedStack,
    options: Any,
    objection: Callable[[Send], str | None],
    groups: Sequence[str],
) -> Sequence[Send]:
    """Return the chosen sends: those of a message, or those in `groups` that match the filters.

    Raises:
        UsageError: there is neither an id nor a filter, or both.
        CommandError: no send of the message can be changed.
    """
    filters = (options.reason, options.since, options.client)
    if options.id is None:
        if filters == (None, None, None):
            raise UsageError("choose sends by ID, or by --reason, --since or --client")
        if options.send is not None:
            raise UsageError("--send needs the id of a message")
        return _matching(target, options, objection, groups)
    if (*filters, options.limit) != (None, None, None, None):
        raise UsageError("--reason, --since, --client and --limit can't be combined with an ID")
    sends = target.ledger.load(options.id)
    if not sends:
        what = "its body is in the dead-letter queue (smsrelay redrive)"
        refused = target.ledger.load_refusal(options.id)
        raise CommandError(
            f"{options.id} was refused and has no sends; {what}"
            if refused
            else f"no message has the id {options.id}"
        )
    if options.send is not None:
        sends = [send for send in sends if send.key.number == options.send]
        if not sends:
            raise CommandError(f"message {options.id} has no send {options.send}")
    chosen = [send for send in sends if objection(send) is None]
    if not chosen:
        whys = "; ".join(f"send {send.key.number}: {objection(send)}" for send in sends[:3])
        omitted = f"; and {len(sends) - 3} more" if len(sends) > 3 else ""  # noqa: PLR2004 - as above
        raise CommandError(f"refused: {whys}{omitted}")
    return chosen


def _matching(
    target: DeployedStack,
    options: Any,
    objection: Callable[[Send], str | None],
    groups: Sequence[str],
) -> Sequence[Send]:
    """Return sends in groups of the sparse index that match the filters, the oldest first."""

    def matches(send: Send) -> bool:
        return (
            (options.reason is None or send.reason == options.reason)
            and (options.since is None or send.updated_at >= options.since)
            and (options.client is None or send.client == options.client)
            and GROUPS.get(send.status) in groups
            and objection(send) is None
        )

    def found() -> Iterator[Send]:
        for group in groups:
            for keys in batched(target.ledger.unfinished(group), BATCH, strict=False):
                yield from filter(matches, target.ledger.load_sends(keys))

    limit = options.limit or DEFAULT_LIMIT
    chosen = list(islice(found(), limit + 1))
    if len(chosen) > limit:
        print_notice(f"More than {limit} match: this changes the first {limit} only (--limit N).")
    return chosen[:limit]


def _is_undecided(send: Send, now: float) -> bool:
    """Apply the rule of `transitions`, but allow for a clock that is ahead.

    Otherwise a running call could look like one whose process has died.
    """
    return transitions.is_undecided(send, now - WRONG_CLOCK)


def _moment() -> float:
    """Return the time as precisely as the ledger stores it, so a repeated write is the same."""
    return round(time(), 3)


def _standing(send: Send) -> str:
    """Return why an operator can't change a send."""
    if send.status in ACCEPTED_STATUSES:
        return f"it is {send.status}, so it went out"
    return {
        Status.REJECTED: "it is rejected: post a corrected message, or redrive its dead letter",
        Status.QUEUED: "it is queued, and will be sent automatically",
        Status.SENDING: "it is being sent: run the command again in some minutes",
        Status.FAILED: "it has failed and was not sent; only smsrelay resend would send it",
        Status.UNKNOWN: "it may have been sent: use resolve or resend",
        Status.CANCELLED: "it is cancelled, so it was not sent: post it again with a new key",
        Status.EXPIRED: "it has expired, so it was not sent: post it again with a new key",
    }[send.status]


def _settled(target: DeployedStack, before: Send, after: Send) -> Change:
    """Store an operator's decision, unless the send has changed since it was read."""
    if target.ledger.replace_if_unchanged(before, after):
        return Change(before, after, is_done=True)
    now = target.ledger.load_sends([before.key])
    became = now[0].status if now else "gone"
    return Change(before, before, is_done=False, detail=f"it has become {became} in the meantime")


def _decide(
    target: DeployedStack,
    options: Any,
    chosen: Sequence[Send],
    decision: Callable[[Send], Change],
) -> int:
    """Change sends one after the other, enqueue those that are queued, and print all of them.

    Also enqueues and prints if an error or the operator stops it: it can then be repeated.

    Raises:
        CommandError: SQS did not accept all messages.
    """
    changes: list[Change] = []
    is_queued = False
    try:
        for send in chosen:
            changes.append(decision(send))  # noqa: PERF401 - an error keeps earlier changes
    finally:
        for n, send in enumerate(chosen[len(changes) :]):
            detail = "not changed" if n else "it is unknown whether the ledger stored the change"
            changes.append(Change(send, send, is_done=False, detail=detail))
        try:
            is_queued = _enqueue(target, changes)
        finally:
            _print_changes(changes, options)
    if not is_queued:
        only = "" if options.send is None else f" --send {options.send}"
        repeat = f", or repeat: smsrelay resend {options.id} --queued{only}" if options.id else ""
        raise CommandError(
            "the sends are queued in the ledger, but SQS did not accept all messages. Nothing is "
            f"lost: the sweeper enqueues them within minutes{repeat}"
        )
    return DONE if all(change.is_done for change in changes) else FAILED


def _enqueue(target: DeployedStack, changes: Sequence[Change]) -> bool:
    now = time()
    waits = {
        change.after.key: max(0.0, change.after.due_at - now)
        for change in changes
        if change.is_done and change.after.status is Status.QUEUED
    }
    try:
        if waits:
            target.queue.put(waits)
    except QueueUnavailableError:
        return False
    return True


def _note(text: str | None, send: Send) -> str | None:
    """Redact the operator's note, because clients can read it."""
    if text is None:
        return None
    [word] = redact([printable(text.strip())], send.body or "")
    return word or None


def _print_changes(changes: Sequence[Change], options: Any) -> None:
    rows = [
        {
            "id": change.before.key.message_id,
            "n": change.before.key.number,
            "was": change.before.status,
            "is": change.after.status if change.is_done else None,
            "recipients": change.before.recipients,
            "detail": change.detail,
        }
        for change in changes
    ]
    if options.json:
        print_json({"sends": rows})
    elif not rows:
        print_line("No send matches.")
    else:
        columns = ["id", "n", "was", "is", "recipients"]
        print_table(
            columns if all(change.is_done for change in changes) else [*columns, "detail"], rows
        )


def _listed(send: Send, now: float) -> dict[str, object]:
    return {
        "id": send.key.message_id,
        "n": send.key.number,
        "status": send.status,
        "client": send.client,
        "ageSeconds": max(0, int(now - send.updated_at)),
        "attempts": send.attempts,
        "recipients": send.recipients,
        "reason": "lease-expired" if transitions.lease_expired(send, now) else send.reason,
        "note": send.note,
    }


def _listed_row(send: Send, now: float) -> Row:
    listed = _listed(send, now)
    return listed | {"age": shown_age(now - send.updated_at)}


def _show_sends(sends: Sequence[Send], shown: Sequence[Send], options: Any, now: float) -> None:
    first = sends[0]
    reference = None
    if first.reference is not None:
        [reference] = redact([first.reference], "")
    head = {
        "id": first.key.message_id,
        "status": message_status([send.status for send in sends]),
        "client": first.client,
        "message": first.upstream_message_id,
        "onUnknown": first.on_unknown,
        "createdAt": shown_time(first.created_at),
        "reference": reference,
    }
    if options.json:
        print_json(head | {"sends": [_shown(send, now) for send in shown]})
        return
    _print_head(head)
    columns = ["n", "status", "age", "attempts", "recipients", "tokenId", "reason"]
    print_table(
        columns, [_shown(send, now) | {"age": shown_age(now - send.updated_at)} for send in shown]
    )
    for send in shown:
        for word in send.errors:
            print_line(f"send {send.key.number}: {word}")
        if send.note:
            print_line(f"send {send.key.number}: note: {send.note}")


def _shown(send: Send, now: float) -> dict[str, object]:
    listed = _listed(send, now)
    del listed["id"], listed["client"]
    return listed | {
        "updatedAt": shown_time(send.updated_at),
        "tokenId": send.token_id,
        "errors": list(send.errors),
    }


def _show_refused(refused: RefusedMessage, options: Any) -> None:
    head = {
        "id": options.id,
        "status": Status.REJECTED,
        "client": refused.client,
        "createdAt": shown_time(refused.created_at),
    }
    errors = [
        {"pointer": entry.pointer, "code": entry.code, "detail": entry.detail}
        for entry in refused.refusals
    ]
    if options.json:
        print_json(head | {"sends": [], "errors": errors})
        return
    _print_head(head)
    print_table(["pointer", "code", "detail"], errors)


def _print_head(head: dict[str, Any]) -> None:
    width = max(map(len, head))
    for name, value in head.items():
        if value is not None:
            print_line(f"{name.ljust(width)}  {value}")
    print_line("")
