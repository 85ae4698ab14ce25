"""Validates a decoded document and applies the catalogue's defaults for its message."""

from collections.abc import Collection

from pydantic_core import PydanticCustomError

from smsrelay.messages.request import (
    MESSAGE_ID,
    CatalogueDefaults,
    Submission,
    is_encoded_id,
    validate_key,
)
from smsrelay.messages.segments import estimate
from smsrelay.messages.strict_json import Document
from smsrelay.messages.validation import parse_request
from smsrelay.ports import CatalogueSource
from smsrelay.sends.ids import correlation_id
from smsrelay.services.client_rate_limit import RequestLimits


def key_in(value: object) -> str | None:
    """Return the idempotency key in a decoded request; None if it has no valid one."""
    key = value.get("idempotencyKey") if isinstance(value, dict) else None
    try:
        return validate_key(key) if isinstance(key, str) else None
    except PydanticCustomError:
        return None


class RequestReader:
    def __init__(
        self,
        catalogue: CatalogueSource | None,
        country_codes: Collection[str],
        limits: RequestLimits,
    ) -> None:
        """Without a catalogue only message ids are valid; empty country codes allow all numbers."""
        self._catalogue = catalogue
        self._country_codes = country_codes
        self._limits = limits

    def read(
        self,
        document: Document,
        *,
        client: str,
        arrived_at: float,
        trace: str | None = None,
    ) -> Submission:
        """Validate a client's request.

        `arrived_at` is in seconds since the epoch, `trace` is AWS's trace header. Raises
        `RequestRefusedError` with every reason at once, or `LedgerUnavailableError` if the
        catalogue or the client's limit can't be read.
        """
        defaults = self._defaults(document.value, client)
        limits = self._limits.of_client(client)
        request = parse_request(document, defaults, self._country_codes, arrived_at, limits)
        return Submission(
            request,
            upstream_message_id=defaults.upstream_message_id or request.message,
            client=client,
            correlation_id=correlation_id(trace),
            poll_delivery=defaults.poll_delivery,
            segments=estimate(request.text, concatenated=bool(defaults.concatenate))
            if request.text
            else None,
        )

    def _defaults(self, value: object, client: str) -> CatalogueDefaults:
        """Return the catalogue's defaults; it is not read if the message is an encoded id."""
        message = value.get("message") if isinstance(value, dict) else None
        if (
            self._catalogue is None
            or not isinstance(message, str)
            or not MESSAGE_ID.fullmatch(message)
            or is_encoded_id(message)
        ):
            return CatalogueDefaults()
        return self._catalogue.current().resolve(message, client)
