"""The ledger's stream in: an adapter between its records and those who want to know of changes."""

from smsrelay.runtime import lambda_init

# isort: split
from typing import TYPE_CHECKING, Any

from smsrelay.runtime import error_boundary
from smsrelay.wiring import event_publisher

if TYPE_CHECKING:
    from aws_lambda_powertools.utilities.typing import LambdaContext


def handler(event: dict[str, Any], context: "LambdaContext") -> None:
    """Tell of the changes in a batch; if it fails, all of them come again."""
    parts = event_publisher.parts()
    parts.logger.append_keys(request_id=context.aws_request_id)
    try:
        with error_boundary.log_unexpected():
            changes = map(parts.change_of, event["Records"])
            parts.event_publisher.publish([change for change in changes if change is not None])
    finally:
        parts.metrics.flush()


lambda_init.end_init(event_publisher.parts)
