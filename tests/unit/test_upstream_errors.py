"""Tests each documented error of the upstream: the relay prevents it or passes its text on."""

import json

import pytest

from smsrelay.messages import refusals
from smsrelay.security.redaction import redact
from smsrelay.sends import call_outcome
from smsrelay.sends.call_outcome import OutcomeKind
from tests.support.requests import NOW, bodies, refused
from tests.support.requests import request as make

_SUBSCRIBER = {"mobile": "+12125550101", "key": "k"}

PREVENTED = [
    ("Message id {0} is not valid.", {"message": "a/b"}, refusals.MESSAGE_ID),
    (
        "The count of mobile numbers or subscribers cannot be zero.",
        {"to": []},
        refusals.NO_RECIPIENTS,
    ),
    (
        "A subscriber object must have both a mobile number and subscriber key defined.",
        {"to": [{"mobile": "+12125550100"}]},
        refusals.INCOMPLETE_SUBSCRIBER,
    ),
    (
        "Keyword cannot be blank when Subscribe or Resubscribe are true.",
        {"subscribe": True},
        refusals.KEYWORD_MISSING,
    ),
    (
        "Keyword is not necessary when Subscribe and Resubscribe are false.",
        {"keyword": "JOIN"},
        refusals.KEYWORD_NOT_NEEDED,
    ),
    ("Cannot override message text with a blank message.", {"text": " "}, refusals.BLANK_TEXT),
    ("Invalid phone number", {"to": ["+123"]}, refusals.TOO_SHORT),
    ("{0} is not a numeric string", {"to": ["+1-317-555-CALL"]}, refusals.NOT_NUMERIC),
    (
        "{0} is not a valid UTC offset.",
        {"quietHours": {"start": "21:00", "end": "08:00", "utcOffset": "x"}},
        refusals.UTC_OFFSET,
    ),
    (
        "{0} is not a valid blackout window start time.",
        {"quietHours": {"start": "x", "end": "08:00", "utcOffset": "+00:00"}},
        refusals.WINDOW_TIME,
    ),
    (
        "{0} is not a valid send time (yyyy-MM-dd HH:mm).",
        {"sendAt": "x"},
        refusals.TIME,
    ),
]


@pytest.mark.parametrize(("upstream", "fields", "detail"), PREVENTED)
def test_prevented_before_anything_is_sent(
    upstream: str, fields: dict[str, object], detail: str
) -> None:
    with pytest.raises(refusals.RequestRefusedError) as caught:
        make(**fields)
    assert detail in [refusal.detail for refusal in caught.value.refusals]
    # The refusal uses the upstream's wording, without the values.
    for part in upstream.removesuffix("(yyyy-MM-dd HH:mm).").split("{0}"):
        assert part.removeprefix(" is ").strip(" .").lower() in detail.lower()


@pytest.mark.parametrize(
    "upstream",
    [
        (
            "An array of mobile numbers and an array of subscribers cannot be provided at the same "
            "time."
        ),
        "MessageText is not applicable when Override is false.",
    ],
)
def test_impossible_by_construction(upstream: str) -> None:
    assert upstream
    for body in bodies(to=["+12125550100", _SUBSCRIBER], text="Hi"):
        assert ("mobileNumbers" in body) != ("Subscribers" in body)
        assert body["Override"] is True
    for body in bodies(to=["+12125550100", _SUBSCRIBER]):
        assert "messageText" not in body
        assert "Override" not in body


PASSED_ON = [
    "Keyword TestKeyword is invalid for the code on the message",
    "Message is blank and no override message was provided.",
    (
        "An unexpected error occurred, please contact Customer Support with reference id "
        "3f2504e0-4f89-11d3-9a0c-0305e82c3301."
    ),
    "No valid subscribers were provided.",
    "The Message must be in Active status in order to send.",
    "Invalid phone number",
]


@pytest.mark.parametrize("upstream", PASSED_ON)
def test_passed_on_in_the_upstreams_own_words(upstream: str) -> None:
    body = json.dumps({"errors": [upstream]}).encode()
    result = call_outcome.of_response(400, {}, body, NOW.timestamp())
    assert result.kind is OutcomeKind.REJECTED
    assert redact(result.errors, "{}") == (upstream,)


def test_a_message_id_is_not_passed_on() -> None:
    """It looks like base64; the client and the operator know it anyway."""
    upstream = "Message MzA6Nzg6MA is not valid for the client."
    assert redact([upstream], "{}") == ("Message … is not valid for the client.",)


def test_a_valid_request_is_not_refused() -> None:
    assert refused(to=[_SUBSCRIBER], text="Hi", subscribe=True, keyword="JOIN") == set()
