"""Tests the ledger on DynamoDB: claims, lost responses, late results, and its index."""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import boto3
import pytest
from botocore.exceptions import ClientError, ReadTimeoutError

from smsrelay.adapters.dynamodb_ledger import SHARDS, DynamoDbLedger, partition_of
from smsrelay.errors import LedgerUnavailableError
from smsrelay.ports import ReplaceResult
from smsrelay.sends import transitions
from smsrelay.sends.ids import message_id, new_id
from smsrelay.sends.send import OnUnknown, Send, SendKey, Status
from tests.support.aws_calls import intercepted
from tests.support.environment import REGION, Environment, running
from tools.mobileconnect_simulator import Simulator

NOW = 1_790_000_000.0
DAY = 86_400
MESSAGE: dict[str, Any] = {"message": "MzA6Nzg6MA", "to": ["+1 212 555 0100"], "text": "Hello"}


def send(n: int = 1, **fields: Any) -> Send:
    defaults: dict[str, Any] = {
        "key": SendKey("01K", n),
        "client": "shop",
        "upstream_message_id": "MzA6Nzg6MA",
        "recipients": 2,
        "status": Status.QUEUED,
        "on_unknown": OnUnknown.HOLD,
        "fingerprint": "f",
        "created_at": NOW,
        "updated_at": NOW,
        "due_at": NOW,
        "written_by": "me",
        "body": "{}",
        "reference": "order-8812",
    }
    return Send(**(defaults | fields))


@pytest.fixture
def ledger(relay: Environment) -> DynamoDbLedger:
    return DynamoDbLedger(relay.client("dynamodb"), relay.table, retention_days=90)


class LosesAnswers:
    """A DynamoDB client that loses the response to its next write, and so repeats the write."""

    def __init__(self, client: Any) -> None:
        self._client = client
        self.exceptions = client.exceptions

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._client, name)

        def write_twice(**arguments: Any) -> Any:
            method(**arguments)
            return method(**arguments)  # as botocore does without a response

        return write_twice if name in {"put_item", "update_item"} else method


class LosesCreation:
    """A DynamoDB client that makes its writes, but never returns a response."""

    def __init__(self, client: Any) -> None:
        self._client = client
        self.exceptions = client.exceptions

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._client, name)

        def silent(**arguments: Any) -> Any:
            method(**arguments)
            raise ReadTimeoutError(endpoint_url=name)

        return silent if name in {"put_item", "transact_write_items"} else method


@pytest.mark.parametrize("count", [1, 3])
def test_a_creation_whose_answer_is_lost_is_found(relay: Environment, count: int) -> None:
    client: Any = LosesCreation(relay.client("dynamodb"))
    ledger = DynamoDbLedger(client, relay.table, retention_days=90)
    assert ledger.create([send(n) for n in range(1, count + 1)]).created
    assert not ledger.create([send(n, written_by="other") for n in range(1, count + 1)]).created


def claim(ledger: DynamoDbLedger, owner: str = "me", now: float = NOW) -> Any:
    return ledger.claim(SendKey("01K", 1), written_by=owner, now=now, lease_until=now + 60)


@pytest.mark.parametrize(
    "sends",
    [
        [send()],
        [send(n) for n in range(1, 101)],
        [
            send(
                attempts=9,
                attempts_before=2,
                attempts_put_off=6,
                resent_at=NOW + 1,
                may_have_been_sent=True,
            )
        ],
    ],
    ids=["1", "100", "resent"],
)
def test_stored_sends_are_read_again(ledger: DynamoDbLedger, sends: Sequence[Send]) -> None:
    assert ledger.create(sends) == (True, sends)
    assert ledger.load("01K") == list(sends)
    assert ledger.load("01") == []


@pytest.mark.parametrize("count", [1, 3])
def test_a_message_is_created_once(ledger: DynamoDbLedger, count: int) -> None:
    mine = [send(n) for n in range(1, count + 1)]
    others = [replace(entry, written_by="other", fingerprint="g") for entry in mine]
    assert ledger.create(mine).created
    creation = ledger.create(others)
    assert not creation.created
    assert creation.sends[0] == mine[0]
    assert ledger.load("01K") == mine


def test_a_message_whose_first_send_was_deleted_is_not_created_again(
    relay: Environment, ledger: DynamoDbLedger
) -> None:
    """DynamoDB deletes the sends of a message separately, each after its own end."""
    ended, unknown = send(1), send(2, status=Status.UNKNOWN)
    ledger.create([ended, unknown])
    key = {"pk": {"S": "MSG#01K"}, "sk": {"S": "SEND#001"}}
    relay.client("dynamodb").delete_item(TableName=relay.table, Key=key)
    creation = ledger.create([send(n, written_by="other") for n in (1, 2)])
    assert creation == (False, [unknown])
    assert ledger.load("01K") == [unknown]


def test_a_repeated_write_finds_itself(relay: Environment) -> None:
    client: Any = LosesAnswers(relay.client("dynamodb"))
    ledger = DynamoDbLedger(client, relay.table, retention_days=90)
    assert ledger.create([send()]).created
    won = claim(ledger)
    assert won.won
    assert won.send.attempts == 1
    # Times are stored to the millisecond, so this one is read as another time.
    later = NOW + 1.123_456_7
    after = replace(
        won.send, status=Status.ACCEPTED, token_id="t", body=None, updated_at=later, due_at=later
    )
    assert ledger.replace_if_unchanged(won.send, after)


def test_a_claim_takes_a_queued_send_that_is_due_and_nothing_else(ledger: DynamoDbLedger) -> None:
    assert claim(ledger) is None, "no such send exists"
    ledger.create([send(reason="throttled", errors=("words",))])
    assert not claim(ledger, now=NOW - 1).won, "the send is not due yet"
    won = claim(ledger)
    assert won.won
    assert won.send == send(status=Status.SENDING, attempts=1, due_at=NOW + 60)
    lost = claim(ledger, owner="other")
    assert not lost.won
    assert lost.send == won.send


def test_a_late_result_beats_unknown_but_not_another_attempt(ledger: DynamoDbLedger) -> None:
    ledger.create([send()])
    begun = claim(ledger).send
    unknown = replace(begun, status=Status.UNKNOWN)
    assert ledger.replace_if_unchanged(begun, unknown)
    accepted = replace(begun, status=Status.ACCEPTED, token_id="t", body=None)
    assert ledger.replace_if_unchanged(begun, accepted)
    assert ledger.load("01K") == [accepted]
    assert not ledger.replace_if_unchanged(begun, unknown), "a send that has ended must not change"
    assert ledger.find_by_token_id("t") == SendKey("01K", 1)

    other = send(key=SendKey("02K", 1), attempts=2, status=Status.SENDING)
    ledger.create([other])
    assert not ledger.replace_if_unchanged(
        replace(other, attempts=1), replace(other, status=Status.ACCEPTED)
    )


def test_a_result_of_a_vanished_item_is_gone_and_creates_nothing(
    relay: Environment, ledger: DynamoDbLedger
) -> None:
    ledger.create([send()])
    begun = claim(ledger).send
    relay.delete_items()
    for status in (Status.ACCEPTED, Status.UNKNOWN, Status.QUEUED):
        after = replace(begun, status=status)
        assert ledger.replace_if_unchanged(begun, after) is ReplaceResult.GONE
    assert relay.items() == []


def test_a_result_of_an_earlier_attempt_is_changed(ledger: DynamoDbLedger) -> None:
    ledger.create([send()])
    begun = claim(ledger).send
    late = replace(begun, attempts=0)
    assert ledger.replace_if_unchanged(late, late) is ReplaceResult.CHANGED
    assert ledger.replace_if_unchanged(begun, begun) is ReplaceResult.STORED


class HidesItems:
    """A DynamoDB client whose errors of failed conditions lack the item."""

    def __init__(self, client: Any, *, refuses: bool) -> None:
        self._client, self._refuses = client, refuses

    def __getattr__(self, name: str) -> Any:
        return getattr(self._client, name)

    def put_item(self, **arguments: Any) -> Any:
        if self._refuses:
            response: Any = {"Error": {"Code": "ConditionalCheckFailedException"}}
            raise ClientError(response, "PutItem")
        del arguments["ReturnValuesOnConditionCheckFailure"]
        return self._client.put_item(**arguments)


def test_a_failed_condition_without_an_item_is_no_creation(relay: Environment) -> None:
    client: Any = HidesItems(relay.client("dynamodb"), refuses=True)
    ledger = DynamoDbLedger(client, relay.table, retention_days=90)
    with pytest.raises(LedgerUnavailableError, match="no item"):
        ledger.create([send()])
    assert relay.items() == []


def test_a_failed_condition_without_its_item_finds_the_item(relay: Environment) -> None:
    client: Any = HidesItems(relay.client("dynamodb"), refuses=False)
    ledger = DynamoDbLedger(client, relay.table, retention_days=90)
    assert ledger.create([send()]).created
    assert ledger.create([send(written_by="other")]) == (False, [send()])
    assert ledger.create([send()]).created, "it is a repetition of the same write"


@pytest.mark.parametrize(
    ("status", "group"),
    [
        (Status.QUEUED, "open"),
        (Status.SENDING, "open"),
        (Status.UNKNOWN, "unknown"),
        (Status.FAILED, "failed"),
        (Status.ACCEPTED, None),
        (Status.REJECTED, None),
    ],
)
def test_the_index_has_only_the_sends_of_its_groups(
    relay: Environment, ledger: DynamoDbLedger, status: Status, group: str | None
) -> None:
    ledger.create([send(status=status)])
    [item] = relay.items()
    assert item.get("unfinished", {"S": "#"})["S"].partition("#")[0] == (group or "")


@pytest.mark.parametrize(
    ("fields", "expires"),
    [
        ({"status": Status.QUEUED}, False),
        ({"status": Status.SENDING}, False),
        ({"status": Status.UNKNOWN}, False),
        ({"status": Status.ACCEPTED, "awaits_report": True}, False),
        ({"status": Status.ACCEPTED}, True),
        ({"status": Status.REJECTED}, True),
        ({"status": Status.FAILED}, True),
        ({"status": Status.DELIVERED}, True),
        ({"status": Status.UNDELIVERED}, True),
        ({"status": Status.PARTIALLY_DELIVERED}, True),
    ],
)
def test_only_a_send_that_has_ended_expires(
    relay: Environment, ledger: DynamoDbLedger, fields: dict[str, Any], expires: bool
) -> None:
    """The retention counts from the end of the send, not from its creation."""
    ended_at = NOW + 200 * DAY
    begun = send(status=Status.SENDING)
    ledger.create([begun])
    assert ledger.replace_if_unchanged(begun, replace(begun, due_at=ended_at, **fields))
    [item] = relay.items()
    expected = {"N": str(int(ended_at + 90 * DAY))} if expires else None
    assert item.get("deleteAt") == expected


@pytest.mark.parametrize("count", [1, 2])
def test_a_new_send_does_not_expire(relay: Environment, ledger: DynamoDbLedger, count: int) -> None:
    ledger.create([send(n) for n in range(1, count + 1)])
    assert len(relay.items()) == count
    assert not any("deleteAt" in item for item in relay.items())


def test_a_send_that_an_operator_queues_again_does_not_expire(
    relay: Environment, ledger: DynamoDbLedger
) -> None:
    failed = send(status=Status.FAILED)
    ledger.create([failed])
    queued = transitions.requeue_by_operator(failed, now=NOW, written_by="operator")
    # The condition allows the status of `before`, or `unknown`.
    assert ledger.replace_if_unchanged(failed, queued)
    assert "deleteAt" not in relay.items()[0]


def test_a_claim_removes_the_time_of_deletion(relay: Environment, ledger: DynamoDbLedger) -> None:
    ledger.create([send()])
    relay.client("dynamodb").update_item(
        TableName=relay.table,
        Key={"pk": {"S": "MSG#01K"}, "sk": {"S": "SEND#001"}},
        UpdateExpression="SET deleteAt = :now",
        ExpressionAttributeValues={":now": {"N": "1"}},
    )
    assert claim(ledger).won
    assert "deleteAt" not in relay.items()[0]


def test_a_refusal_expires(relay: Environment, ledger: DynamoDbLedger) -> None:
    ledger.record_refusal("01K", "shop", [], NOW)
    assert relay.items()[0]["deleteAt"] == {"N": str(int(NOW + 90 * DAY))}


def test_errors_of_the_store_are_one_error(relay: Environment) -> None:
    class Silent:
        def __getattr__(self, name: str) -> Any:
            def never(*_: Any, **__: Any) -> Any:
                raise ReadTimeoutError(endpoint_url=name)

            return never

    client: Any = Silent()
    ledger = DynamoDbLedger(client, relay.table, retention_days=90)
    for ask in (
        lambda: ledger.create([send()]),
        lambda: claim(ledger),
        lambda: ledger.replace_if_unchanged(send(), send()),
        lambda: ledger.find_by_token_id("t"),
        lambda: ledger.record_refusal("01K", "c", [], NOW),
    ):
        with pytest.raises(LedgerUnavailableError):
            ask()


def key_of(group: str, shard: int) -> SendKey:
    """Return a key in this shard of the group."""
    for number in range(100_000):
        key = SendKey(message_id(group, str(number)), 1)
        if shard_of(group, key) == shard:
            return key
    raise AssertionError("no key was found in this shard")


def fields_of(group: str) -> dict[str, Any]:
    """Return the fields that put a send into a group."""
    statuses = {"open": Status.QUEUED, "unknown": Status.UNKNOWN, "failed": Status.FAILED}
    if group in statuses:
        return {"status": statuses[group]}
    return {
        "status": Status.ACCEPTED,
        "awaits_report": True,
        "polled": group == "followed",
        "recipients": 2 if group == "first-many" else 1,
        "scheduled_for": NOW,
    }


def shard_of(group: str, key: SendKey) -> int:
    place = partition_of(send(key=key, **fields_of(group)))
    assert place is not None
    assert place.startswith(f"{group}#")
    return int(place.partition("#")[2])


@pytest.mark.parametrize("ids", ["derived", "new", "of one message"])
@pytest.mark.parametrize("group", SHARDS)
def test_sends_are_spread_evenly_over_the_shards(group: str, ids: str) -> None:
    """Each shard gets its share of the writes (docs/capacity.md)."""
    count = 20_000
    keys: dict[str, Callable[[int], SendKey]] = {
        "derived": lambda n: SendKey(message_id("shop", f"order-{n}"), 1),
        "new": lambda _: SendKey(new_id(), 1),
        "of one message": lambda n: SendKey(f"01K{n // 100:023}", n % 100 + 1),
    }
    spread = Counter(shard_of(group, keys[ids](n)) for n in range(count))
    assert set(spread) == set(range(SHARDS[group]))
    # Allows five standard deviations of an even distribution.
    mean = count / SHARDS[group]
    assert max(spread.values()) < mean + 5 * mean**0.5


def test_no_shard_exceeds_the_limit_of_a_partition() -> None:
    """Uses the calculation of docs/capacity.md: 10,000 sends a second, times the writes of each."""
    writes = {"open": 4, "first-many": 1, "first-one": 1, "followed": 1, "unknown": 1, "failed": 1}
    assert SHARDS.keys() == writes.keys()
    for group, each in writes.items():
        assert 10_000 * each / SHARDS[group] <= 1_000 / 1.5, f"{group} has no reserve"


def test_readers_find_the_oldest_sends_of_all_shards_first(ledger: DynamoDbLedger) -> None:
    for group, shards in SHARDS.items():
        # The order differs from that of the shards.
        order = sorted(range(shards), key=lambda shard: shard * 37 % shards)
        keys = [key_of(group, shard) for shard in order]
        for age, key in enumerate(keys):
            ledger.create([send(key=key, due_at=NOW + age, **fields_of(group))])
        assert list(ledger.unfinished(group)) == keys
        assert list(ledger.unfinished(group, due_by=NOW + 2)) == keys[:3]
        assert ledger.count_unfinished(group) == (shards, NOW)
        later = NOW + shards
        if group == "open":
            assert list(ledger.stalled(later)) == keys
        if group == "first-many":  # this group is polled first, so no others precede it
            assert [found.key for found in ledger.due_polls(later, 300).on_time] == keys
            assert [found.key for found in ledger.due_polls(later, 5).on_time] == keys[:5]
        if group == "unknown":
            assert ledger.count_unknown(100) == shards


def test_the_sends_that_changed_last_are_found_in_each_group(ledger: DynamoDbLedger) -> None:
    newest = list[SendKey]()
    for hours, group in enumerate(SHARDS):
        for n in range(3):
            changed = NOW - 3_600 * hours - n
            key = SendKey(f"{group}-{n}", 1)
            # An old send's next poll is later than a new send's.
            due = NOW + 60 * n if group == "followed" else changed
            fields = fields_of(group) | {"updated_at": changed, "due_at": due}
            if "scheduled_for" in fields:
                fields["scheduled_for"] = changed
            ledger.create([send(key=key, **fields)])
            newest.append(key)
    assert [found.key for found in ledger.newest(100)] == newest
    assert [found.key for found in ledger.newest(2)] == newest[:2]
    of_followed = [key for key in newest if key.message_id.startswith("followed")]
    for key in newest:
        if key not in of_followed:
            [other] = ledger.load_sends([key])
            ledger.replace_if_unchanged(other, replace(other, status=Status.REJECTED,
                                                       awaits_report=False))  # fmt: skip
    assert [found.key for found in ledger.newest(1)] == of_followed[:1]


class Counts:
    """A DynamoDB client that counts its queries."""

    def __init__(self, client: Any) -> None:
        self._client = client
        self.queries = 0
        client.meta.events.register("before-call.dynamodb.Query", self._count)

    def _count(self, **_: object) -> None:
        self.queries += 1

    def __getattr__(self, name: str) -> Any:
        return getattr(self._client, name)


def test_reading_an_empty_index_costs_one_query_for_each_shard(relay: Environment) -> None:
    client: Any = Counts(boto3.client("dynamodb", region_name=REGION))
    ledger = DynamoDbLedger(client, relay.table, retention_days=90)
    assert (list(ledger.stalled(NOW)), ledger.count_unknown(100)) == ([], 0)
    assert client.queries == SHARDS["open"] + SHARDS["unknown"], "the sweeper's queries each minute"
    client.queries = 0
    assert ledger.due_polls(NOW, 300) == ([], [])
    polled = SHARDS["first-many"] + SHARDS["first-one"] + SHARDS["followed"]
    assert client.queries == polled, "the delivery poller's queries each minute"


@pytest.mark.parametrize("way", ["api", "worker"])
def test_a_message_with_one_send_costs_two_writes_and_no_read(
    aws: None, simulator: Simulator, way: str
) -> None:
    """The index's partitions cost only its readers more, not the requests."""
    _ = aws, simulator
    operations: list[str] = []

    def note(client: Any, operation: str, _: Any, call: Callable[[], Any]) -> Any:
        if client.meta.service_model.service_name in {"dynamodb", "secretsmanager"}:
            operations.append(operation)
        return call()

    with running(simulator.url, DELIVERY_POLLING="all") as relay:

        def send() -> None:
            if way == "api":
                assert relay.post(MESSAGE).status == 202
            else:
                relay.enqueue(MESSAGE)
                assert relay.work() == []

        send()  # reads the token, and the client's name and limits
        with intercepted(note):
            send()
    assert operations == ["PutItem", "PutItem"]
    assert len(simulator.sent()) == 2
