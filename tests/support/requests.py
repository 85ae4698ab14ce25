"""Builds requests in the simplified JSON, and their upstream bodies or refusals."""

import json
from datetime import UTC, datetime
from typing import Any

from smsrelay.messages.refusals import RequestRefusedError
from smsrelay.messages.request import MessageRequest
from smsrelay.messages.strict_json import decode
from smsrelay.messages.upstream_calls import build_calls
from smsrelay.messages.validation import parse_request

NOW = datetime(2026, 7, 1, 12, 0, tzinfo=UTC)
MINIMAL = {"message": "MzA6Nzg6MA", "to": ["+12125550100"]}
TOO_LARGE_TO = [
    {"mobile": f"+4477009{n:05d}", "key": "k", "attributes": {"Name": "x" * 4_000}}
    for n in range(100)
]
"""Valid recipients whose upstream call is too large for the ledger."""


def request(**fields: object) -> MessageRequest:
    """Return the minimal request with fields added or replaced."""
    return parse_request(decode(json.dumps(MINIMAL | fields)))


def body(**fields: object) -> dict[str, Any]:
    """Return the body of the request's only upstream call."""
    [call] = build_calls(request(**fields), NOW)
    parsed: dict[str, Any] = json.loads(call.body)
    return parsed


def bodies(**fields: object) -> list[dict[str, Any]]:
    return [json.loads(call.body) for call in build_calls(request(**fields), NOW)]


def refusals(text: str) -> set[tuple[str, str]]:
    """Return pointer and code of each refusal of a body; empty if the body is valid."""
    try:
        parse_request(decode(text))
    except RequestRefusedError as refused:
        return {(refusal.pointer, refusal.code) for refusal in refused.refusals}
    return set()


def refused(**fields: object) -> set[tuple[str, str]]:
    """Return pointer and code of each refusal of the minimal request with changed fields."""
    return refusals(json.dumps(MINIMAL | fields))
