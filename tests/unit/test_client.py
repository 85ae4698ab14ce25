"""Tests that the relay accepts what the client library builds. Also runs under Python 3.11."""

import json
from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from smsrelay.client import (
    MessageRequest,
    QuietHours,
    RequestRefusedError,
    Subscriber,
    body_of,
    parse_request,
)
from smsrelay.messages import strict_json

SAMPLES = sorted(
    path
    for path in (Path(__file__).parents[2] / "events/messages").glob("*.json")
    if not path.stem.startswith("refused-")
)
ID, NUMBER = "MzA6Nzg6MA", "+1 212 555 0100"


@pytest.mark.parametrize("path", SAMPLES, ids=lambda path: path.stem)
def test_a_written_request_is_parsed_to_the_same_request(path: Path) -> None:
    request = parse_request(path.read_text())
    again = parse_request(body_of(request))
    assert again == request
    for text in (
        request.model_dump_json(by_alias=True, exclude_none=True),
        request.model_dump_json(by_alias=True, exclude_defaults=True),
    ):
        assert parse_request(text) == request


def test_a_request_is_built_by_the_names_of_python() -> None:
    request = MessageRequest(
        message=ID,
        to=[NUMBER, Subscriber(mobile="+12125550101", key="k", attributes={"Share": 0.5, "N": 7})],  # type: ignore[dict-item] # numbers become strings
        subscribe=True,
        keyword="JOINSMS",
        send_at=datetime(2027, 1, 15, 16, 1, tzinfo=timezone(timedelta(hours=-5))),
        quiet_hours=QuietHours(start="21:00", end="08:00", utc_offset="-05:00"),
        media_url="https://images.example.com/welcome.jpg",
        on_unknown="resend",
        idempotency_key="order-8812",
    )
    body = json.loads(body_of(request))
    assert body == {
        "message": ID,
        "to": [
            "+12125550100",
            {"mobile": "+12125550101", "key": "k", "attributes": {"Share": "0.5", "N": "7"}},
        ],
        "subscribe": True,
        "keyword": "JOINSMS",
        "sendAt": "2027-01-15T21:01:00Z",
        "quietHours": {"start": "21:00", "end": "08:00", "utcOffset": "-05:00"},
        "mediaUrl": "https://images.example.com/welcome.jpg",
        "onUnknown": "resend",
        "idempotencyKey": "order-8812",
    }


@pytest.mark.parametrize(
    ("fields", "code"),
    [
        ({"to": ["212-555-CALL"]}, "invalid-number"),
        ({"send_at": datetime(2027, 1, 15, 16, 1)}, "time-without-offset"),  # noqa: DTZ001 - the case tests it
        ({"send_at": datetime(1999, 1, 1, tzinfo=UTC)}, "invalid-time"),
        ({"text": " "}, "blank-text"),
    ],
)
def test_an_invalid_field_is_refused_when_it_is_set(fields: dict[str, Any], code: str) -> None:
    with pytest.raises(ValidationError) as caught:
        MessageRequest(**({"message": ID, "to": [NUMBER]} | fields))
    assert [error["type"] for error in caught.value.errors()] == [code]


@pytest.mark.parametrize("share", [float("nan"), float("inf"), 1e99])
def test_an_attribute_is_a_number_that_can_be_written(share: float) -> None:
    with pytest.raises(ValidationError):
        Subscriber(mobile=NUMBER, key="k", attributes={"Share": share})  # type: ignore[dict-item] # tests it


def test_the_rules_between_fields_are_checked_before_it_is_posted() -> None:
    quiet = QuietHours(start="21:00", end="21:00")
    request = MessageRequest(message=ID, to=[NUMBER], subscribe=True, quiet_hours=quiet)
    with pytest.raises(RequestRefusedError) as caught:
        body_of(request)
    codes = {refusal.code for refusal in caught.value.refusals}
    assert codes == {"keyword-missing", "zone-missing", "empty-window"}


def test_a_name_can_have_a_keyword_in_the_catalogue() -> None:
    request = parse_request({"message": "order-shipped", "to": [NUMBER], "subscribe": True})
    assert request.keyword is None
    assert json.loads(body_of(request)) == {
        "message": "order-shipped",
        "to": ["+12125550100"],
        "subscribe": True,
    }
    with pytest.raises(RequestRefusedError, match="keyword-missing"):
        parse_request({"message": ID, "to": [NUMBER], "subscribe": True})


@pytest.mark.parametrize(
    "text",
    [f"{'a' * 100} {'b' * 100} {'c' * 100}", f"{'a' * 159} {'b' * 160}"],
    ids=["two SMS with concatenation", "two SMS without it"],
)
def test_a_name_can_have_concatenation_in_the_catalogue(text: str) -> None:
    request = MessageRequest(message="order-shipped", to=[NUMBER], text=text, max_segments=2)
    assert parse_request(body_of(request)) == request


def test_a_text_that_is_too_long_with_and_without_concatenation_is_refused() -> None:
    request = MessageRequest(message="order-shipped", to=[NUMBER], text="a" * 321, max_segments=2)
    with pytest.raises(RequestRefusedError, match="too-many-segments"):
        body_of(request)


def test_calls_that_are_too_large_to_be_stored_are_refused() -> None:
    to: list[str | Subscriber] = [
        Subscriber(mobile=f"+121255501{n:02}", key="k", attributes={"Note": "x" * 4_000})
        for n in range(90)
    ]
    request = MessageRequest(message=ID, to=to)
    for check in (body_of, lambda it: parse_request(it.model_dump_json(exclude_unset=True))):
        with pytest.raises(RequestRefusedError, match="too-large"):
            check(request)


def test_a_request_that_is_too_large_is_refused_before_it_is_posted(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(strict_json, "MAX_REQUEST_BYTES", 20)
    with pytest.raises(RequestRefusedError, match="too-large"):
        body_of(MessageRequest(message=ID, to=[NUMBER]))


def test_pythons_names_are_not_valid_in_json() -> None:
    text = '{"message": "m", "to": ["+12125550100"], "media_url": "https://a.example/b.jpg"}'
    with pytest.raises(RequestRefusedError, match="unknown-field"):
        parse_request(text)


OBJECT = {"message": ID, "to": [NUMBER]}


def test_a_request_is_parsed_from_text_and_from_an_object() -> None:
    text = json.dumps(OBJECT | {"text": "Grüße 👋"}, ensure_ascii=False)
    request = parse_request(text)
    assert request.text == "Grüße 👋"
    assert request == parse_request(text.encode()) == parse_request(json.loads(text))


@pytest.mark.parametrize(
    ("document", "refused"),
    [
        (OBJECT | {"to": ["1", NUMBER, "2"], "text": " "}, "blank-text number-not-international"),
        (OBJECT | {"sendAt": "1999-01-01T00:00:00Z"}, "invalid-time"),
        (OBJECT | {"sendAt": "2026-01-01T00:00:00Z"}, "time-in-the-past"),
        (OBJECT | {"expiresAt": "2026-01-01T00:00:00Z"}, "expires-too-early"),
        (OBJECT | {"text": "a\ud800"}, "invalid-character"),
        (OBJECT | {"text": float("nan")}, "not-json"),
        (OBJECT | {"text": Decimal(1)}, "not-json"),
        (OBJECT | {"text": "a" * 1_048_576}, "too-large"),
        ('{"message": "a", "message": "b"}', "duplicate-field missing"),
        ("{", "not-json"),
        ("[" * 100_000, "not-json"),
        (b"\xff", "not-json"),
        ("[]", "wrong-type"),
    ],
)
def test_all_errors_are_one_exception_with_the_relays_codes(document: Any, refused: str) -> None:
    with pytest.raises(RequestRefusedError) as caught:
        parse_request(document)
    assert sorted({refusal.code for refusal in caught.value.refusals}) == refused.split()
