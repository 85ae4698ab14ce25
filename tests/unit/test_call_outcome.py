"""Tests the outcome of each response and failure of a call."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from smsrelay.sends.call_outcome import (
    MAX_ERRORS_BYTES,
    OUT_OF_TIME,
    Failure,
    Outcome,
    OutcomeKind,
    fit_errors,
    of_failure,
    of_response,
)
from tests.support.outcome_tables import read_responses, read_table

NOW = 1_790_000_000.0
PLATFORM = {"documentation": "https://…", "errorcode": 0, "message": "Not Authorized"}


def of(status: int, body: object = b"", **headers: str) -> Outcome:
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return of_response(status, named, raw, NOW)


SHAPES: dict[str, list[object]] = {
    "`tokenId` readable": [{"tokenId": "abc"}, b'{"tokenId": "abc",}', {"tokenId": 7}],
    "`tokenId` not readable": [
        {"tokenId": None},
        {"tokenId": " "},
        {"tokenId": []},
        b'{"tokenId":null,}',
    ],
    "`errors`": [{"errors": ["why"]}, {"errors": [{"code": 5}]}],
    "`errorcode`": [PLATFORM, {"errorcode": "50300"}, {"errors": [], "errorcode": 20002}],
    "foreign": [
        b"",
        b"<html>Bad Gateway</html>",
        b'<script>{"tokenId": "abc"}</script>',
        b"upstream connect error",
        b"[" * 5_000,
        b'{"errors": ["why"',
        {},
        [{"tokenId": "abc"}],
        {"message": "Forbidden"},
        {"errors": []},
        {"errors": "why"},
        {"errorcode": None},
        {"errorcode": True},
        {"data": {"tokenId": "abc"}},
    ],
}
KINDS = {kind.value.replace("-", " "): kind for kind in OutcomeKind}


@pytest.mark.parametrize("shape", SHAPES)
def test_each_response_has_the_documented_outcome(shape: str) -> None:
    table = read_responses("responses", SHAPES.keys() - {"foreign"}, KINDS)
    for status in range(100, 1_000):
        row = table.row(status, shape)
        for body in SHAPES[shape]:
            result = of(status, body)
            expected = (KINDS[row.result], row.reason, status)
            assert (result.kind, result.reason, result.status) == expected, body


def test_each_failure_has_the_documented_outcome() -> None:
    rows = {code.strip("`"): KINDS[outcome] for _, outcome, code in read_table("no response")}
    results = {failure.value: of_failure(failure).kind for failure in Failure}
    assert results | {OUT_OF_TIME.reason: OUT_OF_TIME.kind} == rows


@pytest.mark.parametrize(
    ("body", "token_id", "reason"),
    [
        (b'{"tokenId": "c21NCNSDN2sMMWM2miosdjEHH"}', "c21NCNSDN2sMMWM2miosdjEHH", "accepted"),
        (b'{"tokenId": "abc",}', "abc", "accepted"),  # the example of Salesforce's reference
        (b'{\n  "tokenId" : "abc",\n}\n', "abc", "accepted"),
        (b'\xef\xbb\xbf {"tokenId": "abc"}', "abc", "accepted"),
        (b'{"tokenId": "abc"', "abc", "accepted"),  # the body broke off
        (b'{"tokenId": "a\\u002Bb\\/c"', "a+b/c", "accepted"),  # this one, too
        (b'{"tokenId": "ab', None, "unexpected-success"),
        (b'{"tokenId": 7}', "7", "accepted"),
        (b'{"tokenId": "a\\ud800"}', "a?", "accepted"),
        (b'{"tokenId": ""}', None, "accepted-without-token"),
        (b'{"tokenId": true}', None, "accepted-without-token"),
        (b'{"tokenId": "' + b"x" * 1_025 + b'"}', None, "accepted-without-token"),
        (b"\xff\xfe", None, "unexpected-success"),
    ],
)
@pytest.mark.parametrize("status", [200, 201, 202, 204])
def test_the_token_id_is_read(status: int, body: bytes, token_id: str | None, reason: str) -> None:
    result = of(status, body)
    assert (result.token_id, result.reason, result.status) == (token_id, reason, status)


@pytest.mark.parametrize(
    ("failure", "kind"),
    [
        (Failure.NO_TOKEN, OutcomeKind.NOT_SENT),
        (Failure.NO_CONNECTION, OutcomeKind.NOT_SENT),
        (Failure.CONNECT_TIMEOUT, OutcomeKind.NOT_SENT),
        (Failure.WRITE_FAILED, OutcomeKind.UNKNOWN),
        (Failure.READ_FAILED, OutcomeKind.UNKNOWN),
        (Failure.READ_TIMEOUT, OutcomeKind.UNKNOWN),
        (Failure.PROTOCOL_ERROR, OutcomeKind.UNKNOWN),
    ],
)
def test_each_failure(failure: Failure, kind: OutcomeKind) -> None:
    assert of_failure(failure) == Outcome(kind, failure.value)


def test_no_failure_is_missing_in_the_table() -> None:
    assert len(Failure) == 7


@pytest.mark.parametrize(
    ("body", "errors"),
    [
        ({"errors": ["one", "two"]}, ("one", "two")),
        ({"errors": [{"code": 5}]}, ('{"code": 5}',)),
        (PLATFORM, ("Not Authorized",)),
        (
            {"error": "invalid_client", "error_description": "Invalid client ID."},
            ("invalid_client: Invalid client ID.",),
        ),
        ({"errors": [], "message": "why"}, ("why",)),
        (
            {"message": ["not", "a", "string"], "errorcode": 1},
            ("The upstream answered 400 and gave no reason.",),
        ),
        ({"errors": [""]}, ("The upstream answered 400 and gave no reason.",)),
        ([], ()),
        (b"<html>Bad Request</html>", ()),
        ({"errors": ["half \ud800"]}, ("half ?",)),
        ({"errors": [{"for": "Zoë"}]}, ('{"for": "Zoë"}',)),
        ({"errors": ["e"] * 30}, ("e",) * 20),
    ],
)
def test_the_reason_is_read_in_every_shape(body: object, errors: tuple[str, ...]) -> None:
    assert of(400, body).errors == errors


@pytest.mark.parametrize(
    ("header", "body", "seconds"),
    [
        ("5", {}, 5.0),
        ("5", {"retryAfter": 9}, 5.0),
        (None, {"retryAfter": 9}, 9.0),
        (None, {"retryAfter": "7"}, 7.0),
        ("soon", {"retryAfter": 9}, 9.0),
        ("-3", {}, 0.0),
        ("0.5", {}, 0.5),
        ("inf", {}, None),
        ("Infinity", {"retryAfter": 9}, 9.0),
        (None, {"retryAfter": float("inf")}, None),
        ("Mon, 21 Sep 2026 14:13:25 GMT", {}, 5.0),
        ("Mon, 21 Sep 2020 14:13:25 GMT", {}, 0.0),
        ("", {}, None),
        (None, {}, None),
        (None, {"retryAfter": None}, None),
    ],
)
@pytest.mark.parametrize("status", [429, 503])
def test_the_wait_is_read_from_header_and_body(
    status: int, header: str | None, body: dict[str, object], seconds: float | None
) -> None:
    headers = {} if header is None else {"retry_after": header}
    assert of(status, {"errorcode": 50100} | body, **headers).retry_after == seconds


def test_a_blocked_tenant_is_not_a_throttled_one() -> None:
    assert of(429, {"errorcode": 50200}).reason == "blocked"
    assert of(429, {"errorcode": "50200"}).reason == "blocked"
    assert of(429, {"errorcode": 50100}).reason == "throttled"
    odds: tuple[object, ...] = ("²", "9" * 5_000, "", None, [], 1.5)
    for odd in odds:
        assert of(429, {"errorcode": odd}).reason == "throttled"
    assert of(429, {"errorcode": True}).reason == "throttled"


@pytest.mark.parametrize(
    ("errors", "kept"),
    [
        ((), ()),
        (("a", "b"), ("a", "b")),
        (("x" * 16_384, "y"), ("x" * 16_384,)),
        (("x" * 16_000, "y" * 500, "z"), ("x" * 16_000, "y" * 384)),
        (("\U0001f600" * 5_000, "z"), ("\U0001f600" * 4_096,)),
        (("x", "\U0001f600" * 5_000, "z"), ("x", "\U0001f600" * 4_095)),
        (("x" * 16_382, "\U0001f600", "z"), ("x" * 16_382,)),
    ],
)
def test_error_messages_together_fit_into_16_kb(
    errors: tuple[str, ...], kept: tuple[str, ...]
) -> None:
    assert fit_errors(errors) == kept
    assert sum(len(error.encode()) for error in fit_errors(errors)) <= MAX_ERRORS_BYTES


@given(st.integers(100, 599), st.binary(max_size=200), st.text(max_size=20))
def test_every_answer_has_an_outcome(status: int, body: bytes, retry_after: str) -> None:
    result = of_response(status, {"retry-after": retry_after}, body, NOW)
    if result.kind is OutcomeKind.ACCEPTED:
        assert 200 <= status < 300
    if result.kind is OutcomeKind.NOT_SENT:
        assert status in {401, 403, 404, 405, 407, 421, 425, 429, 503}
