"""Renews the access token: on a schedule, and when a sender asks for it."""

from smsrelay.runtime import lambda_init

# isort: split
from smsrelay.runtime.lambda_handler import Context, Event, lambda_handler
from smsrelay.services.token_renewer import parse_renewal_request
from smsrelay.wiring import token_renewer


@lambda_handler(token_renewer)
def handler(event: Event, _context: Context) -> dict[str, str]:
    """Check the token once, renew it if necessary, and return what was done.

    `{"check": "staged"}`, which `smsrelay credentials` sends, only tries the staged client secret.
    """
    renewer = token_renewer.parts().token_renewer
    if event.get("check") == "staged":
        return renewer.check_staged()
    return renewer.run(parse_renewal_request(event))


lambda_init.end_init(token_renewer.parts)
