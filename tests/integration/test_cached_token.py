"""Tests the access token: valid secrets, the cache, and requests for a renewal."""

import json
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from typing import Any

import pytest
from botocore.exceptions import ClientError

from smsrelay.adapters.cached_token import CachedTokenSource, parse_stored_token
from smsrelay.adapters.lambda_token_renewal import LambdaTokenRenewal
from smsrelay.errors import TokenUnavailableError
from smsrelay.ports import Credentials
from smsrelay.security.allowed_hosts import AllowedHosts
from smsrelay.tokens.renewal_timing import RenewalReason, fingerprint
from tests.support.environment import ACCESS_TOKEN, Environment, running
from tools.mobileconnect_simulator import Simulator

MESSAGE = {"message": "MzA6Nzg6MA", "to": ["+1 212 555 0100"], "text": "Hello"}
NOW = 1_790_000_000.0


class FakeSecrets:
    """Fakes Secrets Manager with one secret, and counts its reads."""

    def __init__(self, value: str | None) -> None:
        self.value = value
        self.stored_at = NOW
        self.reads = 0

    def get_secret_value(self, SecretId: str) -> dict[str, Any]:  # noqa: N803 - boto3's name
        assert SecretId == "arn"
        self.reads += 1
        if self.value is None:
            raise ClientError({"Error": {"Code": "ResourceNotFoundException"}}, "GetSecretValue")
        return {
            "SecretString": self.value,
            "CreatedDate": datetime.fromtimestamp(self.stored_at, UTC),
        }


class FakeClock:
    def __init__(self) -> None:
        self.now = NOW

    def __call__(self) -> float:
        return self.now


class FakeRenewal:
    """Records the requests for a renewal."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, str]] = []

    def ask(self, reason: RenewalReason, token: str) -> None:
        self.asked.append((reason.value, token))


HOSTS = AllowedHosts("x.example, http://127.0.0.1")


def source_and_renewal(
    value: str | None, base_url: str = ""
) -> tuple[CachedTokenSource, FakeSecrets, FakeClock, FakeRenewal]:
    secrets, clock, renewal = FakeSecrets(value), FakeClock(), FakeRenewal()
    client: Any = secrets
    tokens = CachedTokenSource(client, "arn", base_url, HOSTS, renewal, clock)
    return tokens, secrets, clock, renewal


def source(
    value: str | None, base_url: str = ""
) -> tuple[CachedTokenSource, FakeSecrets, FakeClock]:
    return source_and_renewal(value, base_url)[:3]


def secret(**fields: object) -> str:
    return json.dumps({"access_token": "t", "rest_instance_url": "https://x.example/"} | fields)


@pytest.mark.parametrize(
    ("value", "token", "expires_at", "url"),
    [
        ('{"access_token": "t"}', "t", None, ""),
        (secret(expires_at=NOW), "t", NOW, "https://x.example/"),
        (secret(expires_at=str(NOW)), "t", NOW, "https://x.example/"),
        (secret(expires_at="2026-09-21T14:13:20+00:00"), "t", NOW, "https://x.example/"),
        ('{"access_token": "t", "expires_at": NaN}', "t", None, ""),
        (secret(expires_at="1e999"), "t", None, "https://x.example/"),
        (secret(expires_at=10**400), "t", None, "https://x.example/"),
        (secret(expires_at="soon"), "t", None, "https://x.example/"),
        (secret(expires_at=True), "t", None, "https://x.example/"),
        (secret(rest_instance_url=None), "t", None, ""),
        ("a-bare-token", "a-bare-token", None, ""),
        (" a-bare-token\n", "a-bare-token", None, ""),
        ('"a-bare-token"', "a-bare-token", None, ""),
    ],
)
def test_valid_secrets(value: str, token: str, expires_at: float | None, url: str) -> None:
    assert parse_stored_token(value, NOW) == (token, expires_at, NOW, url)


@pytest.mark.parametrize(
    "value", ["", "{}", "[]", "7", '{"access_token": ""}', '{"access_token": "a\\nb"}', "two words"]
)
def test_invalid_secrets(value: str) -> None:
    with pytest.raises(TokenUnavailableError) as caught:
        parse_stored_token(value, NOW)
    assert "two words" not in str(caught.value)


def test_a_token_is_kept_until_shortly_before_it_expires() -> None:
    tokens, secrets, clock = source(secret(expires_at=NOW + 1_080))
    for clock.now in (NOW, NOW + 500, NOW + 1_019):
        assert tokens.current() == Credentials("t", "https://x.example")
    assert secrets.reads == 1
    clock.now = NOW + 1_020
    secrets.value = secret(access_token="u", expires_at=NOW + 2_000)
    assert tokens.current().access_token == "u"
    assert secrets.reads == 2


def test_a_token_without_expiry_is_kept_for_minutes() -> None:
    tokens, secrets, clock = source("bare", "x.example")
    assert tokens.current() == Credentials("bare", "https://x.example")
    clock.now += 299
    tokens.current()
    assert secrets.reads == 1
    clock.now += 1
    tokens.current()
    assert secrets.reads == 2


def test_a_stale_secret_is_not_read_for_every_send() -> None:
    tokens, secrets, clock = source(secret(expires_at=NOW - 1))
    for _ in range(100):
        tokens.current()
        clock.now += 0.01
    assert secrets.reads == 1


def test_the_parameter_outranks_the_secrets_url() -> None:
    assert source(secret(), "http://127.0.0.1:1/")[0].current().base_url == "http://127.0.0.1:1"


def test_without_a_url_there_is_nothing_to_call() -> None:
    with pytest.raises(TokenUnavailableError, match="RestBaseUrl"):
        source("bare")[0].current()


def test_after_a_refusal_the_secret_is_read_past_the_cache_by_one_thread_only() -> None:
    tokens, secrets, _ = source(secret(expires_at=NOW + 1_080))
    old = tokens.current()
    secrets.value = secret(access_token="new", expires_at=NOW + 1_080)
    with ThreadPoolExecutor(10) as pool:
        renewed = list(pool.map(lambda _: tokens.renewed(old), range(10)))
    assert {entry.access_token for entry in renewed} == {"new"}
    assert secrets.reads == 2


def test_a_batch_waits_for_a_failing_secret_once(caplog: pytest.LogCaptureFixture) -> None:
    tokens, secrets, clock = source(None)
    for _ in range(10):
        with pytest.raises(TokenUnavailableError):
            tokens.current()
    assert secrets.reads == 1
    [line] = [it for it in caplog.records if it.getMessage() == "no access token"]
    assert vars(line)["cause"].startswith("the token secret can't be read: ")
    secrets.value = secret()
    clock.now += 5
    assert tokens.current().access_token == "t"


@pytest.mark.parametrize("ask", [lambda t: t.current(), lambda t: t.renewed(Credentials("", ""))])
def test_a_secret_that_cannot_be_read(ask: Callable[[CachedTokenSource], Credentials]) -> None:
    with pytest.raises(TokenUnavailableError):
        ask(source(None)[0])


def test_a_url_that_may_not_be_called_is_not_called(
    relay: Environment, simulator: Simulator
) -> None:
    foreign = {"access_token": ACCESS_TOKEN, "rest_instance_url": "https://evil.example"}
    relay.put_secret(json.dumps(foreign))
    answer = relay.post(MESSAGE)
    assert (answer.status, answer.body["sends"][0]["reason"]) == (202, "no-token")
    assert simulator.calls() == []


def test_a_good_token_needs_no_renewal() -> None:
    tokens, _, clock, renewal = source_and_renewal(secret(expires_at=NOW + 1_080))
    for clock.now in (NOW, NOW + 1_019):
        tokens.current()
    assert renewal.asked == []


def test_a_renewal_is_requested_once_near_the_end() -> None:
    tokens, secrets, clock, renewal = source_and_renewal(secret(expires_at=NOW + 1_080))
    for clock.now in range(int(NOW) + 1_020, int(NOW) + 1_100):
        assert tokens.current().access_token == "t"
    assert renewal.asked == [("expiring", fingerprint("t"))]
    assert secrets.reads == 80 / 5
    clock.now = NOW + 1_020 + 300
    tokens.current()
    assert len(renewal.asked) == 2, "the first request may have been lost"


def test_a_short_lived_token_has_a_smaller_margin() -> None:
    tokens, secrets, clock, renewal = source_and_renewal(secret(expires_at=NOW + 60))
    for clock.now in (NOW, NOW + 44):
        tokens.current()
    assert (secrets.reads, renewal.asked) == (1, [])
    clock.now = NOW + 45
    tokens.current()
    assert (secrets.reads, renewal.asked) == (2, [("expiring", fingerprint("t"))])


def test_a_refused_token_is_reported_once_and_another_one_too() -> None:
    tokens, secrets, clock, renewal = source_and_renewal(secret(expires_at=NOW + 1_080))
    old = tokens.current()
    with ThreadPoolExecutor(10) as pool:
        assert set(pool.map(lambda _: tokens.renewed(old), range(10))) == {old}
    assert renewal.asked == [("refused", fingerprint("t"))]
    clock.now += 299
    tokens.renewed(old)
    assert len(renewal.asked) == 1
    clock.now += 1
    tokens.renewed(old)
    assert len(renewal.asked) == 2
    secrets.value = secret(access_token="new", expires_at=NOW + 2_000)
    new = tokens.renewed(old)
    assert len(renewal.asked) == 2, "the store has another token, so no request is needed"
    tokens.renewed(new)
    assert renewal.asked[2:] == [("refused", fingerprint("new"))]


@pytest.mark.parametrize("value", [None, "{}", "two words"])
def test_without_a_token_a_renewal_is_requested_once(value: str | None) -> None:
    tokens, _, clock, renewal = source_and_renewal(value)
    for _ in range(20):
        with pytest.raises(TokenUnavailableError):
            tokens.current()
        clock.now += 1
    assert renewal.asked == [("missing", "")]


def test_an_unavailable_store_requests_no_renewal() -> None:
    tokens, secrets, _, renewal = source_and_renewal(secret())

    def deny(**_: str) -> None:
        raise ClientError({"Error": {"Code": "AccessDeniedException"}}, "GetSecretValue")

    setattr(secrets, "get_secret_value", deny)  # noqa: B010 - mypy forbids the assignment
    with pytest.raises(TokenUnavailableError):
        tokens.current()
    assert renewal.asked == []


class FakeLambda:
    """Fakes Lambda's invocation."""

    def __init__(self, error: str | None = None) -> None:
        self.invoked: list[dict[str, str]] = []
        self.error = error

    def invoke(self, **call: str) -> None:
        self.invoked.append(call)
        if self.error:
            raise ClientError({"Error": {"Code": self.error}}, "Invoke")


def ask(function: str, client: Any) -> int:
    """Request a renewal, and return how many Lambda clients were made for it."""
    made = 0

    def make() -> Any:
        nonlocal made
        made += 1
        return client

    renewal = LambdaTokenRenewal(make, function)
    renewal.ask(RenewalReason.REFUSED, "ab12")
    return made


def test_the_token_function_is_invoked_asynchronously() -> None:
    client = FakeLambda()
    ask("token-function", client)
    [call] = client.invoked
    assert (call["FunctionName"], call["InvocationType"]) == ("token-function", "Event")
    assert json.loads(call["Payload"]) == {"need": "refused", "token": "ab12"}


def test_a_failed_invocation_of_the_token_function_raises_nothing() -> None:
    client = FakeLambda("TooManyRequestsException")
    ask("token-function", client)
    assert len(client.invoked) == 1


def test_without_a_token_function_nothing_is_invoked() -> None:
    assert ask("", FakeLambda()) == 0


def test_a_renewed_token_is_found_and_used_after_a_401(
    relay: Environment, simulator: Simulator
) -> None:
    assert relay.post(MESSAGE).body["status"] == "accepted"
    fresh = simulator.issue_token()
    relay.put_secret(json.dumps({"access_token": fresh, "rest_instance_url": simulator.url}))
    simulator.fail("send", "401")
    assert relay.post(MESSAGE).body["status"] == "accepted"
    assert [call["status"] for call in simulator.calls()] == [202, 401, 202]
    assert len(simulator.sent()) == 2


def test_an_unchanged_token_after_a_401_is_not_tried_again_at_once(
    relay: Environment, simulator: Simulator
) -> None:
    relay.put_secret(json.dumps({"access_token": "old", "rest_instance_url": simulator.url}))
    answer = relay.post(MESSAGE)
    assert (answer.status, answer.body["sends"][0]["reason"]) == (202, "unauthorised")
    assert len(simulator.calls()) == 1

    relay.put_secret(json.dumps({"access_token": ACCESS_TOKEN, "rest_instance_url": simulator.url}))
    relay.make_due()
    assert relay.work() == []
    assert len(simulator.sent()) == 1


def test_without_a_token_messages_wait_in_the_queue(
    relay: Environment, simulator: Simulator
) -> None:
    relay.put_secret("{}")
    answer = relay.post(MESSAGE)
    assert (answer.status, answer.body["sends"][0]["reason"]) == (202, "no-token")
    assert simulator.calls() == []
    assert relay.waiting() == 1


def test_a_bare_token_with_the_url_as_parameter(aws: None, simulator: Simulator) -> None:
    _ = aws
    with running("", REST_BASE_URL=simulator.url) as relay:
        relay.put_secret(ACCESS_TOKEN)
        assert relay.post(MESSAGE).body["status"] == "accepted"
