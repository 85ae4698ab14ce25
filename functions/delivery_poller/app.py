"""Polls the delivery of accepted sends, once a minute."""

from smsrelay.runtime import lambda_init

# isort: split
from smsrelay.runtime.lambda_handler import Context, Event, deadline_of, lambda_handler
from smsrelay.wiring import delivery_poller


@lambda_handler(delivery_poller)
def handler(_event: Event, context: Context) -> dict[str, int]:
    """Poll each send that is due, and return how many there were, by result."""
    return delivery_poller.parts().delivery_poller.run(deadline_of(context))


lambda_init.end_init(delivery_poller.parts)
