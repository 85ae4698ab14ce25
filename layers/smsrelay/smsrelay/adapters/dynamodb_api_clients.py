"""The clients' names, their limits and what they have used up, in the ledger's table."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

from smsrelay.adapters.aws_errors import ledger_errors
from smsrelay.adapters.dynamodb_ledger import items_of

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient

NAME: Final = "NAME"
LIMITS: Final = "LIMITS"
COUNTED_FOR: Final = 3_600
"""Seconds after which a minute's count may go."""


class DynamoDbApiClients:
    """The ports `ClientNames`, `StoredLimits` and `RecipientCounter`.

    Their items are `CLIENT#{credential}`, `CLIENT#{client}` and `LIMIT#{client}`.
    """

    def __init__(self, client: "DynamoDBClient", table: str) -> None:
        """The table is the ledger's: one read less to wait for at a cold start than elsewhere."""
        self._client = client
        self._table = table

    def name_of(self, credential: str) -> str | None:
        """The name that `put` gave; read consistently, because it decides whose a message is."""
        return self._value(credential, NAME, "client", "S")

    def put(self, credential: str, client: str) -> None:
        """Let a credential belong to a client. It stays when the credential ends."""
        self._put(credential, NAME, {"client": {"S": client}})

    def max_recipients_of(self, client: str) -> int | None:
        limit = self._value(client, LIMITS, "maxRecipients", "N")
        return int(limit) if limit else None

    def put_max_recipients(self, client: str, limit: int) -> None:
        """Store the most recipients that one request of a client may have."""
        self._put(client, LIMITS, {"maxRecipients": {"N": str(limit)}})

    def count(self, client: str, begins: int, recipients: int, at_most: int) -> bool:
        with ledger_errors():
            try:
                self._client.update_item(
                    TableName=self._table,
                    Key={"pk": {"S": f"LIMIT#{client}"}, "sk": {"S": str(begins)}},
                    UpdateExpression="ADD recipients :more SET deleteAt = :end",
                    ConditionExpression="attribute_not_exists(recipients) OR recipients <= :room",
                    ExpressionAttributeValues={
                        ":more": {"N": str(recipients)},
                        ":room": {"N": str(at_most - recipients)},
                        ":end": {"N": str(begins + COUNTED_FOR)},
                    },
                )
            except self._client.exceptions.ConditionalCheckFailedException:
                return False
        return True

    def _value(self, owner: str, kind: str, name: str, type_: str) -> str | None:
        """An attribute of an item `CLIENT#{owner}`; None: there is none."""
        items = items_of(self._client, self._table, f"CLIENT#{owner}", kind)
        return items[0].get(name, {}).get(type_) if items else None

    def _put(self, owner: str, kind: str, attributes: Mapping[str, Any]) -> None:
        item = {"pk": {"S": f"CLIENT#{owner}"}, "sk": {"S": kind}, **attributes}
        self._client.put_item(TableName=self._table, Item=item)
