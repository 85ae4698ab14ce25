"""A decorator for all handlers: log context, metrics, and unexpected errors."""

import logging
from collections.abc import Callable, Mapping
from contextlib import suppress
from functools import wraps
from types import ModuleType
from typing import TYPE_CHECKING, Any

from smsrelay.errors import UnexpectedError
from smsrelay.ports import Deadline

if TYPE_CHECKING:
    from aws_lambda_powertools.utilities.typing import LambdaContext

logger = logging.getLogger(__name__)

type Event = Mapping[str, Any]
type Context = LambdaContext
type Handler[Result] = Callable[[Event, Context], Result]


def lambda_handler(
    wiring: ModuleType, *, on_error: Callable[[UnexpectedError], Any] | None = None
) -> Callable[[Handler[Any]], Handler[Any]]:
    """Decorate a handler.

    The parts of `wiring`, the function's module, are looked up in each invocation, so that tests
    can replace them. `on_error` returns the response to an unexpected error. Without it the
    invocation fails with an `UnexpectedError`, which does not contain the error's text.
    """

    def decorate(handle: Handler[Any]) -> Handler[Any]:
        @wraps(handle)
        def handler(event: Event, context: Context) -> Any:  # noqa: ANN401 - whatever `handle` returns
            parts = wiring.parts()
            parts.logger.append_keys(request_id=context.aws_request_id)
            try:
                return handle(event, context)
            except Exception as error:
                # Lambda's runtime would log the exception's text.
                logger.exception("failed unexpectedly")
                unexpected = UnexpectedError(type(error).__name__)
                if on_error is None:
                    raise unexpected from None
                with suppress(Exception):  # its text would be logged, too
                    parts.metrics.count("UnexpectedErrors")
                return on_error(unexpected)
            finally:
                parts.metrics.flush()

        return handler

    return decorate


def deadline_of(context: Context) -> Deadline:
    return lambda: context.get_remaining_time_in_millis() / 1000
