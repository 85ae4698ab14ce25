"""The JSON schema of the message catalogue, for an editor: docs/message-catalogue.schema.json."""

import json
from collections.abc import Mapping

from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from smsrelay.messages import client_names, message_catalogue
from smsrelay.messages.request import MESSAGE_ID
from tools.openapi import Json, request_schema
from tools.openapi.request_schema import GivenOrLeftOut, whole

_REF = "#/$defs/{model}"
_CLIENT: Json = {"type": "string", "pattern": whole(client_names.PATTERN)}
_ENTRY = {"$ref": _REF.format(model="CatalogueMessage")}
_ID: Json = {
    "type": "string",
    "description": "The encoded message id of MobileConnect.",
    "pattern": whole(MESSAGE_ID.pattern),
    "maxLength": 512,
    "examples": ["MzA6Nzg6MA"],
}

FIELDS: Mapping[type[BaseModel], Mapping[str, Json]] = {
    message_catalogue.Catalogue: {
        "messages": {
            "type": "object",
            "description": "Messages by their names. A string is the id of a message without other "
            "settings. A name must not look like an encoded message id.",
            "propertyNames": {"pattern": whole(message_catalogue.NAME.pattern)},
            "additionalProperties": {"oneOf": [_ID, _ENTRY]},
        },
        "clients": {
            "type": "object",
            "description": "Settings of clients, by their names.",
            "propertyNames": _CLIENT,
            "additionalProperties": {"$ref": _REF.format(model="CatalogueClient")},
        },
    },
    message_catalogue.CatalogueMessage: {
        "id": _ID,
        "keyword": {
            "description": "The default if a request has `subscribe` or `resubscribe`, but no "
            "keyword.",
            "examples": ["JOINSMS"],
        },
        "quietHours": {
            "$ref": _REF.format(model="QuietHours"),
            "description": "The default if a request has none.",
        },
        "allowedClients": {
            "description": "The only clients that may use the name. If left out, all may.",
            "minItems": 1,
            "items": _CLIENT,
            "examples": [["shop"]],
        },
        "onUnknown": {
            "description": "The default if a request has none. `resend` is for one-time passwords.",
            "examples": ["resend"],
        },
        "deliveryPolling": {
            "description": "`none`: the deliveries of this message are not polled, so `accepted` "
            "is its last status.",
            "examples": ["none"],
        },
        "countryCodes": {
            "description": "The only country calling codes that the message may be sent to. If "
            "left out, all "
            "that the relay's parameter `CountryCodes` allows.",
            "minItems": 1,
            "items": {"type": "string", "pattern": whole("[1-9][0-9]{0,2}")},
            "examples": [["1", "44"]],
        },
        "concatenate": {
            "description": "Whether Concatenate Message is on for the message in MobileConnect, so "
            "that parts of 153 or 67 characters are one text on the phone. Affects `segments`.",
            "examples": [True],
        },
        "maxSegments": {
            "description": "Refuse a `text` that needs more SMS per recipient than this.",
            "examples": [1],
        },
    },
    message_catalogue.CatalogueClient: {
        "callback": {
            "description": "The URL that receives the client's callbacks: https and a host name.",
            "format": "uri",
            "pattern": "^https://",
            "examples": ["https://shop.example.com/sms"],
        },
    },
}


def schema() -> Json:
    """Return the schema of a catalogue; `smsrelay catalogue check` also checks other rules."""
    _, found = models_json_schema(
        [(message_catalogue.Catalogue, "validation")],
        ref_template=_REF,
        schema_generator=GivenOrLeftOut,
    )
    kept: Json = {"QuietHours": request_schema.schemas()["QuietHours"]}
    for model, fields in FIELDS.items():
        described = found["$defs"][model.__name__]
        if described["properties"].keys() != fields.keys():
            raise LookupError(f"{model.__name__}: describe exactly its fields in FIELDS")
        for name, more in fields.items():
            known = {} if "$ref" in more else described["properties"][name]
            described["properties"][name] = known | more
        kept[model.__name__] = described
    whole_one = kept.pop("Catalogue")
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        **whole_one,
        "title": "The message catalogue of smsrelay",
        "$defs": kept,
    }


def text() -> str:
    """Return the text of the file."""
    return json.dumps(schema(), indent=2, ensure_ascii=False) + "\n"
