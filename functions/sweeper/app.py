"""A schedule in: an adapter between EventBridge Scheduler and the sweeper."""

from smsrelay.runtime import lambda_init

# isort: split
from typing import TYPE_CHECKING, Any

from smsrelay.runtime import error_boundary
from smsrelay.wiring import sending

if TYPE_CHECKING:
    from aws_lambda_powertools.utilities.typing import LambdaContext


def handler(_event: dict[str, Any], context: "LambdaContext") -> dict[str, int]:
    """Sweep once; how many sends were recovered, by status."""
    parts = sending.parts()
    parts.logger.append_keys(request_id=context.aws_request_id)
    try:
        with error_boundary.log_unexpected():
            return parts.sweeper.sweep(lambda: context.get_remaining_time_in_millis() / 1000)
    finally:
        parts.metrics.flush()


lambda_init.end_init(lambda: sending.parts().sweeper)
