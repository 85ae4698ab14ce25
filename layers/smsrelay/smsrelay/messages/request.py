"""The simplified JSON: its fields, and what is valid in each of them."""

import base64
import binascii
import contextlib
import math
import re
from datetime import datetime
from decimal import Decimal
from typing import Annotated, Literal, NamedTuple, Self
from urllib.parse import urlsplit

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Discriminator,
    Field,
    Tag,
    ValidatorFunctionWrapHandler,
    WrapValidator,
)
from pydantic.alias_generators import to_camel
from pydantic_core import PydanticCustomError

from smsrelay.messages import refusals, times
from smsrelay.messages.phone_numbers import normalize
from smsrelay.messages.refusals import invalid

MAX_SENDS = 100
"""The most sends that one request may become."""
RECIPIENTS_PER_SEND = 250
"""The most recipients of one send: documented for Subscribers, safe for mobileNumbers (API.md)."""
MAX_RECIPIENTS = MAX_SENDS * RECIPIENTS_PER_SEND

MAX_EXPONENT = 30  # of an attribute's number, which is written out

MESSAGE_ID = re.compile(r"[A-Za-z0-9_-]+={0,2}")
"""An encoded message id; a name of the catalogue looks the same."""
_DECODED_ID = re.compile(rb"[0-9]+:[0-9]+:[0-9]+")
_BLANK = re.compile("[\\s\u200b-\u200d\u2060\ufeff]*")  # what no phone shows
KEY, MAX_KEY = re.compile(r"[\x21-\x7e](?:[\x20-\x7e]*[\x21-\x7e])?"), 255


def not_null(value: object) -> object:
    """Reject null: a request leaves out a field that has no value."""
    if value is None:
        raise invalid("wrong-type", "It must not be null. Leave the field out instead.")
    return value


def is_encoded_id(message: str) -> bool:
    """Whether it is an encoded message id of MobileConnect: base64url of `30:78:0`."""
    bare = message.rstrip("=")
    try:
        decoded = base64.urlsafe_b64decode(bare + "=" * (-len(bare) % 4))
    except (binascii.Error, ValueError):
        return False
    return _DECODED_ID.fullmatch(decoded) is not None


def validate_message(value: str) -> str:
    """The message id or name as it was given, if it can be one.

    Raises:
        PydanticCustomError: `invalid-message-id`.
    """
    if not MESSAGE_ID.fullmatch(value):
        raise invalid("invalid-message-id", refusals.MESSAGE_ID)
    return value


def _validate_text(value: str) -> str:
    if _BLANK.fullmatch(value):
        raise invalid("blank-text", refusals.BLANK_TEXT)
    return value


def validate_keyword(value: str) -> str:
    """The keyword as it was given, if it is one.

    Raises:
        PydanticCustomError: `keyword-missing`.
    """
    if not value.strip():
        raise invalid("keyword-missing", refusals.KEYWORD_MISSING)
    return value


def _validate_subscriber_key(value: str) -> str:
    if not value.strip():
        raise invalid("incomplete-subscriber", refusals.INCOMPLETE_SUBSCRIBER)
    return value


def _validate_url(value: str) -> str:
    try:
        parts = urlsplit(value)
        usable = parts.scheme.lower() in {"http", "https"} and parts.hostname
        _ = parts.port  # raises for a port that is none
    except ValueError:
        usable = None
    if not usable or not value.isprintable() or " " in value:
        raise invalid("invalid-url", "It must be an http or https URL.")
    return value


def _validate_time(value: object) -> object:
    if isinstance(value, datetime):  # from who builds a request in Python
        value = value.isoformat()
    return times.parse_instant(value) if isinstance(value, str) else not_null(value)


def _validate_reference(value: str) -> str:
    if not value.strip():
        raise invalid("blank", "It must not be blank.")
    return value


def validate_key(value: str) -> str:
    """The key without the quotes that it may have (the IETF draft): 1 to 255 printable ASCII.

    Raises:
        PydanticCustomError: `invalid-idempotency-key`.
    """
    quote = '"'
    if len(value) > 1 and value.startswith(quote) and value.endswith(quote):
        value = value[1:-1]
    if not KEY.fullmatch(value) or len(value) > MAX_KEY:
        raise invalid("invalid-idempotency-key", "It must be 1 to 255 printable ASCII characters.")
    return value


def _validate_attribute(value: object) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str | int):
        return str(value)
    if isinstance(value, float) and math.isfinite(value):  # from who builds a request in Python
        value = Decimal(repr(value))
    if isinstance(value, Decimal) and value.is_finite():
        if abs(value.adjusted()) > MAX_EXPONENT:
            raise invalid(
                "number-out-of-range",
                f"It must lie between 1e-{MAX_EXPONENT} and 1e{MAX_EXPONENT}.",
            )
        return f"{value:f}"
    raise invalid("wrong-type", "It must be a string, a number or a boolean.")


def _recipient_kind(value: object) -> str | None:
    if isinstance(value, str):
        return "number"
    return "subscriber" if isinstance(value, dict | Subscriber) else None


class StrictModel(BaseModel):
    """What others write: camelCase, no unknown fields, and no type stands for another."""

    model_config = ConfigDict(
        alias_generator=to_camel,
        extra="forbid",
        frozen=True,
        hide_input_in_errors=True,
        strict=True,
        validate_by_name=True,  # for who builds one in Python; JSON has the aliases: `written`
    )

    @classmethod
    def from_json(cls, value: object) -> Self:
        """The model in what was decoded from JSON: its fields have the names of the JSON.

        Raises:
            ValidationError: it is none.
        """
        return cls.model_validate(value, by_alias=True, by_name=False)


Mobile = Annotated[str, AfterValidator(normalize)]


class Subscriber(StrictModel):
    """A recipient who is more than a number: a contact with attributes for personalisation."""

    mobile: Mobile
    key: Annotated[str, Field(max_length=254), AfterValidator(_validate_subscriber_key)]
    attributes: dict[
        Annotated[str, Field(min_length=1)], Annotated[str, BeforeValidator(_validate_attribute)]
    ] = Field(default_factory=dict)


Recipient = Annotated[
    Annotated[Mobile, Tag("number")] | Annotated[Subscriber, Tag("subscriber")],
    Discriminator(
        _recipient_kind,
        custom_error_type="wrong-type",
        custom_error_message="It must be a number as a string, or a subscriber as an object.",
    ),
]


def _validate_plain_numbers(value: object, validate: ValidatorFunctionWrapHandler) -> object:
    """A list of sound numbers, as most requests have one, needs no look at the kind of each entry.

    What is wrong with another one `validate` says, entry by entry.
    """
    if isinstance(value, list) and value and all(type(entry) is str for entry in value):
        with contextlib.suppress(PydanticCustomError):
            return [normalize(entry) for entry in value]
    return validate(value)


class QuietHours(StrictModel):
    """No delivery between `start` and `end`, in the local time of a zone or an offset."""

    start: Annotated[str, AfterValidator(times.validate_time_of_day)]
    end: Annotated[str, AfterValidator(times.validate_time_of_day)]
    timezone: Annotated[
        str | None, BeforeValidator(not_null), AfterValidator(times.validate_timezone)
    ] = None
    utc_offset: Annotated[
        str | None, BeforeValidator(not_null), AfterValidator(times.validate_utc_offset)
    ] = None


class CatalogueDefaults(NamedTuple):
    """What the catalogue knows of a message: its id, and what counts where a request is silent."""

    upstream_message_id: str | None = None
    """The encoded message id that a name stands for; None: the request holds it itself."""
    keyword: str | None = None
    quiet_hours: QuietHours | None = None
    on_unknown: Literal["hold", "resend"] | None = None


class MessageRequest(StrictModel):
    """One message to one or more recipients: the JSON that internal systems post."""

    message: Annotated[str, Field(max_length=512), AfterValidator(validate_message)]
    to: Annotated[list[Recipient], Field(min_length=1), WrapValidator(_validate_plain_numbers)]
    text: Annotated[str | None, BeforeValidator(not_null), AfterValidator(_validate_text)] = None
    subscribe: Annotated[bool | None, BeforeValidator(not_null)] = None
    resubscribe: Annotated[bool | None, BeforeValidator(not_null)] = None
    keyword: Annotated[
        str | None,
        BeforeValidator(not_null),
        Field(max_length=100),
        AfterValidator(validate_keyword),
    ] = None
    send_at: Annotated[datetime | None, BeforeValidator(_validate_time)] = None
    quiet_hours: Annotated[QuietHours | None, BeforeValidator(not_null)] = None
    media_url: Annotated[
        str | None, BeforeValidator(not_null), Field(max_length=2048), AfterValidator(_validate_url)
    ] = None
    reference: Annotated[
        str | None,
        BeforeValidator(not_null),
        Field(max_length=256),
        AfterValidator(_validate_reference),
    ] = None
    on_unknown: Literal["hold", "resend"] = "hold"
    idempotency_key: Annotated[
        str | None, BeforeValidator(not_null), AfterValidator(validate_key)
    ] = None

    def with_defaults(self, defaults: CatalogueDefaults) -> "MessageRequest":
        """With the catalogue's defaults for what it leaves out."""
        candidates: dict[str, object] = {
            "on_unknown": defaults.on_unknown,
            "quiet_hours": defaults.quiet_hours,
            "keyword": defaults.keyword if self.subscribe or self.resubscribe else None,
        }
        missing = {
            name: value
            for name, value in candidates.items()
            if value is not None and name not in self.model_fields_set
        }
        return self.model_copy(update=missing) if missing else self
