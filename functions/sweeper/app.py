"""A schedule in: an adapter between EventBridge Scheduler and the sweeper."""

from typing import Any

from aws_lambda_powertools.utilities.typing import LambdaContext

from smsrelay import bootstrap, unforeseen


def handler(_event: dict[str, Any], context: LambdaContext) -> dict[str, int]:
    """Sweep once; how many sends were recovered, by status."""
    parts = bootstrap.parts()
    parts.logger.append_keys(request_id=context.aws_request_id)
    try:
        with unforeseen.reported():
            return parts.sweeper.sweep(lambda: context.get_remaining_time_in_millis() / 1000)
    finally:
        parts.counter.flush()
