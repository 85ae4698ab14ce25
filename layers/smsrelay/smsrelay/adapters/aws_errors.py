"""The errors of calls to AWS, as the relay's own errors."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from typing import Any

from botocore.exceptions import BotoCoreError, ClientError

from smsrelay.errors import LedgerUnavailableError, RelayError

AWS_ERRORS = (BotoCoreError, ClientError, KeyError)
"""What a call raises. A KeyError means that the response lacks a member that AWS always sends:
botocore accepts any body under a good status, a web page too."""


@contextmanager
def aws_errors(error: Callable[[str], RelayError], problem: str) -> Iterator[None]:
    """Raise `error` instead of any error of AWS, with the problem and what AWS calls it."""
    try:
        yield
    except AWS_ERRORS as caught:
        raise error(f"{problem}: {error_name(caught)}") from caught


def ledger_errors() -> AbstractContextManager[None]:
    return aws_errors(LedgerUnavailableError, "the ledger is out of reach")


def error_name(error: Exception) -> str:
    """The error's code if the response has one, else its type."""
    code = error.response.get("Error", {}).get("Code") if isinstance(error, ClientError) else None
    return code or type(error).__name__


def check_answer(answer: Mapping[str, Any]) -> None:
    """Raise a KeyError if the answer to a write is not DynamoDB's.

    botocore takes any answer with a good status for a success, a web page too, and a send must not
    follow from that. DynamoDB's own answers have a request id, and a checksum of the rest.
    """
    answer["ResponseMetadata"]["RequestId"]
