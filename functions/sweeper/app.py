"""Recovers stalled sends, once a minute."""

from smsrelay.runtime import lambda_init

# isort: split
from smsrelay.runtime.lambda_handler import Context, Event, deadline_of, lambda_handler
from smsrelay.wiring import sweeper


@lambda_handler(sweeper)
def handler(_event: Event, context: Context) -> dict[str, int]:
    """Sweep once, and return how many sends were recovered, by status."""
    return sweeper.parts().sweeper.sweep(deadline_of(context))


lambda_init.end_init(sweeper.parts)
