"""Renews the access token: on a schedule, and when a sender asks for it."""

from smsrelay.runtime import lambda_init

# isort: split
from typing import TYPE_CHECKING

from smsrelay.runtime.lambda_handler import Event, lambda_handler
from smsrelay.services.token_renewer import parse_renewal_request
from smsrelay.wiring import token_renewer

if TYPE_CHECKING:
    from aws_lambda_powertools.utilities.typing import LambdaContext


@lambda_handler(token_renewer)
def handler(event: Event, _context: "LambdaContext") -> dict[str, str]:
    """Check the token once, renew it if necessary, and return what was done."""
    return token_renewer.parts().token_renewer.run(parse_renewal_request(event))


lambda_init.end_init(token_renewer.parts)
