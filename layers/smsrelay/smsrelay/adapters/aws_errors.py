"""Converts errors of AWS calls to the relay's errors."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from typing import Any

from botocore.exceptions import BotoCoreError, ClientError

from smsrelay.errors import LedgerUnavailableError, RelayError

AWS_ERRORS = (BotoCoreError, ClientError, KeyError)
"""The errors of a call. A KeyError means that the response lacks a member that AWS always sends:
with a successful status botocore accepts any body, even a web page."""


@contextmanager
def aws_errors(error: Callable[[str], RelayError], problem: str) -> Iterator[None]:
    """Raise `error` instead of any AWS error, with the problem and the AWS error's name."""
    try:
        yield
    except AWS_ERRORS as caught:
        raise error(f"{problem}: {error_name(caught)}") from caught


def ledger_errors() -> AbstractContextManager[None]:
    return aws_errors(LedgerUnavailableError, "the ledger is unavailable")


def error_name(error: Exception) -> str:
    """Return the error's code if the response has one, else its type."""
    code = error.response.get("Error", {}).get("Code") if isinstance(error, ClientError) else None
    return code or type(error).__name__


def check_answer(answer: Mapping[str, Any]) -> None:
    """Raise a KeyError if the response to a write is not DynamoDB's.

    With a successful status botocore accepts any response, even a web page, but a send must not be
    made because of one. DynamoDB's own responses have a request id.
    """
    answer["ResponseMetadata"]["RequestId"]
