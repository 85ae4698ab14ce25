"""Tests the rule for clients' names."""

import pytest

from smsrelay.messages.client_names import is_client_name


@pytest.mark.parametrize("name", ["a", "7", "shop", "web-shop", "a--b", "x" * 63])
def test_valid_names(name: str) -> None:
    assert is_client_name(name)


@pytest.mark.parametrize(
    "name",
    [
        "",
        "Shop",
        "web shop",
        "web_shop",
        "-shop",
        "shop-",
        "-",
        "x" * 64,
        "shöp",
        "shop\n",
        "\u0663",  # a digit, but not one of 0-9
        "../shop",
        "arn:aws:iam::123456789012:role/Shop",
    ],
)
def test_invalid_names(name: str) -> None:
    assert not is_client_name(name)
