"""Stores the budget of API calls in one item of the ledger's table."""

import json
from typing import TYPE_CHECKING, Any, Final

from smsrelay.adapters.aws_errors import check_answer, ledger_errors
from smsrelay.errors import LedgerUnavailableError
from smsrelay.sends.call_budget import CallBudget, DayCalls, Reservation, day_of, returned

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient

KEY: Final[Any] = {"pk": {"S": "BUDGET"}, "sk": {"S": "CALLS"}}
MAX_WRITES: Final = 5
"""The most attempts to write, if other runs change the budget each time."""


class DynamoDbCallBudget:
    """The `ApiCalls` port."""

    def __init__(self, client: "DynamoDBClient", table: str, share: int) -> None:
        """`share` is the number of calls a day."""
        self._client = client
        self._table = table
        self._share = share

    def left(self, now: float) -> int:
        """Return the calls that may still be made today."""
        today = day_of(now)
        budget, _ = self.load(today)
        return budget.left(self._share, today)

    def reserve(self, calls: int, now: float) -> Reservation:
        """Take at most `calls` calls out of the budget, before they are made."""
        today = day_of(now)
        for _ in range(MAX_WRITES):
            budget, version = self.load(today)
            reservation = budget.reserve(self._share, today, calls)
            if not reservation.calls or self._replace(budget.after(reservation), version):
                return reservation
        return Reservation(today, {})

    def give_back(self, reservation: Reservation, unused: int) -> None:
        """Put back the calls of a reservation that were not made."""
        for _ in range(MAX_WRITES):
            budget, version = self.load(reservation.day)
            if self._replace(budget.after(returned(reservation, unused)), version):
                return
        raise LedgerUnavailableError("other runs changed the budget each time")

    def load(self, today: int) -> tuple[CallBudget, int]:
        """Return the budget and its version; a new budget begins today."""
        with ledger_errors():
            answer = self._client.get_item(TableName=self._table, Key=KEY, ConsistentRead=True)
            item = answer.get("Item")
            if item is None:
                return CallBudget(today, {}), 0
            days = json.loads(item["days"]["S"])
            return CallBudget(
                int(item["firstDay"]["N"]), {int(day): DayCalls(*calls) for day, calls in days}
            ), int(item["version"]["N"])

    def _replace(self, budget: CallBudget, version: int) -> bool:
        """Write the budget; return False if another run has written it in the meantime.

        A transaction has an idempotency token, so a request that botocore repeats counts once.
        """
        put: Any = {
            "TableName": self._table,
            "Item": {
                **KEY,
                "firstDay": {"N": str(budget.first_day)},
                "days": {"S": json.dumps(sorted(budget.days.items()))},
                "version": {"N": str(version + 1)},
            },
            "ConditionExpression": "attribute_not_exists(pk) OR version = :version",
            "ExpressionAttributeValues": {":version": {"N": str(version)}},
        }
        with ledger_errors():
            try:
                answer = self._client.transact_write_items(TransactItems=[{"Put": put}])
                check_answer(answer)
            except self._client.exceptions.TransactionCanceledException:
                return False
        return True
