"""Reads the message catalogue from SSM Parameter Store."""

import logging
import threading
from typing import TYPE_CHECKING, Final

from botocore.exceptions import ClientError

from smsrelay.adapters.aws_errors import AWS_ERRORS, error_name
from smsrelay.errors import (
    CatalogueUnusableError,
    LedgerUnavailableError,
    NotJsonError,
    TooLargeError,
)
from smsrelay.messages.message_catalogue import Catalogue, parse_catalogue
from smsrelay.messages.refusals import RequestRefusedError
from smsrelay.messages.strict_json import decode
from smsrelay.ports import Clock, Metrics

if TYPE_CHECKING:
    from collections.abc import Callable

    from mypy_boto3_ssm import SSMClient

logger = logging.getLogger(__name__)

CACHE_SECONDS: Final = 60.0
"""Seconds that a catalogue is cached, and the interval of retries if a newer one can't be read."""
FAILURE_CACHE_SECONDS: Final = 5.0
"""Seconds that the first read's failure is cached, so that a batch waits for it only once."""


class SsmMessageCatalogue:
    """The `CatalogueSource` port. The last valid catalogue is used until a newer one is read."""

    def __init__(
        self,
        client: "Callable[[], SSMClient]",
        parameter: str,
        metrics: Metrics,
        clock: Clock,
        *,
        loopback_callbacks: bool = False,
    ) -> None:
        """`client` creates a client when the catalogue is first read."""
        self._client = client
        self._parameter = parameter
        self._metrics = metrics
        self._clock = clock
        self._loopback_callbacks = loopback_callbacks
        self._lock = threading.Lock()
        self._cached: Catalogue | None = None
        self._failed: LedgerUnavailableError | None = None
        self._read_again_at = 0.0

    def current(self) -> Catalogue:
        """Return the catalogue; it is empty if the parameter does not exist."""
        with self._lock:  # the messages of a batch read it once
            if self._clock() >= self._read_again_at:
                self._read()
            if self._cached is None:
                raise self._failed or LedgerUnavailableError("the catalogue was never read")
            return self._cached

    def _read(self) -> None:
        try:
            self._cached = _catalogue_of(self._value(), self._loopback_callbacks)
            self._failed = None
        except CatalogueUnusableError as error:
            self._metrics.count("CatalogueUnusable")
            logger.exception("catalogue can't be used", extra={"kept": self._cached is not None})
            self._failed = LedgerUnavailableError(str(error))
        except AWS_ERRORS as error:
            self._metrics.count("CatalogueUnusable")
            logger.error(  # noqa: TRY400
                "catalogue can't be read",
                extra={"kept": self._cached is not None, "cause": error_name(error)},
            )
            self._failed = LedgerUnavailableError(f"no catalogue: {error_name(error)}")
        lasts = FAILURE_CACHE_SECONDS if self._cached is None else CACHE_SECONDS
        self._read_again_at = self._clock() + lasts

    def _value(self) -> str | None:
        client = self._client()
        try:
            return client.get_parameter(Name=self._parameter)["Parameter"]["Value"]
        except ClientError as error:
            if error_name(error) == "ParameterNotFound":
                return None
            raise


def _catalogue_of(text: str | None, loopback_callbacks: bool) -> Catalogue:
    """Parse a parameter's value. Raises `CatalogueUnusableError`."""
    if text is None:
        return Catalogue()
    try:
        return parse_catalogue(decode(text), loopback_callbacks=loopback_callbacks)
    except NotJsonError as error:
        raise CatalogueUnusableError(f"the catalogue is not JSON: {error}") from None
    except TooLargeError as error:
        raise CatalogueUnusableError(str(error)) from None
    except RequestRefusedError as refused:
        first, *rest = refused.refusals
        others = f" ({len(rest)} more)" if rest else ""
        # Without the pointer, which can contain any text; `smsrelay catalogue` shows it.
        detail = f"the catalogue breaks the rules: {first.detail}{others}"
        raise CatalogueUnusableError(detail) from None
