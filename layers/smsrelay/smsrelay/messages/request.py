"""The simplified JSON: its fields, its rules, and every reason to refuse it."""

import base64
import binascii
import contextlib
import math
import re
from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime
from decimal import Decimal
from functools import cache
from typing import Annotated, Any, Literal, NamedTuple, Self
from urllib.parse import urlsplit

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Discriminator,
    Field,
    Tag,
    TypeAdapter,
    ValidationError,
    ValidatorFunctionWrapHandler,
    WrapValidator,
)
from pydantic.alias_generators import to_camel
from pydantic_core import ErrorDetails, PydanticCustomError

from smsrelay.messages import refusals, times
from smsrelay.messages.phone_numbers import normalize
from smsrelay.messages.refusals import Refusal, RequestRefusedError, invalid, pointer
from smsrelay.messages.strict_json import Document

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
    """A field that stands there has a value: what is not meant is left out."""
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


def parse_request(
    document: Document,
    defaults: CatalogueDefaults | Refusal = CatalogueDefaults(),  # noqa: B008 - immutable
) -> MessageRequest:
    """The request in a decoded document, with what the catalogue says of its message.

    Raises:
        RequestRefusedError: with every reason at once, not the first only.
    """
    found = list(document.refusals)
    if _entries(document.value) > MAX_RECIPIENTS:
        raise RequestRefusedError([*found, TOO_MANY])
    recipients: Iterable[tuple[int, str | Subscriber]]
    request = None
    try:
        request = MessageRequest.from_json(document.value)
        recipients = enumerate(request.to)
    except ValidationError as error:
        found += [
            refusal_of(detail) for detail in error.errors(include_url=False, include_input=False)
        ]
        recipients = _valid_recipients(document.value)
    if isinstance(defaults, Refusal):
        found.append(defaults)
    if isinstance(document.value, dict):
        found += check_fields_together(document.value, defaults)
    found += check_duplicates(recipients)
    if found or request is None:
        raise RequestRefusedError(list(dict.fromkeys(found)))
    return request if isinstance(defaults, Refusal) else request.with_defaults(defaults)


_CODES = {
    "missing": ("missing", "The field is required."),
    "extra_forbidden": ("unknown-field", "There is no such field."),
    "string_type": ("wrong-type", "It must be a string."),
    "bool_type": ("wrong-type", "It must be true or false."),
    "list_type": ("wrong-type", "It must be an array."),
    "dict_type": ("wrong-type", "It must be an object."),
    "datetime_type": ("wrong-type", "It must be a string."),
    "model_type": ("wrong-type", "It must be an object."),
    "model_attributes_type": ("wrong-type", "It must be an object."),
    "string_unicode": (
        "invalid-character",
        "A NUL character or half a surrogate pair stands here.",
    ),
    "string_too_short": ("blank", "It must not be blank."),
    "too_short": ("no-recipients", refusals.NO_RECIPIENTS),
    "literal_error": ("invalid-value", "It must be one of: hold, resend."),
}
TOO_MANY = Refusal(
    "/to", "too-many-recipients", f"A request holds at most {MAX_RECIPIENTS} recipients."
)
_KINDS = {"number", "subscriber"}  # pydantic puts the tag of a recipient into its path


def refusal_of(error: ErrorDetails) -> Refusal:
    """What pydantic says of a field, in the words of this package."""
    path = tuple(
        step
        for n, step in enumerate(error["loc"])
        if not (step in _KINDS and n == 2 and error["loc"][0] == "to")  # noqa: PLR2004 - to, 0, tag
        and step != "[key]"
    )
    kind = error["type"]
    if kind == "missing" and len(path) > 1 and path[0] == "to":
        return Refusal(pointer(path), "incomplete-subscriber", refusals.INCOMPLETE_SUBSCRIBER)
    if kind in {"string_too_long", "too_long"}:
        most = error.get("ctx", {}).get("max_length")
        return Refusal(pointer(path), "too-long", f"It must have at most {most} characters.")
    code, detail = _CODES.get(kind, (kind, error["msg"]))
    return Refusal(pointer(path), code, detail)


def check_fields_together(
    raw: Mapping[str, Any], defaults: CatalogueDefaults | Refusal
) -> Iterator[Refusal]:
    """The rules between fields, read off the raw document: they hold whatever else is wrong."""
    flags = [raw.get("subscribe", False), raw.get("resubscribe", False)]
    # What a message that is refused would bring along nobody knows.
    has_default = isinstance(defaults, Refusal) or defaults.keyword is not None
    if True in flags and "keyword" not in raw and not has_default:
        yield Refusal("/keyword", "keyword-missing", refusals.KEYWORD_MISSING)
    if flags == [False, False] and "keyword" in raw:
        yield Refusal("/keyword", "keyword-not-needed", refusals.KEYWORD_NOT_NEEDED)
    yield from check_quiet_hours(raw.get("quietHours"), "/quietHours")


def check_quiet_hours(window: object, place: str) -> Iterator[Refusal]:
    """The rules between the fields of quiet hours, which stand at a place of their document."""
    if not isinstance(window, dict):
        return
    zones = [name for name in ("timezone", "utcOffset") if name in window]
    if not zones:
        yield Refusal(place, "zone-missing", "Quiet hours need a timezone or a utcOffset.")
    if len(zones) > 1:
        yield Refusal(place, "zone-ambiguous", "Give a timezone or a utcOffset, not both.")
    if "start" in window and window["start"] == window.get("end"):
        yield Refusal(f"{place}/end", "empty-window", "Quiet hours must not end when they start.")


def check_duplicates(recipients: Iterable[tuple[int, str | Subscriber]]) -> Iterator[Refusal]:
    """The same number twice is one recipient, unless the two differ: which one is meant?"""
    entries = list(recipients)
    numbers = {recipient for _, recipient in entries if isinstance(recipient, str)}
    subscribers = 0
    if len(numbers) < len(entries):  # else no two of them can be at odds
        first: dict[str, tuple[int, str | Subscriber]] = {}
        for n, recipient in entries:
            number = recipient if isinstance(recipient, str) else recipient.mobile
            at, other = first.setdefault(number, (n, recipient))
            if other != recipient:
                yield Refusal(
                    pointer(("to", n)),
                    "conflicting-recipients",
                    f"The same number stands at /to/{at} with another key or other attributes.",
                )
        subscribers = sum(isinstance(recipient, Subscriber) for _, recipient in first.values())
    if sends_needed(len(numbers)) + sends_needed(subscribers) > MAX_SENDS:
        yield TOO_MANY


def sends_needed(recipients: int) -> int:
    """How many sends so many recipients of one kind need."""
    return -(-recipients // RECIPIENTS_PER_SEND)


def _entries(raw: object) -> int:
    entries = raw.get("to") if isinstance(raw, dict) else None
    return len(entries) if isinstance(entries, list) else 0


def _valid_recipients(raw: object) -> Iterator[tuple[int, str | Subscriber]]:
    """The recipients of a refused request that are right by themselves."""
    entries = raw.get("to") if isinstance(raw, dict) else None
    for n, entry in enumerate(entries if isinstance(entries, list) else ()):
        try:
            yield n, _recipient_adapter().validate_python(entry, by_alias=True, by_name=False)
        except ValidationError:
            continue


@cache
def _recipient_adapter() -> TypeAdapter[str | Subscriber]:
    return TypeAdapter(Recipient)
