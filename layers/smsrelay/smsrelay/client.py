"""For Python applications that post messages: requests and answers (docs/client-library.md).

It needs pydantic, the lengths of phone numbers and the time zones; nothing of AWS, no HTTP client.
"""

import json
import time
from http import HTTPStatus
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field
from pydantic.alias_generators import to_camel

from smsrelay.errors import NotJsonError, TooLargeError
from smsrelay.messages import refusals, validation
from smsrelay.messages.refusals import RequestRefusedError
from smsrelay.messages.request import MessageRequest, QuietHours, Subscriber
from smsrelay.messages.strict_json import decode

__all__ = [
    "AcceptedMessage",
    "Event",
    "FoundMessages",
    "MessageRequest",
    "PreviewedMessage",
    "Problem",
    "QuietHours",
    "Refusal",
    "RequestRefusedError",
    "StoredMessage",
    "Subscriber",
    "TokenOwner",
    "answer_of",
    "body_of",
    "parse_request",
]

EXAMPLE_ID = "403QDVK492SX83H9VMGX2PC8JT"
EXAMPLE_TOKEN_ID = "OWJmTnpHTkVfSzZwUnhBdzo3NjoA"  # noqa: S105 - the name of a send, no secret # nosec B105

_Id = Annotated[
    str,
    Field(
        description="The id of the message.",
        pattern="^[0-7][0-9A-HJKMNP-TV-Z]{25}$",
        examples=[EXAMPLE_ID],
    ),
]
_TokenId = Annotated[
    str,
    Field(
        description="MobileConnect's name of the send. It is opaque.",
        min_length=1,
        examples=[EXAMPLE_TOKEN_ID],
    ),
]
_Note = Annotated[
    str,
    Field(
        description="The words of the operator who resolved the send, redacted.",
        examples=["gateway outage, see incident 42"],
    ),
]
_Time = Annotated[
    str,
    Field(json_schema_extra={"format": "date-time"}, examples=["2027-01-15T08:00:00.250+00:00"]),
]
_Statuses = Literal[
    "queued",
    "sending",
    "accepted",
    "rejected",
    "unknown",
    "failed",
    "cancelled",
    "expired",
    "delivered",
    "undelivered",
    "partially_delivered",
]
SendStatus = Annotated[
    _Statuses,
    Field(
        description="`queued`: it waits for its first or next attempt. `sending`: the relay is "
        "calling MobileConnect. `accepted`: MobileConnect accepted it. `rejected`: MobileConnect "
        "rejected it permanently. `unknown`: it may have been sent or not; an operator decides. "
        "`failed`: MobileConnect did not accept it before it was too old. `cancelled`, `expired`: "
        "it was cancelled, or reached its `expiresAt`, before it was sent. `delivered`, "
        "`undelivered`, `partially_delivered`: MobileConnect accepted it, and it reached all, none "
        "or some of its recipients.",
        examples=["accepted"],
    ),
]


class _Model(BaseModel):
    model_config = ConfigDict(alias_generator=to_camel)


class _Sized(_Model):
    """How many SMS a text becomes."""

    segments: int | None = Field(
        default=None,
        ge=1,
        description="An estimate of the SMS for each recipient; only if the request has a `text`.",
        examples=[1],
    )
    segments_at_least: Literal[True] | None = Field(
        default=None,
        description="There can be more SMS, because the text has `%%…%%`, whose length is unknown.",
    )
    encoding: Literal["GSM-7", "UCS-2"] | None = Field(
        default=None,
        description="Of the text: UCS-2 as soon as one character is outside GSM-7.",
        examples=["GSM-7"],
    )


class SendSummary(_Sized):
    """One call of MobileConnect for one message, and what became of it."""

    n: int = Field(ge=1, le=100, description="Its number in the message.", examples=[1])
    status: SendStatus
    recipients: int = Field(ge=1, le=250, description="How many recipients it has.", examples=[1])
    token_id: _TokenId | None = None
    reason: str | None = Field(
        default=None,
        description="Why it is not accepted, in one word: `throttled`, `blocked`, "
        "`unavailable`, `unauthorised`, `no-connection`, `read-timeout`, `out-of-time` and so "
        "on. New words may come. `not-polled`: it is accepted, but its delivery could not be "
        "polled within 72 hours.",
        examples=["throttled"],
    )
    note: _Note | None = None
    errors: list[str] | None = Field(
        default=None,
        description="What MobileConnect said, in its own words.",
        min_length=1,
        examples=[["Keyword PLAY is invalid for the code on the message"]],
    )


class RecipientState(_Model):
    """How it ended for one recipient."""

    hash: str = Field(
        description="Stands for the number: HMAC-SHA-256 with the relay's key, its first half.",
        pattern="^[0-9a-f]{32}$",
        examples=["3c1a7b5f9d2e4680a1b2c3d4e5f60718"],
    )
    code: int = Field(ge=0, le=9999, description="MobileConnect's status code.", examples=[4000])


class EventDelivery(_Model):
    """How many recipients were reached, as an event tells it."""

    delivered: int = Field(ge=0, description="Reached.", examples=[1])
    undelivered: dict[str, int] = Field(
        description="Not reached, and not tried any more, by MobileConnect's status code.",
        examples=[{"4500": 1}],
    )
    pending: int = Field(ge=0, description="Nothing final is known.", examples=[0])
    unsubscribed: int = Field(
        ge=0, description="Left out, as they have not subscribed.", examples=[0]
    )


class Delivery(EventDelivery):
    """How many recipients were reached, as far as MobileConnect has told."""

    checked_at: _Time = Field(description="When MobileConnect was asked last.")
    recipients: list[RecipientState] | None = Field(
        default=None,
        description="One by one, if the relay keeps that (`RecipientResults`).",
        min_length=1,
    )


class StoredSend(SendSummary):
    """A send as the ledger has it."""

    attempts: int = Field(ge=0, description="Attempts so far.", examples=[1])
    updated_at: _Time = Field(description="When it was written last.")
    delivery: Delivery | None = Field(
        default=None, description="Once MobileConnect was asked, a minute later."
    )


class SendChange(_Sized):
    """A send after its status has changed."""

    model_config = ConfigDict(extra="forbid")

    id: _Id
    n: int = Field(ge=1, le=100, description="Its number in the message.", examples=[1])
    client: str = Field(description="Who posted it.", examples=["shop"])
    status: SendStatus
    previous_status: SendStatus | None = Field(
        default=None, description="Before; left out for a new send."
    )
    final: bool = Field(
        description="Whether nothing more happens to it by itself.", examples=[True]
    )
    recipients: int = Field(ge=1, le=250, examples=[1])
    attempts: int = Field(ge=0, description="So far.", examples=[1])
    token_id: _TokenId | None = None
    reference: str | None = Field(default=None, description="The caller's own.")
    reason: str | None = Field(
        default=None,
        description="Why, in one word; `not-polled`: its delivery could not be polled.",
    )
    note: _Note | None = None
    delivery: EventDelivery | None = None
    event_id: str | None = Field(
        default=None,
        description="On the bus only: the id of the event, a callback's `webhook-id`.",
    )


class Event(_Model):
    """What a callback posts; on the event bus `data` is the detail, `type` the detail's type."""

    model_config = ConfigDict(extra="forbid")

    type: str = Field(pattern=r"^smsrelay\.send\.[a-z_]+$", examples=["smsrelay.send.delivered"])
    timestamp: _Time = Field(description="When it was written.")
    data: SendChange


class AcceptedMessage(_Model):
    """A message that was taken: sent, or stored to be sent."""

    id: _Id
    status: Literal["accepted", "partial", "queued"] = Field(
        description="`accepted`: all sends are. `queued`: all are to be tried (again); "
        "nothing more needs to be done. `partial`: a mixture; see `sends`.",
        examples=["accepted"],
    )
    sends: list[SendSummary] = Field(
        min_length=1,
        max_length=100,
        examples=[[{"n": 1, "status": "accepted", "recipients": 1, "tokenId": EXAMPLE_TOKEN_ID}]],
    )


class UpstreamRequest(_Model):
    """One call of MobileConnect, exactly as the relay would make it."""

    method: Literal["POST"] = Field(description="Always the same.", examples=["POST"])
    path: str = Field(
        description="Below the base URL of Marketing Cloud.",
        examples=["/sms/v1/messageContact/MzA6Nzg6MA/send"],
    )
    body: dict[str, Any] = Field(
        description="Numbers and text as they would be sent.",
        examples=[{"mobileNumbers": ["12125550100"]}],
    )
    recipients: int = Field(ge=1, le=250, description="How many recipients it has.", examples=[1])


class PreviewWarning(_Model):
    """What to think about before the message is posted."""

    code: Literal["quiet-hours", "resubscribe"] = Field(
        description="`quiet-hours`: they are in force now, or at `sendAt`. `resubscribe`: an "
        "opt-out of a recipient would be overridden. New codes may come.",
        examples=["quiet-hours"],
    )
    detail: str = Field(
        description="For people.",
        examples=["The quiet hours are in force then, so MobileConnect delivers at their end."],
    )


class PreviewedMessage(_Sized):
    """What a message would send. Nothing was stored, and nothing was sent."""

    requests: list[UpstreamRequest] = Field(
        min_length=1, max_length=100, description="The calls, in the order of the sends."
    )
    recipients: int = Field(ge=1, description="Of all requests.", examples=[1])
    warnings: list[PreviewWarning] = Field(description="Empty if there is nothing to consider.")


class StoredMessage(_Model):
    """A message, and how far its sends have come."""

    id: _Id
    status: Literal[_Statuses, "partial"] = Field(
        description="What all sends have in common, else `partial`; `unknown` as soon as one "
        "is; `partially_delivered` if all that differs is whom they reached.",
        examples=["accepted"],
    )
    created_at: _Time = Field(description="When it came in.")
    reference: str | None = Field(
        default=None, description="The caller's own.", examples=["order-8812"]
    )
    errors: list["Refusal"] | None = Field(
        default=None, description="Why a message of the queue was refused; it has no sends."
    )
    sends: list[StoredSend] = Field(max_length=100)


class FoundMessages(_Model):
    """The client's messages with an idempotency key, or a page of those with a reference."""

    messages: list[StoredMessage] = Field(
        max_length=20,
        description="Without the results of single recipients. Those with a reference: the newest "
        "first.",
    )
    next: str | None = Field(
        description="Where the next page begins: repeat the request with this value as `next`. "
        "`null` on the last page.",
        json_schema_extra={"type": ["string", "null"]},
        examples=[f"1800000000.25-{EXAMPLE_ID}", None],
    )


class TokenOwner(_Model):
    """What a tokenId belongs to."""

    token_id: _TokenId
    id: _Id
    n: int = Field(ge=1, le=100, description="Which send of it.", examples=[1])


class Refusal(_Model):
    """One reason to refuse a request."""

    pointer: str = Field(
        description="The place: a JSON Pointer (RFC 6901) into the request.",
        max_length=300,
        examples=["/to/0", ""],
    )
    code: str = Field(description="Stable, and made for programs.", examples=["invalid-number"])
    detail: str = Field(
        description="For people. It never repeats what was posted.",
        examples=["Invalid phone number: this is not a numeric string."],
    )


class Problem(_Model):
    """Why a message was not taken (RFC 9457); `code` is stable and made for programs."""

    type: str
    title: str
    status: int
    code: str
    detail: str
    id: str | None = None
    """The message, where there is one: `GET /messages/{id}` says how it stands."""
    errors: list[Refusal] | list[str] | None = None
    """Every refused field; of `upstream-refused` the words of Marketing Cloud."""
    errors_omitted: int = 0
    """How many more reasons there are."""
    sends: list[SendSummary] | None = None


def parse_request(document: str | bytes | dict[str, Any]) -> MessageRequest:
    """The request in a JSON document: its text, or the object that it contains.

    Raises `RequestRefusedError` with every reason at once, whatever is wrong, in the codes of the
    relay. `sendAt` and `expiresAt` are compared with the time now. Only the message catalogue, the
    relay's country codes, the client's limits and the upstream can still refuse the request.
    """
    try:
        if isinstance(document, bytes):
            document = document.decode(errors="surrogatepass")
        decoded = decode(document if isinstance(document, str) else json.dumps(document))
    except TooLargeError as error:
        raise RequestRefusedError([refusals.Refusal("", "too-large", str(error))]) from None
    except (NotJsonError, TypeError, ValueError, RecursionError) as error:
        raise RequestRefusedError([refusals.Refusal("", "not-json", str(error))]) from None
    return validation.parse_request(decoded, arrived_at=time.time())


def body_of(request: MessageRequest) -> str:
    """The JSON to post. Raises `RequestRefusedError` with every reason at once.

    Only the message catalogue, the relay's country codes and the upstream can still refuse it.
    """
    body = request.model_dump_json(by_alias=True, exclude_unset=True)
    validation.parse_request(decode(body))
    return body


def answer_of(status: int, body: str | bytes) -> AcceptedMessage | Problem:
    """The relay's answer to a posted message; unknown members are ignored.

    Raises pydantic's `ValidationError` if the answer is not the relay's.
    """
    model = AcceptedMessage if status == HTTPStatus.ACCEPTED else Problem
    return model.model_validate_json(body)
