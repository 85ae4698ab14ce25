"""SQS in: an adapter between the queue's batches and the relay."""

from smsrelay.runtime import lambda_init

# isort: split
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

from smsrelay.errors import QueueUnavailableError
from smsrelay.sends.queue_envelopes import QueueMessage
from smsrelay.wiring import sending

if TYPE_CHECKING:
    from aws_lambda_powertools.utilities.typing import LambdaContext

    from smsrelay.services.queue_worker import QueueWorker


def handler(event: dict[str, Any], context: "LambdaContext") -> dict[str, Any]:
    """Work on the messages of a batch side by side; report those that have to come back."""
    parts = sending.parts()
    parts.logger.append_keys(request_id=context.aws_request_id)
    records = event["Records"]
    queue_worker = parts.queue_worker  # here, not in the threads: each might build its own
    try:
        with ThreadPoolExecutor(parts.settings.concurrent_sends) as pool:
            done = list(
                pool.map(lambda record: _work(parts, queue_worker, record, context), records)
            )
    finally:
        parts.metrics.flush()
    return {
        "batchItemFailures": [
            {"itemIdentifier": record["messageId"]}
            for record, is_done in zip(records, done, strict=True)
            if not is_done
        ]
    }


def _work(
    parts: sending.Parts,
    queue_worker: "QueueWorker",
    record: dict[str, Any],
    context: "LambdaContext",
) -> bool:
    """Whether the message is done and may be deleted."""
    try:
        wait = queue_worker.process(
            _queue_message(record), lambda: context.get_remaining_time_in_millis() / 1000
        )
        if wait is not None:
            parts.queue.show_again(record["receiptHandle"], wait)
    except QueueUnavailableError:
        return False  # it comes back by itself, only later
    except Exception:
        # One message must not take the others of its batch with it: they may have been sent.
        parts.logger.exception("message failed", sqs_message_id=record["messageId"])
        return False
    return wait is None


def _queue_message(record: dict[str, Any]) -> QueueMessage:
    attributes = {
        name: value["stringValue"]
        for name, value in record.get("messageAttributes", {}).items()
        if value.get("stringValue")
    }
    trace = record.get("attributes", {}).get("AWSTraceHeader")
    return QueueMessage(record["body"], record["messageId"], attributes, trace)


lambda_init.end_init(lambda: sending.parts().queue_worker)
