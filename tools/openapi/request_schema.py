"""The schema of a request: the models, the patterns of their validators, and their rules."""

from collections.abc import Callable, Mapping
from typing import Any

from pydantic import BaseModel
from pydantic.json_schema import GenerateJsonSchema, JsonSchemaValue, models_json_schema
from pydantic_core import core_schema

from smsrelay.messages import request, times
from smsrelay.messages.phone_numbers import MAX_DIGITS, MIN_DIGITS, normalize
from tools.openapi import Json

REF = "#/components/schemas/{model}"


def whole(pattern: str) -> str:
    """Anchor a pattern, because JSON Schema would match it anywhere in the value."""
    return f"^(?:{pattern})$"


_OFFSET = r"\+(?:0[0-9]|1[0-3]):[0-5][0-9]|\+14:00|-(?:0[0-9]|1[01]):[0-5][0-9]|-12:00"
_MOMENT = (
    r"(?:20[0-9]{2}|2100)-(?:0[1-9]|1[0-2])-(?:0[1-9]|[12][0-9]|3[01])"
    r"[Tt](?:[01][0-9]|2[0-3]):[0-5][0-9](?::[0-5][0-9](?:\.[0-9]{1,9})?)?"
    rf"(?:[Zz]|{_OFFSET})"
)
_SEPARATOR = "[ .()-]*"
_MOBILE = rf"\+{_SEPARATOR}(?:[0-9]{_SEPARATOR}){{{MIN_DIGITS},{MAX_DIGITS}}}"
_USER, _HOST = r"[^\s/?#@\[\]]*@", r"[^\s/?#@:\[\]]+|\[[0-9A-Fa-f:.]+\]"
_URL = rf"[Hh][Tt][Tt][Pp][Ss]?://(?:{_USER})?(?:{_HOST})(?::[0-9]{{0,5}})?(?:[/?#]\S*)?"
_SHOWN = r"[^\s\u0000\u001c-\u001f\u0085\u200b-\u200d\u2060\ufeff]"
_NOT_BLANK = r"[^\s\u001c-\u001f\u0085]|\ufeff"  # blank characters are those that Python strips

_BARE_KEY = r'[!#-~](?:[ -~]{0,253}[!-~])?|"(?:[ -~]{0,253}[!#-~])?'
_QUOTED_KEY = r'"[!-~](?:[ -~]{0,253}[!-~])?"'
KEY_PATTERN = whole(f"{_BARE_KEY}|{_QUOTED_KEY}")

PATTERNS: Mapping[Callable[..., object], str] = {
    normalize: whole(_MOBILE),
    request.validate_key: KEY_PATTERN,
    request.validate_keyword: _NOT_BLANK,
    request.validate_message: whole(request.MESSAGE_ID.pattern),
    request.validate_reference: _NOT_BLANK,
    request.validate_subscriber_key: _NOT_BLANK,
    request.validate_text: _SHOWN,
    request.validate_time: whole(_MOMENT),
    request.validate_url: whole(_URL),
    times.validate_time_of_day: whole(times.TIME_OF_DAY.pattern),
    times.validate_timezone: whole(times.ZONE.pattern),
    times.validate_utc_offset: whole(_OFFSET),
}
"""The regular expression of each validator, for the schemas of its fields."""


class GivenOrLeftOut(GenerateJsonSchema):
    """Generates schemas without null, because a field without a value is left out."""

    def nullable_schema(self, schema: core_schema.NullableSchema) -> JsonSchemaValue:
        return self.generate_inner(schema["schema"])

    def default_schema(self, schema: core_schema.WithDefaultSchema) -> JsonSchemaValue:
        if schema.get("default") is None:
            return self.generate_inner(schema["schema"])
        return super().default_schema(schema)

    def function_before_schema(
        self, schema: core_schema.BeforeValidatorFunctionSchema
    ) -> JsonSchemaValue:
        return _with_pattern(super().function_before_schema(schema), schema["function"])

    def function_after_schema(
        self, schema: core_schema.AfterValidatorFunctionSchema
    ) -> JsonSchemaValue:
        return _with_pattern(super().function_after_schema(schema), schema["function"])

    def field_title_should_be_set(self, schema: object) -> bool:
        _ = schema
        return False


def _with_pattern(found: JsonSchemaValue, validator: Mapping[str, Any]) -> JsonSchemaValue:
    pattern = PATTERNS.get(validator["function"])
    return found | {"pattern": pattern} if pattern else found


# Redocly's linter assumes that a schema is closed unless it says otherwise, also in a rule.
_OPEN: Json = {"additionalProperties": True}
_FLAG_IS_SET = [
    {"properties": {flag: {"const": True}}, "required": [flag], **_OPEN}
    for flag in ("subscribe", "resubscribe")
]
RULES: Mapping[type[BaseModel], Json] = {
    request.MessageRequest: {
        "if": {"anyOf": _FLAG_IS_SET},
        "then": {"properties": {"keyword": True}, "required": ["keyword"], **_OPEN},
        "else": {"properties": {"keyword": False}, **_OPEN},
        "dependentRequired": {"maxSegments": ["text"]},
    },
    request.QuietHours: {"oneOf": [{"required": ["timezone"]}, {"required": ["utcOffset"]}]},
}
"""Rules for several fields."""


def schemas() -> Json:
    """Return the schemas of a request and its parts."""
    _, found = models_json_schema(
        [(request.MessageRequest, "validation")],
        ref_template=REF,
        schema_generator=GivenOrLeftOut,
    )
    components: Json = found["$defs"]
    for model, rules in RULES.items():
        components[model.__name__] |= rules
    return components
