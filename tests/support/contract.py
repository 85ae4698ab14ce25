"""Checks responses against the served OpenAPI document."""

import copy
import json
import re
from collections.abc import Callable, Mapping
from functools import cache
from typing import Any, Protocol
from urllib.parse import quote

import jsonschema_rs
import requests
import schemathesis
from hypothesis import strategies as st
from schemathesis.specs.openapi.checks import (
    positive_data_acceptance,
    unsupported_method,
)

from tests.support.template import ROOT

Json = dict[str, Any]

FILE = ROOT / "functions/api/openapi.json"
BEYOND = frozenset(
    (
        "conflicting-recipients",
        "country-not-allowed",
        "duplicate-field",
        "empty-window",
        "expires-too-early",
        "invalid-character",
        "invalid-number",
        "invalid-time",
        "invalid-url",
        "message-not-allowed",
        "number-out-of-range",
        "time-in-the-past",
        "too-many-segments",
        "unknown-message",
        "unknown-timezone",
    )
)
"""Codes of requests that are refused although they fit the schema, which can't state the rule.

Examples: names that are not in the catalogue, numbers of a wrong length for their country or of a
country that is not allowed, 30 February, yesterday, the port 99999, 1e31.
"""


@cache
def document() -> Json:
    """The committed document; tests/unit/test_openapi_document.py checks that it is current."""
    parsed: Json = json.loads(FILE.read_text())
    return parsed


@cache
def closed() -> Json:
    """The document, changed so that objects have only the members that it names."""
    closing = copy.deepcopy(document())
    for schema in closing["components"]["schemas"].values():
        if schema.get("type") == "object":
            schema.setdefault("additionalProperties", False)
    return closing


@cache
def validator(reference: str) -> jsonschema_rs.Validator:
    """A validator for the schema at a JSON Pointer into the closed document."""
    return jsonschema_rs.validator_for(
        {**closed(), "$ref": f"#{quote(reference)}"}, validate_formats=True
    )


def operation_of(method: str, path: str) -> tuple[str, Json] | None:
    """Return the path template and the operation of a request, or None if there is none."""
    for template, item in document()["paths"].items():
        pattern = re.sub(r"\\\{\w+\\\}", "[^/]+", re.escape(template))
        if re.fullmatch(pattern, path) and method.lower() in item:
            return template, item[method.lower()]
    return None


def assert_conforms(
    method: str, path: str, status: int, headers: Mapping[str, str], body: object
) -> None:
    """Check that a response conforms to the document."""
    found = operation_of(method, path)
    if found is None:
        assert status == 404
        return
    template, operation = found
    assert str(status) in operation["responses"], f"{status} is not documented"
    response = operation["responses"][str(status)]
    sent = {name.lower(): value for name, value in headers.items()}
    media_type = sent["content-type"].partition(";")[0]
    assert media_type in response["content"]
    steps = ("paths", template, method.lower(), "responses", str(status), "content", media_type)
    escaped = (step.replace("~", "~0").replace("/", "~1") for step in (*steps, "schema"))
    validator("/" + "/".join(escaped)).validate(body)
    described = response.get("headers", {})
    for name, it in described.items():
        if it.get("required") or name.lower() in sent:
            jsonschema_rs.validate(it["schema"], sent[name.lower()])


class Checked(Protocol):
    """The parts of a generated case that the tests use."""

    meta: Any
    method: Any
    operation: Any
    path_parameters: Any

    def call_and_validate(self, **options: Any) -> requests.Response: ...


def fuzzed() -> Any:
    """The document for schemathesis, which generates valid and invalid requests from it.

    The copy has formats for some strings, so that many generated requests are valid.
    """
    copied = copy.deepcopy(closed())
    for name, (field, strategy) in _LIKELY.items():
        schemathesis.openapi.format(name, strategy)
        field(copied["components"]["schemas"])["format"] = name
    settings: Json = {
        "generation": {
            "deterministic": True,
            "database": "none",
            "allow-x00": False,  # the schemas don't say that NUL is refused; other tests cover it
            "with-security-parameters": False,  # the test passes the key
        },
        "checks": {"negative_data_rejection": {"expected-statuses": _REFUSED}},
        "phases": {"stateful": {"enabled": False}},
    }
    config = schemathesis.Config.from_dict(settings)
    return schemathesis.openapi.from_dict(copied, config=config)


_REFUSED = ["400", "401", "404", "409", "413", "415", "422"]
_LIKELY: Mapping[str, tuple[Callable[[Json], Json], st.SearchStrategy[str]]] = {
    "mobile-number": (
        lambda schemas: schemas["MobileNumber"],
        st.from_regex(r"\+1[ .-]?\(?[2-8][1-8]2[ )-]?555[ .-]?01[0-9]{2}", fullmatch=True),
    ),
    "message-id": (
        lambda schemas: schemas["MessageRequest"]["properties"]["message"],
        st.sampled_from(["MzA6Nzg6MA", "MzA6Nzg6MA=="]),
    ),
    "web-address": (
        lambda schemas: schemas["MessageRequest"]["properties"]["mediaUrl"],
        st.from_regex(r"https?://[a-z.]+[a-z](:[0-9]{2,4})?(/[!-~]*)?", fullmatch=True),
    ),
    "keyword-of-a-code": (
        lambda schemas: schemas["MessageRequest"]["properties"]["keyword"],
        st.from_regex(r"[A-Z]{3,12}", fullmatch=True),
    ),
    "time-zone": (
        lambda schemas: schemas["QuietHours"]["properties"]["timezone"],
        st.sampled_from(["America/Chicago", "Asia/Kolkata", "UTC"]),
    ),
}


def good_is_accepted(_: object, response: Any, case: Any) -> None:
    """A request that fits the schema is refused only for a rule beyond it, or by the upstream."""
    if case.meta is None or not case.meta.generation.mode.is_positive:
        return
    if (case.method, case.operation.path) != ("POST", "/messages") or response.status_code == 202:
        return
    answer = response.json()
    if answer["code"] == "invalid-request":
        codes = {entry["code"] for entry in answer["errors"]}
        assert codes <= BEYOND, answer
    else:
        assert answer["code"] in {"upstream-refused", "invalid-header", "idempotency-key-reused"}


def nothing_is_left_out(_: object, response: Any, case: Any) -> None:
    """A response has only members that the document names; schemathesis does not check this."""
    if response.headers["content-type"][0].startswith("text/html"):
        return
    headers = {name: values[0] for name, values in response.headers.items()}
    if operation_of(case.method, case.operation.path):
        assert_conforms(
            case.method, case.operation.path, response.status_code, headers, response.json()
        )


CHECKS = [good_is_accepted, nothing_is_left_out]
EXCLUDED = [
    positive_data_acceptance,  # good_is_accepted also knows the rules beyond the schema
    unsupported_method,  # API Gateway responds 404, as for an unknown path
]
