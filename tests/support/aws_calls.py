"""All calls of AWS, whoever makes them: where tests watch them, or let them fail."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any
from unittest.mock import patch

from botocore.client import BaseClient

from smsrelay.adapters.quick_calls import QuickClient

Interceptor = Callable[[BaseClient, str, Any, Callable[[], Any]], Any]
"""What stands before each call: it gets client, operation, parameters, and what makes the call."""


@contextmanager
def intercepted(interceptor: Interceptor) -> Iterator[None]:
    """Let `interceptor` stand before each call, of the relay's clients and of others, once."""
    ways: Any = (BaseClient, QuickClient)
    others, relays = (way._make_api_call for way in ways)  # noqa: SLF001 - there is no other way in

    def of_others(client: BaseClient, operation: str, parameters: Any) -> Any:
        call = partial(others, client, operation, parameters)
        if isinstance(client, QuickClient):  # it has been seen already
            return call()
        return interceptor(client, operation, parameters, call)

    def of_the_relay(client: Any, operation: str, parameters: Any) -> Any:
        call = partial(relays, client, operation, parameters)
        return interceptor(client, operation, parameters, call)

    with (
        patch.object(BaseClient, "_make_api_call", of_others),
        patch.object(QuickClient, "_make_api_call", of_the_relay),
    ):
        yield
