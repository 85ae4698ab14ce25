"""The rules that a send must follow; a 400 lists all refusals at once.

The rules are stricter than the real service. The reference has some fields in two casings, and
booleans as strings. This module accepts only the examples' casing and real booleans, and refuses
unknown fields, so that Marketing Cloud accepts every send that the simulator accepts.
"""

import base64
import binascii
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final

from tools.mobileconnect_simulator import error_messages
from tools.mobileconnect_simulator.blackout import (
    Blackout,
    read_offset,
    read_send_time,
    read_time_of_day,
)

MAX_RECIPIENTS: Final = 250
MAX_BODY_BYTES: Final = 4_000_000

SEND_FIELDS: Final = (
    "mobileNumbers",
    "Subscribers",
    "Subscribe",
    "Resubscribe",
    "keyword",
    "Override",
    "messageText",
    "blackoutWindow",
    "SendTime",
    "ContentURL",
)
SUBSCRIBER_FIELDS: Final = ("MobileNumber", "SubscriberKey", "Attributes")
BLACKOUT_FIELDS: Final = ("UtcOffset", "WindowStart", "WindowEnd")

_MESSAGE_ID = re.compile(r"([A-Za-z0-9_-]+)={0,2}", re.ASCII)
_MESSAGE_ID_DECODED = re.compile(rb"([0-9]{1,18}):([0-9]{1,18}):([0-9]{1,18})")
_DIGITS = re.compile(r"[0-9]+", re.ASCII)
_PHONE_LENGTHS = range(8, 16)
_JSON_TYPES: Mapping[type, str] = {
    bool: "a boolean",
    int: "a number",
    float: "a number",
    str: "a string",
    list: "an array",
    dict: "an object",
    type(None): "null",
}


class NotJsonError(ValueError):
    """The body is not JSON; the message says where and why."""


@dataclass(frozen=True, slots=True)
class MessageId:
    """A decoded message id: `MzA6Nzg6MA` is `30:78:0`."""

    first: int
    middle: int
    last: int


OPAQUE: Final = MessageId(0, 0, 0)
"""Stands for an id that has not the form of the example; it is not a magic value."""


@dataclass(frozen=True, slots=True)
class Recipient:
    number: str
    key: str | None = None
    attributes: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Send:
    """A validated send."""

    recipients: tuple[Recipient, ...]
    resubscribe: bool = False
    keyword: str | None = None
    text: str | None = None
    media: str | None = None
    send_time: datetime | None = None
    blackout: Blackout | None = None


def decode_message_id(encoded: str) -> MessageId | None:
    """Decode an id; return None if it is not base64url, with or without padding.

    The documentation has only one example of a decoded id, so other decoded values are valid, too.
    """
    match = _MESSAGE_ID.fullmatch(encoded)
    if match is None:
        return None
    bare = match[1]
    try:
        decoded = base64.urlsafe_b64decode(bare + "=" * (-len(bare) % 4))
    except binascii.Error:
        return OPAQUE
    parts = _MESSAGE_ID_DECODED.fullmatch(decoded)
    return MessageId(int(parts[1]), int(parts[2]), int(parts[3])) if parts else OPAQUE


def encode_message_id(first: int, middle: int, last: int) -> str:
    plain = f"{first}:{middle}:{last}".encode()
    return base64.urlsafe_b64encode(plain).decode().rstrip("=")


def read_json(raw: bytes) -> object:
    """Parse JSON strictly: without NaN and without duplicate fields.

    Raises:
        NotJsonError: the text is not valid JSON.
    """
    try:
        return json.loads(
            raw.decode("utf-8"),
            object_pairs_hook=_without_duplicates,
            parse_constant=_refuse_constant,
        )
    except (ValueError, RecursionError) as error:
        raise NotJsonError(str(error)) from error


def read_send(body: object) -> tuple[Send | None, list[str]]:
    """Return the send, or None and all refusals."""
    if not isinstance(body, dict):
        return None, [f"The body must be a JSON object, not {json_type(body)}."]
    errors: list[str] = []
    fields = _Fields(body, "", errors)
    fields.refuse_unknown(SEND_FIELDS)
    recipients = _recipients(fields)
    resubscribe, keyword = _subscription(fields)
    text = _override(fields)
    send = Send(
        recipients=recipients,
        resubscribe=resubscribe,
        keyword=keyword,
        text=text,
        media=_media(fields),
        send_time=_send_time(fields),
        blackout=_blackout(fields),
    )
    if errors:
        # Messages without a placeholder would repeat for each wrong recipient.
        return None, list(dict.fromkeys(errors))
    return send, []


def json_type(value: object) -> str:
    return _JSON_TYPES.get(type(value), type(value).__name__)


class _Fields:
    """Reads the fields of a JSON object by type, and records errors."""

    def __init__(self, values: Mapping[str, object], place: str, errors: list[str]) -> None:
        self._values = values
        self._place = place
        self.errors = errors

    def has(self, name: str) -> bool:
        return name in self._values

    def readable(self, name: str, kind: type) -> bool:
        """Return whether a field is absent or has the right type, so that rules can use it."""
        return name not in self._values or type(self._values[name]) is kind

    def refuse_unknown(self, known: tuple[str, ...]) -> None:
        casing = {name.lower(): name for name in known}
        for name in self._values:
            if name in known:
                continue
            meant = casing.get(name.lower())
            hint = f" Did you mean {meant}?" if meant else ""
            self.errors.append(f"Field {self._place}{name} is unknown.{hint}")

    def flag(self, name: str) -> bool:
        return self._read(name, bool) is True

    def string(self, name: str) -> str | None:
        value = self._read(name, str)
        return value if isinstance(value, str) else None

    def array(self, name: str) -> list[object] | None:
        value = self._read(name, list)
        return value if isinstance(value, list) else None

    def mapping(self, name: str) -> dict[str, object] | None:
        value = self._read(name, dict)
        return value if isinstance(value, dict) else None

    def _read(self, name: str, kind: type) -> object:
        if name not in self._values:
            return None
        value = self._values[name]
        if type(value) is kind:
            return value
        expected = _JSON_TYPES[kind]
        self.errors.append(f"Field {self._place}{name} must be {expected}, not {json_type(value)}.")
        return None


def _recipients(fields: _Fields) -> tuple[Recipient, ...]:
    numbers = fields.array("mobileNumbers")
    subscribers = fields.array("Subscribers")
    if fields.has("mobileNumbers") and fields.has("Subscribers"):
        fields.errors.append(error_messages.NUMBERS_AND_SUBSCRIBERS)
        return ()
    if not (fields.readable("mobileNumbers", list) and fields.readable("Subscribers", list)):
        return ()
    given = numbers or subscribers or []
    if not given:
        fields.errors.append(error_messages.NO_RECIPIENTS)
    elif len(given) > MAX_RECIPIENTS:
        fields.errors.append(error_messages.TOO_MANY)
        return ()
    if numbers:
        return _plain_numbers(numbers, fields.errors)
    return _subscribers(subscribers or [], fields.errors)


def _plain_numbers(numbers: list[object], errors: list[str]) -> tuple[Recipient, ...]:
    recipients = []
    for index, number in enumerate(numbers):
        if not isinstance(number, str):
            wrong = json_type(number)
            errors.append(f"Field mobileNumbers[{index}] must be a string, not {wrong}.")
            continue
        errors += number_refusals(number)
        recipients.append(Recipient(number))
    return tuple(recipients)


def number_refusals(number: str) -> list[str]:
    if not _DIGITS.fullmatch(number):
        return [error_messages.NOT_NUMERIC.format(number)]
    if len(number) not in _PHONE_LENGTHS:
        return [error_messages.PHONE_INVALID]
    return []


def _subscribers(subscribers: list[object], errors: list[str]) -> tuple[Recipient, ...]:
    recipients = []
    for index, subscriber in enumerate(subscribers):
        place = f"Subscribers[{index}]"
        if not isinstance(subscriber, dict):
            wrong = json_type(subscriber)
            errors.append(f"Field {place} must be an object, not {wrong}.")
            continue
        fields = _Fields(subscriber, f"{place}.", errors)
        fields.refuse_unknown(SUBSCRIBER_FIELDS)
        recipients.append(_subscriber(fields, place))
    return tuple(recipients)


def _subscriber(fields: _Fields, place: str) -> Recipient:
    number = fields.string("MobileNumber")
    key = fields.string("SubscriberKey")
    attributes = fields.mapping("Attributes") or {}
    for name, value in (("MobileNumber", number), ("SubscriberKey", key)):
        if fields.readable(name, str) and not (value or "").strip():
            fields.errors.append(error_messages.SUBSCRIBER_INCOMPLETE)
    if number and number.strip():
        fields.errors += number_refusals(number)
    texts: dict[str, str] = {}
    for name, attribute in attributes.items():
        if isinstance(attribute, str):
            texts[name] = attribute
        else:
            wrong = json_type(attribute)
            fields.errors.append(f"Field {place}.Attributes.{name} must be a string, not {wrong}.")
    return Recipient(number or "", key, texts)


def _subscription(fields: _Fields) -> tuple[bool, str | None]:
    subscribe = fields.flag("Subscribe")
    resubscribe = fields.flag("Resubscribe")
    keyword = fields.string("keyword")
    flags_readable = fields.readable("Subscribe", bool) and fields.readable("Resubscribe", bool)
    if not fields.readable("keyword", str):
        return resubscribe, None
    if subscribe or resubscribe:
        if not (keyword or "").strip():
            fields.errors.append(error_messages.KEYWORD_BLANK)
        elif any(character.isspace() for character in keyword or ""):
            fields.errors.append(error_messages.KEYWORD_INVALID.format(keyword))
    elif keyword is not None and flags_readable:
        fields.errors.append(error_messages.KEYWORD_NOT_NECESSARY)
    return resubscribe, keyword


def _override(fields: _Fields) -> str | None:
    override = fields.flag("Override")
    text = fields.string("messageText")
    if not (fields.readable("Override", bool) and fields.readable("messageText", str)):
        return None
    if override and not (text or "").strip():
        fields.errors.append(error_messages.OVERRIDE_BLANK)
    if not override and text is not None:
        fields.errors.append(error_messages.TEXT_NOT_APPLICABLE)
    return text


def _media(fields: _Fields) -> str | None:
    media = fields.string("ContentURL")
    if media is not None and not re.fullmatch(r"https?://[^\s/]\S*", media):
        fields.errors.append(f"{media} is not a valid content URL.")
    return media


def _send_time(fields: _Fields) -> datetime | None:
    text = fields.string("SendTime")
    if text is None:
        return None
    moment = read_send_time(text)
    if moment is None:
        fields.errors.append(error_messages.SEND_TIME_NOT_VALID.format(text))
    return moment


def _blackout(fields: _Fields) -> Blackout | None:
    values = fields.mapping("blackoutWindow")
    if values is None:
        return None
    window = _Fields(values, "blackoutWindow.", fields.errors)
    window.refuse_unknown(BLACKOUT_FIELDS)
    offset_text = window.string("UtcOffset")
    start_text = window.string("WindowStart")
    end_text = window.string("WindowEnd")
    offset = read_offset(offset_text or "")
    start = read_time_of_day(start_text or "")
    end = read_time_of_day(end_text or "")
    # As documented, a window without an offset is accepted, but not applied.
    if offset is None and window.has("UtcOffset") and window.readable("UtcOffset", str):
        window.errors.append(error_messages.OFFSET_NOT_VALID.format(offset_text))
    if start is None and window.readable("WindowStart", str):
        window.errors.append(error_messages.START_NOT_VALID.format(start_text or ""))
    if end is None and window.readable("WindowEnd", str):
        window.errors.append(error_messages.END_NOT_VALID.format(end_text or ""))
    if offset is None or start is None or end is None:
        return None
    return Blackout(offset, start, end)


def _without_duplicates(pairs: list[tuple[str, object]]) -> dict[str, object]:
    values = dict(pairs)
    if len(values) != len(pairs):
        raise ValueError("an object has a field twice")
    return values


def _refuse_constant(name: str) -> object:
    raise ValueError(f"{name} is not valid JSON")
