import tracemalloc
from decimal import Decimal

import pytest

from smsrelay.errors import NotJsonError, TooLargeError
from smsrelay.messages.strict_json import MAX_REQUEST_BYTES, decode


@pytest.mark.parametrize(
    "text",
    [
        "",
        " ",
        "{",
        '{"a":1,}',
        "{'a':1}",
        '{"a":1} x',
        "NaN",
        '{"a":Infinity}',
        '{"a":-Infinity}',
        '{"a":"\x00"}',
        '{"a":"\n"}',
        "\ufeff{}",
        "[" * 100_000,
        '{"a":' * 100_000,
        "1" * 5_000,
        "1e9999999999999999999",
    ],
    ids=lambda text: repr(text[:12]),
)
def test_invalid_json_is_refused_with_a_reason(text: str) -> None:
    with pytest.raises(NotJsonError) as caught:
        decode(text)
    assert str(caught.value)


def test_the_reason_names_the_place() -> None:
    with pytest.raises(NotJsonError, match="line 2, column 5"):
        decode('{\n"a":}')


def test_size_is_counted_in_bytes() -> None:
    assert decode('"' + "a" * (MAX_REQUEST_BYTES - 2) + '"').value
    with pytest.raises(TooLargeError, match=str(MAX_REQUEST_BYTES)):
        decode('"' + "a" * (MAX_REQUEST_BYTES - 1) + '"')
    with pytest.raises(TooLargeError):
        decode('"' + "ä" * (MAX_REQUEST_BYTES // 2) + '"')


def test_a_price_keeps_its_last_zero() -> None:
    assert decode('{"price": 12.50}').value == {"price": Decimal("12.50")}
    assert str(decode("12.50").value) == "12.50"


def test_duplicates_are_found_at_every_level() -> None:
    document = decode('{"a":{"b":[{"c/d":1,"c/d":2}]},"e":1,"e":2,"e":3}')
    assert [(refusal.pointer, refusal.code) for refusal in document.refusals] == [
        ("/e", "duplicate-field"),
        ("/a/b/0/c~1d", "duplicate-field"),
    ]


def test_a_long_array_inside_deep_ones_needs_little_memory() -> None:
    text = "[" * 900 + "[]," * 20_000 + '"\\u0000"' + "]" * 900
    tracemalloc.start()
    try:
        assert [it.code for it in decode(text).refusals] == ["invalid-character"]
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 20_000_000
