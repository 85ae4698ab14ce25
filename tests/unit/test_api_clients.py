"""Whose a request is: stable whatever the key, the session or the way is."""

import pytest

from smsrelay.errors import ClientNotRegisteredError, LedgerUnavailableError
from smsrelay.services.api_clients import ClientRegistry, principal
from smsrelay.services.client_cache import CACHE_SECONDS

ACCOUNT = "arn:aws:iam::123456789012"


class Clients:
    """Names in memory; `away` is a table that does not answer."""

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
def test_a_principal_is_its_role_whatever_the_session(arn: str, expected: str) -> None:
    assert principal(arn) == expected


def test_two_keys_and_a_role_of_one_client_are_one_client(clock: Clock) -> None:
    known = callers(Clients(k1="shop", k2="shop", **{f"{ACCOUNT}:role/Shop": "shop"}), clock)
    session = "arn:aws:sts::123456789012:assumed-role/Shop/x"
    assert [known.client_of("k1", None), known.client_of("k2", None)] == ["shop", "shop"]
    assert known.client_of(None, session) == "shop"


@pytest.mark.parametrize(
    ("key_id", "arn"), [("k1", None), (None, f"{ACCOUNT}:user/bob"), ("k1", f"{ACCOUNT}:user/bob")]
)
def test_who_has_no_name_does_not_get_in_until_it_has_one(
    clock: Clock, key_id: str | None, arn: str | None
) -> None:
    clients = Clients()
    known = callers(clients, clock)
    for _ in range(2):
        with pytest.raises(ClientNotRegisteredError):
            known.client_of(key_id, arn)
    clients.names[arn or "k1"] = "shop"
    assert known.client_of(key_id, arn) == "shop"


def test_who_shows_nothing_is_the_default_client(clock: Clock) -> None:
    """`sam local`: the gateway lets nobody in like this."""
    known = callers(Clients(), clock)
    assert known.client_of(None, None) == "internal"
    assert known.client_of("", "") == "internal"


def test_a_key_sent_along_does_not_change_a_principal(clock: Clock) -> None:
    known = callers(Clients(k1="shop", **{f"{ACCOUNT}:user/bob": "bob"}), clock)
    assert known.client_of("k1", f"{ACCOUNT}:user/bob") == "bob"


def test_a_name_is_asked_for_once_in_a_while(clock: Clock) -> None:
    clients = Clients(k1="shop")
    known = callers(clients, clock)
    for _ in range(3):
        known.client_of("k1", None)
    assert clients.asked == 1
    clock.now += CACHE_SECONDS
    known.client_of("k1", None)
    assert clients.asked == 2


def test_nobody_is_called_something_else_while_the_table_is_away(clock: Clock) -> None:
    """Another name has other idempotency keys: what was sent would go out again."""
    clients = Clients(k1="shop")
    known = callers(clients, clock)
    clients.away = True
    with pytest.raises(LedgerUnavailableError):
        known.client_of("k1", None)
    clients.away = False
    assert known.client_of("k1", None) == "shop"
