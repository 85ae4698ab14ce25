"""Batches of SQS messages: processed side by side, with Lambda's partial batch response."""

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, Protocol

from smsrelay.errors import QueueUnavailableError

if TYPE_CHECKING:
    from aws_lambda_powertools.logging import Logger

type Record = Mapping[str, Any]


class Queue(Protocol):
    """The queue that a batch came from."""

    def show_again(self, receipt_handle: str, seconds: float) -> None:
        """Deliver a message again after so many seconds.

        Raises:
            QueueUnavailableError: the message comes back after the queue's visibility time-out.
        """


def run_batch(
    records: Sequence[Record],
    process: Callable[[Record], float | None],
    *,
    queue: Queue,
    logger: "Logger",
    threads: int,
) -> dict[str, Any]:
    """Process the messages of an SQS batch side by side.

    Args:
        records: The event's records.
        process: Returns None if the message is done, else the seconds until SQS delivers it again.
        queue: Where the messages came from.
        logger: Gets each unexpected error.
        threads: How many messages are processed at once.

    Returns:
        Lambda's partial batch response: the messages that SQS must not delete.
    """

    def is_done(record: Record) -> bool:
        try:
            delay = process(record)
            if delay is not None:
                queue.show_again(record["receiptHandle"], delay)
        except QueueUnavailableError:
            return False  # the visibility time-out brings it back, only later
        except Exception:
            # One message must not fail the others of its batch: they may have been sent.
            logger.exception("message failed", sqs_message_id=record["messageId"])
            return False
        return delay is None

    with ThreadPoolExecutor(threads) as pool:
        done = list(pool.map(is_done, records))
    return {
        "batchItemFailures": [
            {"itemIdentifier": record["messageId"]}
            for record, finished in zip(records, done, strict=True)
            if not finished
        ]
    }
