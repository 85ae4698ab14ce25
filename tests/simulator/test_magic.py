"""Tests each magic value over HTTP, and the README that documents them."""

import re
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.simulator.calls import NUMBER
from tools import mobileconnect_simulator as package
from tools.mobileconnect_simulator import Simulator, error_messages, magic_numbers
from tools.mobileconnect_simulator.faults import Then
from tools.mobileconnect_simulator.validation import encode_message_id

BODY = {"mobileNumbers": [NUMBER]}
README = Path(package.__file__).with_name("README.md")
FAULTS = {first: row for first, row in magic_numbers.MESSAGES.items() if row.then is not None}
REFUSALS = {first: row for first, row in magic_numbers.MESSAGES.items() if row.refusals}


def path(first: int, last: int = 0, middle: int = magic_numbers.SEND_PART) -> str:
    return f"/sms/v1/messageContact/{encode_message_id(first, middle, last)}"


def status_of(client: httpx.Client, method: str, address: str, **options: Any) -> int | None:
    """Make a call, and return its status, or None if it ended without a response."""
    try:
        return client.request(method, address, **options).status_code
    except httpx.TransportError:
        return None


def patience(then: Then) -> httpx.Timeout:
    return httpx.Timeout(5, read=0.15) if "hang" in then.value else httpx.Timeout(5)


@pytest.mark.parametrize("first", REFUSALS)
def test_magic_messages_give_every_documented_refusal(
    simulator: Simulator, client: httpx.Client, first: int
) -> None:
    for _ in range(2):
        response = client.post(f"{path(first)}/send", json=BODY)

        assert response.status_code == 400
        errors = response.json()["errors"]
        assert len(errors) == len(REFUSALS[first].refusals)
        for text, error in zip(REFUSALS[first].refusals, errors, strict=True):
            assert re.fullmatch(re.escape(text).replace(r"\{0\}", ".+"), error)
    assert simulator.sent() == []


def test_a_refusal_names_what_the_caller_sent(client: httpx.Client) -> None:
    body = {**BODY, "Subscribe": True, "keyword": "JOINSMS"}
    unknown = client.post(f"{path(940001)}/send", json=body)
    several = client.post(f"{path(940020)}/send", json=body)

    encoded = encode_message_id(940001, 78, 0)
    assert unknown.json() == {"errors": [f"Message id {encoded} is not valid."]}
    assert several.json() == {
        "errors": [
            f"{NUMBER} is not a numeric string",
            "Keyword JOINSMS is invalid for the code on the message.",
        ]
    }


def test_a_text_replaces_a_blank_message(simulator: Simulator, client: httpx.Client) -> None:
    override = {**BODY, "Override": True, "messageText": "Hello"}

    assert client.post(f"{path(940009)}/send", json=BODY).status_code == 400
    assert client.post(f"{path(940009)}/send", json=override).status_code == 202
    assert len(simulator.sent()) == 1


@pytest.mark.parametrize("first", FAULTS)
def test_magic_messages_give_every_fault_always(
    simulator: Simulator, client: httpx.Client, first: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    row = FAULTS[first]
    assert row.then is not None
    if row.delay_ms:
        monkeypatch.setattr(
            magic_numbers, "MESSAGES", {first: magic_numbers.MagicMessage(then=row.then)}
        )
    for _ in range(2):
        status = status_of(
            client, "POST", f"{path(first)}/send", json=BODY, timeout=patience(row.then)
        )

        assert status == int(f"{first}"[1:4]) if status is not None else first < 900100
        call = simulator.calls()[-1]
        assert (call["fault"], call["accepted"]) == (row.then.value, row.then.accepts)
    assert len(simulator.sent()) == (2 if row.then.accepts else 0)


@pytest.mark.parametrize("first", FAULTS)
def test_the_same_faults_on_the_deliveries(
    simulator: Simulator, client: httpx.Client, first: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    row = FAULTS[first]
    assert row.then is not None
    if row.delay_ms:
        monkeypatch.setattr(
            magic_numbers, "MESSAGES", {first: magic_numbers.MagicMessage(then=row.then)}
        )
    address = path(first, 1, magic_numbers.DELIVERIES_PART)
    token_id = client.post(f"{address}/send", json=BODY).json()["tokenId"]

    status_of(client, "GET", f"{address}/deliveries/{token_id}", timeout=patience(row.then))
    second = status_of(client, "GET", f"{address}/deliveries/{token_id}")

    assert [call["fault"] for call in simulator.calls()] == [None, row.then.value, None]
    assert second == 200


@pytest.mark.parametrize(
    ("last", "statuses"),
    [
        (0, [429, 429, 429, 429]),
        (1, [429, 202, 429, 202]),
        (3, [429, 429, 429, 202]),
    ],
)
def test_the_last_part_is_the_number_of_faults(
    simulator: Simulator, client: httpx.Client, last: int, statuses: list[int]
) -> None:
    address = f"{path(942901, last)}/send"

    assert [client.post(address, json=BODY).status_code for _ in statuses] == statuses
    assert len(simulator.sent()) == statuses.count(202)


def test_faults_are_counted_for_each_list_of_recipients(
    simulator: Simulator, client: httpx.Client
) -> None:
    address = f"{path(950001, 1)}/send"
    other = "13175550101"
    bodies: list[dict[str, object]] = [
        {"mobileNumbers": [NUMBER, other]},
        {"mobileNumbers": [NUMBER]},
        {"mobileNumbers": [other, NUMBER], "Override": True, "messageText": "again"},
        {"mobileNumbers": [NUMBER]},
    ]

    statuses = [client.post(address, json=body).status_code for body in bodies]

    assert statuses == [500, 500, 202, 202]
    assert len(simulator.sent()) == 2


def test_a_reset_restarts_the_count(simulator: Simulator, client: httpx.Client) -> None:
    address = f"{path(950301, 1)}/send"

    assert client.post(address, json=BODY).status_code == 503
    simulator.reset()
    assert client.post(address, json=BODY).status_code == 503


@pytest.mark.parametrize(("first", "seconds"), [(942901, "5"), (942903, "1"), (950302, "1")])
def test_the_wait_of_a_magic_message(client: httpx.Client, first: int, seconds: str) -> None:
    response = client.post(f"{path(first)}/send", json=BODY)

    assert response.headers["Retry-After"] == seconds


def test_an_invalid_call_is_refused_before_a_magic_value_counts(
    simulator: Simulator, client: httpx.Client
) -> None:
    response = client.post(f"{path(950001)}/send", json={"mobileNumbers": []})

    assert response.json() == {"errors": [error_messages.NO_RECIPIENTS]}
    assert simulator.sent() == []


@pytest.mark.parametrize("keyword", ["INVALIDKEYWORD", "InvalidKeyword"])
def test_magic_keyword(client: httpx.Client, keyword: str) -> None:
    body = {**BODY, "Subscribe": True, "keyword": keyword}
    response = client.post("/sms/v1/messageContact/MzA6Nzg6MA/send", json=body)

    assert response.json() == {
        "errors": [f"Keyword {keyword} is invalid for the code on the message."]
    }


@pytest.mark.parametrize(
    ("numbers", "errors"),
    [
        (["19405550101", NUMBER], [error_messages.PHONE_INVALID]),
        (["19405550102", NUMBER], ["19405550102 is not a numeric string"]),
        (["19405550103"], [error_messages.NO_VALID_SUBSCRIBERS]),
        (
            ["19405550101", "19405550102"],
            [error_messages.PHONE_INVALID, "19405550102 is not a numeric string"],
        ),
    ],
)
def test_magic_numbers_are_refused(
    client: httpx.Client, numbers: list[str], errors: list[str]
) -> None:
    response = client.post(
        "/sms/v1/messageContact/MzA6Nzg6MA/send", json={"mobileNumbers": numbers}
    )

    assert response.json() == {"errors": errors}


def test_magic_numbers_are_reserved_ones() -> None:
    numbers = [
        *magic_numbers.NUMBER_CODES,
        *magic_numbers.NUMBER_REFUSALS,
        magic_numbers.NOT_A_SUBSCRIBER,
        magic_numbers.UNSUBSCRIBED,
    ]

    assert len(set(numbers)) == len(numbers)
    for number in numbers:
        assert re.fullmatch(r"1[2-9][0-9]{2}55501[0-9]{2}", number)


def test_every_fault_has_a_magic_message() -> None:
    assert {row.then for row in FAULTS.values()} == set(Then)
    assert {text for row in REFUSALS.values() for text in row.refusals} == set(
        error_messages.DOCUMENTED
    )


def test_the_readme_lists_every_magic_value() -> None:
    text = README.read_text(encoding="utf-8")
    rows = dict(re.findall(r"^\| (9[0-9]{5}) \| `(\S+)` \|", text, flags=re.MULTILINE))

    assert rows == {str(first): encode_message_id(first, 78, 0) for first in magic_numbers.MESSAGES}
    for value in [
        *magic_numbers.KEYWORDS,
        *magic_numbers.CLIENTS,
        *(f"+{number}" for number in magic_numbers.NUMBER_CODES),
        *(f"+{number}" for number in magic_numbers.NUMBER_REFUSALS),
        f"+{magic_numbers.NOT_A_SUBSCRIBER}",
        f"+{magic_numbers.UNSUBSCRIBED}",
        *error_messages.DOCUMENTED,
        *Then,
    ]:
        assert f"`{value}`" in text
