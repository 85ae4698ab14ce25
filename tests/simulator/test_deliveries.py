"""Tests the responses of the deliveries route for each poll, and when messages are sent."""

from datetime import UTC, datetime, time, timedelta
from typing import Any

import httpx
import pytest

from tests.simulator.calls import ID, NUMBER, TOKEN
from tools.mobileconnect_simulator import Simulator, magic_numbers
from tools.mobileconnect_simulator.blackout import (
    Blackout,
    departure,
    read_offset,
    read_send_time,
    read_time_of_day,
)
from tools.mobileconnect_simulator.validation import encode_message_id

NOW = datetime(2026, 7, 5, 20, 1, tzinfo=UTC)
TO_FINISHED = ["New", "Queuing", "Started", "Finished", "Finished"]


def send(client: httpx.Client, body: dict[str, Any], message_id: str = ID) -> str:
    response = client.post(f"/sms/v1/messageContact/{message_id}/send", json=body)
    assert response.status_code == 202
    token_id = response.json()["tokenId"]
    assert isinstance(token_id, str)
    return token_id


def poll(client: httpx.Client, token_id: str, message_id: str = ID) -> dict[str, Any]:
    response = client.get(f"/sms/v1/messageContact/{message_id}/deliveries/{token_id}")
    assert response.status_code == 200
    body = response.json()
    assert isinstance(body, dict)
    return body


def highest(body: dict[str, Any]) -> dict[str, int]:
    """Return each number's highest code, which is its state according to the upstream."""
    states: dict[str, int] = {}
    for row in body["tracking"]:
        number = row["mobileNumber"]
        states[number] = max(states.get(number, 0), int(row["standardStatusCode"]))
    return states


def test_each_poll_sees_the_next_status(simulator: Simulator, client: httpx.Client) -> None:
    token_id = send(client, {"mobileNumbers": [NUMBER]})
    seen = []
    for _ in TO_FINISHED:
        simulator.advance(timedelta(minutes=1))
        body = poll(client, token_id)
        seen.append((body["status"], highest(body).get(NUMBER), body["completeDate"]))

    assert seen == [
        ("New", None, None),
        ("Queuing", 1000, None),
        ("Started", 3001, None),
        ("Finished", 4000, "2026-07-05T15:05:00.000"),
        ("Finished", 4000, "2026-07-05T15:05:00.000"),
    ]


def test_the_shape_of_the_answer(simulator: Simulator, client: httpx.Client) -> None:
    numbers = [str(13175550100 + index) for index in range(20)]
    body = {"mobileNumbers": numbers, "Override": True, "messageText": "Hello"}
    token_id = send(client, body)
    for _ in TO_FINISHED:
        answer = poll(client, token_id)

    assert simulator.sent()[0]["tokenId"] == token_id
    assert set(answer) == {"message", "count", "createDate", "completeDate", "status", "tracking"}
    assert (answer["message"], answer["count"]) == ("Hello", 20)
    assert answer["createDate"] == "2026-07-05T15:01:00.000"
    rows = answer["tracking"]
    assert {frozenset(row) for row in rows} == {
        frozenset({"mobileNumber", "statusCode", "message", "standardStatusCode", "description"})
    }
    assert len(rows) == 5 * len(numbers)
    assert {type(row["standardStatusCode"]) for row in rows} == {str, int}
    order = [(row["mobileNumber"], int(row["standardStatusCode"])) for row in rows]
    assert order != sorted(order)
    assert highest(answer) == dict.fromkeys(numbers, 4000)


def test_us_central_time_in_winter() -> None:
    winter = datetime(2026, 1, 5, 3, 0, tzinfo=UTC)
    with (
        Simulator(access_tokens=[TOKEN], time_source=lambda: winter) as simulator,
        httpx.Client(
            base_url=simulator.url,
            headers={"Authorization": f"Bearer {TOKEN}"},
            trust_env=False,
        ) as client,
    ):
        answer = poll(client, send(client, {"mobileNumbers": [NUMBER]}))

    assert answer["createDate"] == "2026-01-04T21:00:00.000"


@pytest.mark.parametrize(
    ("polls_per_status", "statuses"),
    [
        (0, ["Finished", "Finished"]),
        (1, ["New", "Queuing", "Started", "Finished"]),
        (2, ["New", "New", "Queuing", "Queuing", "Started", "Started", "Finished"]),
    ],
)
def test_the_pace_can_be_set(polls_per_status: int, statuses: list[str]) -> None:
    with (
        Simulator(access_tokens=[TOKEN], polls_per_status=polls_per_status) as simulator,
        httpx.Client(
            base_url=simulator.url,
            headers={"Authorization": f"Bearer {TOKEN}"},
            trust_env=False,
        ) as client,
    ):
        token_id = send(client, {"mobileNumbers": [NUMBER]})
        assert [poll(client, token_id)["status"] for _ in statuses] == statuses


@pytest.mark.parametrize("code", magic_numbers.FINAL_CODES)
def test_magic_numbers_end_with_their_code(
    simulator: Simulator, client: httpx.Client, code: int
) -> None:
    number = magic_numbers.number_for_code(code)
    token_id = send(client, {"mobileNumbers": [number, NUMBER]})
    for _ in TO_FINISHED:
        answer = poll(client, token_id)

    assert highest(answer) == {number: code, NUMBER: 4000}
    assert answer["count"] == 2
    state = "arrived" if code == 2000 else "undelivered"
    assert [message["state"] for message in simulator.phones()[number]] == [state]


@pytest.mark.parametrize(
    ("numbers", "resubscribe", "count"),
    [
        ([magic_numbers.UNSUBSCRIBED], False, 0),
        ([magic_numbers.UNSUBSCRIBED, NUMBER], False, 1),
        ([magic_numbers.UNSUBSCRIBED], True, 1),
        ([magic_numbers.NOT_A_SUBSCRIBER, NUMBER], False, 1),
    ],
)
def test_unsubscribed_numbers_are_left_out_of_the_count(
    simulator: Simulator, client: httpx.Client, numbers: list[str], resubscribe: bool, count: int
) -> None:
    body: dict[str, Any] = {"mobileNumbers": numbers}
    if resubscribe:
        body |= {"Resubscribe": True, "keyword": "JOINSMS"}
    token_id = send(client, body)
    for _ in TO_FINISHED:
        answer = poll(client, token_id)

    assert (answer["count"], answer["status"]) == (count, "Finished")
    assert len(highest(answer)) == count
    assert len(simulator.phones()) == count


@pytest.mark.parametrize(
    ("first", "status", "code"), [(920211, "Error", 1500), (920212, "Started", 3001)]
)
def test_magic_messages_fail_or_never_end(
    simulator: Simulator, client: httpx.Client, first: int, status: str, code: int
) -> None:
    message_id = encode_message_id(first, 78, 0)
    token_id = send(client, {"mobileNumbers": [NUMBER]}, message_id)
    for _ in range(10):
        answer = poll(client, token_id, message_id)

    assert answer["status"] == status
    assert highest(answer) == {NUMBER: code}
    assert len(simulator.sent()) == 1


@pytest.mark.parametrize(
    "fields",
    [
        {"SendTime": "2026-07-05 22:00"},
        {"blackoutWindow": {"UtcOffset": "-0500", "WindowStart": "1500", "WindowEnd": "1700"}},
    ],
)
def test_a_message_waits_for_its_time(
    simulator: Simulator, client: httpx.Client, fields: dict[str, Any]
) -> None:
    token_id = send(client, {"mobileNumbers": [NUMBER], **fields})

    waiting = [poll(client, token_id)["status"] for _ in range(4)]
    assert waiting == ["New", "Queuing", "Queuing", "Queuing"]
    assert [message["state"] for message in simulator.phones()[NUMBER]] == ["waiting"]

    simulator.advance(timedelta(hours=2))
    assert [poll(client, token_id)["status"] for _ in range(3)] == TO_FINISHED[1:4]
    assert [message["state"] for message in simulator.phones()[NUMBER]] == ["arrived"]


@pytest.mark.parametrize(
    ("path", "error"),
    [
        ("MzA6Nzg6MA/deliveries/unknown", "Token id unknown is not valid."),
        ("30:78:0/deliveries/unknown", "Message id 30:78:0 is not valid."),
    ],
)
def test_refusals(simulator: Simulator, client: httpx.Client, path: str, error: str) -> None:
    response = client.get(f"/sms/v1/messageContact/{path}")

    assert response.status_code == 400
    assert response.json() == {"errors": [error]}
    assert [call["status"] for call in simulator.calls()] == [400]


def test_a_token_id_is_valid_only_with_its_message(
    simulator: Simulator, client: httpx.Client
) -> None:
    token_id = send(client, {"mobileNumbers": [NUMBER]})

    response = client.get(f"/sms/v1/messageContact/OTE6Nzg6MA/deliveries/{token_id}")

    assert response.json() == {"errors": [f"Token id {token_id} is not valid."]}
    assert simulator.sent()[0]["tokenId"] == token_id


def test_deliveries_need_a_valid_token(simulator: Simulator) -> None:
    response = httpx.get(f"{simulator.url}/sms/v1/messageContact/{ID}/deliveries/any")

    assert response.status_code == 401


OVERNIGHT = Blackout(timedelta(hours=-5), time(21), time(8))
AFTERNOON = Blackout(timedelta(hours=-5), time(15), time(22))
NEVER = Blackout(timedelta(), time(12), time(12))


@pytest.mark.parametrize(
    ("now", "send_time", "blackout", "leaves"),
    [
        ("2026-07-05 20:01:30", None, None, "2026-07-05 20:01:30"),
        ("2026-07-05 20:01:30", "2026-07-05 20:01:00", None, "2026-07-05 20:01:30"),
        ("2026-07-05 20:01:30", "2026-07-06 09:00:00", None, "2026-07-06 09:00:00"),
        ("2026-07-05 19:59:59", None, AFTERNOON, "2026-07-05 19:59:59"),
        ("2026-07-05 20:00:00", None, AFTERNOON, "2026-07-06 03:00:01"),
        ("2026-07-06 02:59:59", None, AFTERNOON, "2026-07-06 03:00:01"),
        ("2026-07-06 03:00:00", None, AFTERNOON, "2026-07-06 03:00:00"),
        ("2026-07-05 12:00:00", "2026-07-05 21:00:00", AFTERNOON, "2026-07-06 03:00:01"),
        ("2026-07-06 01:59:59", None, OVERNIGHT, "2026-07-06 01:59:59"),
        ("2026-07-06 02:00:00", None, OVERNIGHT, "2026-07-06 13:00:01"),
        ("2026-07-06 10:00:00", None, OVERNIGHT, "2026-07-06 13:00:01"),
        ("2026-07-06 13:00:00", None, OVERNIGHT, "2026-07-06 13:00:00"),
        ("2026-07-06 12:00:00", None, NEVER, "2026-07-06 12:00:00"),
    ],
)
def test_due(now: str, send_time: str | None, blackout: Blackout | None, leaves: str) -> None:
    scheduled = None if send_time is None else utc(send_time)

    assert departure(utc(now), scheduled, blackout).leaves == utc(leaves)


def utc(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


@pytest.mark.parametrize(
    ("text", "offset"),
    [
        ("-0500", timedelta(hours=-5)),
        ("+0530", timedelta(hours=5, minutes=30)),
        ("+0000", timedelta()),
        ("+1400", timedelta(hours=14)),
        ("-1200", timedelta(hours=-12)),
        ("+1401", None),
        ("-1201", None),
        ("-0560", None),
        ("0500", None),
        ("-500", None),
        ("", None),
    ],
)
def test_offsets(text: str, offset: timedelta | None) -> None:
    assert read_offset(text) == offset


@pytest.mark.parametrize(
    ("text", "read"),
    [("0000", time(0)), ("2359", time(23, 59)), ("2400", None), ("900", None), ("09:0", None)],
)
def test_times_of_day(text: str, read: time | None) -> None:
    assert read_time_of_day(text) == read


@pytest.mark.parametrize(
    ("text", "read"),
    [
        ("2026-10-05 20:01", datetime(2026, 10, 5, 20, 1, tzinfo=UTC)),
        ("2026-10-05 24:00", None),
        ("2026-10-5 20:01", None),
        ("2026-10-05 20:01:00", None),
        ("2026-10-05 20:01Z", None),
        ("0000-10-05 20:01", None),
    ],
)
def test_send_times(text: str, read: datetime | None) -> None:
    assert read_send_time(text) == read
