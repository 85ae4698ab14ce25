"""Polls the delivery of accepted sends, once a minute."""

from smsrelay.runtime import lambda_init

# isort: split
from typing import TYPE_CHECKING

from smsrelay.runtime.lambda_handler import Event, deadline_of, lambda_handler
from smsrelay.wiring import delivery_poller

if TYPE_CHECKING:
    from aws_lambda_powertools.utilities.typing import LambdaContext


@lambda_handler(delivery_poller)
def handler(_event: Event, context: "LambdaContext") -> dict[str, int]:
    """Poll each send that is due, and return how many there were, by result."""
    return delivery_poller.parts().delivery_poller.run(deadline_of(context))


lambda_init.end_init(delivery_poller.parts)
