"""Tests every fault of the simulator from the caller's side."""

import errno
import threading
from datetime import timedelta

import httpx
import pytest

from tests.simulator.calls import ID, TOKEN
from tools.mobileconnect_simulator import Simulator
from tools.mobileconnect_simulator.faults import Then
from tools.mobileconnect_simulator.state import RouteName

BODY = {"mobileNumbers": ["13175550100"]}
SEND_PATH = f"/sms/v1/messageContact/{ID}/send"
CREDENTIALS = {"grant_type": "client_credentials", "client_id": "id", "client_secret": "secret"}
# Long enough for a loopback connection, short enough to wait for in a test.
IMPATIENT = httpx.Timeout(5, read=0.5)


def was_reset(error: BaseException | None) -> bool:
    """Return whether a TCP RST caused the error, and not a regular end of the connection."""
    while error is not None:
        if isinstance(error, OSError) and error.errno == errno.ECONNRESET:
            return True
        error = error.__cause__ or error.__context__
    return False


@pytest.mark.parametrize(
    ("then", "status", "body", "retry_after"),
    [
        ("401", 401, {"errorcode": 0, "message": "Not Authorized"}, None),
        ("403", 403, {"errorcode": 20002}, None),
        ("404", 404, {"errorcode": 0, "message": "Not Found"}, None),
        (
            "429-50100",
            429,
            {"errorcode": 50100, "message": "Rate limit exceeded", "retryAfter": 5},
            "5",
        ),
        (
            "429-50200",
            429,
            {"errorcode": 50200, "message": "Your requests are temporarily blocked."},
            None,
        ),
        ("500", 500, {"errorcode": 0}, None),
        ("503-50300", 503, {"errorcode": 50300}, "5"),
    ],
)
def test_refusing_faults_have_the_platform_shape(
    simulator: Simulator,
    client: httpx.Client,
    then: str,
    status: int,
    body: dict[str, object],
    retry_after: str | None,
) -> None:
    simulator.fail("send", then)

    response = client.post(SEND_PATH, json=BODY)

    assert response.status_code == status
    assert {"documentation", "errorcode", "message"} <= set(response.json())
    assert body.items() <= response.json().items()
    assert response.headers.get("Retry-After") == retry_after
    assert simulator.sent() == []
    assert client.post(SEND_PATH, json=BODY).status_code == 202


def test_a_block_can_have_a_retry_after(simulator: Simulator, client: httpx.Client) -> None:
    simulator.fail("send", "429-50200", retry_after=1)

    response = client.post(SEND_PATH, json=BODY)

    assert (response.status_code, response.headers["Retry-After"]) == (429, "1")


@pytest.mark.parametrize(
    ("then", "status", "content_type", "start"),
    [
        ("502-html", 502, "text/html; charset=utf-8", "<html>"),
        ("502-empty", 502, "application/json; charset=utf-8", ""),
        ("504-html", 504, "text/html; charset=utf-8", "<html>"),
    ],
)
def test_gateway_faults_are_no_json(
    simulator: Simulator,
    client: httpx.Client,
    then: str,
    status: int,
    content_type: str,
    start: str,
) -> None:
    simulator.fail("send", then)

    response = client.post(SEND_PATH, json=BODY)

    assert response.status_code == status
    assert response.headers["Content-Type"] == content_type
    assert response.text.startswith(start)
    assert simulator.sent() == []


@pytest.mark.parametrize(("then", "status"), [("429-50100", 429), ("503-50300", 503)])
def test_the_seconds_to_wait_can_be_chosen(
    simulator: Simulator, client: httpx.Client, then: str, status: int
) -> None:
    simulator.fail("send", then, retry_after=0)

    response = client.post(SEND_PATH, json=BODY)

    assert response.status_code == status
    assert response.headers["Retry-After"] == "0"
    assert response.json().get("retryAfter", 0) == 0


@pytest.mark.parametrize(
    ("then", "text"),
    [
        ("202-no-token", '{"tokenId":null}'),
        ("202-trailing-comma", '{"tokenId": "TOKEN",}'),
        ("202-empty", ""),
        ("ok", '{"tokenId": "TOKEN"}'),
    ],
)
def test_the_sms_is_sent_although_the_response_is_unusual(
    simulator: Simulator, client: httpx.Client, then: str, text: str
) -> None:
    simulator.fail("send", then)

    response = client.post(SEND_PATH, json=BODY)

    (entry,) = simulator.sent()
    assert response.status_code == 202
    assert response.text == text.replace("TOKEN", entry["tokenId"])
    (call,) = simulator.calls()
    assert (call["accepted"], call["tokenId"], call["fault"]) == (True, entry["tokenId"], then)


@pytest.mark.parametrize(("then", "went_out"), [("500", False), ("ok", True)])
def test_a_response_replaces_the_one_of_the_fault(
    simulator: Simulator, client: httpx.Client, then: str, went_out: bool
) -> None:
    headers = {"Content-Type": "text/html", "Retry-After": "7"}
    simulator.fail("send", then, response={"status": 529, "body": "<p>é", "headers": headers})

    response = client.post(SEND_PATH, json=BODY)

    assert (response.status_code, response.text) == (529, "<p>é")
    assert response.headers["Content-Type"] == "text/html"
    assert response.headers["Retry-After"] == "7"
    assert len(simulator.sent()) == int(went_out)
    (call,) = simulator.calls()
    assert (call["status"], call["answer"], call["accepted"]) == (529, "<p>é", went_out)


@pytest.mark.parametrize("route", ["token", "deliveries"])
def test_a_response_replaces_that_of_each_route(
    simulator: Simulator, client: httpx.Client, route: RouteName
) -> None:
    token_id = client.post(SEND_PATH, json=BODY).json()["tokenId"]
    simulator.fail(route, "ok", response={"status": 204})

    if route == "token":
        response = client.post("/v2/token", json=CREDENTIALS)
    else:
        response = client.get(f"/sms/v1/messageContact/{ID}/deliveries/{token_id}")

    assert (response.status_code, response.text) == (204, "")
    assert simulator.calls()[-1]["accepted"]


@pytest.mark.parametrize(
    ("then", "went_out"), [("reset-before-read", False), ("reset-after-accept", True)]
)
def test_a_reset_is_a_real_one(
    simulator: Simulator, client: httpx.Client, then: str, went_out: bool
) -> None:
    simulator.fail("send", then)

    with pytest.raises(httpx.TransportError) as caught:
        client.post(SEND_PATH, json=BODY)

    assert was_reset(caught.value)
    assert [entry["body"] for entry in simulator.sent()] == ([BODY] if went_out else [])
    (call,) = simulator.calls()
    assert (call["status"], call["answer"], call["accepted"]) == (None, None, went_out)
    assert client.post(SEND_PATH, json=BODY).status_code == 202


@pytest.mark.parametrize(
    ("then", "went_out"), [("hang-before-read", False), ("hang-after-accept", True)]
)
def test_a_hanging_call_gets_no_response(
    simulator: Simulator, client: httpx.Client, then: str, went_out: bool
) -> None:
    simulator.fail("send", then)

    with pytest.raises(httpx.ReadTimeout):
        client.post(SEND_PATH, json=BODY, timeout=IMPATIENT)

    assert len(simulator.sent()) == int(went_out)
    assert client.post(SEND_PATH, json=BODY).status_code == 202


def test_a_hanging_call_does_not_keep_the_simulator_from_stopping() -> None:
    ended: list[Exception] = []

    def hang(url: str) -> None:
        try:
            httpx.post(
                url + SEND_PATH,
                json=BODY,
                headers={"Authorization": f"Bearer {TOKEN}"},
                timeout=30,
                trust_env=False,
            )
        except httpx.TransportError as error:
            ended.append(error)

    with Simulator(access_tokens=[TOKEN]) as simulator:
        simulator.fail("send", "hang-after-accept")
        caller = threading.Thread(target=hang, args=(simulator.url,))
        caller.start()
        simulator.wait_for_sent(1)
    caller.join(timeout=20)

    assert not caller.is_alive()
    assert was_reset(ended[0])


def test_a_delay_delays_the_response_but_not_the_sms(
    simulator: Simulator, client: httpx.Client
) -> None:
    simulator.fail("send", "ok", delay_ms=60_000)

    with pytest.raises(httpx.ReadTimeout):
        client.post(SEND_PATH, json=BODY, timeout=IMPATIENT)

    assert len(simulator.sent()) == 1


def test_a_short_delay_ends_with_the_response(simulator: Simulator, client: httpx.Client) -> None:
    simulator.fail("send", "429-50200", delay_ms=50)

    response = client.post(SEND_PATH, json=BODY)

    assert response.status_code == 429
    assert response.elapsed >= timedelta(milliseconds=50)


def test_faults_happen_in_order_and_as_often_as_ordered(
    simulator: Simulator, client: httpx.Client
) -> None:
    simulator.fail("send", "429-50100", times=2)
    simulator.fail("send", "500")

    statuses = [client.post(SEND_PATH, json=BODY).status_code for _ in range(5)]

    assert statuses == [429, 429, 500, 202, 202]
    assert simulator.faults() == []


def test_until_reset(simulator: Simulator, client: httpx.Client) -> None:
    simulator.fail("send", "503-50300", times=-1)

    assert {client.post(SEND_PATH, json=BODY).status_code for _ in range(3)} == {503}
    assert simulator.faults()[0]["times"] == -1
    simulator.reset()
    assert client.post(SEND_PATH, json=BODY).status_code == 202


def test_a_refused_call_uses_no_fault_of_accepted_calls(
    simulator: Simulator, client: httpx.Client
) -> None:
    simulator.fail("send", "202-empty")

    refused = client.post(SEND_PATH, json=BODY, headers={"Authorization": "Bearer expired"})
    accepted = client.post(SEND_PATH, json=BODY)

    assert refused.status_code == 401
    assert (accepted.status_code, accepted.text) == (202, "")


def test_a_fault_affects_only_its_route(simulator: Simulator, client: httpx.Client) -> None:
    simulator.fail("token", "500")

    assert client.post(SEND_PATH, json=BODY).status_code == 202
    assert client.post("/v2/token", json=CREDENTIALS).status_code == 500


def test_the_token_route_refuses_in_the_shape_of_oauth(
    simulator: Simulator, client: httpx.Client
) -> None:
    simulator.fail("token", "401")

    response = client.post("/v2/token", json=CREDENTIALS)

    assert response.status_code == 401
    assert response.json()["error"] == "invalid_client"


@pytest.mark.parametrize("then", list(Then))
@pytest.mark.parametrize("route", ["send", "token", "deliveries"])
def test_every_fault_works_on_every_route(
    simulator: Simulator, client: httpx.Client, route: RouteName, then: Then
) -> None:
    token_id = client.post(SEND_PATH, json=BODY).json()["tokenId"]
    simulator.fail(route, then.value)
    timeout = IMPATIENT if "hang" in then.value else httpx.Timeout(5)

    try:
        if route == "send":
            client.post(SEND_PATH, json=BODY, timeout=timeout)
        elif route == "token":
            client.post("/v2/token", json=CREDENTIALS, timeout=timeout)
        else:
            client.get(f"/sms/v1/messageContact/{ID}/deliveries/{token_id}", timeout=timeout)
    except httpx.TransportError:
        has_response = False
    else:
        has_response = True

    assert simulator.faults() == []
    call = simulator.calls()[-1]
    assert (call["route"], call["fault"]) == (route, then.value)
    assert call["accepted"] == then.accepts
    assert (call["status"] is not None) == has_response
