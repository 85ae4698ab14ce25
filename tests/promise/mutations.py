"""Mutations of the relay, each of which breaks the promise: the tests must catch all of them.

The mutations from `identity_of_deployment` on reproduce bugs that were found and corrected: of
ids, responses, retention, dead letters, pauses, retries, storing, and of the functions that send
nothing.
"""

import os
import threading
from collections.abc import Callable, Sequence
from dataclasses import replace
from http import HTTPStatus
from typing import Any
from unittest.mock import MagicMock, patch

from botocore.client import BaseClient
from botocore.exceptions import ClientError

from smsrelay.adapters import dynamodb_ledger
from smsrelay.adapters.dynamodb_ledger import DynamoDbLedger
from smsrelay.adapters.mobileconnect import MobileConnect
from smsrelay.adapters.sqs import SqsDeadLetterQueue
from smsrelay.adapters.token_store import SecretTokenStore
from smsrelay.errors import RelayError, UnreadableItemError
from smsrelay.ports import CreateResult, ReplaceResult
from smsrelay.sends import backoff, call_outcome, ids, status_events, transitions
from smsrelay.sends.call_outcome import Failure, Outcome, OutcomeKind
from smsrelay.sends.send import Send, SendKey, Status
from smsrelay.services import callback_sender, sender, webhook
from smsrelay.services.api import Post
from smsrelay.services.queue_worker import QueueWorker
from smsrelay.services.sender import Sender
from smsrelay.services.upstream_pause import UpstreamPause
from smsrelay_cli import dead_letters

Json = dict[str, Any]


def apply(name: str) -> None:
    """Patch this process permanently: it is used for one run only."""
    MUTATIONS[name]()


def send_before_claim() -> None:
    """The send is stored after the call instead of before it."""
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
    """A response that breaks off counts as a call that was not made."""
    certain = set(Failure) - {Failure.READ_TIMEOUT}
    patch.object(call_outcome, "_BEFORE_THE_REQUEST", certain).start()


def lapsed_is_queued() -> None:
    """A send whose lease expired is tried again, even with `hold`."""

    def lapsed(send: Send, *, now: float, max_attempts: int, written_by: str) -> Send:
        _ = max_attempts
        queued = replace(send, status=Status.QUEUED, updated_at=now, due_at=now)
        return replace(queued, written_by=written_by)

    patch.object(transitions, "expire_lease", lapsed).start()


def accepted_before_call() -> None:
    """The result `accepted` is written before the call."""
    ask = Sender._call_upstream  # noqa: SLF001 - a mutation is inside

    def write_first(relay: Any, send: Send, deadline: Callable[[], float]) -> Outcome:
        done = replace(send, status=Status.ACCEPTED, body=None)
        relay._ledger.replace_if_unchanged(send, done)  # noqa: SLF001 - the same
        return ask(relay, send, deadline)

    patch.object(Sender, "_call_upstream", write_first).start()


def forgotten_token() -> None:
    """The tokenId is neither stored nor logged."""
    call = MobileConnect.send

    def forget(upstream: MobileConnect, template: str, body: str, timeout: float) -> Outcome:
        return call(upstream, template, body, timeout)._replace(token_id=None)

    patch.object(MobileConnect, "send", forget).start()


def deleted_unread() -> None:
    """A queue message is deleted without being processed."""
    patch.object(QueueWorker, "_process", lambda *_: None).start()


def nothing_lapses() -> None:
    """A lease never ends, so a dead process keeps its sends for ever."""
    patch.object(transitions, "lease_expired", lambda *_: False).start()


def lost_queued() -> None:
    """The sweeper recovers only leases, not queued sends whose message vanished."""
    recover = Sender.recover_stalled

    def recover_lapsed(relay: Sender, key: SendKey) -> Send | None:
        send = relay._ledger.load_one(key)  # noqa: SLF001 - a mutation is inside
        return recover(relay, key) if send and send.status is Status.SENDING else None

    patch.object(Sender, "recover_stalled", recover_lapsed).start()


def failed_silently() -> None:
    """A failed send gets no dead letter."""
    patch.object(Sender, "dead_letter", lambda *_: None).start()


def unconditional_claim() -> None:
    """A claim succeeds whatever the send's status is."""
    claim = DynamoDbLedger._claim  # noqa: SLF001 - a mutation is inside

    def claim_anyway(ledger: Any, *arguments: Any) -> Send | None:
        update, client = ledger._client.update_item, MagicMock()  # noqa: SLF001 - the same

        def update_anyway(**call: Any) -> Any:
            # DynamoDB insists that a condition uses all values.
            return update(**call | {"ConditionExpression": "#status <> :queued OR dueAt <> :now"})

        client.update_item = update_anyway
        with patch.object(ledger, "_client", client):
            return claim(ledger, *arguments)

    patch.object(DynamoDbLedger, "_claim", claim_anyway).start()


def stranger_to_itself() -> None:
    """A write that is repeated after a lost response does not recognise its own item."""
    existing = dynamodb_ledger._existing  # noqa: SLF001 - a mutation is inside

    def strange(error: ClientError) -> Send | None:
        send = existing(error)
        return send and replace(send, written_by="a stranger")

    patch.object(dynamodb_ledger, "_existing", strange).start()


def believed_anybody() -> None:
    """Any response with status 200 counts as DynamoDB's."""
    patch.object(dynamodb_ledger, "check_answer", lambda _: None).start()


def overwritten_result() -> None:
    """A result overwrites whatever the item contains."""

    def settle(ledger: Any, before: Send, after: Send) -> ReplaceResult:
        _ = before
        item = ledger._item(after)  # noqa: SLF001 - a mutation is inside
        ledger._client.put_item(TableName=ledger._table, Item=item)  # noqa: SLF001 - the same
        return ReplaceResult.STORED

    patch.object(DynamoDbLedger, "replace_if_unchanged", settle).start()


def kept_body() -> None:
    """The body stays in the ledger after the send has ended."""
    ended = transitions.finish_attempt

    def keep(send: Send, outcome: Outcome, **rest: Any) -> Send:
        return replace(ended(send, outcome, **rest), body=send.body)

    patch.object(transitions, "finish_attempt", keep).start()


def _finish_with(**changed: object) -> None:
    """Finish each attempt with changed arguments."""
    finish = transitions.finish_attempt

    def end(send: Send, outcome: Outcome, **rest: Any) -> Send:
        return finish(send, outcome, **rest | changed)

    patch.object(transitions, "finish_attempt", end).start()


def dropped_body() -> None:
    """A send that is rejected in the worker loses its body, so an operator can't redrive it."""
    _finish_with(keep_rejected=False)


def abandoned_refusal() -> None:
    """A refused queue message is deleted without a dead letter."""
    patch.object(Sender, "reject", lambda *_, **__: None).start()


def swapped_results() -> None:
    """Two parallel calls get each other's result."""
    call, both, results = MobileConnect.send, threading.Barrier(2), list[Outcome]()

    def swap(upstream: MobileConnect, template: str, body: str, timeout: float) -> Outcome:
        result = call(upstream, template, body, timeout)
        results.append(result)
        both.wait(5)
        return next(other for other in results if other is not result)

    patch.object(MobileConnect, "send", swap).start()


def unconditional_creation() -> None:
    """A message with a used key is stored again."""
    put: Any = BaseClient._make_api_call  # type: ignore[attr-defined]  # noqa: SLF001 - the client's own

    def without_condition(client: BaseClient, operation: str, call: Any) -> Any:
        if operation == "PutItem" and "ExpressionAttributeValues" not in call:
            call.pop("ConditionExpression", None)
        return put(client, operation, call)

    patch.object(BaseClient, "_make_api_call", without_condition).start()


def overdue_is_unknown() -> None:
    """A queued send whose message vanished becomes `unknown`."""
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
    """A dead letter does not contain its send."""
    put = SqsDeadLetterQueue.put
    patch.object(SqsDeadLetterQueue, "put", lambda queue, _, *rest: put(queue, "{}", *rest)).start()


def failed_without_body() -> None:
    """A failed send loses its body, so an operator can't redrive it."""
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
    """A send that was not sent is due again at once."""
    patch.object(sender, "retry_delay", lambda *_, **__: 0.0).start()


def pause_ignored() -> None:
    """An operator's pause stops no call."""
    patch.object(sender, "is_paused", lambda *_: False).start()


def expiry_not_stored() -> None:
    """The ledger does not store a message's `expiresAt`."""
    plan = sender._plan  # noqa: SLF001 - a mutation is inside

    def without_expiry(*arguments: Any) -> list[Send]:
        return [replace(send, expires_at=None) for send in plan(*arguments)]

    patch.object(sender, "_plan", without_expiry).start()


def cancelled_while_sending() -> None:
    """A cancellation overwrites a claim."""
    replace_if_unchanged = DynamoDbLedger.replace_if_unchanged

    def write(ledger: Any, before: Send, after: Send) -> ReplaceResult:
        if after.status is not Status.CANCELLED:
            return replace_if_unchanged(ledger, before, after)
        item = ledger._item(after)  # noqa: SLF001 - a mutation is inside
        ledger._client.put_item(TableName=ledger._table, Item=item)  # noqa: SLF001 - the same
        return ReplaceResult.STORED

    patch.object(DynamoDbLedger, "replace_if_unchanged", write).start()


def identity_of_deployment() -> None:
    """The id of a queue message that names no client depends on a parameter."""
    message_id = ids.message_id

    def with_default(client: str, key: str) -> str:
        return message_id(client or os.environ["DEFAULT_CLIENT"], key)

    patch.object(ids, "message_id", with_default).start()


def _decide(mutated: HTTPStatus, *decision: object) -> None:
    """Map each response with this status to this decision."""
    of_status = call_outcome._of_status  # noqa: SLF001 - a mutation is inside

    def decide(status: int, code: int | None, **rest: bool) -> object:
        return decision if status == mutated else of_status(status, code, **rest)

    patch.object(call_outcome, "_of_status", decide).start()


def each_503_is_not_sent() -> None:
    """A 503 of a gateway counts as a 503 of the API."""
    _decide(HTTPStatus.SERVICE_UNAVAILABLE, OutcomeKind.NOT_SENT, "unavailable")


def forbidden_is_rejected() -> None:
    """A 403, which is not about the message, makes the send `rejected`."""
    _decide(HTTPStatus.FORBIDDEN, OutcomeKind.REJECTED, "refused")


def _change_items(change: Callable[[Json, Send], None]) -> None:
    """Change each item before it is written."""
    item_of = DynamoDbLedger._item  # noqa: SLF001 - a mutation is inside

    def changed(ledger: DynamoDbLedger, send: Send) -> Json:
        item: Json = item_of(ledger, send)
        change(item, send)
        return item

    patch.object(DynamoDbLedger, "_item", changed).start()


def forgets_before_the_queue() -> None:
    """The ledger deletes ended sends after two days; the queues keep messages for 28."""

    def soon(item: Json, send: Send) -> None:
        if "deleteAt" in item:
            item["deleteAt"] = {"N": str(int(send.due_at) + 2 * 86_400)}

    _change_items(soon)


def deletes_unfinished() -> None:
    """DynamoDB's TTL may delete a send that has not ended."""

    def always(item: Json, send: Send) -> None:
        item["deleteAt"] = {"N": str(int(send.due_at) + 90 * 86_400)}

    _change_items(always)


def gone_is_stored() -> None:
    """A result whose item has vanished counts as stored."""
    replace_if_unchanged = DynamoDbLedger.replace_if_unchanged

    def believe(ledger: DynamoDbLedger, before: Send, after: Send) -> ReplaceResult:
        result = replace_if_unchanged(ledger, before, after)
        return ReplaceResult.STORED if result is ReplaceResult.GONE else result

    patch.object(DynamoDbLedger, "replace_if_unchanged", believe).start()


def moved_without_key() -> None:
    """A message that SQS moved goes back into the queue without its key."""
    plan = dead_letters._plan  # noqa: SLF001 - a mutation is inside

    def forget(*arguments: Any) -> Any:
        return plan(*arguments)._replace(new_key=None)

    patch.object(dead_letters, "_plan", forget).start()


def doubt_pauses_nothing() -> None:
    """After a doubtful response the next call follows at once."""
    record = UpstreamPause._record  # noqa: SLF001 - a mutation is inside

    def forget(pause: Any, call: Any, outcome: Outcome, now: float) -> None:
        record(pause, call, outcome, now)
        pause._doubt = None  # noqa: SLF001 - the same

    patch.object(UpstreamPause, "_record", forget).start()


def forgotten_retry_after() -> None:
    """A send is tried again before the upstream's Retry-After."""
    delay = backoff.retry_delay

    def soon(outcome: Outcome, *rest: Any, **named: Any) -> float:
        return delay(outcome._replace(retry_after=None), *rest, **named)

    patch.object(sender, "retry_delay", soon).start()


def one_refusal_ends() -> None:
    """A send that was not sent becomes `failed` after one attempt."""
    _finish_with(is_last=True)


def refused_before_looking() -> None:
    """A request with a used key is refused for its content, although its message is stored."""

    def refuse(_: Sender, __: object, refused: RelayError) -> None:
        raise refused

    patch.object(Sender, "replay", refuse).start()


def overflow() -> None:
    """A delay overflows after a response and before it is stored, and nothing catches the error."""

    def limited(delay: float, times: int) -> float:
        if times:
            raise OverflowError
        return delay

    patch.object(backoff, "doubled", limited).start()
    patch.object(sender, "_without_errors", lambda step, *its, **named: step(*its, **named)).start()


def unreadable_stops_all() -> None:
    """An item that this version can't read stops the sweep."""
    recover = Sender.recover_stalled

    def fail(relay: Sender, key: SendKey) -> Send | None:
        try:
            return recover(relay, key)
        except UnreadableItemError as error:
            raise ValueError from error

    patch.object(Sender, "recover_stalled", fail).start()


def token_without_end() -> None:
    """A tokenId that is too long for the ledger's index is stored."""
    patch.object(call_outcome, "MAX_TOKEN_ID_BYTES", 1_000_000).start()


def deadline_unheeded() -> None:
    """A call to the upstream may take longer than the time left in the invocation."""
    ask = Sender._call_upstream  # noqa: SLF001 - a mutation is inside

    def patient(relay: Sender, send: Send, _: Callable[[], float]) -> Outcome:
        return ask(relay, send, lambda: 1_000.0)

    patch.object(Sender, "_call_upstream", patient).start()


def changed_retry() -> None:
    """A second attempt sends another body than the first one."""
    call = MobileConnect.send
    bodies = set[str]()

    def change(upstream: MobileConnect, template: str, body: str, timeout: float) -> Outcome:
        again = body in bodies
        bodies.add(body)
        return call(upstream, template, body.replace("true", "false") if again else body, timeout)

    patch.object(MobileConnect, "send", change).start()


def wrong_status_logged() -> None:
    """The log line about a result that could not be stored has a wrong status."""
    log_error = sender.logger.error

    def wrong(message: str, *arguments: Any, extra: Json) -> None:
        log_error(message, *arguments, extra=extra | {"status": "unknown"})

    patch.object(sender.logger, "error", wrong).start()


def unreported_delivery() -> None:
    """A delivery report counts as a poll without a response."""

    def ignore(send: Send, _: object, **rest: Any) -> Send:
        return transitions.schedule_next_poll(send, **rest)

    patch.object(transitions, "apply_report", ignore).start()


def unpublished_end() -> None:
    """The last status of a send is not published."""
    patch.object(status_events.StatusChange, "is_event", property(lambda it: not it.before)).start()


def callback_taken_for_done() -> None:
    """A callback that the receiver did not accept is not posted again."""
    patch.object(callback_sender, "_DONE", range(600)).start()


def unwritten_token() -> None:
    """A new access token is not stored."""
    patch.object(SecretTokenStore, "write", lambda *_: None).start()


def new_webhook_each_time() -> None:
    """A webhook that is delivered again becomes another message."""

    def without_id(*values: Any, is_webhook: bool) -> Post:
        _ = is_webhook
        return Post(*values)

    patch.object(webhook, "Post", without_id).start()


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
        pause_ignored,
        expiry_not_stored,
        identity_of_deployment,
        each_503_is_not_sent,
        forbidden_is_rejected,
        forgets_before_the_queue,
        deletes_unfinished,
        gone_is_stored,
        moved_without_key,
        doubt_pauses_nothing,
        forgotten_retry_after,
        one_refusal_ends,
        refused_before_looking,
        overflow,
        unreadable_stops_all,
        token_without_end,
        deadline_unheeded,
        changed_retry,
        wrong_status_logged,
        unreported_delivery,
        unpublished_end,
        callback_taken_for_done,
        unwritten_token,
        new_webhook_each_time,
    )
}
