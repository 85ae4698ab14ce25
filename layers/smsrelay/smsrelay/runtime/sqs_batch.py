"""Batches of SQS messages: processed side by side, with Lambda's partial batch response."""

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from typing import TYPE_CHECKING, Any, Final

from smsrelay.errors import QueueUnavailableError
from smsrelay.ports import Deadline

if TYPE_CHECKING:
    from aws_lambda_powertools.logging import Logger

LARGE_BODY = 100_000
"""Characters from which a body is large: parsed, it can take 70 times as much memory."""

type Record = Mapping[str, Any]

RETURN_SECONDS: Final = 2.0
"""Seconds of an invocation that are kept to return the result of the batch."""


def run_batch(  # noqa: PLR0913 - what the two queues' functions differ in
    records: Sequence[Record],
    process: Callable[[Record], float | None],
    *,
    show_again: Callable[[str, float], None],
    logger: "Logger",
    threads: int,
    deadline: Deadline | None = None,
) -> dict[str, Any]:
    """Process the messages of an SQS batch side by side, then the large ones in turn.

    `process` returns None if the message is done, else the seconds until SQS delivers it again;
    `show_again` sets these for a receipt handle. `threads` messages are processed at once; at most
    one of them is large. What is not finished shortly before `deadline` goes back to the queue. Its
    thread goes on in the next invocation: use it only for messages that may be processed twice.
    """

    def is_done(record: Record) -> bool:
        try:
            delay = process(record)
            if delay is not None:
                show_again(record["receiptHandle"], delay)
        except QueueUnavailableError:
            return False  # the visibility time-out brings it back, only later
        except Exception:
            # One message must not fail the others of its batch: they may have been sent.
            logger.exception("message failed", sqs_message_id=record["messageId"])
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
