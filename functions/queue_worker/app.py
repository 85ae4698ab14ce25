"""Processes messages of the queue: requests, and sends to retry."""

from smsrelay.runtime import lambda_init

# isort: split
from typing import Any

from smsrelay.runtime.lambda_handler import Context, Event, deadline_of, lambda_handler
from smsrelay.runtime.sqs_batch import Record, run_batch
from smsrelay.sends.queue_envelopes import QueueMessage
from smsrelay.wiring import queue_worker


@lambda_handler(queue_worker)
def handler(event: Event, context: Context) -> dict[str, Any]:
    """Process the messages of a batch, and report those that SQS must deliver again."""
    parts, deadline = queue_worker.parts(), deadline_of(context)
    return run_batch(
        event["Records"],
        lambda record: parts.queue_worker.process(_queue_message(record), deadline),
        show_again=parts.queue.show_again,
        logger=parts.logger,
        metrics=parts.metrics,
        threads=parts.threads,
    )


def _queue_message(record: Record) -> QueueMessage:
    attributes = {
        name: value["stringValue"]
        for name, value in record.get("messageAttributes", {}).items()
        if value.get("stringValue")
    }
    system = record.get("attributes", {})
    return QueueMessage(
        record["body"],
        record["messageId"],
        attributes,
        system.get("AWSTraceHeader"),
        int(system.get("ApproximateReceiveCount", 1)),
        int(system.get("SentTimestamp", 0)) / 1_000,
    )


lambda_init.end_init(queue_worker.parts)
