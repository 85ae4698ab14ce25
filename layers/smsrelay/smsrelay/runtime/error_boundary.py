"""What nobody has caught: Lambda's runtime would print it with all its words."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager

from smsrelay.errors import UnexpectedError

logger = logging.getLogger(__name__)


@contextmanager
def log_unexpected() -> Iterator[None]:
    """Log an exception by what it is, and let the invocation fail without what it says.

    Raises:
        UnexpectedError: instead of whatever it was.
    """
    try:
        yield
    except Exception as error:
        logger.exception("failed in an unforeseen way")
        raise UnexpectedError(type(error).__name__) from None
