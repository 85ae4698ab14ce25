"""The log, without texts of other systems: they can contain a phone number, a message or a token.

Exceptions are logged with type and location; only the relay's own also with their text. Debug lines
of libraries are not logged: those of botocore contain every request and response.
"""

import logging
import os
import re
import traceback
from collections.abc import Iterator

from aws_lambda_powertools import Logger
from botocore.exceptions import ClientError

from smsrelay.errors import RelayError

_CODE = re.compile(r"[A-Za-z][A-Za-z0-9._]{0,80}")
_LONGEST_CHAIN = 10


def package_logger() -> Logger:
    """Return the package's logger; modules log to its children through the standard library."""
    # Powertools names the logger after `service`, and the modules' loggers are its children.
    logger = Logger(service="smsrelay")
    logger.append_keys(service=os.environ.get("POWERTOOLS_SERVICE_NAME", "smsrelay"))
    root = logging.getLogger()
    # AWS_LAMBDA_LOG_LEVEL is meant for the relay, but also sets the level of all libraries.
    root.setLevel(max(root.level, logging.WARNING))
    # The lines of POWERTOOLS_DEBUG contain paths and the texts of exceptions.
    logging.getLogger("aws_lambda_powertools").setLevel(logging.CRITICAL + 1)
    for handler in (logger.logger_handler, *root.handlers):
        handler.addFilter(without_words)
    return logger


def without_words(record: logging.LogRecord) -> bool:
    """Replace a record's exception with a description that contains no texts."""
    if record.exc_info and record.exc_info[1] is not None:
        error = record.exc_info[1]
        record.exception_name = type(error).__name__
        record.exception = record.exc_text = "\n".join(described(error))
        record.exc_info = None
    return True


def described(error: BaseException) -> Iterator[str]:
    """Yield types, codes and locations of an exception and its causes, the root cause last."""
    cause: BaseException | None = error
    for _ in range(_LONGEST_CHAIN):
        if cause is None:
            return
        yield _named(cause)
        for frame, line in traceback.walk_tb(cause.__traceback__):
            code = frame.f_code
            yield f"  {code.co_filename}:{line} in {code.co_qualname}"
        follows = None if cause.__suppress_context__ else cause.__context__
        cause = cause.__cause__ or follows


def _named(error: BaseException) -> str:
    """Return an exception's type, and the text if it is the relay's own, which has no values."""
    name = type(error).__name__
    if isinstance(error, RelayError):
        return f"{name}: {error}"
    if isinstance(error, ClientError):
        code = str(error.response.get("Error", {}).get("Code"))
        return f"{name}: {code if _CODE.fullmatch(code) else '…'} ({error.operation_name})"
    return name
