"""Publishes the status changes that the ledger's stream reports."""

from smsrelay.runtime import lambda_init

# isort: split
from smsrelay.runtime.lambda_handler import Context, Event, lambda_handler
from smsrelay.wiring import event_publisher


@lambda_handler(event_publisher)
def handler(event: Event, _context: Context) -> None:
    """Publish the changes of a batch. If one fails, Lambda splits and retries the batch."""
    parts = event_publisher.parts()
    changes = map(parts.change_of, event["Records"])
    parts.event_publisher.publish([change for change in changes if change is not None])


lambda_init.end_init(event_publisher.parts)
