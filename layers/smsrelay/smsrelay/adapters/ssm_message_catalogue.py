"""The message catalogue in SSM's Parameter Store."""

import logging
import threading
from typing import TYPE_CHECKING, Final

from botocore.exceptions import BotoCoreError, ClientError

from smsrelay.errors import (
    CatalogueUnusableError,
    NothingStoredError,
    NotJsonError,
    TooLargeError,
)
from smsrelay.messages.message_catalogue import Catalogue, read
from smsrelay.messages.refusals import RequestRefusedError
from smsrelay.messages.strict_json import decode
from smsrelay.ports import Clock, Counter

if TYPE_CHECKING:
    from collections.abc import Callable

    from mypy_boto3_ssm import SSMClient

logger = logging.getLogger(__name__)

KEPT: Final = 60.0
"""Seconds that a catalogue is kept, and an old one while no newer one can be had."""
FAILED_FOR: Final = 5.0
"""Seconds that a failure stands where there never was a catalogue: a batch waits for it once."""


class StoredCatalogue:
    """The `CatalogueSource` port."""

    def __init__(
        self, client: "Callable[[], SSMClient]", parameter: str, counter: Counter, clock: Clock
    ) -> None:
        """`client` makes one at the first need: who posts ids has none."""
        self._client = client
        self._parameter = parameter
        self._counter = counter
        self._clock = clock
        self._lock = threading.Lock()
        self._kept: Catalogue | None = None
        self._failed: NothingStoredError | None = None
        self._read_again_at = 0.0

    def current(self) -> Catalogue:
        """A parameter that does not exist is a catalogue without names."""
        with self._lock:  # a batch of messages reads it once
            if self._clock() >= self._read_again_at:
                self._read()
            if self._kept is None:
                raise self._failed or NothingStoredError("the catalogue was never read")
            return self._kept

    def _read(self) -> None:
        try:
            self._kept, self._failed = _catalogue_of(self._value()), None
        except CatalogueUnusableError as error:
            self._counter.count("CatalogueUnusable")
            logger.exception("catalogue can't be used", extra={"kept": self._kept is not None})
            self._failed = NothingStoredError(str(error))
        except (BotoCoreError, ClientError, KeyError) as error:
            logger.warning(
                "catalogue out of reach",
                extra={"kept": self._kept is not None, "cause": type(error).__name__},
            )
            self._failed = NothingStoredError(f"no catalogue: {type(error).__name__}")
        lasts = FAILED_FOR if self._kept is None else KEPT
        self._read_again_at = self._clock() + lasts

    def _value(self) -> str | None:
        client = self._client()
        try:
            return client.get_parameter(Name=self._parameter)["Parameter"]["Value"]
        except ClientError as error:
            if error.response["Error"]["Code"] == "ParameterNotFound":
                return None
            raise


def _catalogue_of(text: str | None) -> Catalogue:
    """The catalogue in a parameter's value.

    Raises:
        CatalogueUnusableError: it is none.
    """
    if text is None:
        return Catalogue()
    try:
        return read(decode(text))
    except NotJsonError as error:
        raise CatalogueUnusableError(f"the catalogue is not JSON: {error}") from None
    except TooLargeError as error:
        raise CatalogueUnusableError(str(error)) from None
    except RequestRefusedError as refused:
        first, *more = refused.refusals
        others = f" ({len(more)} more)" if more else ""
        # Not where, since a place is made of what somebody has put there: the command shows it.
        raise CatalogueUnusableError(
            f"the catalogue breaks the rules: {first.detail}{others}"
        ) from None
