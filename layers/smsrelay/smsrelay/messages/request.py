"""The simplified JSON: its fields, and the rules for each field."""

import base64
import binascii
import contextlib
import math
import re
from collections.abc import Callable, Collection
from datetime import datetime
from decimal import Decimal
from typing import Annotated, Literal, NamedTuple, Self
from urllib.parse import urlsplit

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidatorFunctionWrapHandler,
    WithJsonSchema,
    WrapValidator,
    model_validator,
)
from pydantic.alias_generators import to_camel
from pydantic_core import PydanticCustomError
from typing_extensions import TypeAliasType

from smsrelay.messages import refusals, times
from smsrelay.messages.phone_numbers import normalize
from smsrelay.messages.refusals import Refusal, invalid
from smsrelay.messages.segments import Segments

MAX_SENDS = 100
"""The most sends of one request."""
RECIPIENTS_PER_SEND = 250
"""The most recipients of one send; for mobileNumbers an assumption (docs/unverified.md)."""
MAX_RECIPIENTS = MAX_SENDS * RECIPIENTS_PER_SEND
TOO_MANY_RECIPIENTS = f"A request holds at most {MAX_RECIPIENTS} recipients."
MAX_FIELDS = 100
"""The most fields of any object; only `attributes` can have so many."""
MAX_TEXT, MAX_ATTRIBUTE, MAX_ATTRIBUTE_NAME, MAX_REFERENCE = 10_000, 4_000, 128, 256
"""In characters."""

MAX_SEGMENTS = 255
"""The most parts of one message: a part's header has one byte for their number."""

MAX_EXPONENT = 30  # of a number in `attributes`, because it is written without an exponent

MESSAGE_ID = re.compile(r"[A-Za-z0-9_-]+={0,2}")
"""An encoded message id or a name in the catalogue."""
_DECODED_ID = re.compile(rb"[0-9]+:[0-9]+:[0-9]+")
_BLANK = re.compile("[\\s\u200b-\u200d\u2060\ufeff]*")  # characters that no phone shows
KEY, MAX_KEY = re.compile(r"[\x21-\x7e](?:[\x20-\x7e]*[\x21-\x7e])?"), 255


def not_null(value: object) -> object:
    """Reject null: a field without a value must be left out."""
    if value is None:
        raise invalid("wrong-type", "It must not be null. Leave the field out instead.")
    return value


NOT_NULL = BeforeValidator(not_null)


def validate_size(value: object) -> object:
    """Reject an object with too many fields before pydantic reports each of them."""
    if isinstance(value, dict) and len(value) > MAX_FIELDS:
        raise invalid("too-many-fields", f"An object has at most {MAX_FIELDS} fields.")
    return value


def is_encoded_id(message: str) -> bool:
    """Whether `message` is a message id as MobileConnect encodes it: base64url of `30:78:0`."""
    bare = message.rstrip("=")
    try:
        decoded = base64.urlsafe_b64decode(bare + "=" * (-len(bare) % 4))
    except (binascii.Error, ValueError):
        return False
    return _DECODED_ID.fullmatch(decoded) is not None


def validate_message(value: str) -> str:
    if not MESSAGE_ID.fullmatch(value):
        raise invalid("invalid-message-id", refusals.MESSAGE_ID)
    return value


def validate_text(value: str) -> str:
    if _BLANK.fullmatch(value):
        raise invalid("blank-text", refusals.BLANK_TEXT)
    return value


def _not_blank(code: str, detail: str) -> Callable[[str], str]:
    def validate(value: str) -> str:
        if not value.strip():
            raise invalid(code, detail)
        return value

    return validate


validate_keyword = _not_blank("keyword-missing", refusals.KEYWORD_MISSING)
validate_reference = _not_blank("blank", "It must not be blank.")
validate_subscriber_key = _not_blank("incomplete-subscriber", refusals.INCOMPLETE_SUBSCRIBER)


def validate_url(value: str) -> str:
    try:
        parts = urlsplit(value)
        usable = parts.scheme.lower() in {"http", "https"} and parts.hostname
        _ = parts.port  # raises ValueError for an invalid port
    except ValueError:
        usable = None
    if not usable or not value.isprintable() or " " in value:
        raise invalid("invalid-url", "It must be an http or https URL.")
    return value


def validate_time(value: object) -> object:
    if isinstance(value, datetime):  # from an application that builds the request in Python
        value = value.isoformat()
    return times.parse_instant(value) if isinstance(value, str) else not_null(value)


def validate_key(value: str) -> str:
    """Return the key without quotes (the IETF draft has them). Raises `PydanticCustomError`."""
    if len(value) > 1 and value[0] == value[-1] == '"':
        value = value[1:-1]
    if not KEY.fullmatch(value) or len(value) > MAX_KEY:
        raise invalid("invalid-idempotency-key", "It must be 1 to 255 printable ASCII characters.")
    return value


def validate_max_segments(value: object) -> int:
    if isinstance(value, bool) or not isinstance(value, int | Decimal):
        raise invalid("wrong-type", "It must be an integer.")
    if not 1 <= value <= MAX_SEGMENTS:
        raise invalid("number-out-of-range", f"It must be from 1 to {MAX_SEGMENTS}.")
    if value != int(value):  # 2.0 is an integer in JSON
        raise invalid("wrong-type", "It must be an integer.")
    return int(value)


def validate_attribute(value: object) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str | int):
        return str(value)
    if isinstance(value, float) and math.isfinite(value):  # from an application in Python
        value = Decimal(repr(value))
    if isinstance(value, Decimal) and value.is_finite():
        if abs(value.adjusted()) > MAX_EXPONENT:
            detail = f"It must be between 1e-{MAX_EXPONENT} and 1e{MAX_EXPONENT}."
            raise invalid("number-out-of-range", detail)
        return f"{value:f}"
    raise invalid("wrong-type", "It must be a string, a number or a boolean.")


class StrictModel(BaseModel):
    """Base of the JSON models: camelCase names, no unknown fields, no conversion of types."""

    model_config = ConfigDict(
        alias_generator=to_camel,
        extra="forbid",
        frozen=True,
        hide_input_in_errors=True,
        strict=True,
        validate_by_name=True,  # for code in Python; `from_json` accepts only the aliases
    )

    _size = model_validator(mode="before")(validate_size)

    @classmethod
    def from_json(cls, value: object, context: object = None) -> Self:
        """Validate decoded JSON; the fields must have their camelCase names."""
        return cls.model_validate(value, by_alias=True, by_name=False, context=context)


MobileNumber = TypeAliasType(
    "MobileNumber",
    Annotated[
        str,
        AfterValidator(normalize),
        Field(
            description="A mobile number in international form: `+`, country code and number, "
            "with or without spaces, dots, brackets and hyphens; 8 to 15 digits, of a length that "
            "exists for the country code. A relay can restrict the country codes.",
            examples=["+1 212 555 0100", "+12125550101", "+1 (212) 555-0102"],
        ),
    ],
)


class Subscriber(StrictModel):
    """A recipient with a contact key, and attributes for personalisation."""

    mobile: MobileNumber
    key: Annotated[str, AfterValidator(validate_subscriber_key)] = Field(
        max_length=254,
        description="The SubscriberKey of the contact. Not blank.",
        examples=["ExampleSubKey1"],
    )
    attributes: Annotated[
        dict[
            Annotated[str, Field(min_length=1, max_length=MAX_ATTRIBUTE_NAME)],
            Annotated[
                str,
                Field(max_length=MAX_ATTRIBUTE),
                BeforeValidator(validate_attribute),
                WithJsonSchema(
                    {"type": ["string", "number", "boolean"], "maxLength": MAX_ATTRIBUTE}
                ),
            ],
        ],
        Field(max_length=MAX_FIELDS),
        BeforeValidator(validate_size),
    ] = Field(
        default_factory=dict,
        description="Strings for personalisation. Numbers are sent with all their digits, without "
        f"an exponent (fractions between 1e-{MAX_EXPONENT} and 1e{MAX_EXPONENT}), booleans as "
        "`true` and `false`.",
        examples=[{"FirstName": "Michael", "Points": 1250, "Member": True}],
    )


def _validate_recipient(value: object, _: ValidatorFunctionWrapHandler) -> str | Subscriber:
    """Validate one recipient: pydantic would report an error for each member of the union."""
    if isinstance(value, str):
        return normalize(value)
    if isinstance(value, dict | Subscriber):
        return Subscriber.model_validate(value)
    raise invalid("wrong-type", "It must be a number as a string, or a subscriber as an object.")


Recipient = Annotated[MobileNumber | Subscriber, WrapValidator(_validate_recipient)]


def _validate_recipients(value: object, validate: ValidatorFunctionWrapHandler) -> object:
    """Validate the recipients, with a fast path for a list of valid numbers only.

    `validate` reports only the first invalid entry; `messages.validation` reports the others.
    """
    if isinstance(value, list) and len(value) > MAX_RECIPIENTS:
        raise invalid("too-many-recipients", TOO_MANY_RECIPIENTS)
    if isinstance(value, list) and value and all(type(entry) is str for entry in value):
        with contextlib.suppress(PydanticCustomError):
            return [normalize(entry) for entry in value]
    return validate(value)


class QuietHours(StrictModel):
    """No delivery between `start` and `end`, in the local time of a zone or an offset."""

    start: Annotated[str, AfterValidator(times.validate_time_of_day)] = Field(
        description="`HH:MM`, from 00:00 to 23:59.", examples=["21:00"]
    )
    end: Annotated[str, AfterValidator(times.validate_time_of_day)] = Field(
        description="`HH:MM`; not the same as `start`. If it is earlier, it is on the next day.",
        examples=["08:00"],
    )
    timezone: Annotated[str | None, NOT_NULL, AfterValidator(times.validate_timezone)] = Field(
        default=None,
        description="A name in the IANA time zone database. The offset at the time of sending "
        "applies, daylight saving time included.",
        examples=["America/Chicago"],
    )
    utc_offset: Annotated[str | None, NOT_NULL, AfterValidator(times.validate_utc_offset)] = Field(
        default=None, description="From -12:00 to +14:00.", examples=["-05:00"]
    )


MaxSegments = Annotated[int | None, BeforeValidator(validate_max_segments)]


class ClientLimits(NamedTuple):
    """A client's limits for one request."""

    max_recipients: int = MAX_RECIPIENTS
    only_to: Collection[str] = ()
    """The numbers that a guest may send to (`+` and digits); empty if the client isn't a guest."""


class CatalogueDefaults(NamedTuple):
    """A message's entry in the catalogue: its id, and defaults for fields that are left out."""

    upstream_message_id: str | None = None
    """The encoded message id of the name; None: the request itself contains the id."""
    keyword: str | None = None
    quiet_hours: QuietHours | None = None
    on_unknown: Literal["hold", "resend"] | None = None
    poll_delivery: bool = True
    """Whether the relay polls the delivery of the message's sends."""
    country_codes: tuple[str, ...] = ()
    """The calling codes that the message may be sent to; empty: all of them."""
    concatenate: bool | None = False
    """Whether MobileConnect joins the parts of a long text on the phone; None: not known."""
    max_segments: int | None = None
    """The most SMS for one text; None: no limit."""
    refusal: Refusal | None = None
    """Why the client can't use the name; then nothing else is known of the message."""


class MessageRequest(StrictModel):
    """One message to one or more recipients: the JSON that internal systems post."""

    message: Annotated[str, AfterValidator(validate_message)] = Field(
        max_length=512,
        description="The encoded message id of MobileConnect, or a name in the deployment's "
        "message catalogue, if it has one. The catalogue can have defaults for `keyword`, "
        "`quietHours` and `onUnknown`.",
        examples=["MzA6Nzg6MA", "welcome"],
    )
    to: Annotated[list[Recipient], WrapValidator(_validate_recipients)] = Field(
        min_length=1,
        max_length=MAX_RECIPIENTS,
        fail_fast=True,
        description="The recipients: numbers, subscribers, or both. Identical entries count once; "
        "different entries with the same number are refused. The relay splits them into at most "
        f"{MAX_SENDS} sends, each with at most {RECIPIENTS_PER_SEND} numbers or subscribers.",
        examples=[["+1 212 555 0100", {"mobile": "+12125550101", "key": "ExampleSubKey1"}]],
    )
    text: Annotated[str | None, NOT_NULL, AfterValidator(validate_text)] = Field(
        default=None,
        max_length=MAX_TEXT,
        description="The text to send instead of the message's own. Not blank.",
        examples=["Your order 8812 is on its way."],
    )
    subscribe: Annotated[bool | None, NOT_NULL] = Field(
        default=None,
        description="Subscribe recipients to `keyword` if they have no subscription.",
        examples=[True],
    )
    resubscribe: Annotated[bool | None, NOT_NULL] = Field(
        default=None,
        description="Subscribe recipients to `keyword` again if they have unsubscribed.",
        examples=[True],
    )
    keyword: Annotated[str | None, NOT_NULL, AfterValidator(validate_keyword)] = Field(
        default=None,
        max_length=100,
        description="A keyword of the message's code. Required when `subscribe` or `resubscribe` "
        "is true, refused when neither is true.",
        examples=["JOINSMS"],
    )
    send_at: Annotated[
        datetime | None, BeforeValidator(validate_time, json_schema_input_type=str)
    ] = Field(
        default=None,
        description="When to send: ISO 8601 with an offset from UTC, in the years "
        f"{times.FIRST_YEAR} to {times.LAST_YEAR}. Seconds are optional and ignored. A time up to "
        "an hour before the request arrives means now; an earlier time is refused.",
        examples=["2030-01-15T16:01:00-05:00", "2030-01-15T21:01Z"],
    )
    expires_at: Annotated[
        datetime | None, BeforeValidator(validate_time, json_schema_input_type=str)
    ] = Field(
        default=None,
        description="When the message becomes useless, such as a one-time password: sends that "
        "MobileConnect has not accepted by then are not sent. ISO 8601 with an offset from UTC; "
        "later than the arrival of the request, and later than `sendAt`.",
        examples=["2030-01-15T16:06:00-05:00"],
    )
    quiet_hours: Annotated[QuietHours | None, NOT_NULL] = Field(
        default=None,
        description="Hours without delivery. Messages that are due in these hours wait until "
        "they end.",
        examples=[{"start": "21:00", "end": "08:00", "timezone": "America/Chicago"}],
    )
    media_url: Annotated[str | None, NOT_NULL, AfterValidator(validate_url)] = Field(
        default=None,
        max_length=2048,
        description="The picture or other media of an MMS: an http or https URL.",
        examples=["https://images.example.com/welcome.jpg"],
    )
    max_segments: MaxSegments = Field(
        default=None,
        ge=1,
        le=MAX_SEGMENTS,
        description="Refuse a `text` that needs more than this number of SMS for each recipient. "
        "The catalogue can have a lower limit for the message.",
        examples=[1],
    )
    reference: Annotated[str | None, NOT_NULL, AfterValidator(validate_reference)] = Field(
        default=None,
        max_length=MAX_REFERENCE,
        description="The caller's own reference, stored and never sent. Not blank.",
        examples=["order-8812"],
    )
    on_unknown: Literal["hold", "resend"] = Field(
        default="hold",
        description="What to do when it is not known whether a send went out. `hold`: never send "
        "it again automatically. `resend`: send it again, so that it arrives at least once (for "
        "a one-time password).",
        examples=["hold", "resend"],
    )
    idempotency_key: Annotated[str | None, NOT_NULL, AfterValidator(validate_key)] = Field(
        default=None,
        description="A repeated request with the same key gets the same response and is not sent "
        "again. 1 to 255 printable ASCII characters, without spaces at the ends, with or without "
        'double quotes around them: `"k"` (the IETF draft) and `k` are the same key. A key is '
        "valid for one client, for as long as the send is stored. HTTP and the queue share a "
        "client's keys if the queue message names the client. The header `Idempotency-Key` takes "
        "precedence.",
        examples=["order-8812-shipped"],
    )

    def with_defaults(self, defaults: CatalogueDefaults) -> "MessageRequest":
        """Return the request with the catalogue's defaults for the fields that it leaves out."""
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


class Submission(NamedTuple):
    """A request and its client; `upstream_message_id` is the encoded id of its message."""

    request: MessageRequest
    upstream_message_id: str
    client: str
    correlation_id: str | None = None
    poll_delivery: bool = True
    """Whether the catalogue allows polling its delivery."""
    segments: Segments | None = None
    """The size of the text in SMS; None: the request has no text."""
