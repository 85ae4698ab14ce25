"""The queue's messages, one after another."""

import json
import os
from typing import Any

import boto3
from aws_lambda_powertools.utilities.batch import (
    BatchProcessor,
    EventType,
    process_partial_response,
)
from aws_lambda_powertools.utilities.batch.types import PartialItemFailureResponse
from aws_lambda_powertools.utilities.data_classes.sqs_event import SQSRecord
from aws_lambda_powertools.utilities.idempotency.exceptions import IdempotencyValidationError
from aws_lambda_powertools.utilities.typing import LambdaContext

from typical_relay.mobileconnect import RefusedError
from typical_relay.models import Message, Order
from typical_relay.sending import idempotency, logger, metrics, relay, tracer

processor = BatchProcessor(event_type=EventType.SQS)
sqs = boto3.client("sqs")


def read(record: SQSRecord) -> Order:
    """The message: bare, in an SNS notification or in an EventBridge event.

    Raises:
        ValueError: it is not valid.
    """
    body = json.loads(record.body)
    key = record.message_id
    if isinstance(body, dict) and body.get("Type") == "Notification":
        key = body["MessageId"]
        body = json.loads(body["Message"])
    elif isinstance(body, dict) and "detail-type" in body:
        key, body = body["id"], body["detail"]
    message = Message.model_validate(body)
    attribute = record.message_attributes["Idempotency-Key"]  # None if the attribute is missing
    if attribute and attribute.string_value:
        key = attribute.string_value
    return Order(key=message.idempotency_key or key, message=message)


@tracer.capture_method(capture_response=False)
def record_handler(record: SQSRecord) -> None:
    try:
        relay(order=read(record))
    except (ValueError, RefusedError, IdempotencyValidationError) as error:
        # It would fail again, however often it came back.
        logger.warning("put aside", sqs_message_id=record.message_id, reason=type(error).__name__)
        sqs.send_message(QueueUrl=os.environ["DEAD_LETTER_QUEUE_URL"], MessageBody=record.body)


@logger.inject_lambda_context
@tracer.capture_lambda_handler(capture_response=False)
@metrics.log_metrics(capture_cold_start_metric=True)
def handler(event: dict[str, Any], context: LambdaContext) -> PartialItemFailureResponse:
    idempotency.register_lambda_context(context)
    return process_partial_response(
        event=event, record_handler=record_handler, processor=processor, context=context
    )
