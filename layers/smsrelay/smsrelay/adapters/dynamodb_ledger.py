"""The ledger in a DynamoDB table: one item for each send, `pk = MSG#{id}`, `sk = SEND#{n}`."""

import heapq
import json
import logging
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from functools import partial
from itertools import islice
from operator import attrgetter, itemgetter
from typing import TYPE_CHECKING, Any, Final

from botocore.exceptions import ClientError

from smsrelay.adapters.aws_errors import check_answer, error_name, ledger_errors
from smsrelay.errors import LedgerUnavailableError, UnreadableItemError
from smsrelay.messages.refusals import Refusal
from smsrelay.messages.segments import Segments
from smsrelay.ports import (
    ClaimResult,
    CreateResult,
    DuePolls,
    MessagePosition,
    Metrics,
    RefusedMessage,
    ReplaceResult,
)
from smsrelay.sends import delivery_report
from smsrelay.sends.polling_schedule import POLLING_PERIOD
from smsrelay.sends.send import OnUnknown, Send, SendKey, Status
from smsrelay.sends.status_events import StatusChange

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient

Item = Mapping[str, Any]
"""An item in the low-level notation: `{"name": {"S": "value"}}`."""
Report = Callable[[UnreadableItemError], None]
"""Called for each item that this version can't read."""

REFUSED = "REFUSED"
SHARDS: Final = {
    "open": 64,
    "first-many": 16,
    "first-one": 16,
    "followed": 16,
    "unknown": 16,
    "failed": 16,
}
"""The partitions of each group of the sparse index of unfinished sends, to avoid a hot partition.

At 10,000 sends a second each partition gets 625 writes of its limit of 1,000: without a retry a
send costs `open` at most four writes, and the other groups one. docs/capacity.md computes this.
"""
KEYS_AT_ONCE: Final = 100
"""The most keys of a batch read."""
SECONDS_PER_DAY: Final = 86_400
MAX_TIME: Final = 253_402_300_799.0
"""The end of the year 9999, the last one of Python's dates."""
FIRST_MANY, FIRST_ONE, POLLED_BEFORE = "first-many", "first-one", "followed"
"""The groups of accepted sends that await a report, in polling order: before the first poll with
several recipients, before it with one recipient, and after it."""
MAX_CANDIDATES: Final = 3_000
"""The sends of a group, the oldest due, that a run chooses from."""
MAX_LATE: Final = 8_000
"""The most sends that a run ends because they were not polled in time."""
MAX_POLLED: Final = 10_000
"""The polled sends, the oldest due, that `newest` chooses from."""
FEW: Final = 20
"""The sends of a group that a run reads if it has no calls left for the group."""

logger = logging.getLogger(__name__)

_READ = """
    pk sk client template recipients status onUnknown createdAt updatedAt dueAt owner attempts
    fingerprint tokenId reason note errors reference correlationId delivery unfinished deliverAt
    expiresAt resentAt attemptsBefore attemptsPutOff segments inDoubt deliveryPolling
"""
_WITHOUT_BODY = _READ.split()
"""The attributes that `_send` reads, except the body."""

GROUPS = {
    Status.QUEUED: "open",
    Status.SENDING: "open",
    Status.UNKNOWN: "unknown",
    Status.FAILED: "failed",
}
"""The group of the index `unfinished` that contains the sends of a status."""


def report_unreadable(metrics: Metrics, error: UnreadableItemError) -> None:
    """Log the item's key and the kind of error, and count it."""
    logger.error("%s", error)
    metrics.count("UnreadableItems")


class DynamoDbLedger:
    """The `Ledger` port. All writes are conditional, and recognize their own repetition."""

    def __init__(
        self,
        client: "DynamoDBClient",
        table: str,
        retention_days: int,
        report: Report = lambda _: None,
    ) -> None:
        """DynamoDB deletes an item `retention_days` after the end of its send."""
        self._client = client
        self._table = table
        self._retention = retention_days * SECONDS_PER_DAY
        self._report = report

    def create(self, sends: Sequence[Send]) -> CreateResult:
        first = sends[0]
        try:
            with ledger_errors():
                existing = self._put_new(sends)
        except LedgerUnavailableError:
            # The write may have succeeded, with only its response lost.
            existing = self.load_one(first.key)
            if existing is None:
                raise
        if existing is None or existing.written_by == first.written_by:
            return CreateResult(created=True, sends=sends)
        return CreateResult(created=False, sends=[existing])

    def claim(
        self, key: SendKey, *, written_by: str, now: float, lease_until: float
    ) -> ClaimResult | None:
        try:
            existing = self._claim(key, written_by, now, lease_until)
        except LedgerUnavailableError:
            # Only the response may be lost, and an unused claim would end as unknown.
            existing = self.load_one(key)
            if existing is None or existing.written_by != written_by:
                raise
        if existing is None:
            return None
        won = existing.written_by == written_by and existing.status is Status.SENDING
        return ClaimResult(won=won, send=existing)

    def replace_if_unchanged(self, before: Send, after: Send) -> ReplaceResult:
        """Store the send; the claiming process may also replace an `unknown` of another process.

        Other writes have a new `written_by`, so only the first of two concurrent ones succeeds.
        """
        names, other = {"#status": "status"}, {":unknown": {"S": str(Status.UNKNOWN)}}
        condition = "#status IN (:before, :unknown)"
        if after.written_by != before.written_by:
            condition = "#status = :before AND #owner = :owner"
            names, other = names | {"#owner": "owner"}, {":owner": {"S": before.written_by}}
        with ledger_errors():
            try:
                answer = self._client.put_item(
                    TableName=self._table,
                    Item=self._item(after),
                    ConditionExpression=f"attempts = :attempts AND {condition}",
                    ExpressionAttributeNames=names,
                    ExpressionAttributeValues={
                        ":attempts": {"N": str(before.attempts)},
                        ":before": {"S": before.status},
                        **other,
                    },
                    ReturnValuesOnConditionCheckFailure="ALL_OLD",
                )
                check_answer(answer)
            except ClientError as error:
                existing = _existing(error)
                if existing is None:
                    return ReplaceResult.GONE
                # botocore repeats a write whose response was lost.
                is_repeated = _write_of(existing) == _write_of(after)
                return ReplaceResult.STORED if is_repeated else ReplaceResult.CHANGED
        return ReplaceResult.STORED

    def load(self, message_id: str, *, bodies: bool = True) -> Sequence[Send]:
        attributes = () if bodies else _WITHOUT_BODY
        items = items_of(self._client, self._table, f"MSG#{message_id}", "SEND#", attributes)
        return [_parsed(_send, item, self._report) for item in items]

    def load_one(self, key: SendKey) -> Send | None:
        items = items_of(self._client, self._table, f"MSG#{key.message_id}", _key(key)["sk"]["S"])
        return _parsed(_send, items[0], self._report) if items else None

    def stalled(self, before: float) -> Iterator[SendKey]:
        return self.unfinished("open", due_by=before)

    def count_unknown(self, limit: int) -> int:
        count = 0
        for partition in _partitions(GROUPS[Status.UNKNOWN]):
            question = self._group_question(partition)
            with ledger_errors():
                count += self._client.query(**question, Select="COUNT", Limit=limit)["Count"]
        return count

    def due_polls(self, now: float, limit: int) -> DuePolls:
        """Query each group of the sparse index with a limit, and read the items."""
        on_time, late = list[SendKey](), list[SendKey]()
        for group in (FIRST_MANY, FIRST_ONE, POLLED_BEFORE):
            at_most = MAX_CANDIDATES if len(on_time) < limit else FEW
            candidates = list[tuple[int, SendKey]]()
            found = self._merged(group, now, _due_poll, min(at_most, KEYS_AT_ONCE))
            for poll_from, recipients, key in found:
                if now - poll_from < POLLING_PERIOD:
                    candidates.append((recipients, key))
                else:
                    late.append(key)
                if len(candidates) == at_most or len(late) >= MAX_LATE:
                    break
            candidates.sort(key=itemgetter(0), reverse=True)  # stable: then the oldest due first
            on_time += [key for _, key in candidates]
        sends = list[Send]()
        while on_time and len(sends) < limit:  # unreadable items don't count
            chosen, on_time = on_time[: limit - len(sends)], on_time[limit - len(sends) :]
            # The index is eventually consistent.
            sends += [send for send in self._awaiting_report(chosen) if send.due_at <= now]
        return DuePolls(sends, self._awaiting_report(late))

    def _awaiting_report(self, keys: Sequence[SendKey]) -> list[Send]:
        return [send for send in self.load_sends(keys) if send.awaits_report]

    def find_by_token_id(self, token_id: str) -> SendKey | None:
        """Find the send of a tokenId; the index is eventually consistent."""
        with ledger_errors():
            answer = self._client.query(
                TableName=self._table,
                IndexName="tokens",
                KeyConditionExpression="tokenId = :token",
                ExpressionAttributeValues={":token": {"S": token_id}},
                Limit=1,
            )
            return next(self._readable(_parse_key, answer["Items"]), None)

    def find_by_reference(
        self, client: str, reference: str, after: MessagePosition | None = None
    ) -> Iterator[MessagePosition]:
        """Find the messages with a reference; the index is eventually consistent."""
        index_key = {"S": _index_key(client, reference)}
        question: dict[str, Any] = {
            "TableName": self._table,
            "IndexName": "references",
            "KeyConditionExpression": "clientReference = :key",
            "ExpressionAttributeValues": {":key": index_key},
            "ScanIndexForward": False,
        }
        if after:
            question["ExclusiveStartKey"] = {
                "clientReference": index_key,
                "createdAt": {"N": after.created_at},
                **_key(SendKey(after.message_id, 1)),
            }
        with ledger_errors():
            for page in self._client.get_paginator("query").paginate(
                **question, PaginationConfig={"PageSize": KEYS_AT_ONCE}
            ):
                yield from self._readable(_position, page["Items"])

    def record_refusal(
        self, message_id: str, client: str, refusals: Sequence[Refusal], now: float
    ) -> None:
        """Store the refusal in an item of its own, so the idempotency key can be used again."""
        with ledger_errors():
            answer = self._client.update_item(
                TableName=self._table,
                Key={"pk": {"S": f"MSG#{message_id}"}, "sk": {"S": REFUSED}},
                # The client of the first refusal doesn't change.
                UpdateExpression=(
                    "SET #client = if_not_exists(#client, :client), refusals = :refusals, "
                    "createdAt = if_not_exists(createdAt, :now), deleteAt = :end"
                ),
                ExpressionAttributeNames={"#client": "client"},
                ExpressionAttributeValues={
                    ":client": {"S": client},
                    ":refusals": {"S": json.dumps(refusals[:100])},
                    ":now": _number(now),
                    ":end": {"N": str(int(now) + self._retention)},
                },
            )
            check_answer(answer)

    def load_refusal(self, message_id: str) -> RefusedMessage | None:
        items = items_of(self._client, self._table, f"MSG#{message_id}", REFUSED)
        return _parsed(_refusal, items[0], self._report) if items else None

    def load_sends(self, keys: Sequence[SendKey]) -> Sequence[Send]:
        """Read sends by their keys, consistently and in this order, without unreadable ones."""
        found: dict[SendKey, Send] = {}
        with ledger_errors():
            for start in range(0, len(keys), KEYS_AT_ONCE):
                remaining_keys: Any = [_key(key) for key in keys[start : start + KEYS_AT_ONCE]]
                while remaining_keys:
                    answer: Any = self._client.batch_get_item(
                        RequestItems={self._table: {"Keys": remaining_keys, "ConsistentRead": True}}
                    )
                    sends = self._readable(_send, answer["Responses"].get(self._table, []))
                    found |= {send.key: send for send in sends}
                    remaining_keys = answer["UnprocessedKeys"].get(self._table, {}).get("Keys")
        return [found[key] for key in keys if key in found]

    def unfinished(self, group: str, *, due_by: float | None = None) -> Iterator[SendKey]:
        """Yield the sends of a group of the index `unfinished`, the first due first.

        It also has `failed` sends, for operators, and accepted ones that await a report. It is
        eventually consistent: read a send from the table before acting on it.
        """
        return self._merged(group, due_by, _parse_key)

    def newest(self, limit: int) -> Sequence[Send]:
        """Return sends of the sparse index, the last changed first.

        The index has no ended sends, except `failed` ones. Polled sends are sorted by their next
        poll, not by their last change, so up to `MAX_POLLED` of them are read.
        """
        keys = list[SendKey]()
        for group in SHARDS.keys() - {POLLED_BEFORE}:
            page_size = min(limit, KEYS_AT_ONCE)
            keys += islice(
                self._merged(group, None, _parse_key, page_size, latest_first=True), limit
            )
        polled = islice(self._merged(POLLED_BEFORE, None, _due_poll), MAX_POLLED)
        keys += [key for _, _, key in heapq.nlargest(limit, polled, key=itemgetter(0))]
        sends = self.load_sends(keys)
        return sorted(sends, key=attrgetter("updated_at"), reverse=True)[:limit]

    def count_unfinished(self, group: str) -> tuple[int, float | None]:
        """Count the sends of a group, and return when the first one is due."""
        count, dues = 0, list[float]()
        for partition in _partitions(group):
            question = self._group_question(partition)
            with ledger_errors():
                pages = self._client.get_paginator("query").paginate(**question, Select="COUNT")
                found = sum(page["Count"] for page in pages)
                if not found:
                    continue
                count += found
                answer = self._client.query(**question, Limit=1)
            dues += [float(item["dueAt"]["N"]) for item in answer["Items"]]
        return count, min(dues, default=None)

    def _merged[T](
        self,
        group: str,
        due_by: float | None,
        parse: Callable[[Item], T],
        page_size: int = KEYS_AT_ONCE,
        *,
        latest_first: bool = False,
    ) -> Iterator[T]:
        """Yield the parsed sends of a group, the first due first."""
        shards = [
            self._shard(self._group_question(partition, due_by, latest_first), parse, page_size)
            for partition in _partitions(group)
        ]
        return (found for _, found in heapq.merge(*shards, reverse=latest_first))

    def _shard[T](
        self, question: Mapping[str, Any], parse: Callable[[Item], T], page_size: int
    ) -> Iterator[tuple[float, T]]:
        """Yield the due time and the parsed item of each send of a partition."""

        def due(item: Item) -> tuple[float, T]:
            return _seconds(item, "dueAt"), parse(item)

        with ledger_errors():
            for page in self._client.get_paginator("query").paginate(
                **question, PaginationConfig={"PageSize": page_size}
            ):
                yield from self._readable(due, page["Items"])

    def _group_question(
        self, partition: str, due_by: float | None = None, latest_first: bool = False
    ) -> dict[str, Any]:
        condition, values = "unfinished = :partition", {":partition": {"S": partition}}
        if due_by is not None:
            condition, values = f"{condition} AND dueAt <= :by", values | {":by": _number(due_by)}
        return {
            "TableName": self._table,
            "IndexName": "unfinished",
            "KeyConditionExpression": condition,
            "ExpressionAttributeValues": values,
            "ScanIndexForward": not latest_first,
        }

    def _readable[T](self, parse: Callable[[Item], T], items: Iterable[Item]) -> Iterator[T]:
        """Yield the parsed items, without those that this version can't read."""
        for item in items:
            with suppress(UnreadableItemError):
                yield _parsed(parse, item, self._report)

    def _claim(self, key: SendKey, written_by: str, now: float, lease_until: float) -> Send | None:
        """Return the send after the update, claimed or not; None: it does not exist."""
        with ledger_errors():
            try:
                answer = self._client.update_item(
                    TableName=self._table,
                    Key=_key(key),
                    UpdateExpression=(
                        "SET #status = :sending, attempts = attempts + :one, updatedAt = :now, "
                        "dueAt = :lease, #owner = :owner REMOVE reason, errors, deleteAt"
                    ),
                    ConditionExpression=(
                        "#status = :queued AND dueAt <= :now "
                        "AND (attribute_not_exists(expiresAt) OR expiresAt > :now)"
                    ),
                    ExpressionAttributeNames={"#status": "status", "#owner": "owner"},
                    ExpressionAttributeValues={
                        ":sending": {"S": Status.SENDING},
                        ":queued": {"S": Status.QUEUED},
                        ":one": {"N": "1"},
                        ":now": _number(now),
                        ":lease": _number(lease_until),
                        ":owner": {"S": written_by},
                    },
                    ReturnValues="ALL_NEW",
                    ReturnValuesOnConditionCheckFailure="ALL_OLD",
                )
                item = answer["Attributes"]
            except ClientError as error:
                return _existing(error)
        try:
            return _parsed(_send, item)
        except UnreadableItemError:
            self._end_claim(key, written_by, now)
            raise

    def _end_claim(self, key: SendKey, written_by: str, now: float) -> None:
        """Release an item that this version has claimed but can't read; no call was made."""
        with ledger_errors():
            self._client.update_item(
                TableName=self._table,
                Key=_key(key),
                UpdateExpression="SET #status = :queued, attempts = attempts - :one, dueAt = :now",
                ConditionExpression="#owner = :owner",
                ExpressionAttributeNames={"#status": "status", "#owner": "owner"},
                ExpressionAttributeValues={
                    ":queued": {"S": Status.QUEUED},
                    ":one": {"N": "1"},
                    ":now": _number(now),
                    ":owner": {"S": written_by},
                },
            )

    def _put_new(self, sends: Sequence[Send]) -> Send | None:
        """Put the items of a new message; return its first send if there is one already."""
        # Each item is checked: DynamoDB deletes those that ended first, perhaps only some of them.
        condition = {"TableName": self._table, "ConditionExpression": "attribute_not_exists(pk)"}
        puts: list[Any] = [condition | {"Item": self._item(send)} for send in sends]
        try:
            if len(puts) > 1:
                items: list[Any] = [{"Put": put} for put in puts]
                check_answer(self._client.transact_write_items(TransactItems=items))
            else:  # a plain put costs half as much as a transaction
                returned = {"ReturnValuesOnConditionCheckFailure": "ALL_OLD"}
                check_answer(self._client.put_item(**puts[0] | returned))
        except ClientError as error:
            existing = _existing(error) or next(iter(self.load(sends[0].key.message_id)), None)
            if existing is None:
                raise LedgerUnavailableError(f"no item, but {error_name(error)}") from error
            return existing
        return None

    def _item(self, send: Send) -> dict[str, Any]:
        # Attributes keep their stored names: `template` is `upstream_message_id`, `owner` is
        # `written_by`, `inDoubt` is `may_have_been_sent`, `deliverAt` is `scheduled_for`.
        item: dict[str, Any] = {
            **_key(send.key),
            "client": {"S": send.client},
            "template": {"S": send.upstream_message_id},
            "recipients": {"N": str(send.recipients)},
            "status": {"S": send.status},
            "onUnknown": {"S": send.on_unknown},
            "createdAt": _number(send.created_at),
            "updatedAt": _number(send.updated_at),
            "dueAt": _number(send.due_at),
            "owner": {"S": send.written_by},
            "attempts": {"N": str(send.attempts)},
        }
        if send.has_ended:
            item["deleteAt"] = {"N": str(int(send.due_at) + self._retention)}
        texts = {
            "body": send.body,
            "fingerprint": send.fingerprint,
            "tokenId": send.token_id,
            "reason": send.reason,
            "note": send.note,
            # Not escaped to ASCII: an escape can be three times as long as its character in UTF-8.
            "errors": json.dumps(send.errors, ensure_ascii=False) if send.errors else None,
            "reference": send.reference,
            "correlationId": send.correlation_id,
            "delivery": delivery_report.to_json(send.delivery) if send.delivery else None,
            "unfinished": partition_of(send),
        }
        if send.reference is not None and send.key.number == 1:  # one entry for each message
            texts["clientReference"] = _index_key(send.client, send.reference)
        item |= {name: {"S": value} for name, value in texts.items() if value is not None}
        times = {
            "deliverAt": send.scheduled_for,
            "expiresAt": send.expires_at,
            "resentAt": send.resent_at,
        }
        item |= {name: _number(value) for name, value in times.items() if value is not None}
        counts = {"attemptsBefore": send.attempts_before, "attemptsPutOff": send.attempts_put_off}
        item |= {name: {"N": str(value)} for name, value in counts.items() if value}
        if send.segments:
            item["segments"] = {"S": json.dumps(send.segments)}
        if send.may_have_been_sent:
            item["inDoubt"] = {"BOOL": True}
        if not send.poll_delivery:
            item["deliveryPolling"] = {"S": "none"}
        return item


def items_of(
    client: "DynamoDBClient",
    table: str,
    partition: str,
    prefix: str,
    attributes: Sequence[str] = (),
) -> list[Item]:
    """Read the items of a partition whose sort keys begin with the prefix, consistently.

    If `attributes` is not empty, only these attributes are read.
    """
    names = {f"#{n}": name for n, name in enumerate(attributes)}  # some are reserved words
    projection: Any = names and {
        "ProjectionExpression": ", ".join(names),
        "ExpressionAttributeNames": names,
    }
    with ledger_errors():
        pages = client.get_paginator("query").paginate(
            TableName=table,
            KeyConditionExpression="pk = :pk AND begins_with(sk, :prefix)",
            ExpressionAttributeValues={":pk": {"S": partition}, ":prefix": {"S": prefix}},
            ConsistentRead=True,
            **projection,
        )
        return [item for page in pages for item in page["Items"]]


def partition_of(send: Send) -> str | None:
    """Return the partition of the sparse index that an unfinished or `failed` send belongs to."""
    group = GROUPS.get(send.status)
    if send.awaits_report:
        first = FIRST_ONE if send.recipients == 1 else FIRST_MANY
        group = POLLED_BEFORE if send.polled else first
    if group is None:
        return None
    # By send, not by message, because a large message has up to a hundred sends.
    return f"{group}#{zlib.crc32(str(send.key).encode()) % SHARDS[group]}"


def _partitions(group: str) -> list[str]:
    return [f"{group}#{shard}" for shard in range(SHARDS[group])]


def _send(item: Item) -> Send:
    def text(name: str) -> str | None:
        return item[name]["S"] if name in item else None

    group = (text("unfinished") or "").partition("#")[0]
    return Send(
        key=_parse_key(item),
        client=item["client"]["S"],
        upstream_message_id=item["template"]["S"],
        recipients=int(item["recipients"]["N"]),
        status=Status(item["status"]["S"]),
        on_unknown=OnUnknown(item["onUnknown"]["S"]),
        fingerprint=text("fingerprint"),
        created_at=_seconds(item, "createdAt"),
        updated_at=_seconds(item, "updatedAt"),
        due_at=_seconds(item, "dueAt"),
        written_by=item["owner"]["S"],
        attempts=int(item["attempts"]["N"]),
        attempts_before=int(item.get("attemptsBefore", {"N": "0"})["N"]),
        attempts_put_off=int(item.get("attemptsPutOff", {"N": "0"})["N"]),
        resent_at=_seconds(item, "resentAt") if "resentAt" in item else None,
        may_have_been_sent="inDoubt" in item,
        body=text("body"),
        token_id=text("tokenId"),
        reason=text("reason"),
        note=text("note"),
        errors=tuple(json.loads(text("errors") or "[]")),
        reference=text("reference"),
        correlation_id=text("correlationId"),
        scheduled_for=_seconds(item, "deliverAt") if "deliverAt" in item else None,
        expires_at=_seconds(item, "expiresAt") if "expiresAt" in item else None,
        poll_delivery="deliveryPolling" not in item,
        awaits_report=group in {FIRST_MANY, FIRST_ONE, POLLED_BEFORE},
        polled=group == POLLED_BEFORE,
        delivery=delivery_report.from_json(item["delivery"]["S"]) if "delivery" in item else None,
        segments=Segments(*json.loads(item["segments"]["S"])) if "segments" in item else None,
    )


def change_of(metrics: Metrics, record: Mapping[str, Any]) -> StatusChange | None:
    """Return the change in a record of the stream; None: no send, a deletion, or unreadable.

    An unreadable record is skipped: it would fail each time, and delay all later events.
    """
    images, report = record["dynamodb"], partial(report_unreadable, metrics)
    after = images.get("NewImage")
    if after is None or not after["sk"]["S"].startswith("SEND#"):
        return None
    before = images.get("OldImage")
    with suppress(UnreadableItemError):
        return StatusChange(
            before and _parsed(_send, before, report), _parsed(_send, after, report)
        )
    return None


def _key(key: SendKey) -> dict[str, Any]:
    return {"pk": {"S": f"MSG#{key.message_id}"}, "sk": {"S": f"SEND#{key.number:03d}"}}


def _index_key(client: str, reference: str) -> str:
    """Return the key of the index `references`; client names contain no `#`."""
    return f"{client}#{reference}"


def _position(item: Item) -> MessagePosition:
    return MessagePosition(item["createdAt"]["N"], _parse_key(item).message_id)


def _due_poll(item: Item) -> tuple[float, int, SendKey]:
    """Return the start of a send's polling, its number of recipients and its key."""
    return _seconds(item, "deliverAt"), int(item["recipients"]["N"]), _parse_key(item)


def _refusal(item: Item) -> RefusedMessage:
    refusals = [Refusal(*entry) for entry in json.loads(item["refusals"]["S"])]
    return RefusedMessage(item["client"]["S"], refusals, _seconds(item, "createdAt"))


def _parse_key(item: Item) -> SendKey:
    return SendKey(item["pk"]["S"].removeprefix("MSG#"), int(item["sk"]["S"].removeprefix("SEND#")))


def _parsed[T](parse: Callable[[Item], T], item: Item, report: Report = lambda _: None) -> T:
    """Parse an item. Raises `UnreadableItemError`."""
    try:
        return parse(item)
    except (KeyError, ValueError, TypeError, AttributeError, RecursionError) as error:
        # Not the error itself: its text may contain values of the item.
        cause = type(error).__name__
    keys = "/".join(next(iter(item.get(name, {}).values()), "?") for name in ("pk", "sk"))
    unreadable = UnreadableItemError(keys, cause)
    report(unreadable)
    raise unreadable


def _seconds(item: Item, name: str) -> float:
    """Read a time. Raises ValueError if it can't be a Python date."""
    seconds = float(item[name]["N"])
    if not 0 <= seconds <= MAX_TIME:
        raise ValueError(name)
    return seconds


def _number(seconds: float) -> dict[str, str]:
    return {"N": f"{seconds:.3f}"}


_write_of = attrgetter("written_by", "attempts", "status", "token_id")
"""The attributes that identify a write of a send."""


def _existing(error: ClientError) -> Send | None:
    """Return the item that failed a condition, if it is known; raise all other errors again."""
    # A transaction also fails if another request with the same key writes at the same moment.
    if error_name(error) not in {"ConditionalCheckFailedException", "TransactionCanceledException"}:
        raise error
    item: Any = error.response.get("Item")
    return _parsed(_send, item) if item else None
