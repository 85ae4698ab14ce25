"""Tests the phone page's routes: access, the relay's address, and what is kept of a post."""

import base64
import json
import threading
from datetime import UTC, datetime
from typing import Any

import httpx
import pytest
from standardwebhooks import Webhook

from tests.simulator.calls import ID, NUMBER, TOKEN
from tests.support.http_servers import Answer, FakeRelay, fake_relay
from tools.mobileconnect_simulator import Simulator

SEND_PATH = f"/sms/v1/messageContact/{ID}/send"
KEY = "the-relay-s-key"
ORDER = {"body": "{}", "idempotencyKey": "", "respondAsync": False}
CHANGING = [
    ("POST", "/_control/faults"),
    ("DELETE", "/_control/faults"),
    ("POST", "/_control/reset"),
    ("POST", "/_control/clock"),
    ("POST", "/_control/tokens/expire"),
    ("PUT", "/_control/relay"),
    ("POST", "/_control/post"),
    ("POST", "/_control/posts/1/ask"),
    ("POST", "/_received/events"),
    ("POST", "/_received/callbacks"),
]
READING = [
    ("GET", path)
    for path in ("/", "/_phone/phone.js", "/_phone/samples", "/_control/phones", "/_control/calls")
]


def introduce(client: httpx.Client, url: str) -> None:
    client.put("/_control/relay", json={"apiUrl": url, "apiKey": KEY}).raise_for_status()


@pytest.mark.parametrize(("method", "path"), CHANGING + READING)
@pytest.mark.parametrize(
    "headers",
    [
        {"Host": "attacker.example"},
        {"Host": "127.0.0.1.attacker.example"},
        {"Host": "[not-a-host"},
        {"Origin": "https://attacker.example"},
        {"Origin": "http://127.0.0.1:1"},
        {"Origin": "null"},
        {"Origin": ""},
    ],
)
def test_other_sites_pages_are_refused(
    simulator: Simulator, client: httpx.Client, method: str, path: str, headers: dict[str, str]
) -> None:
    simulator.fail("send", "500")

    answer = client.request(method, path, headers=headers)

    assert answer.status_code == 403
    assert answer.json()["errors"][0].startswith(("Only for this machine", "Not for other sites"))
    assert len(simulator.faults()) == 1


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "[::1]"])
def test_its_own_page_has_access(simulator: Simulator, client: httpx.Client, host: str) -> None:
    own = f"{host}:{simulator.url.rpartition(':')[2]}"
    headers = {"Host": own, "Origin": f"http://{own}"}

    assert client.post("/_control/reset", headers=headers).status_code == 200


def test_the_upstreams_routes_ignore_host_and_origin(client: httpx.Client) -> None:
    headers = {"Host": "rest.example", "Origin": "https://elsewhere.example"}
    answer = client.post(SEND_PATH, json={"mobileNumbers": [NUMBER]}, headers=headers)

    assert answer.status_code == 202


@pytest.mark.parametrize("path", ["/", "/_phone/phone.css", "/_phone/phone.js", "/_phone/samples"])
def test_the_pages_files_come_with_a_strict_policy(
    simulator: Simulator, client: httpx.Client, path: str
) -> None:
    answer = client.get(path)

    assert answer.status_code == 200
    policy = answer.headers["Content-Security-Policy"].split("; ")
    assert policy[:4] == [
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "connect-src 'self'",
    ]
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    assert simulator.calls() == []


@pytest.mark.parametrize(
    "relay",
    [
        [],
        {},
        {"apiUrl": "http://127.0.0.1:1"},
        {"apiUrl": "http://127.0.0.1:1", "apiKey": 1},
        {"apiUrl": "http://127.0.0.1:1", "apiKey": "k", "more": 1},
        {"apiUrl": "http://127.0.0.1:1", "apiKey": "two\nlines"},
        {"apiUrl": "http://127.0.0.1:1", "apiKey": ""},
        {"apiUrl": "https://127.0.0.1:1", "apiKey": "k"},
        {"apiUrl": "http://relay.example", "apiKey": "k"},
        {"apiUrl": "http://127.0.0.1.relay.example", "apiKey": "k"},
        {"apiUrl": "http://127.0.0.1@relay.example", "apiKey": "k"},
        {"apiUrl": "http://user@127.0.0.1", "apiKey": "k"},
        {"apiUrl": "http://127.0.0.1:99999", "apiKey": "k"},
        {"apiUrl": "http://127.0.0.1/?x", "apiKey": "k"},
        {"apiUrl": "http://[", "apiKey": "k"},
        {"apiUrl": "file:///etc/passwd", "apiKey": "k"},
    ],
)
def test_a_relay_elsewhere_is_refused(relay: Any) -> None:
    with Simulator() as alone, httpx.Client(base_url=alone.url, trust_env=False) as client:
        answer = client.put("/_control/relay", json=relay)

        assert answer.status_code == 400
        assert len(answer.json()["errors"]) == 1
        assert client.get("/_control/relay").json() == {"known": False, "apiUrl": None}
        assert client.post("/_control/post", json=ORDER).status_code == 400


@pytest.mark.parametrize(
    "order",
    [
        [],
        {},
        {**ORDER, "body": {}},
        {**ORDER, "idempotencyKey": "two\r\nX-Other: lines"},
        {**ORDER, "idempotencyKey": "é"},
        {**ORDER, "respondAsync": "yes"},
        {**ORDER, "body": "\ud800"},
    ],
)
def test_invalid_posts_are_refused(client: httpx.Client, order: Any) -> None:
    with fake_relay() as relay:
        introduce(client, relay.url)

        content = json.dumps(order)  # allows half a surrogate pair
        assert client.post("/_control/post", content=content).status_code == 400
        assert relay.posted == []


def test_a_post_is_kept_without_the_key(simulator: Simulator, client: httpx.Client) -> None:
    with fake_relay() as relay:
        relay.answer = lambda _: answered(simulator, client, relay)
        introduce(client, f"{relay.url}/stage/")
        answer = client.post("/_control/post", json={**ORDER, "idempotencyKey": "k1"})
        (kept,) = client.get("/_control/posts").json()
        relay_response = client.get("/_control/relay")

    assert relay.posted[0].path == "/stage/messages"
    assert relay.posted[0].headers["x-api-key"] == KEY
    assert answer.json() == kept
    assert KEY not in answer.text + relay_response.text
    assert kept["headers"] == {"Idempotency-Key": "k1"}
    assert kept["status"] == 202
    assert kept["answerHeaders"] == {"Idempotent-Replayed": "true"}
    assert kept["tokenIds"] == [simulator.sent()[0]["tokenId"]]
    assert (kept["open"], kept["messageId"]) == (True, "50RA3E77")
    assert kept["firstCall"] == kept["lastCall"] == simulator.calls()[0]["n"]

    simulator.reset()
    assert client.get("/_control/posts").json() == []


def answered(simulator: Simulator, client: httpx.Client, relay: FakeRelay) -> Answer:
    client.post(SEND_PATH, json={"mobileNumbers": [NUMBER]})
    token = simulator.sent()[-1]["tokenId"]
    sends = [{"status": "accepted", "tokenId": token}, {"status": "queued"}]
    return Answer(
        202,
        {"id": "50RA3E77", "sends": sends, "relay": relay.url},
        {"Idempotent-Replayed": "true", "Server-Secret": "no"},
    )


DATA = {"id": "50RA3E77", "n": 1, "status": "delivered"}


def test_events_are_kept_until_a_reset(simulator: Simulator, client: httpx.Client) -> None:
    event = {"time": "2027-01-15T08:01:00Z", "detail": DATA | {"eventId": "evt_1"}}
    assert client.post("/_received/events", json=event).status_code == 204
    wrong: Any
    for wrong in ({}, [], {"time": 1, "detail": DATA}, {**event, "detail": DATA}):
        assert client.post("/_received/events", json=wrong).status_code == 400

    [kept] = client.get("/_control/received").json()
    assert (kept["way"], kept["eventId"], kept["data"]) == ("event", "evt_1", DATA)
    simulator.reset()
    assert client.get("/_control/received").json() == []


def test_only_callbacks_with_a_valid_signature_are_kept(client: httpx.Client) -> None:
    secret = f"whsec_{base64.b64encode(bytes(24)).decode()}"
    body = json.dumps({"type": "t", "timestamp": "2027-01-15T08:01:00Z", "data": DATA})
    now = datetime.now(UTC)
    headers = {
        "webhook-id": "evt_1",
        "webhook-timestamp": str(int(now.timestamp())),
        "webhook-signature": Webhook(secret).sign("evt_1", now, body),
    }

    def receive(content: str) -> int:
        url = "/_received/callbacks"
        return client.post(url, content=content, headers=headers).status_code

    assert receive(body) == 401, "no secret is configured"
    relay = {"apiUrl": "http://127.0.0.1:1", "apiKey": KEY, "callbackSecret": secret}
    assert client.put("/_control/relay", json=relay).status_code == 200
    assert receive(body.replace("delivered", "failed")) == 401
    assert receive(body) == 204

    [kept] = client.get("/_control/received").json()
    assert (kept["way"], kept["eventId"], kept["data"]) == ("callback", "evt_1", DATA)
    assert secret not in client.get("/_control/relay").text


def test_later_tokens_are_read_from_the_relay(simulator: Simulator, client: httpx.Client) -> None:
    with fake_relay() as relay:
        relay.answer = lambda _: answered(simulator, client, relay)
        introduce(client, relay.url)
        number = client.post("/_control/post", json=ORDER).json()["n"]
        sends = [{"status": "accepted", "tokenId": it} for it in ("one", "two")]
        relay.stored = {"id": "50RA3E77", "sends": sends}

        asked = client.post(f"/_control/posts/{number}/ask").json()

        assert (asked["tokenIds"], asked["open"]) == (["one", "two"], False)
        assert client.get("/_control/posts").json() == [asked]
        assert client.post(f"/_control/posts/{number + 1}/ask").status_code == 400
    # The relay has ended: the known data stays.
    assert client.post(f"/_control/posts/{number}/ask").json() == asked


@pytest.mark.parametrize("body", [{}, {"id": 1, "sends": 2}, {"id": "../x", "sends": [1, {}]}])
def test_an_unusual_response_is_kept_unchanged(client: httpx.Client, body: dict[str, Any]) -> None:
    with fake_relay() as relay:
        relay.answer = lambda _: Answer(200, body)
        introduce(client, relay.url)
        kept = client.post("/_control/post", json=ORDER).json()

    assert (kept["tokenIds"], kept["messageId"], kept["open"]) == ([], None, False)


@pytest.mark.parametrize(
    ("query", "left"),
    [
        ("", []),
        ("?route=send", [("token", "500")]),
        ("?then=500", [("send", "401")]),
        ("?route=send&then=500", [("send", "401"), ("token", "500")]),
    ],
)
def test_faults_can_be_removed(
    simulator: Simulator, client: httpx.Client, query: str, left: list[tuple[str, str]]
) -> None:
    simulator.fail("send", "500", times=-1)
    simulator.fail("send", "401")
    simulator.fail("token", "500")

    answer = client.delete(f"/_control/faults{query}")

    assert [(fault["route"], fault["then"]) for fault in answer.json()] == left
    assert simulator.faults() == answer.json()


@pytest.mark.parametrize("query", ["route=other", "then=418"])
def test_unknown_faults_cannot_be_removed(
    simulator: Simulator, client: httpx.Client, query: str
) -> None:
    simulator.fail("send", "500")

    assert client.delete(f"/_control/faults?{query}").status_code == 400
    assert len(simulator.faults()) == 1


def test_only_the_newest_are_shown(simulator: Simulator, client: httpx.Client) -> None:
    for last in range(3):
        client.post(SEND_PATH, json={"mobileNumbers": [f"1317555010{last}"]})

    assert list(client.get("/_control/phones?newest=2").json()) == ["13175550101", "13175550102"]
    assert [it["n"] for it in client.get("/_control/calls?newest=1").json()] == [
        simulator.calls()[-1]["n"]
    ]
    assert client.get("/_control/calls?newest=0").json() == []
    assert client.get("/_control/calls?newest=x").status_code == 400


def test_the_newest_of_a_route_are_shown(simulator: Simulator, client: httpx.Client) -> None:
    first = client.post(SEND_PATH, json={"mobileNumbers": ["13175550100"]}).json()["tokenId"]
    client.post(SEND_PATH, json={"mobileNumbers": ["13175550101"]})
    for _ in range(3):
        client.get(f"{SEND_PATH.removesuffix('send')}deliveries/{first}")

    sends = client.get("/_control/calls?newest=2&route=send").json()
    assert [call["n"] for call in sends] == [call["n"] for call in simulator.calls()[:2]]
    [last] = client.get("/_control/calls?newest=1&route=send").json()
    assert last == sends[1]
    assert len(client.get("/_control/calls?route=deliveries").json()) == 3
    assert client.get("/_control/calls?newest=0&route=send").json() == []
    assert client.get("/_control/calls?route=other").status_code == 400


def test_changes_are_told_as_they_come(simulator: Simulator, client: httpx.Client) -> None:
    with client.stream("GET", "/_control/events") as stream:
        assert stream.headers["Content-Type"] == "text/event-stream"
        lines = (line for line in stream.iter_lines() if line.startswith("data: "))
        assert '"aheadSeconds": 0' in next(lines)
        for change in (lambda: simulator.fail("send", "500"), simulator.reset):
            threading.Thread(target=change).start()
            assert next(lines)


def test_open_streams_end_with_the_simulator() -> None:
    with httpx.Client(trust_env=False) as client:
        simulator = Simulator(access_tokens=[TOKEN])
        simulator.start()
        with client.stream("GET", f"{simulator.url}/_control/events") as stream:
            lines = stream.iter_lines()
            next(lines)
            simulator.stop()
            for _ in lines:
                pass
