"""Webhooks in: an adapter between API Gateway's events and the relay."""

from smsrelay.runtime import lambda_init

# isort: split
import base64
import binascii
from typing import TYPE_CHECKING, Any

from pydantic_core import to_json

from smsrelay.errors import UnexpectedError
from smsrelay.services import responses
from smsrelay.services.responses import Response
from smsrelay.services.webhook import Webhook
from smsrelay.wiring import sending, webhook

if TYPE_CHECKING:
    from aws_lambda_powertools.utilities.typing import LambdaContext


def handler(event: dict[str, Any], context: "LambdaContext") -> dict[str, Any]:
    """Answer one request."""
    parts = sending.parts()
    parts.logger.append_keys(request_id=context.aws_request_id)
    try:
        response = webhook.webhooks().post(
            _webhook(event), lambda: context.get_remaining_time_in_millis() / 1000
        )
    except Exception:
        parts.logger.exception("request failed in an unforeseen way")
        response = responses.of_error(UnexpectedError())
    finally:
        parts.metrics.flush()
    return _response(response)


def _webhook(event: dict[str, Any]) -> Webhook:
    headers = event.get("headers") or {}
    return Webhook(
        event["pathParameters"]["client"],
        {name.lower(): value for name, value in headers.items()},
        _bytes(event.get("body") or "", encoded=event.get("isBase64Encoded", False)),
    )


def _bytes(body: str, *, encoded: bool) -> bytes:
    """The body as it was signed; what can't be read was not signed like this."""
    if not encoded:
        return body.encode(errors="surrogatepass")
    try:
        return base64.b64decode(body, validate=True)
    except (binascii.Error, ValueError):
        return b""


def _response(response: Response) -> dict[str, Any]:
    headers = {"Content-Type": response.content_type, **response.headers}
    return {
        "statusCode": int(response.status),
        "multiValueHeaders": {name: [value] for name, value in headers.items()},
        "body": to_json(response.body).decode(),
    }


lambda_init.end_init(webhook.webhooks)
