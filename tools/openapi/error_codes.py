"""Every code that a field can be refused with, and a request that is."""

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import NamedTuple

from smsrelay.messages.client_names import RULE
from smsrelay.messages.message_catalogue import Catalogue, CatalogueMessage
from smsrelay.messages.refusals import Refusal, RequestRefusedError
from smsrelay.messages.request import MAX_FIELDS, MAX_RECIPIENTS, CatalogueDefaults
from smsrelay.messages.strict_json import decode
from smsrelay.messages.validation import parse_request
from tools.openapi import Json

_TO = ["+12125550100"]
_QUIET = {"start": "21:00", "end": "08:00"}
_ARRIVED_AT = datetime(2026, 7, 1, tzinfo=UTC).timestamp()
_TWICE = [{"mobile": "+12125550101", "key": "a"}, {"mobile": "+12125550101", "key": "b"}]


class Code(NamedTuple):
    """`example` is a whole request as text; None: only guests or the queue have the code."""

    meaning: str
    example: str | None = None
    is_of_catalogue: bool = False
    """Whether only a relay with a message catalogue refuses it."""


def _with(**fields: object) -> str:
    return json.dumps({"message": "MzA6Nzg6MA", "to": _TO} | fields)


def _with_attributes(attributes: Mapping[str, object]) -> str:
    return _with(to=[{"mobile": "+12125550101", "key": "a", "attributes": attributes}])


def _quiet(**fields: object) -> str:
    return _with(quietHours=_QUIET | fields)


CODES: dict[str, Code] = {
    "missing": Code("A field that is required is not there.", '{"to": ["+12125550100"]}'),
    "unknown-field": Code("There is no such field.", _with(txt="a typing error")),
    "duplicate-field": Code(
        "A name stands in an object more than once.",
        '{"message": "MzA6Nzg6MA", "to": ["+12125550100"], "text": "a", "text": "b"}',
    ),
    "wrong-type": Code("The value has another type, or is null.", _with(text=None)),
    "number-out-of-range": Code(
        "`maxSegments` is not from 1 to 255, or an attribute's number is too large or too small.",
        _with_attributes({"Points": 1e99}),
    ),
    "invalid-character": Code("A NUL character, or half a surrogate pair.", _with(text="a\0b")),
    "blank": Code("The value, or an attribute's name, is blank.", _with(reference=" ")),
    "too-long": Code(
        "The value, or an attribute's name, has too many characters.", _with(reference="x" * 257)
    ),
    "too-many-fields": Code(
        f"An object has more than {MAX_FIELDS} fields. Its fields are not checked.",
        _with_attributes({str(n): "" for n in range(MAX_FIELDS + 1)}),
    ),
    "invalid-value": Code("The value is none of those that are known.", _with(onUnknown="maybe")),
    "invalid-message-id": Code(
        "`message` is neither a message id nor a name.", _with(message="../admin")
    ),
    "unknown-message": Code(
        "With a message catalogue: `message` is neither a name of it nor an encoded message id. "
        "Names that are near, and that the client may use, are named.",
        _with(message="welcom"),
        is_of_catalogue=True,
    ),
    "message-not-allowed": Code(
        "With a message catalogue: it lets other clients use this name.",
        _with(message="payroll"),
        is_of_catalogue=True,
    ),
    "no-recipients": Code("`to` is empty.", _with(to=[])),
    "too-many-recipients": Code(
        "More recipients than one request of this client may have (1,000, unless the relay's "
        "operator has chosen another number), or more than it may post in a minute. Never more "
        f"than 100 sends, or {MAX_RECIPIENTS} entries in `to`.",
        _with(to=_TO * (MAX_RECIPIENTS + 1)),
    ),
    "invalid-number": Code("No mobile number.", _with(to=["+1 212 555 CALL"])),
    "number-not-international": Code(
        "A number without `+` and country code.", _with(to=["(310) 555-0100"])
    ),
    "country-not-allowed": Code(
        "The number's country code is not in the relay's parameter `CountryCodes`, or not in "
        "`countryCodes` of the message in the catalogue.",
        _with(message="store-news"),
        is_of_catalogue=True,
    ),
    "recipient-not-allowed": Code(
        "The client is a guest (`smsrelay client add --only-to`), and this number is not one of "
        "its own."
    ),
    "incomplete-subscriber": Code(
        "A subscriber without `mobile` or `key`.", _with(to=[{"mobile": "+12125550101"}])
    ),
    "conflicting-recipients": Code(
        "One number stands there with two keys, or with other attributes.", _with(to=_TWICE)
    ),
    "blank-text": Code("`text` shows nothing.", _with(text=" ")),
    "text-missing": Code("`maxSegments` without `text`.", _with(maxSegments=1)),
    "too-many-segments": Code(
        "`text` becomes more SMS than `maxSegments` of the request, or of the message in the "
        "catalogue, allows. The characters that make it UCS-2 are named by offset and code point.",
        _with(text="It\u2019s ready. " * 6, maxSegments=1),
    ),
    "keyword-missing": Code(
        "`subscribe` or `resubscribe` is true, and `keyword` is missing or blank.",
        _with(subscribe=True),
    ),
    "keyword-not-needed": Code(
        "`keyword`, although neither `subscribe` nor `resubscribe` is true.", _with(keyword="JOIN")
    ),
    "invalid-time": Code(
        "`sendAt` or `expiresAt` is no date and time, or not in the years 2000 to 2100.",
        _with(sendAt="tomorrow"),
    ),
    "time-without-offset": Code(
        "`sendAt` or `expiresAt` has no offset from UTC.", _with(sendAt="2027-01-15T16:01:00")
    ),
    "time-in-the-past": Code(
        "`sendAt` is more than an hour before the request arrived (from the queue: before SQS "
        "received the message).",
        _with(sendAt="2020-01-15T16:01:00Z"),
    ),
    "expires-too-early": Code(
        "`expiresAt` is not after `sendAt`, or not after the request arrived (from the queue: "
        "after SQS received the message).",
        _with(expiresAt="2020-01-15T16:01:00Z"),
    ),
    "invalid-time-of-day": Code("No `HH:MM`.", _quiet(start="9 pm", timezone="UTC")),
    "zone-missing": Code("Neither `timezone` nor `utcOffset`.", _quiet()),
    "zone-ambiguous": Code(
        "Both `timezone` and `utcOffset`.", _quiet(timezone="UTC", utcOffset="+00:00")
    ),
    "empty-window": Code("`end` is `start`.", _quiet(end="21:00", timezone="UTC")),
    "unknown-timezone": Code("No time zone has this name.", _quiet(timezone="Mars/Olympus")),
    "invalid-offset": Code("No offset between -12:00 and +14:00.", _quiet(utcOffset="5")),
    "invalid-url": Code("No http or https URL.", _with(mediaUrl="ftp://images.example.com/x.jpg")),
    "invalid-idempotency-key": Code(
        "Not 1 to 255 printable ASCII characters.", _with(idempotencyKey=" ")
    ),
    "too-large": Code("A call of the upstream would be larger than the ledger takes (413)."),
    "not-json": Code("A message of the queue is not JSON."),
    "invalid-client": Code(
        f"The message attribute `client` of a message of the queue is not {RULE}."
    ),
    "topic-not-listed": Code(
        "A message of the queue comes from an SNS topic that `QueueSenderArns` does not contain."
    ),
    "key-reused": Code("The key of a message of the queue belongs to another one."),
    "not-found": Code("A message of the queue names a send that does not exist."),
}


_CATALOGUE = Catalogue(
    messages={
        "welcome": CatalogueMessage(id="MzA6Nzg6MA"),
        "payroll": CatalogueMessage(id="MzE6Nzg6MA", allowed_clients=("hr",)),
        "store-news": CatalogueMessage(id="MzI6Nzg6MA", country_codes=("44",)),
    }
)


def refusals(
    text: str,
    meaning: CatalogueDefaults | Refusal = CatalogueDefaults(),  # noqa: B008 - immutable
) -> list[Refusal]:
    """What the relay says of a request; nothing if it is a good one."""
    try:
        parse_request(decode(text), meaning, arrived_at=_ARRIVED_AT)
    except RequestRefusedError as refused:
        return list(refused.refusals)
    return []


def example(code: str) -> Json:
    """The refusal with this code, as the relay writes it; empty if there is no example."""
    text = CODES[code].example or "{}"
    found = refusals(text)
    if CODES[code].is_of_catalogue:
        found = refusals(text, _CATALOGUE.resolve(json.loads(text)["message"], "shop"))
    return next((refusal._asdict() for refusal in found if refusal.code == code), {})
