"""Relays that break the promise, each in one way: the test must notice every one of them."""

import threading
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any
from unittest.mock import MagicMock, patch

from botocore.client import BaseClient
from botocore.exceptions import ClientError

from smsrelay.adapters import dynamodb_ledger
from smsrelay.adapters.dynamodb_ledger import DynamoDbLedger
from smsrelay.adapters.mobileconnect import MobileConnect
from smsrelay.adapters.sqs import SqsDeadLetterQueue
from smsrelay.ports import CreateResult, ReplaceResult
from smsrelay.sends import call_outcome, transitions
from smsrelay.sends.call_outcome import Failure, Outcome
from smsrelay.sends.send import Send, SendKey, Status
from smsrelay.services import sender
from smsrelay.services.queue_worker import QueueWorker
from smsrelay.services.sender import Sender


def apply(name: str) -> None:
    """Patch this process for good; it lives for one run."""
    MUTATIONS[name]()


def send_before_claim() -> None:
    """The first write comes after the call."""
    waiting: list[Callable[[], object]] = []
    create, call = DynamoDbLedger.create, MobileConnect.send

    def create_later(ledger: DynamoDbLedger, sends: Sequence[Send]) -> CreateResult:
        if ledger.load_one(sends[0].key):
            return create(ledger, sends)
        waiting.append(lambda: create(ledger, sends))
        return CreateResult(created=True, sends=sends)

    def call_first(upstream: MobileConnect, template: str, body: str, timeout: float) -> Outcome:
        result = call(upstream, template, body, timeout)
        while waiting:
            waiting.pop()()
        return result

    patch.object(DynamoDbLedger, "create", create_later).start()
    patch.object(MobileConnect, "send", call_first).start()


def broken_answer_is_not_sent() -> None:
    """An answer that breaks off is taken for a call that never was."""
    certain = set(Failure) - {Failure.READ_TIMEOUT}
    patch.object(call_outcome, "_BEFORE_THE_REQUEST", certain).start()


def lapsed_is_queued() -> None:
    """A lease that ran out is tried again, whatever the caller wants."""

    def lapsed(send: Send, *, now: float, max_attempts: int, written_by: str) -> Send:
        _ = max_attempts
        queued = replace(send, status=Status.QUEUED, updated_at=now, due_at=now)
        return replace(queued, written_by=written_by)

    patch.object(transitions, "expire_lease", lapsed).start()


def accepted_before_call() -> None:
    """The result is written before the call, as if it could not fail."""
    ask = Sender._ask_upstream  # noqa: SLF001 - a mutation is inside

    def write_first(relay: Any, send: Send, deadline: Callable[[], float]) -> Outcome:
        done = replace(send, status=Status.ACCEPTED, body=None)
        relay._ledger.replace_if_unchanged(send, done)  # noqa: SLF001 - the same
        return ask(relay, send, deadline)

    patch.object(Sender, "_ask_upstream", write_first).start()


def forgotten_token() -> None:
    """The receipt is neither stored nor logged."""
    call = MobileConnect.send

    def forget(upstream: MobileConnect, template: str, body: str, timeout: float) -> Outcome:
        return call(upstream, template, body, timeout)._replace(token_id=None)

    patch.object(MobileConnect, "send", forget).start()


def deleted_unread() -> None:
    """A message is deleted before anything of it is stored."""
    patch.object(QueueWorker, "_process", lambda *_: None).start()


def nothing_lapses() -> None:
    """A lease never ends: who dies keeps its sends for ever."""
    patch.object(transitions, "lease_expired", lambda *_: False).start()


def lost_queued() -> None:
    """The sweeper looks for leases only: it never recovers a queued send whose message vanished."""
    recover = Sender.recover_stalled

    def recover_lapsed(relay: Sender, key: SendKey) -> Send | None:
        send = relay._ledger.load_one(key)  # noqa: SLF001 - a mutation is inside
        return recover(relay, key) if send and send.status is Status.SENDING else None

    patch.object(Sender, "recover_stalled", recover_lapsed).start()


def failed_silently() -> None:
    """What has failed is in no dead-letter queue."""
    patch.object(Sender, "dead_letter", lambda *_: None).start()


def unconditional_claim() -> None:
    """Any process claims a send, whatever state it is in."""
    claim = DynamoDbLedger._claim  # noqa: SLF001 - a mutation is inside

    def claim_anyway(ledger: Any, *arguments: Any) -> Send | None:
        update, client = ledger._client.update_item, MagicMock()  # noqa: SLF001 - the same

        def update_anyway(**call: Any) -> Any:
            # As much of a condition as keeps its values in use, which DynamoDB insists on.
            return update(**call | {"ConditionExpression": "#status <> :queued OR dueAt <> :now"})

        client.update_item = update_anyway
        with patch.object(ledger, "_client", client):
            return claim(ledger, *arguments)

    patch.object(DynamoDbLedger, "_claim", claim_anyway).start()


def stranger_to_itself() -> None:
    """A write that was repeated after a lost answer takes itself for somebody else's."""
    existing = dynamodb_ledger._existing  # noqa: SLF001 - a mutation is inside

    def strange(error: ClientError) -> Send | None:
        send = existing(error)
        return send and replace(send, written_by="a stranger")

    patch.object(dynamodb_ledger, "_existing", strange).start()


def believed_anybody() -> None:
    """Any answer with a good status is taken for DynamoDB's word."""
    patch.object(dynamodb_ledger, "check_answer", lambda _: None).start()


def overwritten_result() -> None:
    """A result is written over whatever stands there by now."""

    def settle(ledger: Any, before: Send, after: Send) -> ReplaceResult:
        _ = before
        item = ledger._item(after)  # noqa: SLF001 - a mutation is inside
        ledger._client.put_item(TableName=ledger._table, Item=item)  # noqa: SLF001 - the same
        return ReplaceResult.STORED

    patch.object(DynamoDbLedger, "replace_if_unchanged", settle).start()


def kept_body() -> None:
    """Text and numbers stay in the ledger when the send has ended."""
    ended = transitions.finish_attempt

    def keep(send: Send, outcome: Outcome, **rest: Any) -> Send:
        return replace(ended(send, outcome, **rest), body=send.body)

    patch.object(transitions, "finish_attempt", keep).start()


def dropped_body() -> None:
    """A send that the worker sees rejected loses its body, so an operator can't redrive it."""
    ended = transitions.finish_attempt

    def drop(send: Send, outcome: Outcome, **rest: Any) -> Send:
        return ended(send, outcome, **rest | {"keep_rejected": False})

    patch.object(transitions, "finish_attempt", drop).start()


def abandoned_refusal() -> None:
    """What is refused from the queue is deleted without a trace."""
    patch.object(Sender, "reject", lambda *_, **__: None).start()


def swapped_results() -> None:
    """Two calls that run side by side get each other's result."""
    call, both, results = MobileConnect.send, threading.Barrier(2), list[Outcome]()

    def swap(upstream: MobileConnect, template: str, body: str, timeout: float) -> Outcome:
        result = call(upstream, template, body, timeout)
        results.append(result)
        both.wait(5)
        return next(other for other in results if other is not result)

    patch.object(MobileConnect, "send", swap).start()


def unconditional_creation() -> None:
    """A message under a key that exists is stored again."""
    put: Any = BaseClient._make_api_call  # type: ignore[attr-defined]  # noqa: SLF001 - the client's own

    def without_condition(client: BaseClient, operation: str, call: Any) -> Any:
        if operation == "PutItem" and "ExpressionAttributeValues" not in call:
            call.pop("ConditionExpression", None)
        return put(client, operation, call)

    patch.object(BaseClient, "_make_api_call", without_condition).start()


def overdue_is_unknown() -> None:
    """A queued send whose message vanished is called unknown."""
    recover = Sender.recover_stalled

    def give_up(relay: Sender, key: SendKey) -> Send | None:
        ledger = relay._ledger  # noqa: SLF001 - a mutation is inside
        send = ledger.load_one(key)
        if send is None or send.status is not Status.QUEUED:
            return recover(relay, key)
        after = replace(send, status=Status.UNKNOWN, reason="lease-expired", written_by="sweeper")
        ledger.replace_if_unchanged(send, after)
        return after

    patch.object(Sender, "recover_stalled", give_up).start()


def empty_dead_letters() -> None:
    """A dead letter does not say which send it is about."""
    put = SqsDeadLetterQueue.put
    patch.object(SqsDeadLetterQueue, "put", lambda queue, _, *rest: put(queue, "{}", *rest)).start()


def failed_without_body() -> None:
    """A send that failed loses its body, so an operator can't redrive it."""
    ended = transitions.finish_attempt

    def drop(send: Send, outcome: Outcome, **rest: Any) -> Send:
        after = ended(send, outcome, **rest)
        return replace(after, body=None) if after.status is Status.FAILED else after

    patch.object(transitions, "finish_attempt", drop).start()


def accepted_is_resent() -> None:
    """With `resend` an accepted send is sent once more."""
    ended = transitions.finish_attempt

    def resend(send: Send, outcome: Outcome, **rest: Any) -> Send:
        after = ended(send, outcome, **rest)
        if after.status is Status.ACCEPTED and send.on_unknown == "resend" and send.attempts == 1:
            return replace(after, status=Status.QUEUED, body=send.body)
        return after

    patch.object(transitions, "finish_attempt", resend).start()


def no_waiting() -> None:
    """What was not sent is due again at once."""
    patch.object(sender, "retry_delay", lambda *_, **__: 0.0).start()


def cancelled_while_sending() -> None:
    """A cancellation is written over a claim."""
    replace_if_unchanged = DynamoDbLedger.replace_if_unchanged

    def write(ledger: Any, before: Send, after: Send) -> ReplaceResult:
        if after.status is not Status.CANCELLED:
            return replace_if_unchanged(ledger, before, after)
        item = ledger._item(after)  # noqa: SLF001 - a mutation is inside
        ledger._client.put_item(TableName=ledger._table, Item=item)  # noqa: SLF001 - the same
        return ReplaceResult.STORED

    patch.object(DynamoDbLedger, "replace_if_unchanged", write).start()


MUTATIONS: dict[str, Callable[[], None]] = {
    mutation.__name__: mutation
    for mutation in (
        send_before_claim,
        broken_answer_is_not_sent,
        lapsed_is_queued,
        accepted_before_call,
        forgotten_token,
        deleted_unread,
        nothing_lapses,
        lost_queued,
        failed_silently,
        unconditional_claim,
        stranger_to_itself,
        believed_anybody,
        overwritten_result,
        kept_body,
        dropped_body,
        abandoned_refusal,
        swapped_results,
        unconditional_creation,
        overdue_is_unknown,
        empty_dead_letters,
        failed_without_body,
        accepted_is_resent,
        no_waiting,
        cancelled_while_sending,
    )
}
