"""Ids of messages and of requests. Stored messages have the literal values: never change them."""

import pytest

from smsrelay.sends.ids import correlation_id, message_id, new_message_id

ROOT = "1-67891233-abcdef012345678912345678"


@pytest.mark.parametrize(
    ("client", "key", "expected"),
    [
        ("shop", "order-8812", "7GT2KXFRA8KGHR0DXA1BH3V07S"),
        ("", "order-8812", "5530S8ZNQSV6A5NB44NDYJS5Q0"),
        ("internal", "order-8812", "318RRCG9K0A4K9G5RN3ZSM5J2F"),
        ("", "059f36b4-87a3-44ab-83d2-661975830a7d", "0NYHWC6QV9CBT6H5KJ5F4W1Z1V"),
    ],
)
def test_an_id_follows_from_client_and_key(client: str, key: str, expected: str) -> None:
    assert message_id(client, key) == expected


def test_client_and_key_do_not_run_into_each_other() -> None:
    assert len({message_id("shop", "k"), message_id("sho", "pk"), message_id("", "shopk")}) == 3


def test_without_a_key_every_id_is_new() -> None:
    assert new_message_id() != new_message_id()
    assert len(new_message_id()) == len(message_id("shop", "k")) == 26


@pytest.mark.parametrize(
    "given",
    [
        None,
        "",
        "Root=",
        "+12125550100",
        "Root=1-67891233-12125550100",
        "Root=1-67891233-ABCDEF012345678912345678",
        f"XRoot={ROOT}",
        f"Root={ROOT}Kim",
        f"Self=1;Root={ROOT} ;x",
    ],
)
def test_what_is_no_trace_gets_nowhere(given: str | None) -> None:
    assert correlation_id(given) is None
