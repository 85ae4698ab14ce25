"""The ledger's stream in: an adapter between its records and those who want to know of changes."""

from typing import Any

from aws_lambda_powertools.utilities.typing import LambdaContext

from smsrelay import bootstrap, unforeseen


def handler(event: dict[str, Any], context: LambdaContext) -> None:
    """Tell of the changes in a batch; if it fails, all of them come again."""
    parts = bootstrap.telling_parts()
    parts.logger.append_keys(request_id=context.aws_request_id)
    try:
        with unforeseen.reported():
            changes = map(parts.change_of, event["Records"])
            parts.teller.tell([change for change in changes if change is not None])
    finally:
        parts.counter.flush()
