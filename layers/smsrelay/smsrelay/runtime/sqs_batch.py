"""Processes batches of SQS messages concurrently, with Lambda's partial batch response."""

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final

from smsrelay.errors import QueueUnavailableError
from smsrelay.ports import Deadline, Metrics

if TYPE_CHECKING:
    from aws_lambda_powertools.logging import Logger

LARGE_BODY = 100_000
"""The characters of a large body, which can need 70 times as much memory when it is parsed."""

type Record = Mapping[str, Any]

RETURN_SECONDS: Final = 2.0
"""Seconds of an invocation reserved to return the result of the batch."""


def run_batch(  # noqa: PLR0913 - the differences between the two queues' functions
    records: Sequence[Record],
    process: Callable[[Record], float | None],
    *,
    show_again: Callable[[str, float], None],
    logger: "Logger",
    metrics: Metrics,
    threads: int,
    deadline: Deadline | None = None,
) -> dict[str, Any]:
    """Process the messages of an SQS batch concurrently, the large ones one after another.

    `process` returns None if the message is done, else the seconds until SQS delivers it again;
    `show_again` sets these for a receipt handle. At most `threads` messages are processed at once.
    Messages that are not finished shortly before `deadline` return to the queue, but their threads
    continue in the next invocation: set it only for messages that may be processed twice.
    """

    def is_done(record: Record) -> bool:
        try:
            delay = process(record)
            if delay is not None:
                show_again(record["receiptHandle"], delay)
        except QueueUnavailableError:
            return False  # SQS delivers it again after the visibility time-out
        except Exception:
            # One message must not fail the others in its batch: they may have been sent.
            logger.exception("message failed", sqs_message_id=record["messageId"])
            with suppress(Exception):
                metrics.count("UnexpectedErrors")
            return False
        return delay is None

    def failures(group: Sequence[Record]) -> list[Record]:
        return [record for record in group if not is_done(record)]

    groups = [[record] for record in records if len(record["body"]) < LARGE_BODY]
    groups.append([record for record in records if len(record["body"]) >= LARGE_BODY])
    pool = ThreadPoolExecutor(threads)
    tasks = {pool.submit(failures, group): group for group in groups}
    _, late = wait(tasks, None if deadline is None else max(0.0, deadline() - RETURN_SECONDS))
    pool.shutdown(wait=False)
    if late:
        logger.error("messages not finished in time: %d", sum(len(tasks[it]) for it in late))
    failed = [it for task in tasks for it in (tasks[task] if task in late else task.result())]
    return {"batchItemFailures": [{"itemIdentifier": record["messageId"]} for record in failed]}
