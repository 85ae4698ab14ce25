"""How it ended for each recipient: a row for each number's keyed hash, in the ledger's table."""

import hashlib
import hmac
import json
from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any, Final

from smsrelay.adapters.aws_errors import aws_errors
from smsrelay.errors import LedgerUnavailableError
from smsrelay.ports import RecipientResult
from smsrelay.sends.send import Send

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient
    from mypy_boto3_secretsmanager import SecretsManagerClient

_PREFIX: Final = "RECIPIENTS#"
SECONDS_PER_DAY: Final = 86_400
HASH_LENGTH: Final = 32
"""Hexadecimal digits: 128 bits, so that no two of all the world's numbers meet."""


class DynamoDbRecipientResults:
    """The `RecipientResults` port: one item for each send, `sk = RECIPIENTS#{n}`."""

    def __init__(
        self,
        client: "DynamoDBClient",
        table: str,
        retention_days: int,
        secrets: "SecretsManagerClient",
        key_secret: str,
    ) -> None:
        """DynamoDB deletes the rows with their send; only who records them needs the key."""
        self._client = client
        self._table = table
        self._retention = retention_days * SECONDS_PER_DAY
        self._secrets = secrets
        self._key_secret = key_secret

    def record(self, send: Send, codes: Mapping[str, int]) -> None:
        with aws_errors(LedgerUnavailableError, "the recipients can't be stored"):
            rows = sorted([hash_of(self._key, number), code] for number, code in codes.items())
            answer = self._client.put_item(
                TableName=self._table,
                Item={
                    "pk": {"S": f"MSG#{send.key.message_id}"},
                    "sk": {"S": f"{_PREFIX}{send.key.number:03d}"},
                    "rows": {"S": json.dumps(rows, separators=(",", ":"))},
                    "deleteAt": {"N": str(int(send.due_at) + self._retention)},
                },
            )
            answer["ResponseMetadata"]["RequestId"]

    def load(self, message_id: str) -> Mapping[int, Sequence[RecipientResult]]:
        with aws_errors(LedgerUnavailableError, "the recipients can't be read"):
            pages = self._client.get_paginator("query").paginate(
                TableName=self._table,
                KeyConditionExpression="pk = :pk AND begins_with(sk, :prefix)",
                ExpressionAttributeValues={
                    ":pk": {"S": f"MSG#{message_id}"},
                    ":prefix": {"S": _PREFIX},
                },
            )
            items: list[Any] = [item for page in pages for item in page["Items"]]
        return {
            int(item["sk"]["S"].removeprefix(_PREFIX)): [
                RecipientResult(*row) for row in json.loads(item["rows"]["S"])
            ]
            for item in items
        }

    @cached_property
    def _key(self) -> bytes:
        answer = self._secrets.get_secret_value(SecretId=self._key_secret)
        return answer["SecretString"].encode()


def hash_of(key: bytes, number: str) -> str:
    """What stands for a number (digits only): HMAC-SHA-256, its first half in hexadecimal."""
    return hmac.new(key, number.encode(), hashlib.sha256).hexdigest()[:HASH_LENGTH]
