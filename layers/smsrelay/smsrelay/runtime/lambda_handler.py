"""The shell that all handlers share: log context, metrics, unexpected errors, and batches."""

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import wraps
from typing import TYPE_CHECKING, Any, Protocol

from smsrelay.errors import QueueUnavailableError, UnexpectedError
from smsrelay.ports import Deadline
from smsrelay.runtime.error_boundary import log_unexpected

if TYPE_CHECKING:
    from aws_lambda_powertools.logging import Logger
    from aws_lambda_powertools.utilities.typing import LambdaContext

type Event = Mapping[str, Any]
type Handler[Result] = Callable[[Event, "LambdaContext"], Result]
type Record = Mapping[str, Any]


class Parts(Protocol):
    """What the shell needs of a function's parts."""

    @property
    def logger(self) -> "Logger":
        """Powertools' logger; its keys are on every line."""

    @property
    def metrics(self) -> "FlushedMetrics":
        """The metrics of one invocation."""


class FlushedMetrics(Protocol):
    """Metrics that are written once at the end of an invocation."""

    def flush(self) -> None:
        """Write what was counted."""


class Wiring(Protocol):
    """A module of `wiring`."""

    @property
    def parts(self) -> Callable[[], Parts]:
        """Returns the parts of this execution environment."""


class Queue(Protocol):
    """The queue that a batch came from."""

    def show_again(self, receipt_handle: str, seconds: float) -> None:
        """Deliver a message again after so many seconds.

        Raises:
            QueueUnavailableError: the message comes back after the queue's visibility time-out.
        """


class Decorator(Protocol):
    """Puts the shell around a handler."""

    def __call__[Result](self, handle: Handler[Result], /) -> Handler[Result]:
        """Return the handler that Lambda calls."""


def lambda_handler(wiring: Wiring, *, on_error: Callable[[], Any] | None = None) -> Decorator:
    """Put the shell around a handler.

    Args:
        wiring: The function's module of `wiring`. Its parts are looked up in each invocation, so a
            test can replace them.
        on_error: Returns the response to an unexpected error. Without it the invocation fails with
            an `UnexpectedError`, which repeats nothing of the error's text.
    """

    def decorate[Result](handle: Handler[Result]) -> Handler[Result]:
        @wraps(handle)
        def handler(event: Event, context: "LambdaContext") -> Result:
            parts = wiring.parts()
            parts.logger.append_keys(request_id=context.aws_request_id)
            try:
                with log_unexpected():
                    return handle(event, context)
            except UnexpectedError:
                if on_error is None:
                    raise
                response: Result = on_error()
                return response
            finally:
                parts.metrics.flush()

        return handler

    return decorate


def deadline_of(context: "LambdaContext") -> Deadline:
    """The seconds that are left of this invocation."""
    return lambda: context.get_remaining_time_in_millis() / 1000


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
