"""Stores the operators' pauses in one item of the ledger's table."""

import json
import logging
import threading
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Final

from smsrelay.adapters.aws_errors import check_answer, ledger_errors
from smsrelay.adapters.dynamodb_ledger import items_of
from smsrelay.errors import LedgerUnavailableError, UnreadableItemError
from smsrelay.ports import Clock
from smsrelay.sends.operator_pause import OperatorPause

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient

PK, SK = "PAUSES", "SENDS"
CACHE_SECONDS: Final = 30.0
"""Seconds for which an environment caches the pauses."""

logger = logging.getLogger(__name__)


class DynamoDbOperatorPauses:
    def __init__(self, client: "DynamoDBClient", table: str) -> None:
        self._client = client
        self._table = table

    def load(self) -> tuple[Sequence[OperatorPause], int]:
        """Read the pauses, ended ones too, and the item's version, consistently.

        Raises `LedgerUnavailableError` or `UnreadableItemError`.
        """
        items = items_of(self._client, self._table, PK, SK)
        if not items:
            return [], 0
        try:
            pauses = [_pause(fields) for fields in json.loads(items[0]["pauses"]["S"])]
            return pauses, int(items[0]["version"]["N"])
        except (KeyError, ValueError, TypeError) as error:
            raise UnreadableItemError(f"{PK}/{SK}", type(error).__name__) from error

    def replace(self, pauses: Sequence[OperatorPause], version: int) -> bool:
        """Write the pauses; return False if another operator has written them in the meantime."""
        item: Any = {
            "pk": {"S": PK},
            "sk": {"S": SK},
            "pauses": {"S": json.dumps(pauses)},
            "version": {"N": str(version + 1)},
        }
        with ledger_errors():
            try:
                answer = self._client.put_item(
                    TableName=self._table,
                    Item=item,
                    ConditionExpression="attribute_not_exists(pk) OR version = :version",
                    ExpressionAttributeValues={":version": {"N": str(version)}},
                )
                check_answer(answer)
            except self._client.exceptions.ConditionalCheckFailedException:
                # botocore repeats a write whose response was lost.
                return self.load() == ([*pauses], version + 1)
        return True


def _pause(fields: Sequence[Any]) -> OperatorPause:
    """Parse a pause that `replace` has written; a later version may write more fields."""
    client, began, ended, note = fields[:4]
    return OperatorPause(str(client), float(began), ended and float(ended), str(note))


class CachedOperatorPauses:
    """The `OperatorPauses` port: reads the item at most once in 30 seconds."""

    def __init__(
        self,
        stored: DynamoDbOperatorPauses,
        clock: Clock,
        report: Callable[[UnreadableItemError], None],
    ) -> None:
        """`report` is called if this version can't read the item."""
        self._stored = stored
        self._clock = clock
        self._report = report
        self._lock = threading.Lock()
        self._pauses: Sequence[OperatorPause] | None = None
        self._read_again_at = 0.0

    def current(self) -> Sequence[OperatorPause]:
        with self._lock:
            now = self._clock()
            if self._pauses is None or now >= self._read_again_at:
                self._pauses = self._load()
                self._read_again_at = now + CACHE_SECONDS
            return self._pauses

    def _load(self) -> Sequence[OperatorPause]:
        try:
            return self._stored.load()[0]
        except UnreadableItemError as error:
            # The item stays unreadable, and must not stop all sends permanently.
            self._report(error)
            return []
        except LedgerUnavailableError as error:
            if self._pauses is None:
                raise
            logger.warning("pauses not read: the last known apply", extra={"cause": str(error)})
            return self._pauses
