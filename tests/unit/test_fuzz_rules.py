"""Fuzzes the rules: every response, secret and request gets a result, never an exception."""

import json
import math
import os
import re
import string

from hypothesis import example, given, settings
from hypothesis import strategies as st

from smsrelay.adapters.cached_token import parse_stored_token
from smsrelay.errors import RelayError, TokenUnavailableError
from smsrelay.messages.refusals import MAX_REFUSALS, RequestRefusedError
from smsrelay.messages.strict_json import decode
from smsrelay.messages.validation import parse_request
from smsrelay.security.redaction import DOCUMENTED_WORDS, MAX_LENGTH, redact, without
from smsrelay.sends.backoff import retry_delay
from smsrelay.sends.call_outcome import Outcome, OutcomeKind, of_response
from smsrelay.tokens.renewal_timing import TOKEN

THOROUGH = os.environ.get("SMSRELAY_THOROUGH") == "1"
NOW = 1_790_000_000.0

bounded = settings(
    max_examples=5_000 if THOROUGH else 200,
    # The same examples in every run.
    derandomize=True,
    database=None,
    deadline=None,
)

TEXTS = st.text(st.characters(), max_size=40)  # includes halves of surrogate pairs
NUMBERS = st.one_of(
    st.integers(),
    st.integers(10**4_000, 10**4_001),
    st.floats(allow_nan=True, allow_infinity=True),
)
JSON = st.recursive(
    st.one_of(st.none(), st.booleans(), NUMBERS, TEXTS),
    lambda inside: st.one_of(
        st.lists(inside, max_size=5), st.dictionaries(TEXTS, inside, max_size=5)
    ),
    max_leaves=20,
)
DATES = st.builds(
    "{}, {} {} {} {}:{}:{} {}".format,
    st.sampled_from(["Mon", "Foo", ""]),
    st.integers(-1, 99),
    st.sampled_from(["Jan", "Dec", "Foo", "1"]),
    st.integers(-1, 100_000),
    st.integers(-1, 99),
    st.integers(-1, 99),
    st.integers(-1, 99),
    st.sampled_from(["GMT", "-0000", "+9999", "-2359", "+99999999999", "EST", ""]),
)
FIELDS = (
    *("tokenId", "errors", "message", "error", "error_description"),
    *("errorcode", "retryAfter"),
)
ANSWERS = st.one_of(
    st.binary(max_size=300),
    JSON.map(lambda value: json.dumps(value).encode("utf-8", "surrogatepass")),
    st.fixed_dictionaries(
        {},
        optional=dict.fromkeys(
            (
                *("tokenId", "errors", "message", "error", "error_description"),
                *("errorcode", "retryAfter"),
            ),
            JSON,
        ),
    ).map(lambda value: json.dumps(value).encode("utf-8", "surrogatepass")),
)


def kinds_of(status: int) -> set[OutcomeKind]:
    """Return the possible outcomes of a response with this status."""
    if 200 <= status < 300:
        return {OutcomeKind.ACCEPTED, OutcomeKind.UNKNOWN}
    if status in {401, 403, 404, 405, 407, 421, 425, 429}:
        return {OutcomeKind.NOT_SENT}
    if status == 503:
        return {OutcomeKind.NOT_SENT, OutcomeKind.UNKNOWN}
    if 400 <= status < 500 and status != 408:
        return {OutcomeKind.REJECTED, OutcomeKind.UNKNOWN}
    return {OutcomeKind.UNKNOWN}


@bounded
@given(
    st.one_of(st.integers(100, 999), st.sampled_from([200, 202, 400, 401, 429, 503])),
    st.dictionaries(
        st.sampled_from(["retry-after", "content-type"]), st.one_of(TEXTS, DATES), max_size=2
    ),
    ANSWERS,
)
@example(429, {"retry-after": "Mon, 01 Jan 0001 00:00:00 -0000"}, b"")
@example(400, {}, b'{"errors":[' + b'{"a":' * 5_000 + b"1" + b"}" * 5_000 + b"]}")
def test_every_answer_has_the_documented_outcome(
    status: int, headers: dict[str, str], body: bytes
) -> None:
    outcome = of_response(status, headers, body, NOW)
    assert outcome.kind in kinds_of(status)
    assert outcome.status == status
    assert len(outcome.errors) <= 20
    for word in (*outcome.errors, outcome.token_id or ""):
        word.encode()  # raises if it can't be stored
    assert outcome.token_id is None or outcome.kind is OutcomeKind.ACCEPTED
    assert outcome.kind is not OutcomeKind.REJECTED or outcome.errors, "a refusal needs a reason"
    for attempt in (1, 12, 1_000):
        wait = retry_delay(outcome, attempt, lambda: 0.5, longest=86_400.0)
        assert 1.0 <= wait <= 86_400.0
        assert math.isfinite(wait)


@bounded
@given(
    st.lists(st.text(st.characters(exclude_categories=["Cs"]), max_size=80), max_size=4),
    st.lists(st.text(st.characters(exclude_categories=["Cs"]), max_size=40), max_size=3),
)
def test_errors_contain_no_secret(words: list[str], secrets: list[str]) -> None:
    words += [f"Text {secret} is not valid" for secret in secrets]
    for word in without(words, secrets):
        assert len(word) <= MAX_LENGTH
        word.encode()
        kept = [
            part for part in re.findall(r"[^\W_]+", word.lower()) if part not in DOCUMENTED_WORDS
        ]
        for part in re.findall(r"[^\W_]+", " ".join(secrets).lower()):
            assert part not in kept
            # Shorter parts are not recognised inside a word.
            assert len(part) < 4 or not part.isalpha() or not any(part in other for other in kept)


@bounded
@given(
    st.text(st.characters(exclude_categories=["Cs"]), max_size=200),
    st.text(st.characters(exclude_categories=["Cs"]), max_size=200),
)
def test_redaction_keeps_only_allowed_words_and_is_stable(message: str, text: str) -> None:
    body = json.dumps({"messageText": text})
    [redacted] = redact([message], body)
    assert redact([redacted], body) == (redacted,)
    allowed = string.ascii_letters + string.digits + " …" + ".,:;!?'\"()[]{}_-"
    assert set(redacted) <= set(allowed)
    assert not re.search("[0-9]{6}", redacted)
    assert not set(redacted.split()) - {"…", *message.split()}


@bounded
@given(st.from_regex(r"1[2-9][0-9]{2}55501[0-9]{2}", fullmatch=True), st.data())
def test_a_number_is_recognised_in_every_spelling(number: str, data: st.DataObject) -> None:
    gaps = data.draw(
        st.lists(st.text(" .-()/\u00a0\u2013²①½\u200b", max_size=3), min_size=10, max_size=10),
        "gaps",
    )
    spread = "".join(digit + gap for digit, gap in zip(number, [*gaps, ""], strict=True))
    [word] = redact([f"{spread} is not valid"], json.dumps({"mobileNumbers": [number]}))
    assert not set(word) & set(string.digits)
    assert word.endswith("… is not valid")


@bounded
@given(
    st.one_of(
        TEXTS,
        JSON.map(json.dumps),
        st.fixed_dictionaries(
            {"access_token": st.one_of(JSON, st.just("token"))},
            optional={
                "expires_at": st.one_of(JSON, st.datetimes().map(str), DATES),
                "rest_instance_url": JSON,
            },
        ).map(json.dumps),
    )
)
@example("[" * 100_000)
@example('{"access_token": "t", "expires_at": "0001-01-01T00:00:00"}')
@example('{"access_token": "t", "expires_at": "9999-12-31T23:59:59-12:00"}')
@example('{"access_token": "t", "expires_at": ' + "9" * 4_000 + "}")
@example('{"access_token": "t", "expires_at": NaN}')
def test_every_secret_is_a_token_or_unusable(secret: str) -> None:
    try:
        token = parse_stored_token(secret, 0.0)
    except TokenUnavailableError as error:
        assert str(error) == "the token secret holds no usable access_token"
    else:
        assert TOKEN.fullmatch(token.access_token)
        assert token.expires_at is None or math.isfinite(token.expires_at)
        assert isinstance(token.base_url, str)


@bounded
@given(st.one_of(TEXTS, JSON.map(json.dumps), st.text('[]{}",:\\u0d8e1-.tfn', max_size=200)))
def test_every_text_is_a_request_or_is_refused(text: str) -> None:
    try:
        parse_request(decode(text))
    except RequestRefusedError as refused:
        assert 0 < len(refused.refusals) <= MAX_REFUSALS
        for refusal in refused.refusals:
            "".join(refusal).encode()
    except RelayError as error:
        str(error).encode()


def test_an_outcome_without_a_response_has_a_wait() -> None:
    assert retry_delay(Outcome(OutcomeKind.NOT_SENT, "no-connection"), 1, lambda: 0.0) == 1.0
