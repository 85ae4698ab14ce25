"""The served OpenAPI document, held against what is answered."""

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
"""What no schema can say, or not without a table: refused although it fits the schema.

Names that are not in the catalogue, numbers whose country has no number of their length or that
the relay may not send to, 30 February, yesterday, a port of 99999, 1e31.
"""


@cache
def document() -> Json:
    """The committed document; tests/unit/test_openapi_document.py checks that it is current."""
    parsed: Json = json.loads(FILE.read_text())
    return parsed


@cache
def closed() -> Json:
    """The document without room for members that it does not name."""
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
    """The operation that answers a request, and its template; None if there is none."""
    for template, item in document()["paths"].items():
        pattern = re.sub(r"\\\{\w+\\\}", "[^/]+", re.escape(template))
        if re.fullmatch(pattern, path) and method.lower() in item:
            return template, item[method.lower()]
    return None


def assert_conforms(
    method: str, path: str, status: int, headers: Mapping[str, str], body: object
) -> None:
    """An answer is what the document says of it."""
    found = operation_of(method, path)
    if found is None:
        assert status == 404
        return
    template, operation = found
    assert str(status) in operation["responses"], f"{status} is not documented"
    response = operation["responses"][str(status)]
    given = {name.lower(): value for name, value in headers.items()}
    media_type = given["content-type"].partition(";")[0]
    assert media_type in response["content"]
    steps = ("paths", template, method.lower(), "responses", str(status), "content", media_type)
    escaped = (step.replace("~", "~0").replace("/", "~1") for step in (*steps, "schema"))
    validator("/" + "/".join(escaped)).validate(body)
    described = response.get("headers", {})
    for name, it in described.items():
        if it.get("required") or name.lower() in given:
            jsonschema_rs.validate(it["schema"], given[name.lower()])


class Checked(Protocol):
    """What is used of a generated case."""

    meta: Any
    method: Any
    operation: Any
    path_parameters: Any

    def call_and_validate(self, **options: Any) -> requests.Response: ...


def fuzzed() -> Any:
    """The document for schemathesis, which makes good and bad requests of it.

    The copy says of some strings what good ones look like, so that many requests are good ones.
    """
    copied = copy.deepcopy(closed())
    for name, (field, strategy) in _LIKELY.items():
        schemathesis.openapi.format(name, strategy)
        field(copied["components"]["schemas"])["format"] = name
    settings: Json = {
        "generation": {
            "deterministic": True,
            "database": "none",
            "allow-x00": False,  # no schema says that NUL is refused; other tests do
            "with-security-parameters": False,  # the caller gives the key
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
    """What fits the schema is refused only for what no schema says, or by the upstream."""
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
    """The answer has no member that the document does not name; schemathesis lets them pass."""
    if response.headers["content-type"][0].startswith("text/html"):
        return
    told = {name: values[0] for name, values in response.headers.items()}
    if operation_of(case.method, case.operation.path):
        assert_conforms(
            case.method, case.operation.path, response.status_code, told, response.json()
        )


CHECKS = [good_is_accepted, nothing_is_left_out]
EXCLUDED = [
    positive_data_acceptance,  # good_is_accepted knows what no schema can say
    unsupported_method,  # API Gateway answers 404: it can't tell it from an unknown path
]
