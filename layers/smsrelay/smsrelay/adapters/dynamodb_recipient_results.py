"""Stores the delivery result of each recipient in the ledger's table, by a hash of the number."""

import hmac
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Final

from smsrelay.adapters.aws_errors import aws_errors, check_answer, ledger_errors
from smsrelay.adapters.dynamodb_ledger import SECONDS_PER_DAY, items_of
from smsrelay.errors import SecretUnavailableError
from smsrelay.ports import RecipientResult
from smsrelay.sends.send import Send

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient
    from mypy_boto3_secretsmanager import SecretsManagerClient

_PREFIX: Final = "RECIPIENTS#"
HASH_LENGTH: Final = 32
"""Hexadecimal digits of HMAC-SHA-256: 128 bits, so that no two phone numbers collide."""


@dataclass
class DynamoDbRecipientResults:
    """The `RecipientResults` port: one item for each send, `sk = RECIPIENTS#{n}`."""

    client: "DynamoDBClient"
    table: str
    retention_days: int
    """DynamoDB deletes the results together with their send."""
    secrets: "SecretsManagerClient"
    key_secret: str
    """The secret with the key of the hashes; `load` does not need it."""

    def record(self, send: Send, codes: Mapping[str, int]) -> None:
        rows = sorted([self._hash_of(number), code] for number, code in codes.items())
        delete_at = int(send.due_at) + self.retention_days * SECONDS_PER_DAY
        with ledger_errors():
            answer = self.client.put_item(
                TableName=self.table,
                Item={
                    "pk": {"S": f"MSG#{send.key.message_id}"},
                    "sk": {"S": f"{_PREFIX}{send.key.number:03d}"},
                    "rows": {"S": json.dumps(rows, separators=(",", ":"))},
                    "deleteAt": {"N": str(delete_at)},
                },
            )
            check_answer(answer)

    def load(self, message_id: str) -> Mapping[int, Sequence[RecipientResult]]:
        return {
            int(item["sk"]["S"].removeprefix(_PREFIX)): [
                RecipientResult(*row) for row in json.loads(item["rows"]["S"])
            ]
            for item in items_of(self.client, self.table, f"MSG#{message_id}", _PREFIX)
        }

    @cached_property
    def _key(self) -> bytes:
        with aws_errors(SecretUnavailableError, "the key of the recipients' hashes can't be read"):
            answer = self.secrets.get_secret_value(SecretId=self.key_secret)
            return answer["SecretString"].encode()

    def _hash_of(self, number: str) -> str:
        return hmac.digest(self._key, number.encode(), "sha256").hex()[:HASH_LENGTH]
