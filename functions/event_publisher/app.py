"""Publishes the status changes that the ledger's stream reports."""

from smsrelay.runtime import lambda_init

# isort: split
from typing import TYPE_CHECKING

from smsrelay.runtime.lambda_handler import Event, lambda_handler
from smsrelay.wiring import event_publisher

if TYPE_CHECKING:
    from aws_lambda_powertools.utilities.typing import LambdaContext


@lambda_handler(event_publisher)
def handler(event: Event, _context: "LambdaContext") -> None:
    """Publish the changes of a batch. If one fails, Lambda delivers the whole batch again."""
    parts = event_publisher.parts()
    changes = map(parts.change_of, event["Records"])
    parts.event_publisher.publish([change for change in changes if change is not None])


lambda_init.end_init(event_publisher.parts)
