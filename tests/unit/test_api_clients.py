"""Finds the client of a request, for each key, session and route."""

import pytest

from smsrelay.errors import ClientNotRegisteredError, LedgerUnavailableError
from smsrelay.services.api_clients import ClientRegistry, principal
from smsrelay.services.client_cache import CACHE_SECONDS

ACCOUNT = "arn:aws:iam::123456789012"


class Clients:
    """Keeps clients' names in memory; `away` makes the table unavailable."""

    def __init__(self, **names: str) -> None:
        self.names, self.asked, self.away = names, 0, False

    def client_of(self, credential: str) -> str | None:
        self.asked += 1
        if self.away:
            raise LedgerUnavailableError
        return self.names.get(credential)


class Clock:
    def __init__(self) -> None:
        self.now = 1_791_230_460.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


def callers(clients: Clients, clock: Clock) -> ClientRegistry:
    return ClientRegistry(clients, default="internal", clock=clock)


@pytest.mark.parametrize(
    ("arn", "expected"),
    [
        ("arn:aws:sts::123456789012:assumed-role/Shop/i-0abc", f"{ACCOUNT}:role/Shop"),
        ("arn:aws:sts::123456789012:assumed-role/Shop/a@example.com", f"{ACCOUNT}:role/Shop"),
        (
            "arn:aws-cn:sts::123456789012:assumed-role/Shop/x",
            "arn:aws-cn:iam::123456789012:role/Shop",
        ),
        (f"{ACCOUNT}:role/Shop", f"{ACCOUNT}:role/Shop"),
        (f"{ACCOUNT}:role/team/a/Shop", f"{ACCOUNT}:role/Shop"),
        (f"{ACCOUNT}:user/team/bob", f"{ACCOUNT}:user/team/bob"),
        (f"{ACCOUNT}:root", f"{ACCOUNT}:root"),
        ("746ea212", "746ea212"),
    ],
)
def test_all_sessions_of_a_role_are_one_principal(arn: str, expected: str) -> None:
    assert principal(arn) == expected


def test_two_keys_and_a_role_of_one_client_are_one_client(clock: Clock) -> None:
    registry = callers(Clients(k1="shop", k2="shop", **{f"{ACCOUNT}:role/Shop": "shop"}), clock)
    session = "arn:aws:sts::123456789012:assumed-role/Shop/x"
    assert [registry.client_of("k1", None), registry.client_of("k2", None)] == ["shop", "shop"]
    assert registry.client_of(None, session) == "shop"


@pytest.mark.parametrize(
    ("key_id", "arn"), [("k1", None), (None, f"{ACCOUNT}:user/bob"), ("k1", f"{ACCOUNT}:user/bob")]
)
def test_a_caller_without_a_client_is_refused_until_it_is_registered(
    clock: Clock, key_id: str | None, arn: str | None
) -> None:
    clients = Clients()
    registry = callers(clients, clock)
    for _ in range(2):
        with pytest.raises(ClientNotRegisteredError):
            registry.client_of(key_id, arn)
    clients.names[arn or "k1"] = "shop"
    assert registry.client_of(key_id, arn) == "shop"


def test_a_request_without_credentials_is_the_default_clients(clock: Clock) -> None:
    """Requests of `sam local` have no key; API Gateway refuses such requests."""
    registry = callers(Clients(), clock)
    assert registry.client_of(None, None) == "internal"
    assert registry.client_of("", "") == "internal"


def test_a_principal_counts_before_a_key(clock: Clock) -> None:
    registry = callers(Clients(k1="shop", **{f"{ACCOUNT}:user/bob": "bob"}), clock)
    assert registry.client_of("k1", f"{ACCOUNT}:user/bob") == "bob"


def test_a_name_is_cached(clock: Clock) -> None:
    clients = Clients(k1="shop")
    registry = callers(clients, clock)
    for _ in range(3):
        registry.client_of("k1", None)
    assert clients.asked == 1
    clock.now += CACHE_SECONDS
    registry.client_of("k1", None)
    assert clients.asked == 2


def test_no_other_client_is_assumed_while_the_table_is_unavailable(clock: Clock) -> None:
    """Another client has other idempotency keys, so sent messages would be sent again."""
    clients = Clients(k1="shop")
    registry = callers(clients, clock)
    clients.away = True
    with pytest.raises(LedgerUnavailableError):
        registry.client_of("k1", None)
    clients.away = False
    assert registry.client_of("k1", None) == "shop"
