"""Every code of a refused field, with an example of a refused request."""

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
    """`example` is the text of a request; None if only guests or queue messages get the code."""

    meaning: str
    example: str | None = None
    is_of_catalogue: bool = False
    """Whether only a relay with a message catalogue returns the code."""


def _with(**fields: object) -> str:
    return json.dumps({"message": "MzA6Nzg6MA", "to": _TO} | fields)


def _with_attributes(attributes: Mapping[str, object]) -> str:
    return _with(to=[{"mobile": "+12125550101", "key": "a", "attributes": attributes}])


def _quiet(**fields: object) -> str:
    return _with(quietHours=_QUIET | fields)


CODES: dict[str, Code] = {
    "missing": Code("A required field is missing.", '{"to": ["+12125550100"]}'),
    "unknown-field": Code("The field is unknown.", _with(txt="a typing error")),
    "duplicate-field": Code(
        "An object has a name more than once.",
        '{"message": "MzA6Nzg6MA", "to": ["+12125550100"], "text": "a", "text": "b"}',
    ),
    "wrong-type": Code("The value has another type, or is null.", _with(text=None)),
    "number-out-of-range": Code(
        "`maxSegments` is not from 1 to 255, or a number in an attribute is too large or small.",
        _with_attributes({"Points": 1e99}),
    ),
    "invalid-character": Code("A NUL character, or an unpaired surrogate.", _with(text="a\0b")),
    "blank": Code("The value, or an attribute's name, is blank.", _with(reference=" ")),
    "too-long": Code(
        "The value, or an attribute's name, has too many characters.", _with(reference="x" * 257)
    ),
    "too-many-fields": Code(
        f"An object has more than {MAX_FIELDS} fields. Its fields are not checked.",
        _with_attributes({str(n): "" for n in range(MAX_FIELDS + 1)}),
    ),
    "invalid-value": Code("The value is not one of the allowed values.", _with(onUnknown="maybe")),
    "invalid-message-id": Code(
        "`message` is neither a message id nor a name.", _with(message="../admin")
    ),
    "unknown-message": Code(
        "With a message catalogue: `message` is neither a name in it nor an encoded message id. "
        "The detail lists similar names that the client may use.",
        _with(message="welcom"),
        is_of_catalogue=True,
    ),
    "message-not-allowed": Code(
        "With a message catalogue: only other clients may use this name.",
        _with(message="payroll"),
        is_of_catalogue=True,
    ),
    "no-recipients": Code("`to` is empty.", _with(to=[])),
    "too-many-recipients": Code(
        "More recipients than a request of this client may have (1,000, unless the relay's "
        "operator has set another limit), or than the client may post in a minute. The maximum "
        f"is 100 sends, and {MAX_RECIPIENTS} entries in `to`.",
        _with(to=_TO * (MAX_RECIPIENTS + 1)),
    ),
    "invalid-number": Code("The value is not a mobile number.", _with(to=["+1 212 555 CALL"])),
    "number-not-international": Code(
        "The number has no `+` and country code.", _with(to=["(310) 555-0100"])
    ),
    "country-not-allowed": Code(
        "The number's country code is not in the relay's parameter `CountryCodes`, or not in "
        "`countryCodes` of the message in the catalogue.",
        _with(message="store-news"),
        is_of_catalogue=True,
    ),
    "recipient-not-allowed": Code(
        "The client is a guest (`smsrelay client add --only-to`), which may not send to this "
        "number."
    ),
    "incomplete-subscriber": Code(
        "The subscriber has no `mobile` or no `key`.", _with(to=[{"mobile": "+12125550101"}])
    ),
    "conflicting-recipients": Code(
        "A number occurs with two keys, or with different attributes.", _with(to=_TWICE)
    ),
    "blank-text": Code("`text` has no visible character.", _with(text=" ")),
    "text-missing": Code("The request has `maxSegments`, but no `text`.", _with(maxSegments=1)),
    "too-many-segments": Code(
        "`text` needs more SMS than `maxSegments` of the request, or of the message in the "
        "catalogue, allows. The detail lists signs that require UCS-2, such as typographic quotes, "
        "by offset and code point, and counts the other characters that require it.",
        _with(text="It\u2019s ready. " * 6, maxSegments=1),
    ),
    "keyword-missing": Code(
        "`subscribe` or `resubscribe` is true, and `keyword` is missing or blank.",
        _with(subscribe=True),
    ),
    "keyword-not-needed": Code(
        "The request has a `keyword`, but neither `subscribe` nor `resubscribe` is true.",
        _with(keyword="JOIN"),
    ),
    "invalid-time": Code(
        "`sendAt` or `expiresAt` is not a date and time in the years 2000 to 2100.",
        _with(sendAt="tomorrow"),
    ),
    "time-without-offset": Code(
        "`sendAt` or `expiresAt` has no offset from UTC.", _with(sendAt="2027-01-15T16:01:00")
    ),
    "time-in-the-past": Code(
        "`sendAt` is more than an hour before the relay received the request (or SQS the queue "
        "message).",
        _with(sendAt="2020-01-15T16:01:00Z"),
    ),
    "expires-too-early": Code(
        "`expiresAt` is not after `sendAt`, or not after the relay received the request (or SQS "
        "the queue message).",
        _with(expiresAt="2020-01-15T16:01:00Z"),
    ),
    "invalid-time-of-day": Code(
        "The value is not a time such as `21:00`.", _quiet(start="9 pm", timezone="UTC")
    ),
    "zone-missing": Code("There is neither `timezone` nor `utcOffset`.", _quiet()),
    "zone-ambiguous": Code(
        "There are both `timezone` and `utcOffset`.", _quiet(timezone="UTC", utcOffset="+00:00")
    ),
    "empty-window": Code("`end` is the same as `start`.", _quiet(end="21:00", timezone="UTC")),
    "unknown-timezone": Code("No time zone has this name.", _quiet(timezone="Mars/Olympus")),
    "invalid-offset": Code(
        "The value is not an offset from -12:00 to +14:00.", _quiet(utcOffset="5")
    ),
    "invalid-url": Code(
        "The value is not an http or https URL.", _with(mediaUrl="ftp://images.example.com/x.jpg")
    ),
    "invalid-idempotency-key": Code(
        "The key does not have 1 to 255 printable ASCII characters.", _with(idempotencyKey=" ")
    ),
    "too-large": Code("A call of the upstream would be too large for the ledger (413)."),
    "not-json": Code("A queue message is not JSON."),
    "invalid-client": Code(f"The message attribute `client` of a queue message is not {RULE}."),
    "topic-not-listed": Code(
        "A queue message comes from an SNS topic that `QueueSenderArns` does not contain."
    ),
    "key-reused": Code("The key of a queue message belongs to another message."),
    "not-found": Code("A queue message refers to a send that does not exist."),
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
    defaults: CatalogueDefaults = CatalogueDefaults(),  # noqa: B008 - immutable
) -> list[Refusal]:
    """Return the refusals of a request; empty if it is valid."""
    try:
        parse_request(decode(text), defaults, arrived_at=_ARRIVED_AT)
    except RequestRefusedError as refused:
        return list(refused.refusals)
    return []


def example(code: str) -> Json:
    """Return the relay's refusal with this code; empty if there is no example."""
    text = CODES[code].example or "{}"
    found = refusals(text)
    if CODES[code].is_of_catalogue:
        found = refusals(text, _CATALOGUE.resolve(json.loads(text)["message"], "shop"))
    return next((refusal._asdict() for refusal in found if refusal.code == code), {})
