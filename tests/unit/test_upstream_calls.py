"""Tests how the simplified JSON becomes upstream bodies, by the table in docs/api.md."""

import json

import pytest

from smsrelay.messages.refusals import RequestRefusedError
from smsrelay.messages.strict_json import decode
from smsrelay.messages.upstream_calls import build_calls
from smsrelay.messages.validation import parse_request
from tests.support.requests import NOW, TOO_LARGE_TO, bodies, body, request

NUMBERS = {"mobileNumbers": ["12125550100"]}


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({}, {}),
        ({"text": "Hi"}, {"Override": True, "messageText": "Hi"}),
        (
            {"subscribe": True, "resubscribe": False, "keyword": "JOINSMS"},
            {"Subscribe": True, "Resubscribe": False, "keyword": "JOINSMS"},
        ),
        ({"sendAt": "2026-10-05T16:01:00-04:00"}, {"SendTime": "2026-10-05 20:01"}),
        ({"sendAt": "2026-10-05T20:01:59Z"}, {"SendTime": "2026-10-05 20:01"}),
        ({"sendAt": "2027-01-01T00:30:00+05:45"}, {"SendTime": "2026-12-31 18:45"}),
        ({"mediaUrl": "https://x.example/i.jpg"}, {"ContentURL": "https://x.example/i.jpg"}),
        ({"reference": "order-8812", "onUnknown": "resend", "idempotencyKey": "k"}, {}),
    ],
)
def test_each_field(fields: dict[str, object], expected: dict[str, object]) -> None:
    assert body(**fields) == NUMBERS | expected


def test_flags_are_booleans_and_nothing_is_null() -> None:
    [call] = build_calls(request(text="Hi", subscribe=True, keyword="K"), NOW)
    assert '"Override":true' in call.body
    assert '"Subscribe":true' in call.body
    assert "null" not in call.body


@pytest.mark.parametrize(
    ("zone", "send_at", "offset"),
    [
        ({"timezone": "America/Chicago"}, None, "-0500"),  # NOW is in July
        ({"timezone": "America/Chicago"}, "2027-01-15T12:00:00Z", "-0600"),
        ({"timezone": "America/Chicago"}, "2026-11-01T06:59:00Z", "-0500"),  # a minute before
        ({"timezone": "America/Chicago"}, "2026-11-01T07:00:00Z", "-0600"),  # the clocks go back
        ({"timezone": "Asia/Kolkata"}, None, "+0530"),
        ({"timezone": "UTC"}, None, "+0000"),
        ({"utcOffset": "-05:00"}, "2027-01-15T12:00:00Z", "-0500"),
        ({"utcOffset": "+05:45"}, None, "+0545"),
    ],
)
def test_quiet_hours_have_the_offset_that_is_in_force(
    zone: dict[str, str], send_at: str | None, offset: str
) -> None:
    window = {"start": "21:00", "end": "08:00", **zone}
    fields = {"quietHours": window} | ({"sendAt": send_at} if send_at else {})
    assert body(**fields)["blackoutWindow"] == {
        "UtcOffset": offset,
        "WindowStart": "2100",
        "WindowEnd": "0800",
    }


def attribute(written: str) -> str:
    """Return an attribute of the upstream's body for a value that is written like this."""
    text = (
        '{"message":"m","to":[{"mobile":"+12125550101","key":"k","attributes":{"a":'
        + written
        + "}}]}"
    )
    return build_calls(parse_request(decode(text)), NOW)[0].body


def test_a_number_with_too_many_digits_is_refused() -> None:
    for written in ("1e31", "1e-40"):
        with pytest.raises(RequestRefusedError):
            attribute(written)


def test_subscribers_have_their_key_and_attributes_as_strings() -> None:
    attributes = {"FirstName": "Zoë", "Points": 1250, "Share": 0.5, "Vip": True, "New": False}
    assert '"2.50"' in attribute("2.50")
    assert '"15000000"' in attribute("1.5E7")
    entries = [
        {"mobile": "+1 212 555 0101", "key": "a", "attributes": attributes},
        {"mobile": "+12125550102", "key": "b"},
    ]
    assert body(to=entries) == {
        "Subscribers": [
            {
                "MobileNumber": "12125550101",
                "SubscriberKey": "a",
                "Attributes": {
                    "FirstName": "Zoë",
                    "Points": "1250",
                    "Share": "0.5",
                    "Vip": "true",
                    "New": "false",
                },
            },
            {"MobileNumber": "12125550102", "SubscriberKey": "b"},
        ]
    }


def test_numbers_and_subscribers_make_separate_calls() -> None:
    subscriber = {"mobile": "+12125550101", "key": "a"}
    assert bodies(to=["+12125550100", subscriber, "+12125550102"], text="Hi") == [
        {"mobileNumbers": ["12125550100", "12125550102"], "Override": True, "messageText": "Hi"},
        {
            "Subscribers": [{"MobileNumber": "12125550101", "SubscriberKey": "a"}],
            "Override": True,
            "messageText": "Hi",
        },
    ]


def test_identical_entries_become_one() -> None:
    subscriber = {"mobile": "+12125550101", "key": "a", "attributes": {"n": 1}}
    same = {"attributes": {"n": "1"}, "key": "a", "mobile": "+1 212-555-0101"}
    calls = build_calls(request(to=["+12125550100", subscriber, "+1 (212) 555-0100", same]), NOW)
    assert [call.recipients for call in calls] == [1, 1]


@pytest.mark.parametrize(
    ("numbers", "sizes"), [(250, [250]), (251, [250, 1]), (1000, [250] * 4), (10_000, [250] * 40)]
)
def test_more_than_250_are_split(numbers: int, sizes: list[int]) -> None:
    written = [f"+4477009{n:05d}" for n in range(numbers)]
    calls = build_calls(request(to=written), NOW)
    assert [call.recipients for call in calls] == sizes
    sent = [number for call in calls for number in json.loads(call.body)["mobileNumbers"]]
    assert sent == [number[1:] for number in written]


def test_a_call_that_is_too_large_for_the_ledger_is_refused() -> None:
    with pytest.raises(RequestRefusedError) as caught:
        build_calls(request(to=TOO_LARGE_TO), NOW)
    assert [refusal.code for refusal in caught.value.refusals] == ["too-large"]
    many = [f"+4477009{n:05d}" for n in range(25_000)]
    with pytest.raises(RequestRefusedError):
        build_calls(request(to=many, text="\U0001f600" * 10_000), NOW)


def test_the_bodies_of_the_reference() -> None:
    """Builds the two examples of Salesforce's reference, with real booleans.

    The second example also has `Override: false`, which the relay omits without a text.
    """
    assert body(
        to=["+13175551212"],
        subscribe=True,
        resubscribe=True,
        keyword="JOINSMS",
        text="Welcome to Code@",
        mediaUrl="http://image.exct.net/lib/fe6d15707662057c7411/m/1/dj_CC_AUS.jpg",
        sendAt="2012-10-05T16:01:00-04:00",
    ) == {
        "mobileNumbers": ["13175551212"],
        "Subscribe": True,
        "Resubscribe": True,
        "keyword": "JOINSMS",
        "Override": True,
        "messageText": "Welcome to Code@",
        "ContentURL": "http://image.exct.net/lib/fe6d15707662057c7411/m/1/dj_CC_AUS.jpg",
        "SendTime": "2012-10-05 20:01",
    }
