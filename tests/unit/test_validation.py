"""Tests each rule of the simplified JSON."""

import json
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from smsrelay.errors import RelayError
from smsrelay.messages.refusals import RequestRefusedError, pointer
from smsrelay.messages.strict_json import decode
from smsrelay.messages.validation import parse_request
from tests.support.requests import refusals, refused, request

SUBSCRIBER = {"mobile": "+12125550101", "key": "k"}
FIELDS = {str(n): "x" for n in range(100)}
QUIET_FIELDS = ("/quietHours", "too-many-fields")
BIG = 10**4_000


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"message": "MzA6Nzg6MA=="}, set()),
        ({"message": "welcome_2-B"}, set()),
        ({"message": ""}, {("/message", "invalid-message-id")}),
        ({"message": "a/b"}, {("/message", "invalid-message-id")}),
        ({"message": ".."}, {("/message", "invalid-message-id")}),
        ({"message": "MzA6Nzg6MA==="}, {("/message", "invalid-message-id")}),
        ({"message": "Mz A"}, {("/message", "invalid-message-id")}),
        ({"message": "a" * 513}, {("/message", "too-long")}),
        ({"message": 7}, {("/message", "wrong-type")}),
        ({"message": None}, {("/message", "wrong-type")}),
        ({"to": []}, {("/to", "no-recipients")}),
        ({"to": "+12125550100"}, {("/to", "wrong-type")}),
        ({"to": None}, {("/to", "wrong-type")}),
        ({"to": [12125550100]}, {("/to/0", "wrong-type")}),
        ({"to": [["+12125550100"]]}, {("/to/0", "wrong-type")}),
        ({"to": ["212-555-CALL"]}, {("/to/0", "invalid-number")}),
        ({"to": ["(310) 555-0100"]}, {("/to/0", "number-not-international")}),
        (
            {"to": [SUBSCRIBER | {"mobile": "(310) 555-0100"}]},
            {("/to/0/mobile", "number-not-international")},
        ),
        ({"to": [SUBSCRIBER]}, set()),
        ({"to": [{"mobile": "+12125550101"}]}, {("/to/0/key", "incomplete-subscriber")}),
        ({"to": [{"key": "k"}]}, {("/to/0/mobile", "incomplete-subscriber")}),
        ({"to": [SUBSCRIBER | {"key": " "}]}, {("/to/0/key", "incomplete-subscriber")}),
        ({"to": [SUBSCRIBER | {"key": 5}]}, {("/to/0/key", "wrong-type")}),
        ({"to": [SUBSCRIBER | {"name": "x"}]}, {("/to/0/name", "unknown-field")}),
        ({"to": [SUBSCRIBER | {"mobile": "+12"}]}, {("/to/0/mobile", "invalid-number")}),
        ({"to": [SUBSCRIBER | {"attributes": {"a": "x", "b": 1, "c": 1.5, "d": True}}]}, set()),
        ({"to": [SUBSCRIBER | {"attributes": []}]}, {("/to/0/attributes", "wrong-type")}),
        (
            {"to": [SUBSCRIBER | {"attributes": {"a": None, "b/c": {}, "d": []}}]},
            {
                ("/to/0/attributes/a", "wrong-type"),
                ("/to/0/attributes/b~1c", "wrong-type"),
                ("/to/0/attributes/d", "wrong-type"),
            },
        ),
        (
            {"to": [SUBSCRIBER | {"attributes": {"a": 1e31, "b": 1e-31, "c": 1e30, "d": 1e-30}}]},
            {
                ("/to/0/attributes/a", "number-out-of-range"),
                ("/to/0/attributes/b", "number-out-of-range"),
            },
        ),
        ({"to": [SUBSCRIBER | {"attributes": {"": "x"}}]}, {("/to/0/attributes/", "blank")}),
        ({"to": [SUBSCRIBER | {"attributes": {"n" * 128: "x" * 4_000}}]}, set()),
        (
            {"to": [SUBSCRIBER | {"attributes": {"n" * 129: "x", "a": "x" * 4_001, "b": BIG}}]},
            {
                (f"/to/0/attributes/{'n' * 129}", "too-long"),
                ("/to/0/attributes/a", "too-long"),
                ("/to/0/attributes/b", "too-long"),
            },
        ),
        ({"to": [SUBSCRIBER | {"attributes": FIELDS}]}, set()),
        (
            {"to": [SUBSCRIBER | {"attributes": FIELDS | {"one more": []}}]},
            {("/to/0/attributes", "too-many-fields")},
        ),
        ({"to": [SUBSCRIBER | FIELDS]}, {("/to/0", "too-many-fields")}),
        ({"text": "Hello"}, set()),
        ({"text": ""}, {("/text", "blank-text")}),
        ({"text": " \n\t"}, {("/text", "blank-text")}),
        ({"text": "\u200b\u2060\ufeff"}, {("/text", "blank-text")}),
        ({"text": 1}, {("/text", "wrong-type")}),
        ({"text": None}, {("/text", "wrong-type")}),
        ({"text": "\U0001f600" * 10_000}, set()),
        ({"text": "x" * 10_001}, {("/text", "too-long")}),
        ({"subscribe": True, "keyword": "JOIN"}, set()),
        ({"resubscribe": True, "keyword": "JOIN"}, set()),
        ({"subscribe": False, "resubscribe": False}, set()),
        ({"subscribe": True}, {("/keyword", "keyword-missing")}),
        ({"resubscribe": True}, {("/keyword", "keyword-missing")}),
        ({"subscribe": True, "keyword": " "}, {("/keyword", "keyword-missing")}),
        ({"keyword": "JOIN"}, {("/keyword", "keyword-not-needed")}),
        ({"keyword": "JOIN", "subscribe": False}, {("/keyword", "keyword-not-needed")}),
        ({"subscribe": True, "keyword": 5}, {("/keyword", "wrong-type")}),
        ({"subscribe": "true", "keyword": "JOIN"}, {("/subscribe", "wrong-type")}),
        ({"resubscribe": 1, "keyword": "JOIN"}, {("/resubscribe", "wrong-type")}),
        ({"sendAt": "2026-10-05T16:01:00-04:00"}, set()),
        ({"sendAt": "2026-10-05T20:01Z"}, set()),
        ({"sendAt": "2026-10-05T16:01:00"}, {("/sendAt", "time-without-offset")}),
        ({"sendAt": "2026-10-05"}, {("/sendAt", "invalid-time")}),
        ({"sendAt": "2026-10-05x16:01+00:00"}, {("/sendAt", "invalid-time")}),
        ({"sendAt": "2026-10-05T16:01+23:59"}, {("/sendAt", "invalid-time")}),
        ({"sendAt": "2026-10-05T16:01+05:99"}, {("/sendAt", "invalid-time")}),
        ({"sendAt": "9999-12-31T23:59:00Z"}, {("/sendAt", "invalid-time")}),
        ({"sendAt": "1999-12-31T23:59:00Z"}, {("/sendAt", "invalid-time")}),
        ({"sendAt": "2026-10-05t16:01:00.5z"}, set()),
        ({"sendAt": "tomorrow"}, {("/sendAt", "invalid-time")}),
        ({"sendAt": "2026-02-30T16:01:00Z"}, {("/sendAt", "invalid-time")}),
        ({"sendAt": "0001-01-01T00:00:00+14:00"}, {("/sendAt", "invalid-time")}),
        ({"sendAt": 1791230460}, {("/sendAt", "wrong-type")}),
        ({"mediaUrl": "https://images.example.com/x.jpg"}, set()),
        ({"mediaUrl": "ftp://images.example.com/x.jpg"}, {("/mediaUrl", "invalid-url")}),
        ({"mediaUrl": "javascript:alert(1)"}, {("/mediaUrl", "invalid-url")}),
        ({"mediaUrl": "https://"}, {("/mediaUrl", "invalid-url")}),
        ({"mediaUrl": "https://a b.example/x"}, {("/mediaUrl", "invalid-url")}),
        ({"mediaUrl": "https://x.example:port/"}, {("/mediaUrl", "invalid-url")}),
        ({"mediaUrl": "http://[::1"}, {("/mediaUrl", "invalid-url")}),
        ({"mediaUrl": True}, {("/mediaUrl", "wrong-type")}),
        ({"reference": "order-8812"}, set()),
        ({"reference": ""}, {("/reference", "blank")}),
        ({"reference": "x" * 257}, {("/reference", "too-long")}),
        ({"reference": {}}, {("/reference", "wrong-type")}),
        ({"onUnknown": "resend"}, set()),
        ({"onUnknown": "maybe"}, {("/onUnknown", "invalid-value")}),
        ({"onUnknown": None}, {("/onUnknown", "invalid-value")}),
        ({"idempotencyKey": "k-1"}, set()),
        ({"idempotencyKey": "ü"}, {("/idempotencyKey", "invalid-idempotency-key")}),
        ({"idempotencyKey": "x" * 256}, {("/idempotencyKey", "invalid-idempotency-key")}),
        ({"idempotencyKey": 5}, {("/idempotencyKey", "wrong-type")}),
        ({"txt": "a typing error"}, {("/txt", "unknown-field")}),
        ({"send_at": "2026-10-05T20:01Z"}, {("/send_at", "unknown-field")}),
        ({"a~b/c": 1}, {("/a~0b~1c", "unknown-field")}),
        (FIELDS, {("", "too-many-fields")}),
        ({"quietHours": FIELDS | {"one more": 1}}, {QUIET_FIELDS, ("/quietHours", "zone-missing")}),
    ],
)
def test_each_rule(fields: dict[str, object], expected: set[tuple[str, str]]) -> None:
    assert refused(**fields) == expected


@pytest.mark.parametrize(
    ("window", "expected"),
    [
        ({"timezone": "America/Chicago"}, set()),
        ({"timezone": "UTC"}, set()),
        ({"utcOffset": "-05:00"}, set()),
        ({"utcOffset": "+14:00"}, set()),
        ({"utcOffset": "-12:00"}, set()),
        ({"utcOffset": "+14:01"}, {("/quietHours/utcOffset", "invalid-offset")}),
        ({"utcOffset": "-12:30"}, {("/quietHours/utcOffset", "invalid-offset")}),
        ({"utcOffset": "5"}, {("/quietHours/utcOffset", "invalid-offset")}),
        ({"utcOffset": -5}, {("/quietHours/utcOffset", "wrong-type")}),
        ({"timezone": "Mars/Olympus"}, {("/quietHours/timezone", "unknown-timezone")}),
        ({"timezone": "America"}, {("/quietHours/timezone", "unknown-timezone")}),
        ({"timezone": "../../etc/passwd"}, {("/quietHours/timezone", "unknown-timezone")}),
        ({"timezone": ""}, {("/quietHours/timezone", "unknown-timezone")}),
        ({}, {("/quietHours", "zone-missing")}),
        ({"timezone": "UTC", "utcOffset": "+00:00"}, {("/quietHours", "zone-ambiguous")}),
        ({"timezone": "UTC", "start": "24:00"}, {("/quietHours/start", "invalid-time-of-day")}),
        ({"timezone": "UTC", "end": "8:00"}, {("/quietHours/end", "invalid-time-of-day")}),
        ({"timezone": "UTC", "end": "21:00"}, {("/quietHours/end", "empty-window")}),
        ({"timezone": "UTC", "days": []}, {("/quietHours/days", "unknown-field")}),
    ],
)
def test_each_rule_of_quiet_hours(
    window: dict[str, object], expected: set[tuple[str, str]]
) -> None:
    assert refused(quietHours={"start": "21:00", "end": "08:00"} | window) == expected


def test_quiet_hours_need_their_times_and_must_be_an_object() -> None:
    assert refused(quietHours={"timezone": "UTC"}) == {
        ("/quietHours/start", "missing"),
        ("/quietHours/end", "missing"),
    }
    assert refused(quietHours="21:00-08:00") == {("/quietHours", "wrong-type")}


def test_missing_fields_are_refused() -> None:
    assert refusals("{}") == {("/message", "missing"), ("/to", "missing")}


@pytest.mark.parametrize("text", ["[]", '"text"', "7", "null", "true"])
def test_a_request_is_an_object(text: str) -> None:
    assert refusals(text) == {("", "wrong-type")}


def test_all_refusals_come_at_once() -> None:
    assert refused(
        message="../admin",
        to=["+123", {"mobile": "+12125550110"}],
        text=" ",
        subscribe=True,
        quietHours={"start": "9 pm", "end": "08:00"},
        mediaUrl="ftp://images.example.com/x.jpg",
        extra=1,
    ) == {
        ("/message", "invalid-message-id"),
        ("/to/0", "invalid-number"),
        ("/to/1/key", "incomplete-subscriber"),
        ("/text", "blank-text"),
        ("/keyword", "keyword-missing"),
        ("/quietHours/start", "invalid-time-of-day"),
        ("/quietHours", "zone-missing"),
        ("/mediaUrl", "invalid-url"),
        ("/extra", "unknown-field"),
    }


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        (FIELDS | {"to": ["+123"]}, {("", "too-many-fields"), ("/to/0", "invalid-number")}),
        (
            {"to": [{}] * 25_001, "text": " "},
            {("/to", "too-many-recipients"), ("/text", "blank-text")},
        ),
        (
            {"to": [SUBSCRIBER | FIELDS, {"key": "k"}], "keyword": "JOIN"},
            {
                ("/to/0", "too-many-fields"),
                ("/to/1/mobile", "incomplete-subscriber"),
                ("/keyword", "keyword-not-needed"),
            },
        ),
    ],
)
def test_values_that_are_not_checked_hide_no_other_refusal(
    fields: dict[str, object], expected: set[tuple[str, str]]
) -> None:
    assert refused(**fields) == expected


def test_a_thousand_refusals_are_listed_and_the_others_are_counted() -> None:
    with pytest.raises(RequestRefusedError) as caught:
        request(to=[{"mobile": "x"}] * 5_000, text=" ", subscribe=True)
    listed = [(refusal.pointer, refusal.code) for refusal in caught.value.refusals]
    assert len(listed) == 1_000
    assert listed[:4] == [
        ("/text", "blank-text"),
        ("/keyword", "keyword-missing"),
        ("/to/0/mobile", "invalid-number"),
        ("/to/0/key", "incomplete-subscriber"),
    ]
    assert caught.value.omitted == 2 + 2 * 5_000 - 1_000


_K = {"mobile": "+12125550100", "key": "k"}


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("+12125550100", {"mobile": "+1 212 555 0100", "key": "k"}),
        (_K, {"mobile": "+12125550100", "key": "other"}),
        (_K, {"mobile": "+12125550100", "key": "k", "attributes": {"a": "1"}}),
    ],
)
def test_entries_that_differ_for_one_number_are_refused(first: object, second: object) -> None:
    assert refused(to=[first, second]) == {("/to/1", "conflicting-recipients")}


def test_a_conflict_is_found_beside_other_errors() -> None:
    entries = ["+12125550100", "nonsense", {"mobile": "+12125550100", "key": "k"}]
    assert refused(to=entries) == {
        ("/to/1", "invalid-number"),
        ("/to/2", "conflicting-recipients"),
    }


def test_a_request_holds_at_most_a_hundred_sends() -> None:
    numbers = [f"+4477009{n:05d}" for n in range(25_000)]
    assert refused(to=numbers) == set()
    assert refused(to=[*numbers, "+447700999999"]) == {("/to", "too-many-recipients")}
    subscriber = {"mobile": "+447700999999", "key": "k"}
    assert refused(to=[*numbers, subscriber]) == {("/to", "too-many-recipients")}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (
            '{"message":"m","to":["+12125550100"],"text":"a","text":"b"}',
            ("/text", "duplicate-field"),
        ),
        (
            '{"message":"m","to":[{"mobile":"+12125550100","key":"a","key":"b"}]}',
            ("/to/0/key", "duplicate-field"),
        ),
        ('{"message":"m","to":["+12125550100"],"text":"\\u0000"}', ("/text", "invalid-character")),
        ('{"message":"m","to":["+12125550100"],"text":"\\ud800"}', ("/text", "invalid-character")),
        (
            '{"message":"m","to":["+12125550100"],"\\udfff":1}',
            ("/\ufffd", "invalid-character"),
        ),
        (
            '{"message":"m","to":[{"mobile":"+12125550100","key":"k","attributes":{"a":"\\u0000"}}]}',
            ("/to/0/attributes/a", "invalid-character"),
        ),
    ],
)
def test_duplicate_fields_and_bad_characters(text: str, expected: tuple[str, str]) -> None:
    assert expected in refusals(text)


def test_a_whole_surrogate_pair_is_a_character() -> None:
    assert refusals('{"message":"m","to":["+12125550100"],"text":"\\ud83d\\ude00"}') == set()


def test_a_refusal_repeats_no_value() -> None:
    with pytest.raises(RequestRefusedError) as caught:
        request(to=["+12125550100x"], text=" ", mediaUrl="secret://x", sendAt="secret", extra="s3")
    assert "12125550100" not in repr(caught.value.refusals)
    assert "secret" not in repr(caught.value.refusals)
    assert "12125550100" not in str(caught.value)


@pytest.mark.parametrize(
    "text",
    [
        '{"message":"m","to":[' + ",".join(["{}"] * 300_000) + "]}",
        '{"message":"m","to":[' + ",".join(["1"] * 500_000) + "]}",
        "{" + ",".join(f'"{n}":1' for n in range(60_000)) + ',"0":1}',
        '{"' + "n" * 100_000 + '":[' + ",".join(['"\\u0000"'] * 8_000) + "]}",
        '{"message":"m","to":[{"mobile":"1","key":"k","attributes":{'
        + ",".join(f'"{n}":[]' for n in range(60_000))
        + "}}]}",
    ],
    ids=["empty objects", "numbers", "names", "a long name", "attributes"],
)
def test_a_hostile_request_costs_little(text: str) -> None:
    """These once took six gigabytes and over half a minute; a function has one gigabyte."""
    began = time.process_time()
    with pytest.raises(RequestRefusedError) as caught:
        parse_request(decode(text))
    assert time.process_time() - began < 10
    assert len(caught.value.refusals) <= 1_000
    assert sum(len(refusal.pointer) for refusal in caught.value.refusals) < 400_000


def test_pointers_are_escaped() -> None:
    assert pointer(("to", 0, "a/b~c")) == "/to/0/a~1b~0c"


_json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=20,
)
_fields = st.sampled_from(
    ["message", "to", "text", "keyword", "subscribe", "sendAt", "quietHours", "mediaUrl", "other"]
)


@given(st.dictionaries(_fields, _json) | _json)
def test_every_document_is_accepted_or_refused(value: object) -> None:
    try:
        parse_request(decode(json.dumps(value)))
    except RelayError as error:
        assert str(error)


def test_an_invalid_expiry_is_not_called_a_send_time() -> None:
    with pytest.raises(RequestRefusedError) as caught:
        request(expiresAt="2026-10-05")
    [refusal] = caught.value.refusals
    assert refusal.detail.startswith("This is not a valid send time, or time of expiry.")
