"""A schedule or a sender in: an adapter between their events and the renewer."""

from typing import Any

from aws_lambda_powertools.utilities.typing import LambdaContext

from smsrelay import bootstrap, unforeseen
from smsrelay.renewer import ask_of


def handler(event: dict[str, Any], context: LambdaContext) -> dict[str, str]:
    """Look at the token once, and renew it if it has to be."""
    parts = bootstrap.renewal_parts()
    parts.logger.append_keys(request_id=context.aws_request_id)
    try:
        with unforeseen.reported():
            return parts.renewer.run(ask_of(event))
    finally:
        parts.counter.flush()
