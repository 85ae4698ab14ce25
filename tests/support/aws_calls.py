"""All calls of AWS, whoever makes them: where tests watch them, or let them fail."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any
from unittest.mock import patch

from botocore.client import BaseClient

Interceptor = Callable[[BaseClient, str, Any, Callable[[], Any]], Any]
"""What stands before each call: it gets client, operation, parameters, and what makes the call."""


@contextmanager
def intercepted(interceptor: Interceptor) -> Iterator[None]:
    """Let `interceptor` stand before each call, of the relay's clients and of others."""
    call: Any = BaseClient._make_api_call  # type: ignore[attr-defined]  # noqa: SLF001 - there is no other way in

    def instead(client: BaseClient, operation: str, parameters: Any) -> Any:
        return interceptor(
            client, operation, parameters, partial(call, client, operation, parameters)
        )

    with patch.object(BaseClient, "_make_api_call", instead):
        yield
