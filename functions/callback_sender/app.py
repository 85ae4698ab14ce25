"""Posts signed callbacks from the queue of callbacks."""

from smsrelay.runtime import lambda_init

# isort: split
from typing import Any

from smsrelay.runtime.lambda_handler import Context, Event, deadline_of, lambda_handler
from smsrelay.runtime.sqs_batch import Record, run_batch
from smsrelay.wiring import callback_sender


@lambda_handler(callback_sender)
def handler(event: Event, context: Context) -> dict[str, Any]:
    """Post the callbacks of a batch, and report those that SQS must deliver again."""
    parts, records = callback_sender.parts(), event["Records"]

    def process(record: Record) -> float | None:
        attempt = int(record["attributes"]["ApproximateReceiveCount"])
        return parts.callback_sender.send(record["body"], attempt)

    return run_batch(
        records,
        process,
        show_again=parts.queue.show_again,
        logger=parts.logger,
        metrics=parts.metrics,
        threads=len(records),
        deadline=deadline_of(context),
    )


lambda_init.end_init(callback_sender.parts)
