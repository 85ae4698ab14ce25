"""Requests and responses, for Python applications that post messages (docs/client-library.md).

This module needs pydantic, but no AWS library and no HTTP client.
"""

import json
import time
from datetime import UTC, datetime
from http import HTTPStatus
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field
from pydantic.alias_generators import to_camel

from smsrelay.errors import NotJsonError, TooLargeError
from smsrelay.messages import refusals, validation
from smsrelay.messages.refusals import RequestRefusedError
from smsrelay.messages.request import (
    CatalogueDefaults,
    MessageRequest,
    QuietHours,
    Subscriber,
    is_encoded_id,
)
from smsrelay.messages.strict_json import Document, decode
from smsrelay.messages.upstream_calls import build_calls

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
        description="MobileConnect's opaque id of the send.",
        min_length=1,
        examples=[EXAMPLE_TOKEN_ID],
    ),
]
_Note = Annotated[
    str,
    Field(
        description="The note of the operator who resolved the send, redacted.",
        examples=["gateway outage, see incident 42"],
    ),
]
_Time = Annotated[
    str,
    Field(json_schema_extra={"format": "date-time"}, examples=["2027-01-15T08:00:00.250+00:00"]),
]
_STATUSES = (
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
)
SendStatus = Annotated[  # a newer relay can have more
    str,
    Field(
        json_schema_extra={"enum": [*_STATUSES]},
        description="`queued`: it waits for its first or next attempt. `sending`: the relay is "
        "calling MobileConnect. `accepted`: MobileConnect accepted it. `rejected`: MobileConnect "
        "rejected it permanently. `unknown`: it may have been sent; an operator decides. "
        "`failed`: MobileConnect did not accept it before it was too old. `cancelled`, `expired`: "
        "it was cancelled, or reached its `expiresAt`, before it was sent. `delivered`, "
        "`undelivered`, `partially_delivered`: MobileConnect accepted it, and it reached all, none "
        "or some of its recipients.",
        examples=["accepted"],
    ),
]


class _Model(BaseModel):
    model_config = ConfigDict(alias_generator=to_camel)


_AS_SENT_NOW = ConfigDict(json_schema_extra={"additionalProperties": False})
"""The schema has all members of this version, but the models ignore those of a newer relay."""


class _Sized(_Model):
    segments: int | None = Field(
        default=None,
        ge=1,
        description="An estimate of the SMS for each recipient; only if the request has a `text`.",
        examples=[1],
    )
    segments_at_least: Literal[True] | None = Field(
        default=None,
        description="There can be more SMS: the text has `%%…%%`, whose length is not known.",
    )
    encoding: Literal["GSM-7", "UCS-2"] | None = Field(
        default=None,
        description="The text's encoding: UCS-2 if any character is outside GSM-7.",
        examples=["GSM-7"],
    )


class SendSummary(_Sized):
    """A send of a message: the recipients of one call of MobileConnect, and the outcome."""

    n: int = Field(ge=1, le=100, description="Its number in the message.", examples=[1])
    status: SendStatus
    recipients: int = Field(ge=1, le=250, description="Its number of recipients.", examples=[1])
    token_id: _TokenId | None = None
    reason: str | None = Field(
        default=None,
        description="Why it has its status, as a code: `throttled`, `blocked`, `unavailable`, "
        "`unauthorised`, `no-connection`, `read-timeout`, `out-of-time` and others; new codes can "
        "be added. Accepted and delivered sends have none, except `not-polled`: the delivery "
        "could not be polled within 72 hours.",
        examples=["throttled"],
    )
    note: _Note | None = None
    errors: list[str] | None = Field(
        default=None,
        description="MobileConnect's error messages, redacted.",
        min_length=1,
        examples=[["Keyword PLAY is invalid for the code on the message"]],
    )


class RecipientState(_Model):
    """The delivery result of one recipient."""

    hash: str = Field(
        description="The first half of the number's HMAC-SHA-256 with the relay's key.",
        pattern="^[0-9a-f]{32}$",
        examples=["3c1a7b5f9d2e4680a1b2c3d4e5f60718"],
    )
    code: int = Field(ge=0, le=9999, description="MobileConnect's status code.", examples=[4000])


class EventDelivery(_Model):
    """The numbers of recipients by delivery result, in an event."""

    delivered: int = Field(ge=0, description="Recipients reached.", examples=[1])
    undelivered: dict[str, int] = Field(
        description="Recipients not reached, by MobileConnect's final status code.",
        examples=[{"4500": 1}],
    )
    pending: int = Field(ge=0, description="Recipients without a final status.", examples=[0])
    unsubscribed: int = Field(
        ge=0, description="Recipients left out because they have not subscribed.", examples=[0]
    )


class Delivery(EventDelivery):
    """The numbers of recipients by delivery result, as of MobileConnect's last report."""

    checked_at: _Time = Field(description="When the relay last polled MobileConnect.")
    recipients: list[RecipientState] | None = Field(
        default=None,
        description="The single recipients, if the relay stores them (`RecipientResults`).",
        min_length=1,
    )


class StoredSend(SendSummary):
    """A send in the ledger."""

    attempts: int = Field(ge=0, description="Attempts so far.", examples=[1])
    updated_at: _Time = Field(description="When it last changed.")
    delivery: Delivery | None = Field(
        default=None, description="What MobileConnect last reported of its delivery, if anything."
    )


class SendChange(_Sized):
    """A send after its status has changed."""

    model_config = _AS_SENT_NOW

    id: _Id
    n: int = Field(ge=1, le=100, description="Its number in the message.", examples=[1])
    client: str = Field(description="The client that posted it.", examples=["shop"])
    status: SendStatus
    previous_status: SendStatus | None = Field(
        default=None, description="The status before the change; left out for a new send."
    )
    final: bool = Field(
        description="Whether the status no longer changes automatically.", examples=[True]
    )
    recipients: int = Field(ge=1, le=250, examples=[1])
    attempts: int = Field(ge=0, description="Attempts so far.", examples=[1])
    token_id: _TokenId | None = None
    reference: str | None = Field(default=None, description="The `reference` of the request.")
    reason: str | None = Field(
        default=None,
        description="The reason, as a code; `not-polled`: its delivery could not be polled.",
    )
    note: _Note | None = None
    delivery: EventDelivery | None = None
    event_id: str | None = Field(
        default=None,
        description="Only on the bus: the id of the event, which a callback has as `webhook-id`.",
    )


class Event(_Model):
    """A callback's body. On the event bus `data` is the detail, and `type` the detail type."""

    model_config = _AS_SENT_NOW

    type: str = Field(pattern=r"^smsrelay\.send\.[a-z_]+$", examples=["smsrelay.send.delivered"])
    timestamp: _Time = Field(description="When the send changed.")
    data: SendChange


class AcceptedMessage(_Model):
    """A message that the relay has sent, or stored to be sent."""

    id: _Id
    status: str = Field(
        json_schema_extra={"enum": ["accepted", "partial", "queued"]},
        description="`accepted`: MobileConnect accepted all sends. `queued`: the relay will try "
        "all sends (again) automatically. `partial`: a mixture; see `sends`.",
        examples=["accepted"],
    )
    sends: list[SendSummary] = Field(
        min_length=1,
        max_length=100,
        examples=[[{"n": 1, "status": "accepted", "recipients": 1, "tokenId": EXAMPLE_TOKEN_ID}]],
    )


class UpstreamRequest(_Model):
    """One call of MobileConnect, exactly as the relay would make it."""

    method: Literal["POST"] = Field(description="Always POST.", examples=["POST"])
    path: str = Field(
        description="The path after the base URL of Marketing Cloud.",
        examples=["/sms/v1/messageContact/MzA6Nzg6MA/send"],
    )
    body: dict[str, Any] = Field(
        description="The body, with numbers and text as they would be sent.",
        examples=[{"mobileNumbers": ["12125550100"]}],
    )
    recipients: int = Field(ge=1, le=250, description="Its number of recipients.", examples=[1])


class PreviewWarning(_Model):
    """A warning to consider before posting the message."""

    code: str = Field(
        json_schema_extra={"enum": ["quiet-hours", "resubscribe"]},
        description="`quiet-hours`: now, or `sendAt`, is in the quiet hours. `resubscribe`: "
        "recipients who have opted out would be subscribed again. New codes can be added.",
        examples=["quiet-hours"],
    )
    detail: str = Field(
        description="An explanation for people.",
        examples=["The send time is in the quiet hours, so MobileConnect delivers at their end."],
    )


class PreviewedMessage(_Sized):
    """The calls that a message would cause. Nothing was stored or sent."""

    requests: list[UpstreamRequest] = Field(
        min_length=1, max_length=100, description="The calls, in the order of the sends."
    )
    recipients: int = Field(ge=1, description="The recipients of all requests.", examples=[1])
    warnings: list[PreviewWarning] = Field(description="The warnings; can be empty.")


class StoredMessage(_Model):
    """A message, and the states of its sends."""

    id: _Id
    status: str = Field(
        json_schema_extra={"enum": [*_STATUSES, "partial"]},
        description="The status of all sends if it is the same. If not, the first that fits: "
        "`unknown` if any send is unknown; `partially_delivered` if the delivery of all is known; "
        "`accepted` if all were accepted; `queued` if all are queued or sending; else `partial`.",
        examples=["accepted"],
    )
    created_at: _Time = Field(description="When the relay received it.")
    reference: str | None = Field(
        default=None, description="The `reference` of the request.", examples=["order-8812"]
    )
    errors: list["Refusal"] | None = Field(
        default=None, description="Why a queue message was refused; it has no sends."
    )
    sends: list[StoredSend] = Field(max_length=100)


class FoundMessages(_Model):
    """The client's messages with an idempotency key, or a page of those with a reference."""

    messages: list[StoredMessage] = Field(
        max_length=20,
        description="Messages without the results of single recipients; with a reference, the "
        "newest first.",
    )
    next: str | None = Field(
        description="The cursor of the next page: repeat the request with this value as `next`. "
        "`null` on the last page.",
        json_schema_extra={"type": ["string", "null"]},
        examples=[f"1800000000.25-{EXAMPLE_ID}", None],
    )


class TokenOwner(_Model):
    """The send that a tokenId belongs to."""

    token_id: _TokenId
    id: _Id
    n: int = Field(ge=1, le=100, description="The send's number in the message.", examples=[1])


class Refusal(_Model):
    """One reason to refuse a request."""

    pointer: str = Field(
        description="A JSON Pointer (RFC 6901) to the field in the request.",
        max_length=300,
        examples=["/to/0", ""],
    )
    code: str = Field(description="A stable code for programs.", examples=["invalid-number"])
    detail: str = Field(
        description="An explanation for people. It never repeats posted values.",
        examples=["Invalid phone number: this is not a numeric string."],
    )


class Problem(_Model):
    """The reason why a request failed (RFC 9457); `code` is stable and for programs."""

    type: str
    title: str
    status: int
    code: str
    detail: str
    id: str | None = None
    """The id of the message, if it is stored: `GET /messages/{id}` returns its state."""
    errors: list[Refusal] | list[str] | None = None
    """Every refused field; for `upstream-refused` Marketing Cloud's error messages."""
    errors_omitted: int = 0
    """The number of further reasons."""
    sends: list[SendSummary] | None = None


def parse_request(document: str | bytes | dict[str, Any]) -> MessageRequest:
    """Parse a JSON document, given as text or as the decoded object.

    Raises `RequestRefusedError` with every reason at once, in the codes of the relay. `sendAt` and
    `expiresAt` are compared with the current time. The message catalogue, the relay's country
    codes, the client's limits and the upstream can still refuse a valid request.
    """
    try:
        if isinstance(document, bytes):
            document = document.decode(errors="surrogatepass")
        decoded = decode(document if isinstance(document, str) else json.dumps(document))
    except TooLargeError as error:
        raise _refused("too-large", error) from None
    except (NotJsonError, TypeError, ValueError, RecursionError) as error:
        raise _refused("not-json", error) from None
    return _validated(decoded, time.time())


def body_of(request: MessageRequest) -> str:
    """Return the JSON to post. Raises `RequestRefusedError` with every reason at once.

    `sendAt` and `expiresAt` are not compared with the current time. The message catalogue, the
    relay's country codes, the client's limits and the upstream can still refuse it.
    """
    body = request.model_dump_json(by_alias=True, exclude_unset=True)
    try:
        _validated(decode(body), 0.0)
    except TooLargeError as error:
        raise _refused("too-large", error) from None
    return body


def _validated(document: Document, arrived_at: float) -> MessageRequest:
    message = document.value.get("message") if isinstance(document.value, dict) else None
    is_name = isinstance(message, str) and not is_encoded_id(message)
    defaults = CatalogueDefaults()
    if is_name:  # only the relay knows whether it has a default keyword, and concatenation
        defaults = CatalogueDefaults(keyword="of the catalogue", concatenate=None)
    request = validation.parse_request(document, defaults, arrived_at=arrived_at)
    build_calls(request, datetime.now(UTC))  # it raises if they are too large
    return MessageRequest.from_json(document.value)  # without the default


def _refused(code: str, error: Exception) -> RequestRefusedError:
    return RequestRefusedError([refusals.Refusal("", code, str(error))])


def answer_of(status: int, body: str | bytes) -> AcceptedMessage | Problem:
    """Parse the relay's response to a posted message; unknown members are ignored.

    Raises pydantic's `ValidationError` if the response is not from the relay.
    """
    model = AcceptedMessage if status == HTTPStatus.ACCEPTED else Problem
    return model.model_validate_json(body)
