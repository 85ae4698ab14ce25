"""Requests a token renewal by an asynchronous invocation of the token renewer."""

import json
import logging
from typing import TYPE_CHECKING

from smsrelay.adapters.aws_errors import AWS_ERRORS, error_name
from smsrelay.tokens.renewal_timing import RenewalReason

if TYPE_CHECKING:
    from collections.abc import Callable

    from mypy_boto3_lambda import LambdaClient

logger = logging.getLogger(__name__)


class LambdaTokenRenewal:
    """The `TokenRenewal` port."""

    def __init__(self, client: "Callable[[], LambdaClient]", function: str) -> None:
        """`client` creates the client at the first use; an empty `function` requests nothing."""
        self._client = client
        self._function = function

    def ask(self, reason: RenewalReason, token: str) -> None:
        if not self._function:
            return
        extra = {"reason": reason.value, "token": token}
        try:
            self._client().invoke(
                FunctionName=self._function,
                InvocationType="Event",
                Payload=json.dumps({"need": reason.value, "token": token}),
            )
        except AWS_ERRORS as error:
            # The scheduled run renews the token in any case.
            cause = {"cause": error_name(error)}
            logger.warning("could not ask for a new token", extra=extra | cause)
        else:
            logger.info("asked for a new token", extra=extra)
