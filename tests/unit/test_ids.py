"""Tests ids and fingerprints. Stored messages have the literal values: never change them."""

import hashlib
import json

import pytest

from smsrelay.errors import NotJsonError
from smsrelay.messages.strict_json import Document, decode
from smsrelay.sends.ids import correlation_id, fingerprint, message_id, new_id

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


def test_client_and_key_are_separated_in_the_id() -> None:
    assert len({message_id("shop", "k"), message_id("sho", "pk"), message_id("", "shopk")}) == 3


def test_without_a_key_every_id_is_new() -> None:
    assert new_id() != new_id()
    assert len(new_id()) == len(message_id("shop", "k")) == 26


MESSAGE = '{"message": "MzA6Nzg6MA", "to": ["+1 212 555 0100"], "text": "Grüße"}'


def of(text: str, key: str = "order-8812") -> str:
    return fingerprint(decode(text), key)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (MESSAGE, "795347cd173a8e0325caec681e258204451efdb5e0a18da642570d9c02df4330"),
        (
            '{"to": [{"mobile": "+1 212 555 0100", "attributes": {"Price": 1.50, "N": 7}}]}',
            "19aeb02b47022130373232ea65d12a259fae2103e886a2158dc18bcf7f4e6bee",
        ),
        ('["\\ud800"]', "7eb9c5b7d249f682434852ebe31aa875053b54ba006df95e07ca4dce3304dc7f"),
    ],
)
def test_a_fingerprint_follows_from_body_and_key(text: str, expected: str) -> None:
    assert of(text) == expected


@pytest.mark.parametrize(
    "text",
    [
        '{"text":"Gr\\u00fc\\u00dfe","to":["+1 212 555 0100"],"message":"MzA6Nzg6MA"}',
        '{"idempotencyKey": "order-8812", ' + MESSAGE[1:],
    ],
)
def test_order_spacing_escapes_and_the_key_itself_do_not_count(text: str) -> None:
    assert of(text) == of(MESSAGE)


@pytest.mark.parametrize(
    "text",
    [
        MESSAGE.replace("+1 212 555 0100", "+12125550100"),
        MESSAGE.replace("Grüße", "Gruß"),
        '{"onUnknown": "hold", ' + MESSAGE[1:],
        '{"text": "another one", ' + MESSAGE[1:],
        '["not an object"]',
    ],
)
def test_another_body_has_another_fingerprint(text: str) -> None:
    assert of(text) != of(MESSAGE)


@pytest.mark.parametrize(("one", "other"), [("1", '"1"'), ("1.5", '"1.5"'), ("1.5", "1.50")])
def test_numbers_and_strings_are_different_bodies(one: str, other: str) -> None:
    assert of(f'{{"text": {one}}}') != of(f'{{"text": {other}}}')


def test_the_body_can_not_be_guessed_from_its_fingerprint_without_the_key() -> None:
    assert of(MESSAGE, "another key") != of(MESSAGE)
    canonical = json.dumps(json.loads(MESSAGE), sort_keys=True, separators=(",", ":"))
    assert of(MESSAGE) != hashlib.sha256(canonical.encode()).hexdigest()


def test_a_document_that_is_nested_too_deeply_is_refused() -> None:
    nested: list[object] = []
    for _ in range(200_000):
        nested = [nested]
    with pytest.raises(NotJsonError, match="nested too deeply"):
        fingerprint(Document(nested, ()), "k")


@pytest.mark.parametrize(
    "header",
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
def test_an_invalid_trace_header_is_ignored(header: str | None) -> None:
    assert correlation_id(header) is None
