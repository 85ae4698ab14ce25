"""Tests the control routes over HTTP."""

import json
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from typing import Any

import httpx
import pytest

from tests.simulator.calls import ID, NUMBER, TOKEN
from tools.mobileconnect_simulator import Simulator
from tools.mobileconnect_simulator.call_log import BoundedLog

BODY: dict[str, Any] = {"mobileNumbers": [NUMBER]}
SEND_PATH = f"/sms/v1/messageContact/{ID}/send"
NOW = datetime(2026, 7, 5, 20, 1, tzinfo=UTC)


def test_sent(simulator: Simulator, client: httpx.Client) -> None:
    raw = '{ "mobileNumbers": ["13175550100"] }'
    answer = client.post(
        SEND_PATH,
        content=raw,
        headers={"Content-Type": "application/json", "X-Trace": "Seen"},
    )

    (entry,) = client.get("/_control/sent").json()

    headers = entry.pop("headers")
    assert entry == {
        "id": ID,
        "raw": raw,
        "body": BODY,
        "tokenId": answer.json()["tokenId"],
        "at": "2026-07-05T20:01:00.000Z",
    }
    assert headers["content-type"] == "application/json"
    assert headers["x-trace"] == "Seen"
    assert "authorization" not in headers
    assert simulator.sent() == [{**entry, "headers": headers}]


def test_calls_show_their_responses(simulator: Simulator, client: httpx.Client) -> None:
    client.post(SEND_PATH, json=BODY)
    client.post(SEND_PATH, json={})
    client.get(f"/sms/v1/messageContact/{ID}/deliveries/unknown")

    calls = client.get("/_control/calls").json()

    assert [(call["route"], call["status"], call["accepted"]) for call in calls] == [
        ("send", 202, True),
        ("send", 400, False),
        ("deliveries", 400, False),
    ]
    assert json.loads(calls[0]["answer"]) == {"tokenId": calls[0]["tokenId"]}
    assert json.loads(calls[0]["raw"]) == BODY
    assert calls[1]["raw"] == "{}"
    assert calls[1]["id"] == ID
    assert calls[2]["tokenId"] == "unknown"
    assert calls[2]["path"] == f"/sms/v1/messageContact/{ID}/deliveries/unknown"
    assert calls == simulator.calls()


def test_control_calls_are_not_recorded(simulator: Simulator, client: httpx.Client) -> None:
    client.get("/_control/sent")
    client.get("/_control/unknown")

    assert simulator.calls() == []


def test_faults_are_ordered_shown_and_used_up(client: httpx.Client) -> None:
    ordered = [
        {"route": "send", "then": "429-50100", "times": 2, "retryAfter": 0},
        {"route": "deliveries", "then": 401, "times": -1, "delayMs": 1},
        {"route": "send", "then": "500", "response": {"status": 530}},
    ]
    first = {"route": "send", "then": "429-50100", "times": 2, "delayMs": 0, "retryAfter": 0}
    second = {"route": "send", "then": "500", "times": 1, "delayMs": 0}
    second["response"] = {"status": 530, "body": "", "headers": {}}
    other = {"route": "deliveries", "then": "401", "times": -1, "delayMs": 1}

    answer = client.post("/_control/faults", json=ordered)
    assert answer.status_code == 200
    assert answer.json() == [first, second, other]

    statuses = [client.post(SEND_PATH, json=BODY).status_code for _ in range(1)]
    assert statuses == [429]
    left = client.get("/_control/faults").json()
    assert left == [{**first, "times": 1}, second, other]


@pytest.mark.parametrize(
    ("body", "error"),
    [
        ({}, "The body must be a list of faults."),
        (["500"], "[0] must be an object."),
        ([{"then": "500"}], "[0].route must be one of send, token, deliveries."),
        ([{"route": "Send", "then": "500"}], "[0].route must be one of"),
        ([{"route": "send"}], "[0].then must be one of 400, 401, 403, "),
        ([{"route": "send", "then": "418"}], "[0].then must be one of"),
        ([{"route": "send", "then": "500", "times": 0}], "[0].times must be at least 1"),
        ([{"route": "send", "then": "500", "times": -2}], "[0].times must be a whole number"),
        ([{"route": "send", "then": "500", "times": True}], "[0].times must be a whole number"),
        ([{"route": "send", "then": "500", "times": None}], "[0].times must be a whole number"),
        ([{"route": "send", "then": "500", "delayMs": -1}], "[0].delayMs must be a whole number"),
        ([{"route": "send", "then": "500", "delayMs": 0.5}], "[0].delayMs must be a whole number"),
        ([{"route": "send", "then": "500", "retryAfter": "5"}], "[0].retryAfter must be"),
        ([{"route": "send", "then": "500", "delay": 5}], "[0].delay is unknown"),
        *(
            ([{"route": "send", "then": "ok", "response": response}], f"[0].response{error}")
            for response, error in (
                (None, " needs a status"),
                ({}, " needs a status"),
                ({"status": 502, "text": ""}, " needs a status"),
                ({"status": 502, "body": None}, " needs a status"),
                ({"status": 502, "headers": []}, " needs a status"),
                ({"status": 502, "headers": {"Retry-After": 5}}, " needs a status"),
                ({"status": "502"}, ".status must be a whole number from 200 to 999"),
                ({"status": 199}, ".status must be a whole number from 200 to 999"),
            )
        ),
    ],
)
def test_a_wrong_order_is_refused_whole(
    simulator: Simulator,
    client: httpx.Client,
    body: Any,
    error: str,
) -> None:
    good = {"route": "send", "then": "500"}
    sent = [*body, good] if isinstance(body, list) else body

    response = client.post("/_control/faults", json=sent)

    assert response.status_code == 400
    assert response.json()["errors"][0].startswith(error)
    assert simulator.faults() == []


@pytest.mark.parametrize("path", ["/_control/faults", "/_control/clock"])
def test_a_control_body_must_be_json(client: httpx.Client, path: str) -> None:
    response = client.post(path, content=b"[")

    assert response.status_code == 400
    assert response.json()["errors"][0].startswith("The body is not valid JSON")


def test_fail_refuses_an_unknown_fault(simulator: Simulator) -> None:
    with pytest.raises(ValueError, match="then must be one of"):
        simulator.fail("send", "teapot")


def test_reset_forgets_everything_but_tokens(simulator: Simulator, client: httpx.Client) -> None:
    credentials = {"grant_type": "client_credentials", "client_id": "i", "client_secret": "s"}
    token = client.post("/v2/token", json=credentials).json()["access_token"]
    token_id = client.post(SEND_PATH, json=BODY).json()["tokenId"]
    simulator.fail("send", "500", times=3)

    assert client.post("/_control/reset").status_code == 200

    for what in ("sent", "calls", "faults"):
        assert client.get(f"/_control/{what}").json() == []
    assert client.get("/_control/phones").json() == {}
    assert client.get("/_control/tokens").json() == {"fetches": 0, "calls": 0}
    deliveries = f"/sms/v1/messageContact/{ID}/deliveries/{token_id}"
    assert client.get(deliveries).status_code == 400
    headers = {"Authorization": f"Bearer {token}"}
    assert client.post(SEND_PATH, json=BODY, headers=headers).status_code == 202


def test_phones_show_what_each_number_got(simulator: Simulator, client: httpx.Client) -> None:
    other = "13175550101"
    client.post(SEND_PATH, json={"mobileNumbers": [NUMBER, other]})
    client.post(
        SEND_PATH,
        json={
            "Subscribers": [
                {
                    "MobileNumber": NUMBER,
                    "SubscriberKey": "ExampleSubKey1",
                    "Attributes": {"FirstName": "Michael"},
                }
            ],
            "Override": True,
            "messageText": "Hello %%FirstName%% %%LastName%%",
            "Subscribe": True,
            "keyword": "JOINSMS",
            "SendTime": "2026-07-06 09:00",
            "ContentURL": "https://example.com/image.jpg",
        },
    )

    phones = client.get("/_control/phones").json()

    assert {number: len(messages) for number, messages in phones.items()} == {NUMBER: 2, other: 1}
    own, scheduled = phones[NUMBER]
    assert own["text"] == "(message's own text)"
    assert (own["media"], own["subscriberKey"], own["state"]) == (None, None, "arrived")
    assert scheduled == {
        "tokenId": simulator.sent()[1]["tokenId"],
        "messageId": ID,
        "text": "Hello Michael %%LastName%%",
        "media": "https://example.com/image.jpg",
        "subscriberKey": "ExampleSubKey1",
        "keyword": "JOINSMS",
        "at": "2026-07-05T20:01:00.000Z",
        "sendAt": "2026-07-06T09:00:00.000Z",
        "scheduledFor": "2026-07-06T09:00:00.000Z",
        "quietUntil": None,
        "state": "waiting",
        "code": 4000,
        "description": "Delivered",
    }


def test_the_clock_can_be_advanced(client: httpx.Client) -> None:
    answer = client.post("/_control/clock", json={"advanceSeconds": 3600})

    assert answer.json() == {"now": "2026-07-05T21:01:00.000Z"}


@pytest.mark.parametrize("body", [{}, [], {"advanceSeconds": "1"}, {"advanceSeconds": 10**15}])
def test_a_wrong_advance_is_refused(client: httpx.Client, body: object) -> None:
    response = client.post("/_control/clock", json=body)

    assert response.status_code == 400
    assert len(response.json()["errors"]) == 1


def test_tokens_can_be_expired_from_outside(simulator: Simulator, client: httpx.Client) -> None:
    headers = {"Authorization": f"Bearer {simulator.issue_token()}"}

    assert client.post(SEND_PATH, json=BODY, headers=headers).status_code == 202
    assert client.post("/_control/tokens/expire").json() == {}
    assert client.post(SEND_PATH, json=BODY, headers=headers).status_code == 401


@pytest.mark.parametrize(("method", "path"), [("GET", "/_control"), ("PUT", "/_control/faults")])
def test_unknown_control_routes(client: httpx.Client, method: str, path: str) -> None:
    response = client.request(method, path)

    assert response.status_code == 404
    assert response.json() == {"errors": [f"No control route {method} {path}."]}


def test_many_callers_at_once(simulator: Simulator, client: httpx.Client) -> None:
    simulator.fail("send", "500", times=10)

    with ThreadPoolExecutor(8) as callers:
        statuses = list(
            callers.map(lambda _: client.post(SEND_PATH, json=BODY).status_code, range(200))
        )

    assert statuses.count(500) == 10
    assert statuses.count(202) == 190
    sent = simulator.sent()
    assert len({entry["tokenId"] for entry in sent}) == 190
    assert len(simulator.calls()) == 200


def test_waiting_for_sends_ends_with_an_error(simulator: Simulator) -> None:
    with pytest.raises(TimeoutError, match="fewer than 1"):
        simulator.wait_for_sent(1, timeout=0.01)


def test_a_stopped_simulator_starts_again_with_its_record() -> None:
    simulator = Simulator(access_tokens=[TOKEN])
    headers = {"Authorization": f"Bearer {TOKEN}"}
    for _ in range(2):
        with simulator:
            httpx.post(simulator.url + SEND_PATH, json=BODY, headers=headers, trust_env=False)
    simulator.stop()

    assert len(simulator.sent()) == 2


def test_a_used_port_is_reported(simulator: Simulator) -> None:
    port = int(simulator.url.rpartition(":")[2])

    with pytest.raises(OSError, match="in use"), Simulator(port=port):
        pass


@pytest.mark.parametrize(
    ("entries", "characters", "kept"),
    [(2, 1000, ["c", "d"]), (10, 25, ["c", "d"]), (10, 5, ["d"]), (10, 1000, list("abcd"))],
)
def test_the_record_is_bounded(entries: int, characters: int, kept: list[str]) -> None:
    log: BoundedLog[str] = BoundedLog(entries, characters)
    dropped = [gone for entry in "abcd" for gone in log.add(entry, 10)]

    assert log.entries() == kept
    assert dropped + kept == list("abcd")
