"""Tests the token endpoint, and how long tokens and secrets are valid."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import httpx
import pytest

from tests.simulator.calls import ID
from tools.mobileconnect_simulator import Simulator

BODY = {"mobileNumbers": ["13175550100"]}
SECRET = "the-one-secret"
CREDENTIALS = {
    "grant_type": "client_credentials",
    "client_id": "the-one-client",
    "client_secret": SECRET,
}


@pytest.fixture(scope="module")
def running() -> Iterator[Simulator]:
    with Simulator(
        access_tokens=["known"], client_id="the-one-client", client_secret=SECRET
    ) as simulator:
        yield simulator


@pytest.fixture(scope="module")
def client(running: Simulator) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=running.url, trust_env=False) as client:
        yield client


def send(client: httpx.Client, token: str) -> int:
    return client.post(
        f"/sms/v1/messageContact/{ID}/send",
        json=BODY,
        headers={"Authorization": f"Bearer {token}"},
    ).status_code


def test_the_response_has_all_fields_of_the_upstream(
    simulator: Simulator, client: httpx.Client
) -> None:
    response = client.post("/v2/token", json={**CREDENTIALS, "account_id": "7320001"})

    assert response.status_code == 200
    body = response.json()
    token = body.pop("access_token")
    assert len(token) == 512
    assert body == {
        "token_type": "Bearer",
        "expires_in": 1080,
        "scope": "sms_read sms_send",
        "soap_instance_url": f"{simulator.url}/",
        "rest_instance_url": f"{simulator.url}/",
    }
    assert send(client, token) == 202


def test_a_token_is_valid_until_it_expires() -> None:
    moment = datetime(2026, 10, 5, 20, 1, tzinfo=UTC)
    with (
        Simulator(token_seconds=60, time_source=lambda: moment) as simulator,
        httpx.Client(base_url=simulator.url, trust_env=False) as client,
    ):
        body = client.post("/v2/token", json=CREDENTIALS).json()
        assert body["expires_in"] == 60

        simulator.advance(timedelta(seconds=59))
        assert send(client, body["access_token"]) == 202
        simulator.advance(timedelta(seconds=1))
        assert send(client, body["access_token"]) == 401


def test_tokens_can_be_expired_by_hand(simulator: Simulator, client: httpx.Client) -> None:
    issued = simulator.issue_token()
    assert send(client, issued) == 202

    simulator.expire_tokens()

    assert send(client, issued) == 401
    assert send(client, "known") == 202


def test_an_issued_token_can_have_its_own_lifetime(
    simulator: Simulator, client: httpx.Client
) -> None:
    short = simulator.issue_token(seconds=10)
    long = simulator.issue_token(seconds=10_000)

    simulator.advance(timedelta(seconds=5_000))

    assert (send(client, short), send(client, long)) == (401, 202)
    simulator.expire_tokens()


@pytest.mark.parametrize(
    ("scope", "granted", "status"),
    [
        ({}, "sms_read sms_send", 202),
        ({"scope": "sms_send"}, "sms_send", 202),
        ({"scope": "sms_send sms_read"}, "sms_read sms_send", 202),
        ({"scope": "sms_read"}, "sms_read", 403),
        ({"scope": ""}, "", 403),
    ],
)
def test_scopes(client: httpx.Client, scope: dict[str, str], granted: str, status: int) -> None:
    body = client.post("/v2/token", json={**CREDENTIALS, **scope}).json()

    assert body["scope"] == granted
    assert send(client, body["access_token"]) == status


@pytest.mark.parametrize(
    ("change", "status", "error"),
    [
        ({"client_id": "another"}, 401, "invalid_client"),
        ({"client_secret": "another"}, 401, "invalid_client"),
        ({"grant_type": "password"}, 400, "unsupported_grant_type"),
        ({"grant_type": None}, 400, "invalid_request"),
        ({"client_id": ""}, 400, "invalid_request"),
        ({"client_secret": 7}, 400, "invalid_request"),
        ({"account_id": "abc"}, 400, "invalid_request"),
        ({"account_id": True}, 400, "invalid_request"),
        ({"scope": None}, 400, "invalid_request"),
        ({"scope": "email_read"}, 400, "invalid_scope"),
        ({"clientId": "old"}, 400, "invalid_request"),
    ],
)
def test_refusals_have_the_shape_of_oauth(
    simulator: Simulator, client: httpx.Client, change: dict[str, object], status: int, error: str
) -> None:
    response = client.post("/v2/token", json={**CREDENTIALS, **change})

    assert response.status_code == status
    assert set(response.json()) == {"error", "error_description", "error_uri"}
    assert response.json()["error"] == error
    assert simulator.token_counts() == {"fetches": 0, "calls": 1}


@pytest.mark.parametrize(
    ("content", "content_type"),
    [(b"{", "application/json"), (b"[]", "application/json"), (b"{}", "text/plain")],
)
def test_the_body_must_be_a_json_object(
    client: httpx.Client, content: bytes, content_type: str
) -> None:
    response = client.post("/v2/token", content=content, headers={"Content-Type": content_type})

    assert response.status_code == 400
    assert response.json()["error"] == "invalid_request"


def test_fetches_are_counted(simulator: Simulator, client: httpx.Client) -> None:
    for _ in range(3):
        client.post("/v2/token", json=CREDENTIALS)
    simulator.issue_token()

    assert simulator.token_counts() == {"fetches": 3, "calls": 3}
    assert client.get("/_control/tokens").json() == {"fetches": 3, "calls": 3}


def test_without_configured_credentials_all_are_accepted() -> None:
    with Simulator() as simulator:
        response = httpx.post(
            f"{simulator.url}/v2/token",
            json={**CREDENTIALS, "client_id": "any", "client_secret": "any"},
            trust_env=False,
        )

    assert response.status_code == 200


def test_no_record_shows_a_token_or_a_secret(simulator: Simulator, client: httpx.Client) -> None:
    simulator.fail("token", "202-trailing-comma")
    broken = client.post("/v2/token", json=CREDENTIALS).text
    token = client.post("/v2/token", json=CREDENTIALS).json()["access_token"]
    send(client, token)

    record = client.get("/_control/calls").text + client.get("/_control/sent").text

    assert token not in record
    assert broken.split('"')[3] not in record
    assert SECRET not in record
    assert "authorization" not in record
    assert "the-one-client" in record


@pytest.mark.parametrize(
    ("client_id", "sends", "reads", "life"),
    [
        ("sim-no-sms-send", 403, 400, 1080),
        ("sim-no-sms-read", 202, 403, 1080),
        ("sim-one-second", 202, 400, 1),
        ("sim-bare-url", 202, 400, 1080),
    ],
)
def test_magic_clients_get_special_tokens(
    simulator: Simulator,
    client: httpx.Client,
    client_id: str,
    sends: int,
    reads: int,
    life: int,
) -> None:
    body = client.post("/v2/token", json={**CREDENTIALS, "client_id": client_id}).json()
    token = body["access_token"]
    reading = client.get(
        f"/sms/v1/messageContact/{ID}/deliveries/unknown",
        headers={"Authorization": f"Bearer {token}"},
    )

    assert body["expires_in"] == life
    assert send(client, token) == sends
    assert reading.status_code == reads
    bare = simulator.url.removeprefix("http://")
    assert (body["rest_instance_url"] == bare) == (client_id == "sim-bare-url")


def test_magic_clients_fail_always_or_once(simulator: Simulator, client: httpx.Client) -> None:
    def statuses(client_id: str) -> list[int]:
        body = {**CREDENTIALS, "client_id": client_id}
        return [client.post("/v2/token", json=body).status_code for _ in range(3)]

    assert statuses("sim-503-50300") == [503, 503, 503]
    assert statuses("sim-429-50100-once") == [429, 200, 429]
    assert statuses("sim-unheard-of") == [401, 401, 401]
    assert simulator.token_counts() == {"fetches": 1, "calls": 9}


def asked_with(client: httpx.Client, secret: str) -> int:
    return client.post("/v2/token", json={**CREDENTIALS, "client_secret": secret}).status_code


def changed(client: httpx.Client, change: str) -> dict[str, str]:
    state: dict[str, str] = client.post("/_control/secrets", json={"change": change}).json()
    return state


def test_a_staged_secret_works_beside_the_active_one_until_it_is_activated(
    simulator: Simulator, client: httpx.Client
) -> None:
    staged = changed(client, "stage")["staged"]
    assert [asked_with(client, it) for it in (SECRET, staged, "other")] == [200, 200, 401]
    assert changed(client, "activate")["active"] == staged
    assert [asked_with(client, it) for it in (SECRET, staged)] == [401, 200]
    simulator.reset()
    assert [asked_with(client, it) for it in (SECRET, staged)] == [200, 401]


def test_a_secret_expires_180_days_after_it_was_generated(
    simulator: Simulator, client: httpx.Client
) -> None:
    staged = changed(client, "stage")["staged"]
    simulator.advance(timedelta(days=180, seconds=-5))
    assert asked_with(client, staged) == 200
    simulator.advance(timedelta(seconds=6))
    assert asked_with(client, staged) == 401


@pytest.mark.usefixtures("simulator")
def test_revocation_ends_every_secret(client: httpx.Client) -> None:
    staged = changed(client, "stage")["staged"]
    changed(client, "revoke")
    assert [asked_with(client, it) for it in (SECRET, staged)] == [401, 401]
    assert asked_with(client, changed(client, "stage")["staged"]) == 200
    assert asked_with(client, SECRET) == 401


@pytest.mark.usefixtures("simulator")
def test_impossible_changes_are_refused(client: httpx.Client) -> None:
    bodies: tuple[object, ...] = ({"change": "activate"}, {"change": "burn"}, {}, [])
    for body in bodies:
        assert client.post("/_control/secrets", json=body).status_code == 400
