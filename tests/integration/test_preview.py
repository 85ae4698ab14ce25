"""Tests previews through the handler: they show a post's calls, and send and store nothing."""

import json
from datetime import UTC, datetime
from typing import Any
from unittest.mock import patch

import pytest

from smsrelay.adapters.dynamodb_api_clients import DynamoDbApiClients
from smsrelay.errors import LedgerUnavailableError
from smsrelay.messages.preview import warnings_of
from smsrelay.messages.request import MessageRequest, QuietHours
from tests.support.environment import Environment, HttpAnswer
from tools.mobileconnect_simulator import Simulator

Json = dict[str, Any]

PATH = "/messages/preview"
MESSAGE: Json = {"message": "MzA6Nzg6MA", "to": ["+1 212 555 0100"], "text": "Hello"}
SUBSCRIBER = {"mobile": "+12125550101", "key": "k", "attributes": {"FirstName": "Zoë"}}
QUIET = {"start": "21:00", "end": "08:00", "timezone": "America/Chicago"}
MANY = [f"+1{area}55501{n:02}" for area in (212, 312, 415) for n in range(84)]
CALLER = "arn:aws:sts::123456789012:assumed-role/Shop/session"


def stored(relay: Environment) -> list[Json]:
    items: list[Json] = relay.client("dynamodb").scan(TableName=relay.table)["Items"]
    return items


def codes(answer: HttpAnswer) -> list[str]:
    return [warning["code"] for warning in answer.body["warnings"]]


@pytest.mark.parametrize(
    "message",
    [
        MESSAGE,
        MESSAGE | {"to": [*MESSAGE["to"], SUBSCRIBER, *MESSAGE["to"]]},
        MESSAGE | {"to": MANY},
        MESSAGE | {"subscribe": True, "resubscribe": True, "keyword": "JOIN", "quietHours": QUIET},
        MESSAGE | {"sendAt": "2030-10-05T16:01:00-04:00", "mediaUrl": "https://example.com/a.jpg"},
    ],
)
def test_a_preview_shows_the_calls_that_a_post_makes_and_makes_none(
    relay: Environment, simulator: Simulator, message: Json
) -> None:
    before = stored(relay)
    preview = relay.post(message, path=PATH)
    assert preview.status == 200
    assert stored(relay) == before
    assert simulator.calls() == []
    assert relay.waiting() == 0

    posted = relay.post(message)
    assert posted.status == 202
    sends = posted.body["sends"]
    made = [
        (call["method"], call["path"], json.loads(call["raw"] or "")) for call in simulator.calls()
    ]
    shown = [(it["method"], it["path"], it["body"]) for it in preview.body["requests"]]
    assert sorted(made, key=str) == sorted(shown, key=str)
    counts = [it["recipients"] for it in preview.body["requests"]]
    assert counts == [send["recipients"] for send in sends]
    assert preview.body["recipients"] == sum(counts)
    assert preview.body["segments"] == sends[0]["segments"] == 1
    assert preview.body["encoding"] == sends[0]["encoding"] == "GSM-7"


def test_a_preview_counts_against_no_limit_of_an_iam_principal(relay: Environment) -> None:
    relay.allow("shop", "arn:aws:iam::123456789012:role/Shop")
    before = stored(relay)
    with relay.deployed(CLIENT_RECIPIENTS_PER_MINUTE="1"):
        answers = [relay.post(MESSAGE, path=f"/iam{PATH}", client=CALLER) for _ in range(3)]
        assert [answer.status for answer in answers] == [200] * 3
        assert stored(relay) == before


def test_a_preview_refuses_what_a_post_refuses(relay: Environment) -> None:
    wrong = MESSAGE | {"to": ["+1 212 555 CALL"], "keyword": "JOIN", "maxSegments": 0}
    for path in ("/messages", PATH):
        answer = relay.post(wrong, path=path)
        assert answer.status == 422
        assert {one["code"] for one in answer.body["errors"]} == {
            "invalid-number",
            "keyword-not-needed",
            "number-out-of-range",
        }
        assert relay.post("{", path=path).body["code"] == "not-json"
        answer = relay.post(MESSAGE, headers={"Idempotency-Key": " "}, path=path)
        assert answer.body["code"] == "invalid-header"


def test_a_preview_fails_while_the_clients_cannot_be_read(relay: Environment) -> None:
    refused = LedgerUnavailableError("refused by a test")
    with patch.object(DynamoDbApiClients, "client_of", side_effect=refused):
        answer = relay.post(MESSAGE, path=PATH)
    assert (answer.status, answer.body["code"]) == (503, "not-read")


def test_warnings(relay: Environment) -> None:
    assert codes(relay.post(MESSAGE, path=PATH)) == []
    flags = {"subscribe": True, "keyword": "JOIN"}
    assert codes(relay.post(MESSAGE | flags, path=PATH)) == []
    flags = {"resubscribe": True, "keyword": "JOIN"}
    assert codes(relay.post(MESSAGE | flags, path=PATH)) == ["resubscribe"]
    quiet = {"quietHours": QUIET, "sendAt": "2030-01-15T23:30:00-06:00"}
    assert codes(relay.post(MESSAGE | quiet, path=PATH)) == ["quiet-hours"]
    quiet = {"quietHours": QUIET, "sendAt": "2030-01-15T12:00:00-06:00"}
    assert codes(relay.post(MESSAGE | quiet, path=PATH)) == []


@pytest.mark.parametrize(
    ("start", "end", "time", "is_quiet"),
    [
        ("21:00", "08:00", "20:59", False),
        ("21:00", "08:00", "21:00", True),
        ("21:00", "08:00", "07:59", True),
        ("21:00", "08:00", "08:00", False),
        ("12:00", "14:00", "11:59", False),
        ("12:00", "14:00", "12:00", True),
        ("12:00", "14:00", "13:59", True),
        ("12:00", "14:00", "14:00", False),
    ],
)
@pytest.mark.parametrize("zone", [{"utc_offset": "-05:00"}, {"timezone": "America/Lima"}])
def test_quiet_hours_are_those_of_their_zone(
    zone: dict[str, str], start: str, end: str, time: str, is_quiet: bool
) -> None:
    quiet_hours = QuietHours(start=start, end=end, **zone)
    request = MessageRequest(message="MzA6Nzg6MA", to=["+12125550100"], quiet_hours=quiet_hours)
    now = datetime.fromisoformat(f"2030-06-15T{time}:00-05:00").astimezone(UTC)
    assert bool(list(warnings_of(request, now))) == is_quiet


def test_a_send_time_in_the_last_hour_means_now() -> None:
    now = datetime(2030, 6, 15, 21, 10, tzinfo=UTC)
    quiet_hours = QuietHours(start="21:00", end="08:00", utc_offset="+00:00")
    request = MessageRequest(
        message="MzA6Nzg6MA",
        to=["+12125550100"],
        quiet_hours=quiet_hours,
        send_at=now.replace(hour=20, minute=50),
    )
    assert [warning.code for warning in warnings_of(request, now)] == ["quiet-hours"]
