"""The JSON schema of the events: docs/event.schema.json."""

import json

from pydantic.json_schema import models_json_schema

from smsrelay.client import Event
from tools.openapi import Json
from tools.openapi.request_schema import GivenOrLeftOut

_REF = "#/$defs/{model}"


def schema() -> Json:
    """Return the schema of a callback's body; on the bus, `data` is the detail."""
    _, found = models_json_schema(
        [(Event, "validation")], ref_template=_REF, schema_generator=GivenOrLeftOut
    )
    kept = found["$defs"]
    whole_one = kept.pop("Event")
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        **whole_one,
        "title": "An event of smsrelay",
        "$defs": kept,
    }


def text() -> str:
    """Return the text of the file."""
    return json.dumps(schema(), indent=2, ensure_ascii=False) + "\n"
