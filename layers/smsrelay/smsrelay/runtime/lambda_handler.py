"""The shell that all handlers share: log context, metrics, and unexpected errors."""

from collections.abc import Callable, Mapping
from functools import wraps
from typing import TYPE_CHECKING, Any, Protocol

from smsrelay.errors import UnexpectedError
from smsrelay.ports import Deadline
from smsrelay.runtime.error_boundary import log_unexpected

if TYPE_CHECKING:
    from aws_lambda_powertools.logging import Logger
    from aws_lambda_powertools.utilities.typing import LambdaContext

type Event = Mapping[str, Any]
type Handler[Result] = Callable[[Event, "LambdaContext"], Result]


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
