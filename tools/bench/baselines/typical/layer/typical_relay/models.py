"""The models of requests and responses."""

import re
from datetime import UTC, datetime
from typing import Annotated, Any, Literal, Self
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pydantic import (
    AfterValidator,
    AwareDatetime,
    BaseModel,
    ConfigDict,
    Field,
    HttpUrl,
    StrictBool,
    StringConstraints,
    model_validator,
)
from pydantic.alias_generators import to_camel


def digits_only(written: str) -> str:
    digits = re.sub(r"[ .()+-]", "", written)
    if not written.startswith("+") or not re.fullmatch(r"[0-9]{8,15}", digits):
        raise ValueError("not a mobile number with a plus and 8 to 15 digits")
    return digits


def known_zone(name: str) -> str:
    try:
        ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise ValueError("not a time zone") from None
    return name


Mobile = Annotated[str, AfterValidator(digits_only)]
NotBlank = Annotated[str, StringConstraints(pattern=r"\S")]
TimeOfDay = Annotated[str, StringConstraints(pattern=r"^([01][0-9]|2[0-3]):[0-5][0-9]$")]
UtcOffset = Annotated[str, StringConstraints(pattern=r"^[+-][01][0-9]:[0-5][0-9]$")]


class Json(BaseModel):
    model_config = ConfigDict(
        alias_generator=to_camel, populate_by_name=True, extra="forbid", frozen=True
    )


class Subscriber(Json):
    mobile: Mobile
    key: NotBlank
    attributes: dict[str, StrictBool | str | int | float] = {}

    def to_upstream(self) -> dict[str, Any]:
        subscriber: dict[str, Any] = {"MobileNumber": self.mobile, "SubscriberKey": self.key}
        if self.attributes:
            subscriber["Attributes"] = {
                name: str(value).lower() if isinstance(value, bool) else str(value)
                for name, value in self.attributes.items()
            }
        return subscriber


class QuietHours(Json):
    start: TimeOfDay
    end: TimeOfDay
    timezone: Annotated[str, AfterValidator(known_zone)] | None = None
    utc_offset: UtcOffset | None = None

    @model_validator(mode="after")
    def one_zone(self) -> Self:
        if (self.timezone is None) == (self.utc_offset is None):
            raise ValueError("give a timezone or a utcOffset")
        if self.start == self.end:
            raise ValueError("quiet hours must not end when they start")
        return self

    def to_upstream(self, moment: datetime) -> dict[str, str]:
        if self.timezone is not None:
            offset = moment.astimezone(ZoneInfo(self.timezone)).strftime("%z")
        else:
            offset = (self.utc_offset or "").replace(":", "")
        return {
            "UtcOffset": offset,
            "WindowStart": self.start.replace(":", ""),
            "WindowEnd": self.end.replace(":", ""),
        }


class Message(Json):
    message: Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_-]+={0,2}$")]
    to: Annotated[list[Mobile | Subscriber], Field(min_length=1, max_length=25_000)]
    text: NotBlank | None = None
    subscribe: StrictBool | None = None
    resubscribe: StrictBool | None = None
    keyword: NotBlank | None = None
    send_at: AwareDatetime | None = None
    quiet_hours: QuietHours | None = None
    media_url: HttpUrl | None = None
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
        first: dict[str, str | Subscriber] = {}
        for recipient in self.to:
            number = recipient if isinstance(recipient, str) else recipient.mobile
            if first.setdefault(number, recipient) != recipient:
                raise ValueError("the same number stands there with another key or attributes")
        return self

    def to_upstream(self) -> dict[str, Any]:
        """The body of a call, without its recipients."""
        body: dict[str, Any] = {
            "Subscribe": self.subscribe,
            "Resubscribe": self.resubscribe,
            "keyword": self.keyword,
        }
        if self.text is not None:
            body |= {"Override": True, "messageText": self.text}
        if self.media_url is not None:
            body["ContentURL"] = str(self.media_url)
        if self.quiet_hours is not None:
            moment = self.send_at or datetime.now(UTC)
            body["blackoutWindow"] = self.quiet_hours.to_upstream(moment)
        if self.send_at is not None:
            body["SendTime"] = self.send_at.astimezone(UTC).strftime("%Y-%m-%d %H:%M")
        return {name: value for name, value in body.items() if value is not None}


class Order(BaseModel):
    """A message under its idempotency key."""

    key: str
    message: Message


class Send(BaseModel):
    model_config = ConfigDict(alias_generator=to_camel, populate_by_name=True)

    n: int
    status: Literal["accepted"] = "accepted"
    recipients: int
    token_id: str


class Accepted(BaseModel):
    id: str
    status: Literal["accepted"] = "accepted"
    sends: list[Send]
