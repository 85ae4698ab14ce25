"""The log, without words of others: they can contain a number, a text or a token.

It has the types and places of exceptions, and no debug lines of libraries: botocore's repeat every
request and response.
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
    """The one logger of the package: modules log through the standard library to its children."""
    # Powertools names the logger after `service`, and the modules' loggers are its children.
    logger = Logger(service="smsrelay")
    logger.append_keys(service=os.environ.get("POWERTOOLS_SERVICE_NAME", "smsrelay"))
    root = logging.getLogger()
    # AWS_LAMBDA_LOG_LEVEL is meant for us, but sets the level of every library, too.
    root.setLevel(max(root.level, logging.WARNING))
    # POWERTOOLS_DEBUG: its lines hold paths, and what exceptions say.
    logging.getLogger("aws_lambda_powertools").setLevel(logging.CRITICAL + 1)
    for handler in (logger.logger_handler, *root.handlers):
        handler.addFilter(without_words)
    return logger


def without_words(record: logging.LogRecord) -> bool:
    """Put what can be said of a record's exception in the place of the exception."""
    if record.exc_info and record.exc_info[1] is not None:
        error = record.exc_info[1]
        record.exception_name = type(error).__name__
        record.exception = record.exc_text = "\n".join(described(error))
        record.exc_info = None
    return True


def described(error: BaseException) -> Iterator[str]:
    """Lines about an exception and its causes, the first cause last: places, types and codes."""
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
    """An exception's type; its words too if they are ours, which repeat nothing."""
    name = type(error).__name__
    if isinstance(error, RelayError):
        return f"{name}: {error}"
    if isinstance(error, ClientError):
        code = str(error.response.get("Error", {}).get("Code"))
        return f"{name}: {code if _CODE.fullmatch(code) else '…'} ({error.operation_name})"
    return name
