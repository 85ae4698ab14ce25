"""The schemas of the answers, and examples of them that the relay itself has written.

The relay answers with plain dicts, which cost it nothing; a test holds every answer to these.
"""

from collections.abc import Mapping, Sequence
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field
from pydantic.alias_generators import to_camel
from pydantic.json_schema import models_json_schema

from contract import Json
from contract.refusals import CODES
from contract.request import REF, GivenOrLeftOut
from smsrelay import answers, identity, life
from smsrelay import refusals as reasons
from smsrelay.answers import Answer
from smsrelay.delivery import Report
from smsrelay.ports import RecipientRow, RefusedMessage
from smsrelay.relay import Message
from smsrelay.send import OnUnknown, Send, SendKey, Status

MESSAGE_ID = identity.message_id("example-key-id", "order-8812-shipped")
TOKEN_ID = "OWJmTnpHTkVfSzZwUnhBdzo3NjoA"  # noqa: S105 - the name of a send, no secret # nosec B105
_CREATED = 1_800_000_000.25

_Id = Annotated[
    str,
    Field(
        description="The id of the message.",
        pattern="^[0-7][0-9A-HJKMNP-TV-Z]{25}$",
        examples=[MESSAGE_ID],
    ),
]
_TokenId = Annotated[
    str,
    Field(
        description="MobileConnect's name of the send. It is opaque.",
        min_length=1,
        examples=[TOKEN_ID],
    ),
]
_Time = Annotated[
    str,
    Field(json_schema_extra={"format": "date-time"}, examples=["2027-01-15T08:00:00.250+00:00"]),
]
SendStatus = Annotated[
    Literal[
        "queued",
        "sending",
        "accepted",
        "rejected",
        "unknown",
        "failed",
        "delivered",
        "undelivered",
        "partly",
    ],
    Field(
        description="`queued`: waits for its first or next attempt. `sending`: its call is being "
        "made. `accepted`: MobileConnect took it. `rejected`: MobileConnect refused it for good. "
        "`unknown`: nobody can know whether it went out; an operator decides. `failed`: "
        "MobileConnect did not take it, and all attempts are used up. `delivered`, `undelivered`, "
        "`partly`: it was accepted, and all, none or some of its recipients were reached.",
        examples=["accepted"],
    ),
]


class _Model(BaseModel):
    model_config = ConfigDict(alias_generator=to_camel)


class SendSummary(_Model):
    """One call of MobileConnect for one message, and what became of it."""

    n: Annotated[int, Field(ge=1, le=100, description="Its number in the message.", examples=[1])]
    status: SendStatus
    recipients: Annotated[
        int, Field(ge=1, le=250, description="How many recipients it has.", examples=[1])
    ]
    token_id: _TokenId | None = None
    reason: Annotated[
        str | None,
        Field(
            description="Why it is not accepted, in one word: `throttled`, `blocked`, "
            "`unavailable`, `unauthorised`, `no-connection`, `read-timeout`, `out-of-time` and so "
            "on. New words may come.",
            examples=["throttled"],
        ),
    ] = None
    errors: Annotated[
        list[str] | None,
        Field(
            description="What MobileConnect said, in its own words.",
            min_length=1,
            examples=[["Keyword PLAY is invalid for the code on the message"]],
        ),
    ] = None


class RecipientState(_Model):
    """How it ended for one recipient."""

    hash: Annotated[
        str,
        Field(
            description="Stands for the number: HMAC-SHA-256 with the relay's key, its first half.",
            pattern="^[0-9a-f]{32}$",
            examples=["3c1a7b5f9d2e4680a1b2c3d4e5f60718"],
        ),
    ]
    code: Annotated[
        int, Field(ge=0, le=9999, description="MobileConnect's status code.", examples=[4000])
    ]


class Delivery(_Model):
    """How many recipients were reached, as far as MobileConnect has told."""

    delivered: Annotated[int, Field(ge=0, description="Reached.", examples=[1])]
    undelivered: Annotated[
        dict[str, int],
        Field(
            description="Not reached, and not tried any more, by MobileConnect's status code.",
            examples=[{"4500": 1}],
        ),
    ]
    pending: Annotated[int, Field(ge=0, description="Nothing final is known.", examples=[0])]
    unsubscribed: Annotated[
        int, Field(ge=0, description="Left out, as they have not subscribed.", examples=[0])
    ]
    checked_at: Annotated[_Time, Field(description="When MobileConnect was asked last.")]
    recipients: Annotated[
        list[RecipientState] | None,
        Field(description="One by one, if the relay keeps that (`RecipientRows`).", min_length=1),
    ] = None


class StoredSend(SendSummary):
    """A send as the ledger has it."""

    attempts: Annotated[int, Field(ge=0, description="Attempts so far.", examples=[1])]
    updated_at: Annotated[_Time, Field(description="When it was written last.")]
    delivery: Annotated[
        Delivery | None, Field(description="Once MobileConnect was asked, a minute later.")
    ] = None


class AcceptedMessage(_Model):
    """A message that was taken: sent, or stored to be sent."""

    id: _Id
    status: Annotated[
        Literal["accepted", "partial", "queued"],
        Field(
            description="`accepted`: all sends are. `queued`: all are to be tried (again); "
            "nothing more needs to be done. `partial`: a mixture; see `sends`.",
            examples=["accepted"],
        ),
    ]
    sends: Annotated[
        list[SendSummary],
        Field(
            min_length=1,
            max_length=100,
            examples=[[{"n": 1, "status": "accepted", "recipients": 1, "tokenId": TOKEN_ID}]],
        ),
    ]


class StoredMessage(_Model):
    """A message, and how far its sends have come."""

    id: _Id
    status: Annotated[
        Literal[
            "queued",
            "sending",
            "accepted",
            "rejected",
            "unknown",
            "failed",
            "delivered",
            "undelivered",
            "partly",
            "partial",
        ],
        Field(
            description="What all sends have in common, else `partial`; `unknown` as soon as one "
            "is; `partly` if all that differs is whom they reached.",
            examples=["accepted"],
        ),
    ]
    created_at: Annotated[_Time, Field(description="When it came in.")]
    reference: Annotated[
        str | None, Field(description="The caller's own.", examples=["order-8812"])
    ] = None
    errors: Annotated[
        list["Refusal"] | None,
        Field(description="Why a message of the queue was refused; it has no sends."),
    ] = None
    sends: Annotated[list[StoredSend], Field(max_length=100)]


class TokenOwner(_Model):
    """What a tokenId belongs to."""

    token_id: _TokenId
    id: _Id
    n: Annotated[int, Field(ge=1, le=100, description="Which send of it.", examples=[1])]


class Refusal(_Model):
    """One reason to refuse a request."""

    pointer: Annotated[
        str,
        Field(
            description="The place: a JSON Pointer (RFC 6901) into the request.",
            max_length=300,
            examples=["/to/0", ""],
        ),
    ]
    code: Annotated[
        str,
        Field(
            description="Stable, and made for programs.",
            json_schema_extra={"enum": sorted(CODES)},
            examples=["invalid-number"],
        ),
    ]
    detail: Annotated[
        str,
        Field(
            description="For people. It never repeats what was posted.",
            examples=["Invalid phone number: this is not a numeric string."],
        ),
    ]


def schemas() -> Json:
    """The components that answers other than problems are made of."""
    models: Sequence[type[BaseModel]] = (AcceptedMessage, StoredMessage, TokenOwner)
    _, found = models_json_schema(
        [(model, "validation") for model in models],
        ref_template=REF,
        schema_generator=GivenOrLeftOut,
    )
    components: Json = found["$defs"]
    return components


def send(n: int = 1, status: Status = Status.ACCEPTED, **more: object) -> Send:
    """A send to make examples of."""
    fields = {
        "key": SendKey(MESSAGE_ID, n),
        "client": "example-key-id",
        "template": "MzA6Nzg6MA",
        "recipients": 1,
        "status": status,
        "on_unknown": OnUnknown.HOLD,
        "fingerprint": "",
        "created_at": _CREATED,
        "updated_at": _CREATED + 0.5,
        "due_at": _CREATED,
        "owner": "",
        "attempts": 1,
        "token_id": TOKEN_ID if status is Status.ACCEPTED else None,
    }
    return Send(**(fields | more))  # type: ignore[arg-type] # of many types, like its fields


def of_message(*sends: Send) -> Answer:
    """The relay's answer to a posted message with these sends."""
    return answers.of_message(Message(MESSAGE_ID, sends), deferred=False)


def _ended(accepted: Send, codes: Mapping[str, int]) -> Send:
    """A send after MobileConnect has told that these numbers, and no others, got it or not."""
    report = Report("Finished", len(codes), codes)
    return life.reported(accepted, report, now=_CREATED + 60, owner="")


def _posted() -> Mapping[str, Answer]:
    throttled = send(2, Status.QUEUED, reason="throttled", recipients=250)
    return {
        "accepted": of_message(send()),
        "queued": of_message(send(status=Status.QUEUED, reason="throttled")),
        "partial": of_message(send(recipients=250), throttled),
    }


def _stored() -> Mapping[str, Answer]:
    refusal = reasons.Refusal("/keyword", "keyword-not-needed", reasons.KEYWORD_NOT_NEEDED)
    return {
        "accepted": answers.of_stored(
            Message(MESSAGE_ID, [send(reference="order-8812")]), MESSAGE_ID
        ),
        "delivered": answers.of_stored(
            Message(MESSAGE_ID, [_ended(send(), {"1": 4000})]), MESSAGE_ID
        ),
        "nobody-had-subscribed": answers.of_stored(
            Message(MESSAGE_ID, [_ended(send(), {})]), MESSAGE_ID
        ),
        "partly": answers.of_stored(
            Message(MESSAGE_ID, [_ended(send(recipients=3), {"1": 4000, "2": 4500})]),
            MESSAGE_ID,
            {1: [RecipientRow("3c1a7b5f9d2e4680a1b2c3d4e5f60718", 4000)]},
        ),
        "unknown": answers.of_stored(
            Message(MESSAGE_ID, [send(status=Status.UNKNOWN, reason="read-timeout")]), MESSAGE_ID
        ),
        "refused-in-the-queue": answers.of_stored(
            RefusedMessage("example-key-id", (refusal,), _CREATED), MESSAGE_ID
        ),
    }


POSTED, STORED = _posted(), _stored()
FOUND = {"found": answers.of_token(TOKEN_ID, SendKey(MESSAGE_ID, 1))}
