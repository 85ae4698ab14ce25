"""A schedule or a sender in: an adapter between their events and the renewer."""

from smsrelay import start

# isort: split
from typing import TYPE_CHECKING, Any

from smsrelay import unforeseen
from smsrelay.bootstrap import renewal
from smsrelay.renewer import ask_of

if TYPE_CHECKING:
    from aws_lambda_powertools.utilities.typing import LambdaContext


def handler(event: dict[str, Any], context: "LambdaContext") -> dict[str, str]:
    """Look at the token once, and renew it if it has to be."""
    parts = renewal.parts()
    parts.logger.append_keys(request_id=context.aws_request_id)
    try:
        with unforeseen.reported():
            return parts.renewer.run(ask_of(event))
    finally:
        parts.counter.flush()


start.ends(renewal.parts)
