"""Stores the facts of the last token renewals in one item of the ledger's table."""

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

from smsrelay.adapters.aws_errors import ledger_errors

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient

KEY: Final[Any] = {"pk": {"S": "TOKEN"}, "sk": {"S": "RENEWAL"}}


class DynamoDbRenewalReport:
    """The `RenewalReport` port."""

    def __init__(self, client: "DynamoDBClient", table: str) -> None:
        self._client = client
        self._table = table

    def record(self, result: str, facts: Mapping[str, object]) -> None:
        """Replace the facts of the last renewal with this result; a success removes a failure."""
        failure = " REMOVE failed" if result == "renewed" else ""
        with ledger_errors():
            self._client.update_item(
                TableName=self._table,
                Key=KEY,
                UpdateExpression=f"SET {result} = :facts{failure}",
                ExpressionAttributeValues={":facts": {"S": json.dumps(facts)}},
            )

    def load(self) -> dict[str, dict[str, Any]]:
        """Return the facts by result; empty before the first renewal."""
        with ledger_errors():
            answer = self._client.get_item(TableName=self._table, Key=KEY, ConsistentRead=True)
        item = answer.get("Item", {})
        return {name: json.loads(item[name]["S"]) for name in ("renewed", "failed") if name in item}
