"""A schedule in: an adapter between EventBridge Scheduler and the follower."""

from smsrelay.runtime import lambda_init

# isort: split
from typing import TYPE_CHECKING, Any

from smsrelay.runtime import error_boundary
from smsrelay.wiring import delivery_poller

if TYPE_CHECKING:
    from aws_lambda_powertools.utilities.typing import LambdaContext


def handler(_event: dict[str, Any], context: "LambdaContext") -> dict[str, int]:
    """Ask once for each delivery that is due; how many sends, by what was heard."""
    parts = delivery_poller.parts()
    parts.logger.append_keys(request_id=context.aws_request_id)
    try:
        with error_boundary.log_unexpected():
            return parts.delivery_poller.run(lambda: context.get_remaining_time_in_millis() / 1000)
    finally:
        parts.metrics.flush()


lambda_init.end_init(delivery_poller.parts)
