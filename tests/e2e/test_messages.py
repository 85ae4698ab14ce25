"""Tests the deployed stack from outside: posts over HTTP and SQS, and the upstream's calls."""

import json
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

import httpx
import pytest

from tools.local_stack.polling import wait_for
from tools.local_stack.simulator_client import SimulatorControl
from tools.local_stack.stack import Stack

MESSAGE: dict[str, Any] = {"message": "MzA6Nzg6MA", "to": ["+12125550100"], "text": "Hello"}

REFERENCE_NUMBERS = {
    "mobileNumbers": ["13175551212"],
    "Subscribe": True,
    "Resubscribe": True,
    "keyword": "JOINSMS",
    "Override": True,
    "messageText": "Welcome to Code@",
    "ContentURL": "http://image.exct.net/lib/fe6d15707662057c7411/m/1/dj_CC_AUS.jpg",
    "SendTime": "2099-10-05 20:01",
}
REFERENCE_SUBSCRIBERS = {
    "Subscribers": [
        {
            "MobileNumber": "15555554410",
            "SubscriberKey": "ExampleSubKey1",
            "Attributes": {"FirstName": "Michael"},
        },
        {
            "MobileNumber": "15555552254",
            "SubscriberKey": "ExampleSubKey2",
            "Attributes": {"FirstName": "Kristen"},
        },
    ],
    "Subscribe": True,
    "Resubscribe": True,
    "keyword": "JOINSMS",
    "SendTime": "2099-10-05 20:01",
}
NUMBERS = {"mobileNumbers": ["12125550100"]}
WINDOW = {"start": "21:00", "end": "08:00"}
JOIN = {"subscribe": True, "resubscribe": True, "keyword": "JOINSMS"}
SENT_WINDOW = {"WindowStart": "2100", "WindowEnd": "0800"}

TABLE = [
    pytest.param(
        {
            "message": "MzA6Nzg6MA",
            "to": ["+1 317 555 1212"],
            "text": "Welcome to Code@",
            **JOIN,
            "mediaUrl": "http://image.exct.net/lib/fe6d15707662057c7411/m/1/dj_CC_AUS.jpg",
            "sendAt": "2099-10-05T16:01:00-04:00",
        },
        REFERENCE_NUMBERS,
        id="the reference: numbers, override, MMS",
    ),
    pytest.param(
        {
            "message": "MzA6Nzg6MA",
            "to": [
                {
                    "mobile": "+15555554410",
                    "key": "ExampleSubKey1",
                    "attributes": {"FirstName": "Michael"},
                },
                {
                    "mobile": "+15555552254",
                    "key": "ExampleSubKey2",
                    "attributes": {"FirstName": "Kristen"},
                },
            ],
            **JOIN,
            "sendAt": "2099-10-05T20:01:00Z",
        },
        REFERENCE_SUBSCRIBERS,
        id="the reference: two subscribers",
    ),
    pytest.param({"to": ["+1 (212) 555-0100", "+1.212.555.0100"]}, NUMBERS, id="numbers"),
    pytest.param(
        {"text": "Grüße 👋"}, NUMBERS | {"Override": True, "messageText": "Grüße 👋"}, id="text"
    ),
    pytest.param(
        {"subscribe": True, "keyword": "K"},
        NUMBERS | {"Subscribe": True, "keyword": "K"},
        id="one flag",
    ),
    pytest.param(
        {"subscribe": False, "resubscribe": True, "keyword": "K"},
        NUMBERS | {"Subscribe": False, "Resubscribe": True, "keyword": "K"},
        id="both flags",
    ),
    pytest.param(
        {"sendAt": "2099-10-05T16:01:00-04:00"},
        NUMBERS | {"SendTime": "2099-10-05 20:01"},
        id="send time",
    ),
    pytest.param(
        {
            "sendAt": "2099-07-15T12:00:00Z",
            "quietHours": WINDOW | {"timezone": "America/Chicago"},
        },
        NUMBERS
        | {
            "blackoutWindow": {"UtcOffset": "-0500", **SENT_WINDOW},
            "SendTime": "2099-07-15 12:00",
        },
        id="quiet hours in summer",
    ),
    pytest.param(
        {
            "sendAt": "2099-01-15T12:00:00Z",
            "quietHours": WINDOW | {"timezone": "America/Chicago"},
        },
        NUMBERS
        | {
            "blackoutWindow": {"UtcOffset": "-0600", **SENT_WINDOW},
            "SendTime": "2099-01-15 12:00",
        },
        id="quiet hours in winter",
    ),
    pytest.param(
        {"quietHours": WINDOW | {"utcOffset": "+05:30"}},
        NUMBERS | {"blackoutWindow": {"UtcOffset": "+0530", **SENT_WINDOW}},
        id="quiet hours by offset",
    ),
    pytest.param(
        {"mediaUrl": "https://images.example.com/x.jpg"},
        NUMBERS | {"ContentURL": "https://images.example.com/x.jpg"},
        id="picture",
    ),
    pytest.param(
        {"reference": "order-8812", "onUnknown": "resend"}, NUMBERS, id="what is never sent"
    ),
]


@pytest.mark.parametrize(("fields", "expected"), TABLE)
def test_each_row_of_the_table_arrives_in_the_upstreams_casing_and_types(
    api: httpx.Client,
    upstream: SimulatorControl,
    fields: dict[str, Any],
    expected: dict[str, Any],
) -> None:
    request = {"message": "MzA6Nzg6MA", "to": ["+12125550100"]} | fields
    answer = api.post("/messages", json=request)
    assert answer.status_code == 202, answer.text
    [sent] = upstream.sent()
    assert sent["id"] == "MzA6Nzg6MA"
    assert sent["body"] == expected
    assert json.loads(sent["raw"]) == expected
    assert list(sent["body"]) == list(expected), "the order must be the reference's, too"


def test_one_request_with_both_kinds_of_recipients(
    api: httpx.Client, upstream: SimulatorControl
) -> None:
    subscriber = {"mobile": "+12125550101", "key": "k", "attributes": {"Points": 1250, "Vip": True}}
    answer = api.post("/messages", json=MESSAGE | {"to": ["+12125550100", subscriber]})
    assert answer.status_code == 202
    wait_for(lambda: len(upstream.sent()) == 2, what="both sends", seconds=60)
    bodies = [sent["body"] for sent in upstream.sent()]
    assert [{"mobileNumbers", "Subscribers"} & set(body) for body in bodies].count(
        {"mobileNumbers"}
    ) == 1
    [entry] = next(body["Subscribers"] for body in bodies if "Subscribers" in body)
    assert entry["Attributes"] == {"Points": "1250", "Vip": "true"}


def test_ten_thousand_recipients_none_lost_none_twice(
    api: httpx.Client, upstream: SimulatorControl, operator: Any
) -> None:
    numbers = [f"+4477009{n:05d}" for n in range(10_000)]
    key = operator.run("add", "campaigns", "--max-recipients", "10000", "--show")["key"]
    headers = {"x-api-key": key}
    answer = api.post(
        "/messages", json=MESSAGE | {"to": numbers}, headers=headers | {"Prefer": "respond-async"}
    )
    assert answer.status_code == 202, answer.text
    assert answer.json()["status"] == "queued"
    assert len(answer.json()["sends"]) == 40

    def accepted() -> dict[str, Any] | None:
        path = f"/messages/{answer.json()['id']}"
        stored: dict[str, Any] = api.get(path, headers=headers).json()
        return stored if stored["status"] == "accepted" else None

    stored = wait_for(accepted, what="40 accepted sends", seconds=60, every=0.2)
    sent = upstream.sent()
    assert sorted(number for call in sent for number in call["body"]["mobileNumbers"]) == [
        number[1:] for number in numbers
    ]
    tokens = [send["tokenId"] for send in stored["sends"]]
    assert sorted(tokens) == sorted(call["tokenId"] for call in sent)
    assert len(set(tokens)) == 40


def test_one_key_posted_ten_times_at_once_is_one_sms(
    api: httpx.Client, upstream: SimulatorControl
) -> None:
    """On a slow machine the function may run out of time; then the worker makes the call."""

    def post(_: int) -> httpx.Response:
        return api.post("/messages", json=MESSAGE, headers={"Idempotency-Key": "ten-at-once"})

    upstream.fail([{"route": "send", "then": "ok", "delayMs": 500}])
    with ThreadPoolExecutor(10) as pool:
        answers = list(pool.map(post, range(10)))
    statuses = Counter(
        (answer.status_code, "Idempotent-Replayed" in answer.headers) for answer in answers
    )
    assert statuses[202, False] == 1, statuses
    assert {status for status, _ in statuses} <= {202, 409}
    assert len({answer.json()["id"] for answer in answers}) == 1
    assert len(wait_for(upstream.sent, what="the SMS", seconds=90)) == 1


def test_one_key_with_many_sends_at_once_is_one_message(
    api: httpx.Client, upstream: SimulatorControl
) -> None:
    numbers = [f"+4477009{n:05d}" for n in range(500)]

    def post(_: int) -> httpx.Response:
        return api.post(
            "/messages",
            json=MESSAGE | {"to": numbers},
            headers={"Idempotency-Key": "many-sends-at-once"},
        )

    with ThreadPoolExecutor(10) as pool:
        answers = list(pool.map(post, range(10)))
    assert {answer.status_code for answer in answers} <= {202, 409}
    message = answers[0].json()["id"]

    def accepted() -> bool:
        return bool(api.get(f"/messages/{message}").json()["status"] == "accepted")

    wait_for(accepted, what="both sends", seconds=90)
    assert len(upstream.sent()) == 2


@pytest.mark.parametrize("then", ["429-50100", "503-50300"])
def test_a_throttled_send_is_sent_by_the_worker(
    api: httpx.Client, upstream: SimulatorControl, then: str
) -> None:
    upstream.fail([{"route": "send", "then": then, "retryAfter": 1}])
    answer = api.post("/messages", json=MESSAGE)
    assert (answer.status_code, answer.json()["status"]) == (202, "queued")
    [sent] = wait_for(upstream.sent, what="the second attempt", seconds=90)
    path = f"/messages/{answer.json()['id']}"
    stored = wait_for(
        lambda: api.get(path).json() if api.get(path).json()["status"] == "accepted" else None,
        what="its tokenId",
        seconds=60,
    )
    assert stored["sends"][0]["tokenId"] == sent["tokenId"]
    assert stored["sends"][0]["attempts"] == 2
    token = api.get(f"/tokens/{sent['tokenId']}")
    assert (token.status_code, token.json()["id"]) == (200, stored["id"])


def test_a_throttled_message_of_the_queue_comes_back(
    stack: Stack, upstream: SimulatorControl
) -> None:
    upstream.fail([{"route": "send", "then": "429-50100", "retryAfter": 1}])
    stack.clients.sqs.send_message(QueueUrl=stack.queue_url, MessageBody=json.dumps(MESSAGE))
    assert wait_for(upstream.sent, what="the second attempt", seconds=90)
    assert [call["status"] for call in upstream.calls()] == [429, 202]


def test_a_queue_message_is_found_by_the_id_that_sqs_gave_and_by_its_reference(
    stack: Stack, api: httpx.Client, upstream: SimulatorControl
) -> None:
    reference = "order #8812+1 & é/?"
    sent = stack.clients.sqs.send_message(
        QueueUrl=stack.queue_url, MessageBody=json.dumps(MESSAGE | {"reference": reference})
    )
    wait_for(upstream.sent, what="the message from the queue", seconds=90)
    by_key = api.get("/messages", params={"idempotencyKey": sent["MessageId"]}).json()
    assert [message["reference"] for message in by_key["messages"]] == [reference]
    by_reference = api.get("/messages", params={"reference": reference}).json()
    [found] = by_reference["messages"]
    assert (found["id"], by_reference["next"]) == (by_key["messages"][0]["id"], None)
    nothing = api.get("/messages", params={"reference": "order", "next": "x"})
    assert (nothing.status_code, nothing.json()["code"]) == (422, "invalid-query")


def test_a_dead_letter_has_a_reason(
    stack: Stack, api: httpx.Client, upstream: SimulatorControl
) -> None:
    stack.clients.sqs.send_message(
        QueueUrl=stack.queue_url,
        MessageBody=json.dumps(MESSAGE | {"keyword": "NOT-NEEDED"}),
        MessageAttributes={
            "client": {"DataType": "String", "StringValue": stack.default_client},
            "Idempotency-Key": {"DataType": "String", "StringValue": "a-dead-letter"},
        },
    )

    def letter() -> dict[str, str] | None:
        messages = stack.clients.sqs.receive_message(
            QueueUrl=stack.dead_letter_queue_url,
            MessageAttributeNames=["All"],
            MaxNumberOfMessages=10,
            VisibilityTimeout=0,
        ).get("Messages", [])
        return next(
            (
                {name: entry["StringValue"] for name, entry in attributes.items()}
                for attributes in (message.get("MessageAttributes", {}) for message in messages)
                if "/keyword keyword-not-needed" in attributes["errors"]["StringValue"]
            ),
            None,
        )

    found = wait_for(letter, what="the dead letter", seconds=90)
    assert found["reason"] == "refused"
    stored = api.get(f"/messages/{found['messageId']}").json()
    assert stored["status"] == "rejected"
    assert stored["errors"][0]["code"] == "keyword-not-needed"
    assert upstream.calls() == []


@pytest.mark.parametrize(
    ("content", "status", "code"),
    [
        (b"", 400, "not-json"),
        (b'{"message":', 400, "not-json"),
        (b"[" * 10_000, 400, "not-json"),
        (b'{"message":"a/../b","to":["+12125550100"]}', 422, "invalid-request"),
        (b'{"message":"m","to":["+12125550100"],"text":"\\u0000"}', 422, "invalid-request"),
        (b'{"message":"m","to":["+12125550100"],"text":"\\ud800"}', 422, "invalid-request"),
        (b'{"message":"m","to":["1"],"to":["+12125550100"]}', 422, "invalid-request"),
        (b'{"text":"' + b"x" * 2_000_000 + b'"}', 413, "too-large"),
        (b'{"text":"' + b"x" * 7_000_000 + b'"}', 413, "too-large"),
    ],
    ids=lambda value: repr(value[:20]) if isinstance(value, bytes) else str(value),
)
def test_the_deployed_stack_refuses_invalid_bodies(
    api: httpx.Client, upstream: SimulatorControl, content: bytes, status: int, code: str
) -> None:
    answer = api.post("/messages", content=content, headers={"Content-Type": "application/json"})
    assert (answer.status_code, answer.json()["code"]) == (status, code)
    assert answer.headers["Content-Type"] == "application/problem+json"
    assert upstream.calls() == []


def test_the_logs_contain_no_number_text_or_token(
    stack: Stack, api: httpx.Client, upstream: SimulatorControl
) -> None:
    secret = "A text that nobody else may read"
    faults = ("400", "429-50100", "500")
    upstream.fail([{"route": "send", "then": then, "retryAfter": 1} for then in faults])
    for _ in range(4):
        api.post("/messages", json=MESSAGE | {"text": secret})
    token = json.loads(
        stack.clients.secretsmanager.get_secret_value(SecretId=stack.token_secret)["SecretString"]
    )["access_token"]
    wait_for(partial(logged, stack, "send accepted"), what="the last log line", seconds=60)
    for forbidden in (secret, "12125550100", token, stack.api_key):
        assert not logged(stack, forbidden)


def logged(stack: Stack, text: str) -> bool:
    """Return whether a line of the functions' logs contains a text."""
    groups = stack.clients.logs.describe_log_groups()["logGroups"]
    return any(
        text in event["message"]
        for group in groups
        for event in stack.clients.logs.filter_log_events(logGroupName=group["logGroupName"])[
            "events"
        ]
    )
