"""The schemas of the responses, and examples that the relay's own code has written.

The relay responds with plain dicts, which are fast. A test checks every response against the models
of the client library (smsrelay.client).
"""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from pydantic.json_schema import models_json_schema

from smsrelay import client
from smsrelay.client import (
    AcceptedMessage,
    FoundMessages,
    PreviewedMessage,
    StoredMessage,
    TokenOwner,
)
from smsrelay.messages import refusals as reasons
from smsrelay.messages.preview import warnings_of
from smsrelay.messages.request import Submission
from smsrelay.messages.segments import estimate
from smsrelay.messages.strict_json import decode
from smsrelay.messages.upstream_calls import build_calls
from smsrelay.messages.validation import parse_request
from smsrelay.ports import RecipientResult, RefusedMessage
from smsrelay.sends import transitions
from smsrelay.sends.delivery_report import DeliveryReport
from smsrelay.sends.send import MessageState, OnUnknown, Send, SendKey, Status
from smsrelay.services import responses
from smsrelay.services.http_response import Response
from tools.openapi import Json
from tools.openapi.error_codes import CODES
from tools.openapi.request_schema import REF, GivenOrLeftOut

if TYPE_CHECKING:
    from pydantic import BaseModel

MESSAGE_ID, TOKEN_ID = client.EXAMPLE_ID, client.EXAMPLE_TOKEN_ID
_CREATED = 1_800_000_000.25


def schemas() -> Json:
    """Return the schemas of responses other than problems, and their parts."""
    models: Sequence[type[BaseModel]] = (
        AcceptedMessage,
        PreviewedMessage,
        StoredMessage,
        FoundMessages,
        TokenOwner,
    )
    _, found = models_json_schema(
        [(model, "validation") for model in models],
        ref_template=REF,
        schema_generator=GivenOrLeftOut,
    )
    components: Json = found["$defs"]
    components["Refusal"]["properties"]["code"]["enum"] = sorted(CODES)
    return components


def send(n: int = 1, status: Status = Status.ACCEPTED, **more: object) -> Send:
    """Return a send for examples."""
    fields = {
        "key": SendKey(MESSAGE_ID, n),
        "client": "shop",
        "upstream_message_id": "MzA6Nzg6MA",
        "recipients": 1,
        "status": status,
        "on_unknown": OnUnknown.HOLD,
        "fingerprint": "",
        "created_at": _CREATED,
        "updated_at": _CREATED + 0.5,
        "due_at": _CREATED,
        "written_by": "",
        "attempts": 1,
        "token_id": TOKEN_ID if status is Status.ACCEPTED else None,
    }
    return Send(**(fields | more))  # type: ignore[arg-type] # of many types, like its fields


def of_message(*sends: Send) -> Response:
    """Return the relay's response to a posted message with these sends."""
    return responses.of_message(MessageState(MESSAGE_ID, sends), deferred=False)


def _ended(accepted: Send, codes: Mapping[str, int]) -> Send:
    """Return a send after a delivery report with the final codes of these numbers."""
    report = DeliveryReport("Finished", len(codes), codes)
    return transitions.apply_report(accepted, report, now=_CREATED + 60, written_by="")


def _posted() -> Mapping[str, Response]:
    throttled = send(2, Status.QUEUED, reason="throttled", recipients=250)
    return {
        "accepted": of_message(send()),
        "queued": of_message(send(status=Status.QUEUED, reason="throttled")),
        "partial": of_message(send(recipients=250), throttled),
    }


def _stored() -> Mapping[str, Response]:
    refusal = reasons.Refusal("/keyword", "keyword-not-needed", reasons.KEYWORD_NOT_NEEDED)
    return {
        "accepted": responses.of_stored(
            MessageState(MESSAGE_ID, [send(reference="order-8812")]), MESSAGE_ID
        ),
        "delivered": responses.of_stored(
            MessageState(MESSAGE_ID, [_ended(send(), {"1": 4000})]), MESSAGE_ID
        ),
        "no-recipient-had-subscribed": responses.of_stored(
            MessageState(MESSAGE_ID, [_ended(send(), {})]), MESSAGE_ID
        ),
        "partially_delivered": responses.of_stored(
            MessageState(MESSAGE_ID, [_ended(send(recipients=3), {"1": 4000, "2": 4500})]),
            MESSAGE_ID,
            {1: [RecipientResult("3c1a7b5f9d2e4680a1b2c3d4e5f60718", 4000)]},
        ),
        "unknown": responses.of_stored(
            MessageState(MESSAGE_ID, [send(status=Status.UNKNOWN, reason="read-timeout")]),
            MESSAGE_ID,
        ),
        "refused-in-the-queue": responses.of_stored(
            RefusedMessage("shop", (refusal,), _CREATED), MESSAGE_ID
        ),
    }


def _previewed() -> Mapping[str, Response]:
    document = decode(
        '{"message": "MzA6Nzg6MA", "to": ["+12125550100"], "text": "Your order is on its way.", '
        '"subscribe": true, "resubscribe": true, "keyword": "JOINSMS"}'
    )
    request, now = parse_request(document), datetime.fromtimestamp(_CREATED, UTC)
    submission = Submission(
        request,
        upstream_message_id=request.message,
        client="shop",
        segments=estimate(request.text or "", concatenated=False),
    )
    calls = build_calls(request, now)
    return {"one-send": responses.of_preview(submission, calls, warnings_of(request, now))}


POSTED, STORED, PREVIEWED = _posted(), _stored(), _previewed()
CANCELLED = {
    "cancelled": responses.of_stored(
        MessageState(MESSAGE_ID, [send(status=Status.CANCELLED, reason="cancelled", attempts=0)]),
        MESSAGE_ID,
    )
}
CURSOR = f"1800000000.25-{MESSAGE_ID}"
_MESSAGES = {MESSAGE_ID: MessageState(MESSAGE_ID, [send(reference="order-8812")])}
FOUND_MESSAGES = {
    "last-page": responses.of_found(_MESSAGES),
    "more": responses.of_found(_MESSAGES, CURSOR),
    "none": responses.of_found({}),
}
FOUND = {"found": responses.of_token(TOKEN_ID, SendKey(MESSAGE_ID, 1))}
