"""The use case: call MobileConnect once for each idempotency key, and store the tokenIds."""

import os
import time
import uuid

import boto3
from aws_lambda_powertools import Logger, Metrics, Tracer
from aws_lambda_powertools.metrics import MetricUnit
from aws_lambda_powertools.utilities.idempotency import (
    DynamoDBPersistenceLayer,
    IdempotencyConfig,
    idempotent_function,
)
from aws_lambda_powertools.utilities.idempotency.serialization.pydantic import PydanticSerializer

from typical_relay.mobileconnect import bodies, call
from typical_relay.models import Accepted, Order, Send

RETENTION_SECONDS = 90 * 86_400

logger = Logger()
tracer = Tracer()
metrics = Metrics()
table = boto3.resource("dynamodb").Table(os.environ["TABLE_NAME"])
idempotency = IdempotencyConfig(
    event_key_jmespath="key",
    payload_validation_jmespath="message",
    expires_after_seconds=86_400,
)
persistence = DynamoDBPersistenceLayer(
    table_name=os.environ["TABLE_NAME"],
    key_attr="pk",
    sort_key_attr="sk",
    expiry_attr="expiresAt",
)


@tracer.capture_method(capture_response=False)
@idempotent_function(
    data_keyword_argument="order",
    config=idempotency,
    persistence_store=persistence,
    output_serializer=PydanticSerializer,
)
def relay(*, order: Order) -> Accepted:
    """Send the message, unless it was sent under its key before: then answer as that time.

    Raises:
        RefusedError, UnavailableError: MobileConnect has not taken it.
        IdempotencyValidationError: another message was sent under this key.
        IdempotencyAlreadyInProgressError: this one is being sent.
    """
    message_id = str(uuid.uuid4())
    sends = []
    for n, (body, recipients) in enumerate(bodies(order.message), 1):
        token_id = call(order.message.message, body)
        send = Send(n=n, recipients=recipients, token_id=token_id)
        store(message_id, order, send)
        sends.append(send)
    metrics.add_metric(name="SendsAccepted", unit=MetricUnit.Count, value=len(sends))
    logger.info("accepted", message_id=message_id, sends=len(sends))
    return Accepted(id=message_id, sends=sends)


@tracer.capture_method(capture_response=False)
def store(message_id: str, order: Order, send: Send) -> None:
    now = int(time.time())
    item: dict[str, str | int] = {
        "pk": f"MSG#{message_id}",
        "sk": f"SEND#{send.n:03d}",
        "template": order.message.message,
        "status": send.status,
        "recipients": send.recipients,
        "tokenId": send.token_id,
        "createdAt": now,
        "expiresAt": now + RETENTION_SECONDS,
    }
    if order.message.reference is not None:
        item["reference"] = order.message.reference
    table.put_item(Item=item)
