"""Accepts signed webhooks from API Gateway."""

from smsrelay.runtime import lambda_init

# isort: split
from typing import Any

from smsrelay.errors import RelayError
from smsrelay.runtime import api_gateway
from smsrelay.runtime.lambda_handler import Context, Event, deadline_of, lambda_handler
from smsrelay.wiring import webhook


@lambda_handler(webhook, on_error=api_gateway.to_problem)
def handler(event: Event, context: Context) -> dict[str, Any]:
    """Respond to one request."""
    client, headers = api_gateway.parameter_of(event, "client"), api_gateway.headers_of(event)
    body = api_gateway.body_of(event)
    try:
        response = webhook.parts().webhooks.post(client, headers, body, deadline_of(context))
    except RelayError as error:
        return api_gateway.to_problem(error)
    return api_gateway.to_proxy(response, api_gateway.base_of(event))


lambda_init.end_init(webhook.parts)
