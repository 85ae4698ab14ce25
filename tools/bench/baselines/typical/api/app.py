"""POST /messages."""

from http import HTTPStatus
from typing import Any

from aws_lambda_powertools.event_handler import APIGatewayRestResolver, Response, content_types
from aws_lambda_powertools.logging import correlation_paths
from aws_lambda_powertools.utilities.idempotency.exceptions import (
    IdempotencyAlreadyInProgressError,
    IdempotencyValidationError,
)
from aws_lambda_powertools.utilities.typing import LambdaContext

from typical_relay.mobileconnect import RefusedError, UnavailableError
from typical_relay.models import Accepted, Message, Order
from typical_relay.sending import idempotency, logger, metrics, relay, tracer

app = APIGatewayRestResolver(enable_validation=True)


@app.post("/messages")
def post_message(message: Message) -> Response[Accepted]:
    event = app.current_event
    key = (
        event.headers.get("Idempotency-Key")
        or message.idempotency_key
        or event.request_context.request_id
    )
    client = event.request_context.identity.api_key_id
    accepted = relay(order=Order(key=f"{client}:{key}", message=message))
    return Response(HTTPStatus.ACCEPTED, content_types.APPLICATION_JSON, accepted)


@app.exception_handler(RefusedError)
def refused(error: RefusedError) -> Response[dict[str, Any]]:
    return problem(HTTPStatus.UNPROCESSABLE_ENTITY, "MobileConnect refused it", error.errors)


@app.exception_handler(UnavailableError)
def unavailable(_: UnavailableError) -> Response[dict[str, Any]]:
    logger.exception("not sent")
    return problem(HTTPStatus.SERVICE_UNAVAILABLE, "MobileConnect did not accept it")


@app.exception_handler(IdempotencyValidationError)
def key_reused(_: IdempotencyValidationError) -> Response[dict[str, Any]]:
    return problem(HTTPStatus.UNPROCESSABLE_ENTITY, "this key belongs to another body")


@app.exception_handler(IdempotencyAlreadyInProgressError)
def still_running(_: IdempotencyAlreadyInProgressError) -> Response[dict[str, Any]]:
    return problem(HTTPStatus.CONFLICT, "the first request with this key is still running")


def problem(
    status: HTTPStatus, detail: str, errors: list[str] | None = None
) -> Response[dict[str, Any]]:
    body = {"status": status.value, "detail": detail, "errors": errors or []}
    return Response(status, content_types.APPLICATION_JSON, body)


@logger.inject_lambda_context(correlation_id_path=correlation_paths.API_GATEWAY_REST)
@tracer.capture_lambda_handler(capture_response=False)
@metrics.log_metrics(capture_cold_start_metric=True)
def handler(event: dict[str, Any], context: LambdaContext) -> dict[str, Any]:
    idempotency.register_lambda_context(context)
    return app.resolve(event, context)
