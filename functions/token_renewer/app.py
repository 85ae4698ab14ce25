"""A schedule or a sender in: an adapter between their events and the renewer."""

from smsrelay.runtime import lambda_init

# isort: split
from typing import TYPE_CHECKING, Any

from smsrelay.runtime import error_boundary
from smsrelay.services.token_renewer import parse_renewal_request
from smsrelay.wiring import token_renewer

if TYPE_CHECKING:
    from aws_lambda_powertools.utilities.typing import LambdaContext


def handler(event: dict[str, Any], context: "LambdaContext") -> dict[str, str]:
    """Look at the token once, and renew it if it has to be."""
    parts = token_renewer.parts()
    parts.logger.append_keys(request_id=context.aws_request_id)
    try:
        with error_boundary.log_unexpected():
            return parts.token_renewer.run(parse_renewal_request(event))
    finally:
        parts.metrics.flush()


lambda_init.end_init(token_renewer.parts)
