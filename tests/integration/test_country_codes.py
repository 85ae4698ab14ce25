"""Tests the countries allowed by the parameter `CountryCodes` and by the message catalogue."""

import uuid
from collections.abc import Iterator
from typing import Any

import pytest

from smsrelay.wiring import api, queue_worker
from tests.support.environment import Environment, running
from tools.mobileconnect_simulator import Simulator

ID = "MzA6Nzg6MA"
US, GB = "+1 212 555 0100", "+44 7700 900123"
MESSAGE: dict[str, Any] = {"message": ID, "to": [US], "text": "Hello"}
KEY = {"Idempotency-Key": "order-8812"}


@pytest.fixture
def british(aws: None, simulator: Simulator) -> Iterator[Environment]:
    """A relay that sends to +44 only, with a catalogue."""
    _ = aws
    parameter = f"/{uuid.uuid4()}/catalogue"
    with running(simulator.url, COUNTRY_CODES="44", CATALOGUE_PARAMETER=parameter) as relay:
        relay.put_catalogue(
            {
                "messages": {
                    "everywhere": ID,
                    "both": {"id": ID, "countryCodes": ["1", "44"]},
                    "american": {"id": ID, "countryCodes": ["1"]},
                }
            }
        )
        yield relay


def errors(answer: Any) -> dict[str, str]:
    """Return the reasons of a refusal, by pointer."""
    assert (answer.status, answer.body["code"]) == (422, "invalid-request")
    return {error["pointer"]: error["code"] for error in answer.body["errors"]}


def test_numbers_of_other_countries_are_refused_with_their_pointers(
    british: Environment, simulator: Simulator
) -> None:
    subscribers = [{"mobile": number, "key": "k"} for number in (US, "+353 20 910 0000")]
    to = [GB, "+1 212 555 0101", *subscribers, "123"]
    assert errors(british.post(MESSAGE | {"to": to})) == {
        "/to/1": "country-not-allowed",
        "/to/2/mobile": "country-not-allowed",
        "/to/3/mobile": "country-not-allowed",
        "/to/4": "number-not-international",
    }
    assert simulator.calls() == []
    assert british.post(MESSAGE | {"to": [GB]}).status == 202


def test_webhooks_and_messages_of_the_queue_are_restricted_too(
    british: Environment, simulator: Simulator
) -> None:
    secret = british.put_webhook_secret("shop")
    assert errors(british.post_webhook("shop", secret, MESSAGE)) == {"/to/0": "country-not-allowed"}
    british.enqueue(MESSAGE)
    assert british.work() == []
    assert [letter["reason"] for letter in british.dead_letters()] == ["refused"]
    assert simulator.calls() == []

    assert british.post_webhook("shop", secret, MESSAGE | {"to": [GB]}).status == 202
    british.enqueue(MESSAGE | {"to": [GB]})
    assert british.work() == []
    assert len(simulator.sent()) == 2


@pytest.mark.parametrize(
    ("name", "to", "refused"),
    [
        ("everywhere", [US, GB], {"/to/0"}),
        ("both", [US, GB], {"/to/0"}),
        ("american", [US, GB], {"/to/0", "/to/1"}),
        ("both", [GB], set()),
    ],
)
def test_parameter_and_catalogue_must_both_allow_a_country(
    british: Environment, name: str, to: list[str], refused: set[str]
) -> None:
    answer = british.post(MESSAGE | {"message": name, "to": to})
    if refused:
        assert errors(answer) == dict.fromkeys(refused, "country-not-allowed")
    else:
        assert answer.status == 202


def test_a_country_is_refused_beside_an_unknown_name(british: Environment) -> None:
    assert errors(british.post(MESSAGE | {"message": "nowhere"})) == {
        "/message": "unknown-message",
        "/to/0": "country-not-allowed",
    }


def test_a_repetition_gets_the_stored_response_after_its_country_was_removed(
    relay: Environment, simulator: Simulator
) -> None:
    first = relay.post(MESSAGE, headers=KEY)
    relay.enqueue(MESSAGE, KEY | {"client": "warehouse"})
    assert relay.work() == []
    for service in (api.parts().api, queue_worker.parts().queue_worker):
        reader: Any = service._reader  # noqa: SLF001
        reader._country_codes = ["44"]  # noqa: SLF001
    again = relay.post(MESSAGE, headers=KEY)
    assert (again.status, again.body) == (202, first.body)
    assert again.headers["Idempotent-Replayed"] == "true"
    relay.enqueue(MESSAGE, KEY | {"client": "warehouse"})
    assert relay.work() == []
    assert relay.dead_letters() == []
    assert errors(relay.post(MESSAGE)) == {"/to/0": "country-not-allowed"}
    assert len(simulator.sent()) == 2
