"""Tests the message catalogue: its rules, how names are resolved, and its schema."""

import base64
import json
from typing import Any

import jsonschema_rs
import pytest

from smsrelay.messages.message_catalogue import Catalogue, parse_catalogue
from smsrelay.messages.refusals import Refusal, RequestRefusedError
from smsrelay.messages.request import (
    CatalogueDefaults,
    MessageRequest,
    QuietHours,
    is_encoded_id,
)
from smsrelay.messages.strict_json import decode
from smsrelay.messages.validation import parse_request
from tests.support.requests import MINIMAL
from tools.openapi import ROOT
from tools.openapi import catalogue_schema as contract

ID = "MzA6Nzg6MA"
ARN = "arn:aws:iam::123456789012:role/Shop"
QUIET = {"start": "21:00", "end": "08:00", "timezone": "America/Chicago"}
WHOLE: dict[str, Any] = {
    "messages": {
        "welcome": {
            "id": ID,
            "keyword": "JOINSMS",
            "quietHours": QUIET,
            "allowedClients": ["shop"],
            "onUnknown": "resend",
            "deliveryPolling": "all",
            "countryCodes": ["1", "44"],
        },
        "offers": {"id": ID, "deliveryPolling": "none"},
        "shipped": "MzE6Nzg6MA==",
    },
    "clients": {"shop": {"callback": "https://shop.example.com/sms?a=b"}},
}


def catalogue(document: object) -> Catalogue:
    return parse_catalogue(decode(json.dumps(document)))


def faults(text: str) -> dict[str, str]:
    """Return the refusals of a document, by pointer."""
    with pytest.raises(RequestRefusedError) as caught:
        parse_catalogue(decode(text))
    return {refusal.pointer: refusal.detail for refusal in caught.value.refusals}


def of_welcome(**fields: object) -> object:
    return {"messages": {"welcome": {"id": ID} | fields}}


def test_a_full_catalogue_and_an_empty_one_are_valid() -> None:
    found = catalogue(WHOLE)
    quiet = QuietHours(start="21:00", end="08:00", timezone="America/Chicago")
    assert found.resolve("welcome", "shop") == CatalogueDefaults(
        ID, "JOINSMS", quiet, "resend", country_codes=("1", "44")
    )
    assert found.resolve("offers", "anybody") == CatalogueDefaults(ID, poll_delivery=False)
    assert found.resolve("shipped", "anybody") == CatalogueDefaults("MzE6Nzg6MA==")
    assert found.callback_of("shop") == "https://shop.example.com/sms?a=b"
    assert found.callback_of("other") is None
    assert catalogue({}) == Catalogue()
    assert contract_accepts(WHOLE)
    assert contract_accepts({})


WRONG: list[tuple[str, object]] = [
    ("", []),
    ("", "welcome"),
    ("/message", {"message": {}}),
    ("/messages", {"messages": None}),
    ("/messages/a b", {"messages": {"a b": ID}}),
    ("/messages/welcome/countryCodes", of_welcome(countryCodes=[])),
    ("/messages/welcome/countryCodes", of_welcome(countryCodes=None)),
    ("/messages/welcome/countryCodes", of_welcome(countryCodes="44")),
    ("/messages/welcome/countryCodes/0", of_welcome(countryCodes=[44])),
    ("/messages/welcome/countryCodes", of_welcome(countryCodes=["44", "+1"])),
    ("/messages/welcome", {"messages": {"welcome": 7}}),
    ("/messages/welcome", {"messages": {"welcome": "a/b"}}),
    ("/messages/welcome/id", {"messages": {"welcome": {}}}),
    ("/messages/welcome/name", of_welcome(name="x")),
    ("/messages/welcome/on_unknown", of_welcome(on_unknown="hold")),
    ("/messages/welcome/keyword", of_welcome(keyword=None)),
    ("/messages/welcome/keyword", of_welcome(keyword=" ")),
    ("/messages/welcome/keyword", of_welcome(keyword="x" * 101)),
    ("/messages/welcome/onUnknown", of_welcome(onUnknown="maybe")),
    ("/messages/welcome/deliveryPolling", of_welcome(deliveryPolling="some")),
    ("/messages/welcome/deliveryPolling", of_welcome(deliveryPolling=None)),
    ("/messages/welcome/allowedClients", of_welcome(allowedClients=[])),
    ("/messages/welcome/allowedClients", of_welcome(allowedClients="shop")),
    ("/messages/welcome/allowedClients/1", of_welcome(allowedClients=["shop", "Shop"])),
    ("/messages/welcome/allowedClients/0", of_welcome(allowedClients=["x" * 64])),
    ("/messages/welcome/allowedClients/0", of_welcome(allowedClients=[ARN])),
    ("/messages/welcome/quietHours/start", of_welcome(quietHours=QUIET | {"start": "9 pm"})),
    ("/messages/welcome/quietHours", of_welcome(quietHours=QUIET | {"utcOffset": "+01:00"})),
    ("/clients/shop/callback", {"clients": {"shop": {"callback": "http://shop.example.com"}}}),
    ("/clients/a b", {"clients": {"a b": {}}}),
    ("/clients/shop-", {"clients": {"shop-": {}}}),
]
BEYOND_SCHEMA: list[tuple[str, object]] = [
    ("/messages/MzA6Nzg6MA", {"messages": {ID: ID}}),
    ("/messages/welcome", {"messages": {"welcome": "bm8gaWQ"}}),
    ("/messages/welcome/id", of_welcome(id="shipped")),
    ("/messages/welcome/countryCodes", of_welcome(countryCodes=["210"])),
    ("/messages/welcome/quietHours/end", of_welcome(quietHours=QUIET | {"end": "21:00"})),
    (
        "/messages/welcome/quietHours/timezone",
        of_welcome(quietHours={"start": "21:00", "end": "08:00", "timezone": "Mars/Olympus"}),
    ),
]


@pytest.mark.parametrize(("place", "document"), WRONG + BEYOND_SCHEMA)
def test_a_fault_is_found_at_its_place(place: str, document: object) -> None:
    assert list(faults(json.dumps(document))) == [place]


@pytest.mark.parametrize(
    ("field", "value", "detail"),
    [
        ("deliveryPolling", "off", "It must be one of: all, none."),
        ("onUnknown", "maybe", "It must be one of: hold, resend."),
        ("allowedClients", "shop", "It must be an array."),
        ("countryCodes", "44", "It must be an array."),
    ],
)
def test_a_fault_says_what_the_field_can_be(field: str, value: str, detail: str) -> None:
    text = json.dumps(of_welcome(**{field: value}))
    assert faults(text) == {f"/messages/welcome/{field}": detail}


def test_all_faults_are_told_at_once() -> None:
    text = '{"messages": {"a b": ["x"], "welcome": {"id": "a/b"}, "w": 1, "w": 2}, "more": 1}'
    with pytest.raises(RequestRefusedError) as caught:
        parse_catalogue(decode(text))
    assert sorted(it.pointer for it in caught.value.refusals) == [
        "/messages/a b",  # not a name
        "/messages/a b",  # not a message
        "/messages/w",  # a duplicate
        "/messages/w",  # not a message
        "/messages/welcome/id",
        "/more",
    ]


@pytest.mark.parametrize(
    "url",
    [
        "shop.example.com",
        "https://shop",
        "https://localhost/x",
        "https://a.localhost",
        "https://A.LOCALHOST:443/x",
        "https://127.0.0.1/x",
        "https://127.1",
        "https://0x7f.0x1/",
        "https://2130706433/",
        "https://[::1]/x",
        "https://user@shop.example.com",
        "https://user:pass@shop.example.com",
        "https://shop.example.com#x",
        "https://shop.example.com/a#x",
        "https://shop.example.com\\@evil.example",
        "https://shop.example.com:0/",
        "https://shop.example.com:65536/",
        "https://shop.example.com./",
        "https://shop.example.com/a b",
        "https://shöp.example.com/",
        " https://shop.example.com/",
        "https://" + "a." * 1_100 + "example.com",
    ],
)
def test_invalid_callbacks_are_refused(url: str) -> None:
    document = {"clients": {"shop": {"callback": url}}}
    assert list(faults(json.dumps(document))) == ["/clients/shop/callback"]


@pytest.mark.parametrize(
    "url", ["https://Shop.Example.com", "HTTPS://a.bc:8443", "https://a.bc/x%20y/?q=1&r=@"]
)
def test_valid_callbacks_are_accepted(url: str) -> None:
    assert catalogue({"clients": {"shop": {"callback": url}}}).callback_of("shop") == url


@pytest.mark.parametrize("url", ["http://127.0.0.1:8080", "http://127.0.0.1:8080/callbacks/shop"])
def test_only_the_local_stack_has_callbacks_on_loopback(url: str) -> None:
    text = json.dumps({"clients": {"shop": {"callback": url}}})
    assert list(faults(text)) == ["/clients/shop/callback"]
    local = parse_catalogue(decode(text), loopback_callbacks=True)
    assert local.callback_of("shop") == url


@pytest.mark.parametrize(
    "url",
    [
        "http://127.0.0.1",
        "https://127.0.0.1:8080",
        "http://127.0.0.1:8080@shop.example.com",
        "http://localhost:8080",
        "http://10.0.0.1:8080",
        "http://shop.example.com:8080",
    ],
)
def test_loopback_is_the_only_address_of_the_local_stack(url: str) -> None:
    text = json.dumps({"clients": {"shop": {"callback": url}}})
    with pytest.raises(RequestRefusedError):
        parse_catalogue(decode(text), loopback_callbacks=True)


@pytest.mark.parametrize("padding", ["", "="])
@pytest.mark.parametrize("message", ["30:78:0", "9404291:78:10"])
def test_an_encoded_id_is_three_numbers(message: str, padding: str) -> None:
    assert is_encoded_id(base64.urlsafe_b64encode(message.encode()).decode().rstrip("=") + padding)


@pytest.mark.parametrize("message", ["welcome", "", "=", "m", "bm8gaWQ", "MzA6Nzg", "MzA6Nzg6YQ"])
def test_other_words_are_not_encoded_ids(message: str) -> None:
    assert not is_encoded_id(message)


NEAR = catalogue(
    {
        "messages": {
            **dict.fromkeys(("welcome", "welcome-2", "welcome-3", "welcome-4"), ID),
            "payroll": {"id": ID, "allowedClients": ["hr"]},
        }
    }
)


@pytest.mark.parametrize(
    ("name", "client", "near"),
    [
        ("welcom", "shop", ["welcome", "welcome-3", "welcome-4"]),
        ("WELCOME", "shop", ["welcome", "welcome-3", "welcome-4"]),
        ("payrol", "hr", ["payroll"]),
        ("payrol", "shop", []),
        ("12125550100", "shop", []),
    ],
)
def test_an_unknown_name_has_similar_ones(name: str, client: str, near: list[str]) -> None:
    found = NEAR.resolve(name, client).refusal
    assert found is not None
    assert (found.pointer, found.code) == ("/message", "unknown-message")
    similar = found.detail.partition("Similar names: ")[2].removesuffix(".")
    assert sorted(similar.split(", ") if similar else []) == sorted(near)
    assert f" {name} " not in found.detail


def test_a_name_of_another_client_is_refused_without_similar_names() -> None:
    found = NEAR.resolve("payroll", "shop").refusal
    assert found is not None
    assert (found.pointer, found.code) == ("/message", "message-not-allowed")
    assert "payroll" not in found.detail
    assert "hr" not in found.detail.split()


def request(defaults: CatalogueDefaults, **fields: object) -> MessageRequest:
    return parse_request(decode(json.dumps(MINIMAL | fields)), defaults)


QUIET_HOURS = QuietHours(start="21:00", end="08:00", utc_offset="+01:00")
DEFAULTS = CatalogueDefaults(ID, "JOINSMS", QUIET_HOURS, "resend")


def test_defaults_fill_missing_fields() -> None:
    completed = request(DEFAULTS, subscribe=True)
    assert completed.keyword == "JOINSMS"
    assert completed.quiet_hours == QUIET_HOURS
    assert completed.on_unknown == "resend"
    assert request(DEFAULTS).keyword is None
    assert request(DEFAULTS, subscribe=False, resubscribe=False).keyword is None


def test_fields_of_a_request_override_defaults() -> None:
    own = {"keyword": "OWN", "resubscribe": True, "onUnknown": "hold", "quietHours": QUIET}
    completed = request(DEFAULTS, **own)
    assert (completed.keyword, completed.on_unknown) == ("OWN", "hold")
    assert completed.quiet_hours is not None
    assert completed.quiet_hours.timezone == "America/Chicago"


def test_a_refused_message_is_reported_with_the_other_refusals() -> None:
    refusal = Refusal("/message", "unknown-message", "There is none.")
    with pytest.raises(RequestRefusedError) as caught:
        request(CatalogueDefaults(refusal=refusal), subscribe=True, text=" ")
    # The keyword is not judged, because the right name could have a default for it.
    assert {it.pointer for it in caught.value.refusals} == {"/message", "/text"}
    with pytest.raises(RequestRefusedError, match="keyword-missing"):
        request(CatalogueDefaults(ID), subscribe=True)
    with pytest.raises(RequestRefusedError, match="keyword-not-needed"):
        request(DEFAULTS, keyword="JOINSMS")


# The schema for editors has the same rules, as far as a schema can express them.


def contract_accepts(document: object) -> bool:
    return jsonschema_rs.validator_for(contract.schema()).is_valid(document)


def test_the_schema_is_up_to_date() -> None:
    assert (ROOT / "docs/message-catalogue.schema.json").read_text() == contract.text()


def test_the_schema_refuses_wrong_documents_except_for_rules_beyond_it() -> None:
    assert [document for _, document in WRONG if contract_accepts(document)] == []
    assert all(contract_accepts(document) for _, document in BEYOND_SCHEMA)
