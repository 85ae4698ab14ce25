"""The queue's messages, side by side."""

import os
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import httpx
from pydantic_core import from_json, to_json

from lean_relay.aws import AwsError
from lean_relay.models import Message
from lean_relay.relay import ConflictError, NotSentError, aws, logger, relay

if TYPE_CHECKING:
    from aws_lambda_powertools.utilities.typing import LambdaContext

threads = ThreadPoolExecutor(10)


def handler(event: dict[str, Any], context: "LambdaContext") -> dict[str, Any]:
    logger.append_keys(request_id=context.aws_request_id)
    records = event["Records"]
    failed = [
        {"itemIdentifier": record["messageId"]}
        for record, is_done in zip(records, threads.map(_work, records), strict=True)
        if not is_done
    ]
    return {"batchItemFailures": failed}


def _work(record: dict[str, Any]) -> bool:
    """Whether the message is done and may be deleted."""
    attributes = {name: value["stringValue"] for name, value in record["messageAttributes"].items()}
    try:
        message, own_key = _read(record["body"])
        key = attributes.get("Idempotency-Key") or own_key or record["messageId"]
        relay(message, attributes.get("client", "internal"), key)
    except ValueError:
        logger.warning("put aside", sqs_message_id=record["messageId"])
        letter = {"QueueUrl": os.environ["DEAD_LETTER_QUEUE_URL"], "MessageBody": record["body"]}
        aws.call("sqs", "SendMessage", letter)
    except ConflictError:
        logger.info("sent before", sqs_message_id=record["messageId"])
    except (AwsError, NotSentError, httpx.HTTPError):
        logger.exception("not sent", sqs_message_id=record["messageId"])
        return False
    return True


def _read(body: str) -> tuple[Message, str | None]:
    """The message: bare, in an SNS notification or in an EventBridge event; and its key."""
    if '"Notification"' in body or '"detail-type"' in body:
        envelope = from_json(body)
        if envelope.get("Type") == "Notification":
            return Message.model_validate_json(envelope["Message"]), envelope["MessageId"]
        if "detail-type" in envelope:
            return Message.model_validate_json(to_json(envelope["detail"])), envelope["id"]
    return Message.model_validate_json(body), None
