"""The simplified JSON and its rules."""

import re
from datetime import UTC, datetime
from itertools import batched
from typing import Annotated, Any, Literal, Self
from zoneinfo import ZoneInfo

from pydantic import AfterValidator, AwareDatetime, BaseModel, ConfigDict, Field, model_validator
from pydantic.alias_generators import to_camel

RECIPIENTS_PER_CALL = 250
SHORTEST, LONGEST = 8, 15
SEPARATORS = str.maketrans("", "", " .()+-")


def digits_only(written: str) -> str:
    digits = written.translate(SEPARATORS)
    possible = digits.isascii() and digits.isdigit() and SHORTEST <= len(digits) <= LONGEST
    if not (possible and written.startswith("+")):
        raise ValueError("not a mobile number with a plus and 8 to 15 digits")
    return digits


def known_zone(name: str) -> str:
    try:
        ZoneInfo(name)
    except (LookupError, ValueError, OSError):
        raise ValueError("not a time zone") from None
    return name


Mobile = Annotated[str, AfterValidator(digits_only)]
NotBlank = Annotated[str, Field(pattern=r"\S")]
TimeOfDay = Annotated[str, Field(pattern=r"^([01][0-9]|2[0-3]):[0-5][0-9]$")]


class Strict(BaseModel):
    model_config = ConfigDict(alias_generator=to_camel, extra="forbid", strict=True)


class Subscriber(Strict):
    mobile: Mobile
    key: NotBlank
    attributes: dict[str, bool | str | int | float] = {}


class QuietHours(Strict):
    start: TimeOfDay
    end: TimeOfDay
    timezone: Annotated[str, AfterValidator(known_zone)] | None = None
    utc_offset: Annotated[str, Field(pattern=r"^[+-][01][0-9]:[0-5][0-9]$")] | None = None

    @model_validator(mode="after")
    def window(self) -> Self:
        if (self.timezone is None) == (self.utc_offset is None) or self.start == self.end:
            raise ValueError("give a timezone or a utcOffset, and two different times")
        return self


class Message(Strict):
    message: Annotated[str, Field(pattern=r"^[A-Za-z0-9_-]+={0,2}$")]
    to: Annotated[
        list[Annotated[Mobile | Subscriber, Field(union_mode="left_to_right")]],
        Field(min_length=1, max_length=25_000),
    ]
    text: NotBlank | None = None
    subscribe: bool | None = None
    resubscribe: bool | None = None
    keyword: NotBlank | None = None
    send_at: AwareDatetime | None = None
    quiet_hours: QuietHours | None = None
    media_url: Annotated[str, Field(pattern=r"^https?://[^\s/]+")] | None = None
    reference: NotBlank | None = None
    on_unknown: Literal["hold", "resend"] = "hold"
    idempotency_key: NotBlank | None = None

    @model_validator(mode="after")
    def keyword_goes_with_subscribing(self) -> Self:
        if bool(self.subscribe or self.resubscribe) != (self.keyword is not None):
            raise ValueError("a keyword is needed to subscribe or resubscribe, and only then")
        return self

    @model_validator(mode="after")
    def recipients_do_not_conflict(self) -> Self:
        distinct = self.distinct()
        if len(distinct) < len(self.to) and any(
            distinct[_number(recipient)] != recipient for recipient in self.to
        ):
            raise ValueError("the same number stands there with another key or attributes")
        return self

    def distinct(self) -> dict[str, str | Subscriber]:
        return {_number(recipient): recipient for recipient in self.to}


def _number(recipient: str | Subscriber) -> str:
    return recipient if isinstance(recipient, str) else recipient.mobile


def bodies_of(message: Message) -> list[tuple[dict[str, Any], int]]:
    """The bodies of the calls that a message needs, and for how many recipients each is."""
    common = _common(message)
    recipients = message.distinct().values()
    numbers = [entry for entry in recipients if isinstance(entry, str)]
    subscribers = [_subscriber(entry) for entry in recipients if isinstance(entry, Subscriber)]
    return [
        ({field: chunk, **common}, len(chunk))
        for field, entries in (("mobileNumbers", numbers), ("Subscribers", subscribers))
        for chunk in batched(entries, RECIPIENTS_PER_CALL, strict=False)
    ]


def _common(message: Message) -> dict[str, Any]:
    body: dict[str, Any] = {
        "Subscribe": message.subscribe,
        "Resubscribe": message.resubscribe,
        "keyword": message.keyword,
        "Override": True if message.text else None,
        "messageText": message.text,
        "ContentURL": message.media_url,
    }
    if message.quiet_hours:
        body["blackoutWindow"] = _window(message.quiet_hours, message.send_at or datetime.now(UTC))
    if message.send_at:
        body["SendTime"] = message.send_at.astimezone(UTC).strftime("%Y-%m-%d %H:%M")
    return {name: value for name, value in body.items() if value is not None}


def _window(quiet: QuietHours, moment: datetime) -> dict[str, str]:
    offset = quiet.utc_offset or moment.astimezone(ZoneInfo(quiet.timezone or "UTC")).strftime("%z")
    window = {"UtcOffset": offset, "WindowStart": quiet.start, "WindowEnd": quiet.end}
    return {name: re.sub(":", "", value) for name, value in window.items()}


def _subscriber(subscriber: Subscriber) -> dict[str, Any]:
    entry: dict[str, Any] = {"MobileNumber": subscriber.mobile, "SubscriberKey": subscriber.key}
    if subscriber.attributes:
        entry["Attributes"] = {
            name: str(value).lower() if isinstance(value, bool) else str(value)
            for name, value in subscriber.attributes.items()
        }
    return entry
