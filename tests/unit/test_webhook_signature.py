"""Checks that only a signature with the client's secret is accepted, for all headers."""

import base64
import hashlib
import hmac
import re
import time
from typing import Any

import pytest
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st

from smsrelay.security.webhook_signature import parse_secrets, verify_signature
from tests.support.signatures import signed_headers
from tools.local_stack.signing_secrets import new_signing_secret

# Not random, because test names contain them, and all processes of a run need the same names.
SECRET, OTHER = (f"whsec_{base64.b64encode(bytes([n] * 32)).decode()}" for n in (1, 2))
BODY = '{"message": "MzA6Nzg6MA", "to": ["+1 212 555 0100"], "text": "Grüße 👋"}'
NAMES = ("webhook-id", "webhook-timestamp", "webhook-signature")

# The same examples in every run.
bounded = settings(derandomize=True, database=None, deadline=None)

texts = st.text(max_size=60) | st.text(alphabet="v1,= whsec_AB+/.0", max_size=60)
base64s = st.binary(max_size=40).map(lambda value: base64.b64encode(value).decode())
signatures = texts | st.lists(
    st.tuples(st.sampled_from(["v1", "v1a", "v2", ""]), base64s | texts).map(",".join), max_size=4
).map(" ".join)
moments = texts | st.integers(-(10**12), 10**14).map(str) | st.just(str(int(time.time())))


def test_a_signed_webhook_is_accepted() -> None:
    headers = signed_headers(SECRET, BODY, "msg_1")
    assert verify_signature(headers, BODY, [SECRET])
    assert verify_signature(headers, BODY, [OTHER, SECRET]), "both secrets must count"


def test_the_signature_is_that_of_the_specification() -> None:
    """Calculates the signature without the library, which could only agree with itself."""
    now = str(int(time.time()))
    key = base64.b64decode(SECRET.removeprefix("whsec_"))
    digest = hmac.digest(key, f"msg_1.{now}.{BODY}".encode(), hashlib.sha256)
    headers = {
        "webhook-id": "msg_1",
        "webhook-timestamp": now,
        "webhook-signature": f"v1,AAAA v1a,BBBB v1,{base64.b64encode(digest).decode()}",
    }
    assert verify_signature(headers, BODY, [SECRET])


@pytest.mark.parametrize("age", [-310, 310])
def test_an_old_or_future_signature_is_refused(age: float) -> None:
    headers = signed_headers(SECRET, BODY, "msg_1", time.time() - age)
    assert not verify_signature(headers, BODY, [SECRET])


@pytest.mark.parametrize("age", [-290, 290])
def test_a_difference_of_five_minutes_is_allowed(age: float) -> None:
    headers = signed_headers(SECRET, BODY, "msg_1", time.time() - age)
    assert verify_signature(headers, BODY, [SECRET])


@pytest.mark.parametrize("name", NAMES)
def test_each_header_is_needed(name: str) -> None:
    headers = signed_headers(SECRET, BODY, "msg_1")
    del headers[name]
    assert not verify_signature(headers, BODY, [SECRET])


@pytest.mark.parametrize("secrets", [[], [OTHER], [OTHER, new_signing_secret()]])
def test_other_secrets_are_refused(secrets: list[str]) -> None:
    assert not verify_signature(signed_headers(SECRET, BODY, "msg_1"), BODY, secrets)


def test_the_placeholder_for_a_missing_secret_is_refused() -> None:
    nobodys = "whsec_" + "A" * 44
    headers = signed_headers(nobodys, BODY, "msg_1")
    for secrets in ([], [SECRET]):
        assert not verify_signature(headers, BODY, secrets)


def test_the_signed_string_cannot_be_split_differently() -> None:
    """`id.time.body` is one string: a part of the body must not become the time."""
    now = int(time.time())
    inner = f'1.{now}.{{"message": "M", "to": ["+12125550100"]}}'
    headers = signed_headers(SECRET, inner, "msg", now)
    cut = headers | {"webhook-id": f"msg.{now}.1"}
    body = inner.removeprefix(f"1.{now}.")
    assert verify_signature(headers, inner, [SECRET])
    assert not verify_signature(cut, body, [SECRET])


@bounded
@given(
    st.fixed_dictionaries({}, optional=dict(zip(NAMES, (texts, moments, signatures), strict=True)))
)
def test_other_headers_are_refused_without_an_exception(headers: dict[str, str]) -> None:
    assert not verify_signature(headers, BODY, [SECRET, OTHER])


@bounded
@given(st.sampled_from(NAMES), texts | signatures | moments)
@example("webhook-timestamp", "²")
def test_a_changed_header_is_refused(name: str, value: str) -> None:
    good = signed_headers(SECRET, BODY, "msg_1")
    if name == "webhook-timestamp" and re.fullmatch("[0-9]+", value):
        assume(int(value) != int(good[name]))  # zeros in front do not change the time
    changed = good | {name: value}
    assert verify_signature(changed, BODY, [SECRET]) == (value == good[name])


def test_a_time_in_other_digits_is_refused() -> None:
    """Python reads these digits as the same number."""
    good = signed_headers(SECRET, BODY, "msg_1")
    arabic = good["webhook-timestamp"].translate({ord("0") + n: 0x0660 + n for n in range(10)})
    assert int(arabic) == int(good["webhook-timestamp"])
    assert not verify_signature(good | {"webhook-timestamp": arabic}, BODY, [SECRET])


@bounded
@given(st.text(max_size=80))
def test_a_changed_body_is_refused(body: str) -> None:
    assert not verify_signature(signed_headers(SECRET, BODY, "msg_1"), body, [SECRET])


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (f'{{"current": "{SECRET}", "previous": "{OTHER}"}}', (SECRET, OTHER)),
        (f'{{"current": "{SECRET}"}}', (SECRET,)),
        (f'{{"current": "{SECRET}", "previous": null}}', (SECRET,)),
        (f'{{"previous": "{OTHER}"}}', (OTHER,)),
        (SECRET, (SECRET,)),
        (f"{SECRET}\n", (SECRET,)),
        ("", ()),
        ("[]", ()),
        ("{}", ()),
        ('{"current": 1}', ()),
        ('{"current": "secret"}', ()),
        ('{"current": "whsec_"}', ()),
        ('{"current": "whsec_c2hvcnQ="}', ()),
        ('{"current": "whsec_-_-_-_-_-_-_-_-_-_-_-_-_-_-_-_-_-_-_-_-_"}', ()),
    ],
)
def test_secrets_are_parsed(value: str, expected: Any) -> None:
    assert tuple(parse_secrets(value)) == expected


@bounded
@given(st.text(max_size=80))
def test_an_invalid_secret_raises_nothing(value: str) -> None:
    assert not verify_signature(signed_headers(SECRET, BODY, "m"), BODY, parse_secrets(value))
