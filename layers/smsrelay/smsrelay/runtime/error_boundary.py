"""Unexpected errors: Lambda's runtime would log them with their whole text."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager

from smsrelay.errors import UnexpectedError

logger = logging.getLogger(__name__)


@contextmanager
def log_unexpected() -> Iterator[None]:
    """Log any exception, and raise an `UnexpectedError` instead, which names only its type."""
    try:
        yield
    except Exception as error:
        logger.exception("failed unexpectedly")
        raise UnexpectedError(type(error).__name__) from None
