"""The schema of the simplified JSON: the model's fields, and what its validators check besides."""

from collections.abc import Mapping

from pydantic import BaseModel
from pydantic.json_schema import GenerateJsonSchema, JsonSchemaValue, models_json_schema
from pydantic_core import core_schema

from smsrelay.messages import request, times
from smsrelay.messages.phone_numbers import MAX_DIGITS, MIN_DIGITS
from smsrelay.messages.request import MAX_RECIPIENTS, MAX_SENDS, RECIPIENTS_PER_SEND
from tools.openapi import Json

REF = "#/components/schemas/{model}"


class GivenOrLeftOut(GenerateJsonSchema):
    """A field without a value is left out; the models' None is never written."""

    def nullable_schema(self, schema: core_schema.NullableSchema) -> JsonSchemaValue:
        return self.generate_inner(schema["schema"])

    def default_schema(self, schema: core_schema.WithDefaultSchema) -> JsonSchemaValue:
        if schema.get("default") is None:
            return self.generate_inner(schema["schema"])
        return super().default_schema(schema)

    def field_title_should_be_set(self, schema: object) -> bool:
        _ = schema
        return False


def whole(pattern: str) -> str:
    """A pattern that the whole value has to match; JSON Schema looks for it anywhere."""
    return f"^(?:{pattern})$"


_OFFSET = r"\+(?:0[0-9]|1[0-3]):[0-5][0-9]|\+14:00|-(?:0[0-9]|1[01]):[0-5][0-9]|-12:00"
_MOMENT = (
    r"(?:20[0-9]{2}|2100)-(?:0[1-9]|1[0-2])-(?:0[1-9]|[12][0-9]|3[01])"
    r"[Tt](?:[01][0-9]|2[0-3]):[0-5][0-9](?::[0-5][0-9](?:\.[0-9]{1,9})?)?"
    rf"(?:[Zz]|{_OFFSET})"
)
_SEPARATOR = "[ .()-]*"
_MOBILE = rf"\+?{_SEPARATOR}(?:[0-9]{_SEPARATOR}){{{MIN_DIGITS},{MAX_DIGITS}}}"
_USER, _HOST = r"[^\s/?#@\[\]]*@", r"[^\s/?#@:\[\]]+|\[[0-9A-Fa-f:.]+\]"
_URL = rf"[Hh][Tt][Tt][Pp][Ss]?://(?:{_USER})?(?:{_HOST})(?::[0-9]{{0,5}})?(?:[/?#]\S*)?"
_SHOWN = r"[^\s\u0000\u001c-\u001f\u0085\u200b-\u200d\u2060\ufeff]"
_NOT_BLANK = r"[^\s\u001c-\u001f\u0085]|\ufeff"  # blank is what Python strips

MOBILE: Json = {
    "type": "string",
    "description": "A mobile number in E.164 notation, country code included, with or without `+`, "
    "spaces, dots, brackets and hyphens: 8 to 15 digits, of a length that exists for the country "
    "code.",
    "pattern": whole(_MOBILE),
    "examples": ["+1 212 555 0100", "12125550101", "1 (212) 555-0102"],
}
KEY = (
    "A repetition under the same key is answered again and not sent again. 1 to 255 printable "
    "ASCII characters, without spaces at the ends, with or without double quotes around them: "
    '`"k"` (the IETF draft) and `k` are the same key. A key counts for one client, for as long as '
    "the send is stored. HTTP and the queue share a client's keys if the queue message names the "
    "client."
)
_BARE_KEY = r'[!#-~](?:[ -~]{0,253}[!-~])?|"(?:[ -~]{0,253}[!#-~])?'
_QUOTED_KEY = r'"[!-~](?:[ -~]{0,253}[!-~])?"'
KEY_PATTERN = whole(f"{_BARE_KEY}|{_QUOTED_KEY}")
_MOBILE_REF = {"$ref": REF.format(model="MobileNumber")}

FIELDS: Mapping[type[BaseModel], Mapping[str, Json]] = {
    request.MessageRequest: {
        "message": {
            "description": "The encoded message id of MobileConnect, or a name of the "
            "deployment's message catalogue, if it has one. A name can bring a `keyword`, "
            "`quietHours` and `onUnknown` along for requests that leave these out.",
            "pattern": whole(request.MESSAGE_ID.pattern),
            "examples": ["MzA6Nzg6MA", "welcome"],
        },
        "to": {
            "description": "The recipients: numbers, subscribers, or both. Identical entries "
            "become one; entries of one number that differ are refused. They are split into sends "
            f"of one kind with at most {RECIPIENTS_PER_SEND} recipients each, and at most "
            f"{MAX_SENDS} sends.",
            "maxItems": MAX_RECIPIENTS,
            "items": {"oneOf": [_MOBILE_REF, {"$ref": REF.format(model="Subscriber")}]},
            "examples": [["+1 212 555 0100", {"mobile": "12125550101", "key": "ExampleSubKey1"}]],
        },
        "text": {
            "description": "The text to send instead of the message's own. Not blank.",
            "pattern": _SHOWN,
            "examples": ["Your order 8812 is on its way."],
        },
        "subscribe": {
            "description": "Make a subscription to `keyword` for who has none.",
            "examples": [True],
        },
        "resubscribe": {
            "description": "Renew the subscription to `keyword` of who has unsubscribed.",
            "examples": [True],
        },
        "keyword": {
            "description": "A keyword of the message's code. Needed when `subscribe` or "
            "`resubscribe` is true, refused when neither is.",
            "pattern": _NOT_BLANK,
            "examples": ["JOINSMS"],
        },
        "sendAt": {
            "description": "When to send: ISO 8601 with an offset from UTC, in the years "
            f"{times.FIRST_YEAR} to {times.LAST_YEAR}. Seconds may be left out, and are "
            "dropped. A time that has passed means now.",
            "pattern": whole(_MOMENT),
            "examples": ["2027-01-15T16:01:00-05:00", "2027-01-15T21:01Z"],
        },
        "quietHours": {
            "description": "Hours without delivery: what falls into them waits for their end.",
            "examples": [{"start": "21:00", "end": "08:00", "timezone": "America/Chicago"}],
        },
        "mediaUrl": {
            "description": "The picture or other media of an MMS: an http or https URL.",
            "pattern": whole(_URL),
            "examples": ["https://images.example.com/welcome.jpg"],
        },
        "reference": {
            "description": "The caller's own, stored and never sent. Not blank.",
            "pattern": _NOT_BLANK,
            "examples": ["order-8812"],
        },
        "onUnknown": {
            "description": "What to do when nobody can know whether a send went out. `hold`: never "
            "send it again by itself. `resend`: send it again, so that it arrives at least once (a "
            "one-time password).",
            "examples": ["hold", "resend"],
        },
        "idempotencyKey": {
            "description": f"{KEY} The header `Idempotency-Key` comes first.",
            "pattern": KEY_PATTERN,
            "examples": ["order-8812-shipped"],
        },
    },
    request.Subscriber: {
        "mobile": _MOBILE_REF,
        "key": {
            "description": "The SubscriberKey of the contact. Not blank.",
            "pattern": _NOT_BLANK,
            "examples": ["ExampleSubKey1"],
        },
        "attributes": {
            "description": "Strings for personalisation. Numbers are sent as they are written "
            f"(fractions between 1e-{request.MAX_EXPONENT} and 1e{request.MAX_EXPONENT}), booleans "
            "as `true` and `false`.",
            "additionalProperties": {"type": ["string", "number", "boolean"]},
            "examples": [{"FirstName": "Michael", "Points": 1250, "Member": True}],
        },
    },
    request.QuietHours: {
        "start": {
            "description": "`HH:MM`, from 00:00 to 23:59.",
            "pattern": whole(times.TIME_OF_DAY.pattern),
            "examples": ["21:00"],
        },
        "end": {
            "description": "`HH:MM`; not the same as `start`. An earlier one is on the next day.",
            "pattern": whole(times.TIME_OF_DAY.pattern),
            "examples": ["08:00"],
        },
        "timezone": {
            "description": "A name of the IANA time zone database. Its offset is the one in force "
            "at the time of sending, daylight saving time included.",
            "pattern": whole(times.ZONE.pattern),
            "examples": ["America/Chicago"],
        },
        "utcOffset": {
            "description": "From -12:00 to +14:00.",
            "pattern": whole(_OFFSET),
            "examples": ["-05:00"],
        },
    },
}

_FLAG_IS_SET = [
    {"properties": {flag: {"const": True}}, "required": [flag]}
    for flag in ("subscribe", "resubscribe")
]
RULES: Mapping[type[BaseModel], Json] = {
    request.MessageRequest: {
        "if": {"anyOf": _FLAG_IS_SET},
        "then": {"required": ["keyword"]},
        "else": {"properties": {"keyword": False}},
    },
    request.QuietHours: {"oneOf": [{"required": ["timezone"]}, {"required": ["utcOffset"]}]},
}
"""The rules between fields."""


def schemas() -> Json:
    """The components that a request is made of."""
    _, found = models_json_schema(
        [(request.MessageRequest, "validation")],
        ref_template=REF,
        schema_generator=GivenOrLeftOut,
    )
    components: Json = {}
    for model, fields in FIELDS.items():
        schema = found["$defs"][model.__name__]
        if schema["properties"].keys() != fields.keys():
            raise LookupError(f"{model.__name__}: describe exactly its fields in FIELDS")
        # What the model calls a datetime is read with or without seconds, which date-time asks for.
        schema["properties"].get("sendAt", {}).pop("format", None)
        for name, more in fields.items():
            known = {} if "$ref" in more else schema["properties"][name]
            schema["properties"][name] = known | more
        components[model.__name__] = schema | RULES.get(model, {})
    return components | {"MobileNumber": MOBILE}
