"""Tests every documented refusal of a send over HTTP."""

import json
from typing import Any

import httpx
import pytest

from tests.simulator.calls import ID, NUMBER, TOKEN
from tools.mobileconnect_simulator import Simulator, error_messages
from tools.mobileconnect_simulator.validation import MAX_BODY_BYTES

SUBSCRIBER = {"MobileNumber": NUMBER, "SubscriberKey": "ExampleSubKey1"}
JOIN = {"Subscribe": True, "keyword": "JOINSMS"}
WINDOW = {"UtcOffset": "-0500", "WindowStart": "2100", "WindowEnd": "0800"}

type Body = dict[str, Any]


def send(client: httpx.Client, body: object, message_id: str = ID) -> httpx.Response:
    return client.post(f"/sms/v1/messageContact/{message_id}/send", json=body)


def to_numbers(*numbers: str, **fields: Any) -> Body:
    return {"mobileNumbers": list(numbers or (NUMBER,)), **fields}


def to_subscribers(*subscribers: object, **fields: Any) -> Body:
    return {"Subscribers": list(subscribers or (SUBSCRIBER,)), **fields}


@pytest.mark.parametrize(
    "body",
    [
        to_numbers(),
        to_numbers("12345678", "123456789012345"),
        to_subscribers(),
        to_subscribers({**SUBSCRIBER, "Attributes": {"FirstName": "Michael"}}),
        to_numbers(**JOIN),
        to_numbers(Subscribe=True, Resubscribe=True, keyword="JOINSMS"),
        to_numbers(Subscribe=False, Resubscribe=False),
        to_numbers(Override=True, messageText="Welcome to Code@"),
        to_numbers(Override=False),
        to_numbers(blackoutWindow=WINDOW, SendTime="2026-10-05 20:01"),
        to_numbers(blackoutWindow={"WindowStart": "1500", "WindowEnd": "2200"}),
        to_numbers(ContentURL="https://example.com/image.jpg"),
        to_numbers(*[str(13175550100 + index) for index in range(250)]),
    ],
)
def test_accepts_well_formed_calls(simulator: Simulator, client: httpx.Client, body: Body) -> None:
    response = send(client, body)

    assert response.status_code == 202
    assert list(response.json()) == ["tokenId"]
    (entry,) = simulator.sent()
    assert entry["tokenId"] == response.json()["tokenId"]
    assert entry["body"] == body
    assert entry["id"] == ID


@pytest.mark.parametrize(
    "message_id", [ID, f"{ID}==", "OTE6Nzg6MA", "MTIzNDU6Nzg6NTY", "welcome", "a", "MzA6Nzg"]
)
def test_takes_every_well_formed_message_id(
    simulator: Simulator, client: httpx.Client, message_id: str
) -> None:
    assert send(client, to_numbers(), message_id).status_code == 202
    assert simulator.sent()[0]["id"] == message_id


def test_token_ids_are_unique_even_for_the_same_body(
    simulator: Simulator, client: httpx.Client
) -> None:
    tokens = {send(client, to_numbers()).json()["tokenId"] for _ in range(20)}

    assert len(tokens) == 20
    assert len(simulator.sent()) == 20


@pytest.mark.parametrize(
    ("body", "errors"),
    [
        pytest.param({}, [error_messages.NO_RECIPIENTS], id="no recipients at all"),
        pytest.param({"mobileNumbers": []}, [error_messages.NO_RECIPIENTS], id="no numbers"),
        pytest.param({"Subscribers": []}, [error_messages.NO_RECIPIENTS], id="no subscribers"),
        pytest.param(
            {**to_numbers(), **to_subscribers()},
            [error_messages.NUMBERS_AND_SUBSCRIBERS],
            id="numbers and subscribers",
        ),
        pytest.param(
            {"mobileNumbers": [], **to_subscribers()},
            [error_messages.NUMBERS_AND_SUBSCRIBERS],
            id="both, one of them empty",
        ),
        pytest.param(
            to_subscribers({"MobileNumber": NUMBER}),
            [error_messages.SUBSCRIBER_INCOMPLETE],
            id="subscriber without key",
        ),
        pytest.param(
            to_subscribers({"SubscriberKey": "ExampleSubKey1"}),
            [error_messages.SUBSCRIBER_INCOMPLETE],
            id="subscriber without number",
        ),
        pytest.param(
            to_subscribers(SUBSCRIBER, {"MobileNumber": " ", "SubscriberKey": ""}),
            [error_messages.SUBSCRIBER_INCOMPLETE],
            id="subscriber with blanks, told once",
        ),
        pytest.param(to_numbers(Subscribe=True), [error_messages.KEYWORD_BLANK], id="no keyword"),
        pytest.param(
            to_numbers(Resubscribe=True, keyword=" "),
            [error_messages.KEYWORD_BLANK],
            id="blank keyword",
        ),
        pytest.param(
            to_numbers(keyword="JOINSMS"),
            [error_messages.KEYWORD_NOT_NECESSARY],
            id="keyword without flags",
        ),
        pytest.param(
            to_numbers(Subscribe=False, keyword=""),
            [error_messages.KEYWORD_NOT_NECESSARY],
            id="blank keyword without flags",
        ),
        pytest.param(
            to_numbers(Subscribe=True, keyword="JOIN SMS"),
            ["Keyword JOIN SMS is invalid for the code on the message."],
            id="keyword of two words",
        ),
        pytest.param(
            to_numbers(Override=True), [error_messages.OVERRIDE_BLANK], id="override without text"
        ),
        pytest.param(
            to_numbers(Override=True, messageText="  "),
            [error_messages.OVERRIDE_BLANK],
            id="override with blank text",
        ),
        pytest.param(
            to_numbers(messageText="Hello"),
            [error_messages.TEXT_NOT_APPLICABLE],
            id="text without override",
        ),
        pytest.param(
            to_numbers(Override=False, messageText="Hello"),
            [error_messages.TEXT_NOT_APPLICABLE],
            id="text with override false",
        ),
        pytest.param(
            to_numbers("1-317-555-0100"),
            ["1-317-555-0100 is not a numeric string"],
            id="number with hyphens",
        ),
        pytest.param(
            to_numbers("+13175550100", "١٣١٧٥٥٥٠١٠٠"),
            ["+13175550100 is not a numeric string", "١٣١٧٥٥٥٠١٠٠ is not a numeric string"],
            id="numbers that only look numeric",
        ),
        pytest.param(to_numbers(""), [" is not a numeric string"], id="empty number"),
        pytest.param(to_numbers("1234567"), [error_messages.PHONE_INVALID], id="number too short"),
        pytest.param(
            to_numbers("1234567890123456"), [error_messages.PHONE_INVALID], id="number too long"
        ),
        pytest.param(
            to_subscribers({"MobileNumber": "13175x50100", "SubscriberKey": "K"}),
            ["13175x50100 is not a numeric string"],
            id="subscriber's number not numeric",
        ),
        pytest.param(
            to_numbers(blackoutWindow={**WINDOW, "UtcOffset": "-05:00"}),
            ["-05:00 is not a valid UTC offset."],
            id="offset with a colon",
        ),
        pytest.param(
            to_numbers(blackoutWindow={**WINDOW, "UtcOffset": "-1300"}),
            ["-1300 is not a valid UTC offset."],
            id="offset off the map",
        ),
        pytest.param(
            to_numbers(blackoutWindow={**WINDOW, "WindowStart": "21:00"}),
            ["21:00 is not a valid blackout window start time."],
            id="start with a colon",
        ),
        pytest.param(
            to_numbers(blackoutWindow={**WINDOW, "WindowEnd": "2400"}),
            ["2400 is not a valid blackout window end time."],
            id="end after the day",
        ),
        pytest.param(
            to_numbers(blackoutWindow={"UtcOffset": "-0500"}),
            [
                " is not a valid blackout window start time.",
                " is not a valid blackout window end time.",
            ],
            id="window without times",
        ),
        pytest.param(
            to_numbers(SendTime="2026-10-05T20:01"),
            ["2026-10-05T20:01 is not a valid send time (yyyy-MM-dd HH:mm)."],
            id="send time in ISO",
        ),
        pytest.param(
            to_numbers(SendTime="2026-02-30 20:01"),
            ["2026-02-30 20:01 is not a valid send time (yyyy-MM-dd HH:mm)."],
            id="send time on no day",
        ),
        pytest.param(
            to_numbers(ContentURL="image.jpg"),
            ["image.jpg is not a valid content URL."],
            id="media without a scheme",
        ),
        pytest.param(
            to_numbers(*[str(13175550100 + index) for index in range(251)]),
            [error_messages.TOO_MANY],
            id="251 numbers",
        ),
        pytest.param(
            to_subscribers(
                *[{**SUBSCRIBER, "SubscriberKey": f"Key{index}"} for index in range(251)]
            ),
            [error_messages.TOO_MANY],
            id="251 subscribers",
        ),
        pytest.param(
            to_numbers("1-317-555-0100", Subscribe=True, Override=True, SendTime="tomorrow"),
            [
                "1-317-555-0100 is not a numeric string",
                error_messages.KEYWORD_BLANK,
                error_messages.OVERRIDE_BLANK,
                "tomorrow is not a valid send time (yyyy-MM-dd HH:mm).",
            ],
            id="several at once",
        ),
    ],
)
def test_refuses_with_the_documented_errors(
    simulator: Simulator, client: httpx.Client, body: Body, errors: list[str]
) -> None:
    response = send(client, body)

    assert response.status_code == 400
    assert response.json() == {"errors": errors}
    assert simulator.sent() == []


@pytest.mark.parametrize(
    ("body", "errors"),
    [
        ([], ["The body must be a JSON object, not an array."]),
        (None, ["The body must be a JSON object, not null."]),
        (
            to_numbers(mobileNumber=NUMBER),
            ["Field mobileNumber is unknown."],
        ),
        (
            to_numbers(subscribe=False, contentUrl=""),
            [
                "Field subscribe is unknown. Did you mean Subscribe?",
                "Field contentUrl is unknown. Did you mean ContentURL?",
            ],
        ),
        (
            to_subscribers({**SUBSCRIBER, "attributes": {}}),
            ["Field Subscribers[0].attributes is unknown. Did you mean Attributes?"],
        ),
        (
            to_numbers(blackoutWindow={**WINDOW, "Zone": "UTC"}),
            ["Field blackoutWindow.Zone is unknown."],
        ),
        (
            to_numbers(Subscribe="true", keyword="JOINSMS"),
            ["Field Subscribe must be a boolean, not a string."],
        ),
        (
            to_numbers(Subscribe=True, keyword=None),
            ["Field keyword must be a string, not null."],
        ),
        (
            to_numbers(Override=True, messageText=False),
            ["Field messageText must be a string, not a boolean."],
        ),
        ({"mobileNumbers": NUMBER}, ["Field mobileNumbers must be an array, not a string."]),
        (
            {"mobileNumbers": [13175550100]},
            ["Field mobileNumbers[0] must be a string, not a number."],
        ),
        ({"Subscribers": [NUMBER]}, ["Field Subscribers[0] must be an object, not a string."]),
        (
            to_subscribers({**SUBSCRIBER, "SubscriberKey": 7}),
            ["Field Subscribers[0].SubscriberKey must be a string, not a number."],
        ),
        (
            to_subscribers({**SUBSCRIBER, "Attributes": {"Age": 7}}),
            ["Field Subscribers[0].Attributes.Age must be a string, not a number."],
        ),
        (
            to_numbers(blackoutWindow="2100-0800"),
            ["Field blackoutWindow must be an object, not a string."],
        ),
        (to_numbers(SendTime=1), ["Field SendTime must be a string, not a number."]),
    ],
)
def test_is_strict_about_types_and_casing(
    simulator: Simulator, client: httpx.Client, body: object, errors: list[str]
) -> None:
    response = client.post(
        f"/sms/v1/messageContact/{ID}/send",
        content=json.dumps(body),
        headers={"Content-Type": "application/json; charset=utf-8"},
    )

    assert response.status_code == 400
    assert response.json() == {"errors": errors}
    assert simulator.sent() == []


@pytest.mark.parametrize("message_id", ["30:78:0", "MzA6Nzg6MA===", "%2F"])
def test_a_malformed_message_id_is_refused_alone(client: httpx.Client, message_id: str) -> None:
    response = send(client, {}, message_id)

    shown = "/" if message_id == "%2F" else message_id
    assert response.status_code == 400
    assert response.json() == {"errors": [f"Message id {shown} is not valid."]}


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b'{"mobileNumbers": ["13175550100"],}',
        b'{"mobileNumbers": ["13175550100"], "SendTime": NaN}',
        b'{"mobileNumbers": ["13175550100"], "mobileNumbers": ["13175550101"]}',
        b'{"mobileNumbers": ["\xff"]}',
        b"[" * 100_000,
    ],
)
def test_refuses_what_is_not_json(client: httpx.Client, raw: bytes) -> None:
    response = client.post(
        f"/sms/v1/messageContact/{ID}/send",
        content=raw,
        headers={"Content-Type": "application/json"},
    )

    assert response.status_code == 400
    (error,) = response.json()["errors"]
    assert error.startswith("The body is not valid JSON: ")


def test_refuses_another_content_type(client: httpx.Client) -> None:
    response = client.post(f"/sms/v1/messageContact/{ID}/send", data={"mobileNumbers": NUMBER})

    assert response.status_code == 400
    assert response.json() == {"errors": ["The content type must be application/json."]}


@pytest.mark.parametrize(
    "authorization", [None, "", "Bearer", "Bearer wrong", f"Basic {TOKEN}", TOKEN]
)
def test_authorization_comes_before_everything_else(
    simulator: Simulator, authorization: str | None
) -> None:
    headers = {} if authorization is None else {"Authorization": authorization}
    response = httpx.post(
        f"{simulator.url}/sms/v1/messageContact/bad/send", content=b"{", headers=headers
    )

    assert response.status_code == 401
    body = response.json()
    assert set(body) == {"documentation", "errorcode", "message"}
    assert (body["errorcode"], body["message"]) == (0, "Not Authorized")


def test_a_token_without_the_scope_is_forbidden(simulator: Simulator, client: httpx.Client) -> None:
    reader = simulator.issue_token({"sms_read"})
    response = client.post(
        f"/sms/v1/messageContact/{ID}/send",
        json=to_numbers(),
        headers={"Authorization": f"Bearer {reader}"},
    )

    assert response.status_code == 403
    assert response.json()["errorcode"] == 20002
    assert simulator.sent() == []


@pytest.mark.parametrize(("length", "status"), [(MAX_BODY_BYTES, 202), (MAX_BODY_BYTES + 1, 413)])
def test_payload_cap(simulator: Simulator, client: httpx.Client, length: int, status: int) -> None:
    body = json.dumps(to_numbers(Override=True, messageText=""))
    body = body.replace('""', '"' + "x" * (length - len(body)) + '"')
    assert len(body) == length
    response = client.post(
        f"/sms/v1/messageContact/{ID}/send",
        content=body,
        headers={"Content-Type": "application/json"},
    )

    assert response.status_code == status
    assert [call["status"] for call in simulator.calls()] == [status]


@pytest.mark.parametrize(
    ("method", "path"),
    [("GET", "/other"), ("GET", f"/sms/v1/messageContact/{ID}/send"), ("POST", "/sms/v1/other")],
)
def test_unknown_routes_have_the_platforms_error_format(
    simulator: Simulator, client: httpx.Client, method: str, path: str
) -> None:
    response = client.request(method, path)

    assert response.status_code == 404
    assert response.json()["message"] == "Not Found"
    assert [call["path"] for call in simulator.calls()] == [path]
