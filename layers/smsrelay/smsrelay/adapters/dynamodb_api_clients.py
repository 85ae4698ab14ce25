"""Stores the names and limits of clients, and their counts of recipients, in the ledger's table."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

from smsrelay.adapters.aws_errors import ledger_errors
from smsrelay.adapters.dynamodb_ledger import items_of
from smsrelay.messages.request import ClientLimits

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient

NAME: Final = "NAME"
LIMITS: Final = "LIMITS"
COUNTED_FOR: Final = 3_600
"""Seconds after which DynamoDB may delete a minute's count."""


class DynamoDbApiClients:
    """The ports `ClientNames`, `StoredLimits` and `RecipientCounter`.

    Their items are `CLIENT#{credential}`, `CLIENT#{client}` and `LIMIT#{client}`.
    """

    def __init__(self, client: "DynamoDBClient", table: str) -> None:
        """`table` is the ledger's: another store would make a cold start slower."""
        self._client = client
        self._table = table

    def client_of(self, credential: str) -> str | None:
        """Return the credential's client, read consistently: it decides who owns a message."""
        items = items_of(self._client, self._table, f"CLIENT#{credential}", NAME)
        return items[0]["client"]["S"] if items else None

    def put(self, credential: str, client: str) -> None:
        """Store the client of a credential. The item remains when the credential is deleted."""
        self._put(credential, NAME, {"client": {"S": client}})

    def limits_of(self, client: str) -> ClientLimits | None:
        items = items_of(self._client, self._table, f"CLIENT#{client}", LIMITS)
        if not items:
            return None
        only_to = items[0].get("onlyTo", {}).get("SS", ())
        return ClientLimits(int(items[0]["maxRecipients"]["N"]), frozenset(only_to))

    def put_limits(self, client: str, limits: ClientLimits) -> None:
        """Store a client's limits for one request."""
        only_to = {"onlyTo": {"SS": sorted(limits.only_to)}} if limits.only_to else {}
        self._put(client, LIMITS, {"maxRecipients": {"N": str(limits.max_recipients)}, **only_to})

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

    def _put(self, owner: str, kind: str, attributes: Mapping[str, Any]) -> None:
        item = {"pk": {"S": f"CLIENT#{owner}"}, "sk": {"S": kind}, **attributes}
        self._client.put_item(TableName=self._table, Item=item)
