"""SQS in: an adapter between the callbacks' queue and whoever posts them."""

from smsrelay.runtime import lambda_init

# isort: split
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

from smsrelay.errors import QueueUnavailableError
from smsrelay.wiring import callback_sender

if TYPE_CHECKING:
    from aws_lambda_powertools.utilities.typing import LambdaContext


def handler(event: dict[str, Any], context: "LambdaContext") -> dict[str, Any]:
    """Post the callbacks of a batch side by side; report those that have to come back."""
    parts = callback_sender.parts()
    parts.logger.append_keys(request_id=context.aws_request_id)
    records = event["Records"]
    try:
        with ThreadPoolExecutor(len(records)) as pool:
            done = list(pool.map(lambda record: _call(parts, record), records))
    finally:
        parts.metrics.flush()
    return {
        "batchItemFailures": [
            {"itemIdentifier": record["messageId"]}
            for record, is_done in zip(records, done, strict=True)
            if not is_done
        ]
    }


def _call(parts: callback_sender.Parts, record: dict[str, Any]) -> bool:
    """Whether the callback is done and may be deleted."""
    try:
        tries = int(record["attributes"]["ApproximateReceiveCount"])
        wait = parts.callback_sender.send(record["body"], tries)
        if wait is not None:
            parts.queue.show_again(record["receiptHandle"], wait)
    except QueueUnavailableError:
        return False  # it comes back by itself
    except Exception:
        parts.logger.exception("callback failed", sqs_message_id=record["messageId"])
        return False
    return wait is None


lambda_init.end_init(callback_sender.parts)
