"""What questions to a ledger cost that holds few or many items: by what they read, not by a clock.

An emulator's speed says nothing about DynamoDB's. The items that a query looks at do: DynamoDB
bills and spends its time by them. moto counts them as DynamoDB does (`ScannedCount`).
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

import boto3
from moto import mock_aws

from smsrelay.adapters.dynamodb_ledger import DynamoDbLedger
from smsrelay.sends.ids import message_id
from smsrelay.sends.send import OnUnknown, Send, SendKey, Status
from tools.local_stack import build

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient

FEW: Final = 1_000
NOW: Final = 1_790_000_000.0
TABLE: Final = "ledger"


def growth(many: int) -> dict[str, Any]:
    """Calls, and items looked at, of each question, with few and with many ended sends stored."""
    with mock_aws():
        client = boto3.client("dynamodb", region_name="eu-central-1")
        _create(client)
        ledger = DynamoDbLedger(client, TABLE, retention_days=90)
        told: dict[str, Any] = {}
        stored = 0
        for size in (FEW, many):
            for send in _ended(stored, size):
                ledger.create([send])
            stored = size
            told[str(size)] = {
                name: _looked_at(client, question) for name, question in _questions(ledger).items()
            }
    return told


def _questions(ledger: DynamoDbLedger) -> Mapping[str, Callable[[], object]]:
    """What the functions ask, by who asks."""
    return {
        "sweeper: what is overdue": lambda: ledger.stalled(NOW, 100),
        "sweeper: unknown sends": lambda: ledger.count_unknown(1_000),
        "status: what is due": lambda: ledger.due_polls(NOW, 300),
        "api: a message": lambda: ledger.load(message_id("shop", "order-7")),
        "api: a tokenId": lambda: ledger.find_by_token_id("token-7"),
        "api: a new message": lambda: ledger.create(
            [replace(next(_ended(0, 1)), key=SendKey(message_id("shop", "order-7"), 1))]
        ),
    }


def _looked_at(client: "DynamoDBClient", question: Callable[[], object]) -> dict[str, int]:
    told = {"calls": 0, "items": 0}

    def answered(parsed: Mapping[str, Any], **_: object) -> None:
        told["calls"] += 1
        told["items"] += parsed.get("ScannedCount", 0)

    client.meta.events.register("after-call.dynamodb.*", answered)
    try:
        question()
    finally:
        client.meta.events.unregister("after-call.dynamodb.*", answered)
    return told


def _ended(start: int, end: int) -> Iterator[Send]:
    """Sends that ended well."""
    for number in range(start, end):
        yield Send(
            key=SendKey(message_id("shop", f"order-{number}"), 1),
            client="shop",
            upstream_message_id="MzA6Nzg6MA",
            recipients=1,
            status=Status.DELIVERED,
            on_unknown=OnUnknown.HOLD,
            fingerprint="f" * 64,
            created_at=NOW - 60,
            updated_at=NOW,
            due_at=NOW,
            written_by=f"owner-{number}",
            attempts=1,
            token_id=f"token-{number}",
        )


def _create(client: "DynamoDBClient") -> None:
    """The table as the template has it."""
    properties = build.artefacts(print).template["Resources"]["Ledger"]["Properties"]
    kept = ("AttributeDefinitions", "KeySchema", "GlobalSecondaryIndexes", "BillingMode")
    client.create_table(
        TableName=TABLE, **{name: properties[name] for name in kept if name in properties}
    )
