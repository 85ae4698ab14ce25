"""The clients' names and what they have used up, in the ledger's table."""

from typing import TYPE_CHECKING, Any, Final

from smsrelay.adapters.aws_errors import ledger_errors

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient

NAME: Final = "NAME"
COUNTED_FOR: Final = 3_600
"""Seconds after which a minute's count may go."""


class DynamoDbApiClients:
    """The ports `ClientNames` and `RequestCounter`: `CLIENT#{credential}` and `LIMIT#{client}`."""

    def __init__(self, client: "DynamoDBClient", table: str) -> None:
        """The table is the ledger's: one read less to wait for at a cold start than elsewhere."""
        self._client = client
        self._table = table

    def name_of(self, credential: str) -> str | None:
        """The name that `put` gave; read consistently, because it decides whose a message is."""
        with ledger_errors():
            answer = self._client.query(
                TableName=self._table,
                KeyConditionExpression="pk = :pk AND sk = :sk",
                ExpressionAttributeValues={
                    ":pk": {"S": f"CLIENT#{credential}"},
                    ":sk": {"S": NAME},
                },
                ConsistentRead=True,
            )
            return next((item["client"]["S"] for item in answer["Items"]), None)

    def put(self, credential: str, client: str) -> None:
        """Let a credential belong to a client. It stays when the credential ends."""
        item: Any = {
            "pk": {"S": f"CLIENT#{credential}"},
            "sk": {"S": NAME},
            "client": {"S": client},
        }
        self._client.put_item(TableName=self._table, Item=item)

    def count(self, client: str, begins: int) -> int:
        with ledger_errors():
            answer = self._client.update_item(
                TableName=self._table,
                Key={"pk": {"S": f"LIMIT#{client}"}, "sk": {"S": str(begins)}},
                UpdateExpression="ADD visits :one SET deleteAt = :end",
                ExpressionAttributeValues={
                    ":one": {"N": "1"},
                    ":end": {"N": str(begins + COUNTED_FOR)},
                },
                ReturnValues="UPDATED_NEW",
            )
            return int(answer["Attributes"]["visits"]["N"])
