"""POST /messages."""

from typing import TYPE_CHECKING, Any

from pydantic import ValidationError
from pydantic_core import to_json

from lean_relay.models import Message
from lean_relay.relay import ConflictError, NotSentError, logger, relay

if TYPE_CHECKING:
    from aws_lambda_powertools.utilities.typing import LambdaContext

STATUS_OF = {"accepted": 202, "rejected": 422, "unknown": 504}


def handler(event: dict[str, Any], context: "LambdaContext") -> dict[str, Any]:
    logger.append_keys(request_id=context.aws_request_id)
    headers = {name.lower(): value for name, value in event["headers"].items()}
    request = event["requestContext"]
    try:
        message = Message.model_validate_json(event["body"] or "")
    except ValidationError as error:
        errors = error.errors(include_url=False, include_input=False, include_context=False)
        is_json = errors[0]["type"] != "json_invalid"
        return _response(422 if is_json else 400, {"errors": errors})
    key = headers.get("idempotency-key") or request["requestId"]
    try:
        message_id, sends = relay(message, request["identity"]["apiKeyId"], key)
    except ConflictError:
        return _response(409, {"errors": ["this key was used before"]})
    except NotSentError:
        return _response(503, {"errors": ["nothing was sent"]})
    status = max((send.status for send in sends), key=STATUS_OF.__getitem__)
    body = {"id": message_id, "status": status, "sends": [send.shown() for send in sends]}
    return _response(STATUS_OF[status], body)


def _response(status: int, body: dict[str, Any]) -> dict[str, Any]:
    return {
        "statusCode": status,
        "headers": {"Content-Type": "application/json"},
        "body": to_json(body).decode(),
    }
