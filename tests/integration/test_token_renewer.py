"""Tests the token renewer: when it fetches a token, how it handles failures, what it logs."""

import json
import os
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from unittest.mock import patch

import pytest
from botocore.client import BaseClient
from botocore.exceptions import ClientError, EndpointConnectionError

from smsrelay.adapters import oauth_endpoint
from smsrelay.adapters.dynamodb_renewal_report import DynamoDbRenewalReport
from smsrelay.tokens.renewal_timing import fingerprint
from smsrelay.wiring import token_renewer
from tests.support.aws_calls import intercepted
from tests.support.environment import Environment, running
from tests.support.http_servers import HostileServer, drip
from tests.support.template import STACK_NAME
from tools.mobileconnect_simulator import Simulator

ID, SECRET = "client-of-this-test", "a-secret-that-nobody-logs"
MESSAGE = {"message": "MzA6Nzg6MA", "to": ["+1 212 555 0100"], "text": "Hello"}


class ShiftedTime:
    """Replaces the module `time` in the parts; only tests advance it."""

    def __init__(self) -> None:
        self.start = float(int(time.time()))
        self.offset = 0.0

    def time(self) -> float:
        return self.start + self.offset


@pytest.fixture
def clock() -> Iterator[ShiftedTime]:
    shifted = ShiftedTime()
    with patch.object(token_renewer, "time", shifted):
        yield shifted


@pytest.fixture
def empty(aws: None, clock: ShiftedTime, simulator: Simulator) -> Iterator[Environment]:
    """A relay with credentials, but without a token."""
    _ = aws, clock
    with running(simulator.url) as relay:
        relay.put_secret("{}")
        relay.put_credentials(client_id=ID, client_secret=SECRET, auth_base_url=simulator.url)
        yield relay


@pytest.fixture
def fresh(empty: Environment) -> Environment:
    """A relay with a token that has just been fetched."""
    assert empty.renew() == {"did": "renewed", "reason": "missing"}
    return empty


def current(relay: Environment) -> dict[str, Any]:
    value = relay.client("secretsmanager").get_secret_value(SecretId=relay.secret)
    token: dict[str, Any] = json.loads(value["SecretString"])
    return token


def refused(relay: Environment) -> dict[str, str]:
    return {"need": "refused", "token": fingerprint(current(relay)["access_token"])}


def requests(simulator: Simulator) -> int:
    return simulator.token_counts()["calls"]


def test_a_new_token_is_stored_with_all_that_senders_need_and_nothing_else(
    fresh: Environment, simulator: Simulator, clock: ShiftedTime
) -> None:
    token = current(fresh)
    assert token.pop("expires_at") == clock.start + 1080, "the full lifetime must be stored"
    assert len(token.pop("access_token")) == 512
    assert token == {"rest_instance_url": simulator.url, "scope": "sms_read sms_send"}
    [call] = simulator.calls()
    assert json.loads(call["raw"] or "") == {
        "grant_type": "client_credentials",
        "client_id": ID,
        "client_secret": "***",
    }
    assert fresh.post(MESSAGE).body["status"] == "accepted"


def test_account_and_scope_are_requested_if_they_are_set(
    empty: Environment, simulator: Simulator
) -> None:
    empty.put_credentials(
        client_id=ID,
        client_secret=SECRET,
        auth_base_url=f"{simulator.url}/",
        account_id=7320001,
        scope="sms_send",
    )
    empty.renew()
    [call] = simulator.calls()
    body = json.loads(call["raw"] or "")
    assert (body["account_id"], body["scope"]) == ("7320001", "sms_send")
    assert current(empty)["scope"] == "sms_send"


def test_a_base_url_without_scheme(empty: Environment, simulator: Simulator) -> None:
    empty.put_credentials(
        client_id="sim-bare-url",
        client_secret=SECRET,
        auth_base_url=simulator.url.removeprefix("http://"),
    )
    empty.renew()
    assert current(empty)["rest_instance_url"] == simulator.url
    assert empty.post(MESSAGE).body["status"] == "accepted"


def test_a_fresh_token_is_not_fetched_again(fresh: Environment, simulator: Simulator) -> None:
    for _ in range(3):
        assert fresh.renew() == {"did": "kept", "reason": "good"}
    assert fresh.renew({"need": "expiring", "token": "x"})["did"] == "kept"
    assert requests(simulator) == 1


def test_a_token_with_less_than_three_minutes_left_is_replaced(
    fresh: Environment, simulator: Simulator, clock: ShiftedTime
) -> None:
    first = current(fresh)
    clock.offset = 898
    assert fresh.renew()["did"] == "kept"
    clock.offset = 901
    assert fresh.renew() == {"did": "renewed", "reason": "expiring"}
    second = current(fresh)
    assert second["access_token"] != first["access_token"]
    assert second["expires_at"] - first["expires_at"] == 901
    assert requests(simulator) == 2
    old = fresh.client("secretsmanager").get_secret_value(
        SecretId=fresh.secret, VersionStage="AWSPREVIOUS"
    )
    assert json.loads(old["SecretString"]) == first


def test_a_manually_stored_token_is_kept_until_shortly_before_its_end(
    empty: Environment, simulator: Simulator
) -> None:
    theirs = {"access_token": "theirs", "expires_at": time.time() + 1000}
    empty.put_secret(json.dumps(theirs))
    assert empty.renew()["did"] == "kept"
    assert requests(simulator) == 0
    empty.put_secret("theirs-without-an-end")
    assert empty.renew() == {"did": "renewed", "reason": "undated"}


def test_a_refused_token_is_replaced_before_its_end(
    fresh: Environment, simulator: Simulator, clock: ShiftedTime
) -> None:
    clock.offset = 1300
    put_dated(fresh, clock, simulator)
    event = refused(fresh)
    assert fresh.renew(event) == {"did": "renewed", "reason": "refused"}
    assert requests(simulator) == 2


def put_dated(relay: Environment, clock: ShiftedTime, simulator: Simulator) -> None:
    """Store a new token with its full lifetime, by the shifted clock."""
    value = {
        "access_token": simulator.issue_token(),
        "expires_at": clock.time() + 1080,
        "rest_instance_url": simulator.url,
    }
    relay.put_secret(json.dumps(value))


def test_another_token_than_the_refused_one_is_kept(
    fresh: Environment, simulator: Simulator
) -> None:
    event = {"need": "refused", "token": fingerprint("an older one")}
    assert fresh.renew(event) == {"did": "kept", "reason": "good"}
    assert requests(simulator) == 1


def test_two_runs_fetch_one_token(
    fresh: Environment, simulator: Simulator, clock: ShiftedTime
) -> None:
    """The template lets them run only one after another."""
    clock.offset = 1300
    put_dated(fresh, clock, simulator)
    event = refused(fresh)
    done = [fresh.renew(request)["did"] for request in (event, {}, event, event)]
    assert done == ["renewed", "kept", "kept", "kept"]
    assert requests(simulator) == 2


def test_repeated_refusals_do_not_fetch_more_tokens(
    fresh: Environment,
    simulator: Simulator,
    clock: ShiftedTime,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert fresh.renew(refused(fresh))["did"] == "renewed", "the first token has no predecessor"
    assert "TokenRenewalsFailed" not in capsys.readouterr().out
    event = refused(fresh)
    assert fresh.renew(event) == {"did": "kept", "reason": "replaced-just-now"}
    assert fresh.renew(event)["did"] == "kept"
    assert fresh.renew()["did"] == "kept", "the schedule must not renew it either"
    assert capsys.readouterr().out.count('"TokenRenewalsFailed":[1.0]') == 3
    assert requests(simulator) == 2
    clock.offset = 899
    assert fresh.renew(event)["did"] == "kept"
    clock.offset = 905
    assert fresh.renew(event) == {"did": "renewed", "reason": "expiring"}


@pytest.mark.parametrize(
    ("then", "reason", "status", "words"),
    [
        ("401", "credentials-refused", 401, ["invalid_client: Invalid client credentials."]),
        ("403", "request-refused", 403, ["Insufficient Privileges"]),
        ("504-html", "server-error", 504, []),
        ("202-trailing-comma", "no-token-in-answer", 200, []),
        ("reset-before-read", "no-answer", None, ["ReadError"]),
        ("reset-after-accept", "no-answer", None, ["ReadError"]),
        ("hang-before-read", "timeout", None, []),
    ],
)
def test_a_failure_is_logged_counted_and_not_repeated_before_the_schedule(
    empty: Environment,
    simulator: Simulator,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    capsys: pytest.CaptureFixture[str],
    then: str,
    reason: str,
    status: int | None,
    words: list[str],
) -> None:
    if then.startswith("hang"):
        monkeypatch.setattr(oauth_endpoint, "TOTAL_TIMEOUT", 1.0)
    simulator.fail("token", then, times=2)
    before = {"access_token": "the-old-token", "expires_at": time.time() - 3_600}
    empty.put_secret(json.dumps(before))
    assert empty.renew() == {"did": "failed", "reason": reason}
    for _ in range(5):
        assert empty.renew(refused(empty)) == {"did": "kept", "reason": "failed-before"}
    assert requests(simulator) == 1
    assert current(empty) == before
    assert empty.renew()["did"] == "failed"
    assert requests(simulator) == 2

    logged = [vars(record) for record in caplog.records]
    errors = [line for line in logged if line["levelname"] == "ERROR"]
    assert len(errors) == 2
    assert caplog.messages[-1] == f"token not renewed: {reason}"
    assert (errors[0]["upstream_status"], list(errors[0]["errors"])) == (status, words)
    output = capsys.readouterr().out
    metrics = [json.loads(line) for line in output.splitlines()]
    counted = [line["TokenRenewalsFailed"] for line in metrics if "TokenRenewalsFailed" in line]
    assert counted == [[1.0], [1.0]]
    assert not any("TokenGood" in line for line in metrics)
    for secret in (SECRET, ID, "the-old-token"):
        assert secret not in f"{logged}{output}"

    assert empty.renew()["did"] == "renewed"
    assert empty.renew({"need": "expiring", "token": "x"}) == {"did": "kept", "reason": "good"}


def test_a_refused_token_is_renewed_by_the_schedule_after_a_missed_request(
    fresh: Environment, simulator: Simulator, clock: ShiftedTime
) -> None:
    clock.offset = 1300
    put_dated(fresh, clock, simulator)
    event = refused(fresh)
    simulator.fail("token", "500")
    assert fresh.renew(event)["did"] == "failed"
    assert fresh.renew(event)["did"] == "kept"
    assert fresh.renew() == {"did": "renewed", "reason": "refused"}


def test_a_success_is_logged_and_counted_without_secrets(
    fresh: Environment,
    clock: ShiftedTime,
    caplog: pytest.LogCaptureFixture,
    capsys: pytest.CaptureFixture[str],
) -> None:
    caplog.set_level("INFO", logger="smsrelay")
    capsys.readouterr()
    clock.offset = 950
    fresh.renew()
    [logged] = [vars(record) for record in caplog.records if record.msg == "token renewed"]
    assert (logged["reason"], logged["seconds"]) == ("expiring", 1080)
    assert logged["token"] == fingerprint(current(fresh)["access_token"])
    output = capsys.readouterr().out
    [metrics] = [json.loads(line) for line in output.splitlines() if "TokensRenewed" in line]
    assert (metrics["TokensRenewed"], metrics["TokenGood"]) == ([1.0], [1.0])
    assert metrics["service"] == STACK_NAME
    for secret in (SECRET, ID, current(fresh)["access_token"]):
        assert secret not in f"{logged}{output}"


def test_a_token_without_the_sending_scope_is_stored_and_reported(
    empty: Environment, simulator: Simulator, caplog: pytest.LogCaptureFixture
) -> None:
    empty.put_credentials(
        client_id="sim-no-sms-send", client_secret=SECRET, auth_base_url=simulator.url
    )
    assert empty.renew()["did"] == "renewed"
    assert "its scope lacks sms_send" in caplog.text


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ({}, "client_id is missing"),
        ({"client_id": ID}, "client_secret is missing"),
        (
            {"client_id": ID, "client_secret": SECRET, "auth_base_url": "https://evil.example"},
            "UpstreamHosts",
        ),
    ],
)
def test_unusable_credentials_are_reported(
    empty: Environment,
    simulator: Simulator,
    caplog: pytest.LogCaptureFixture,
    fields: dict[str, str],
    says: str,
) -> None:
    empty.put_credentials(**fields)
    assert empty.renew() == {"did": "failed", "reason": "credentials-unusable"}
    [logged] = [vars(record) for record in caplog.records]
    assert says in logged["errors"][0]
    assert SECRET not in str(logged)
    assert requests(simulator) == 0


def test_a_deployment_without_credentials(aws: None, simulator: Simulator) -> None:
    """A manually stored token stays in use; the alarm reports the missing credentials."""
    _ = aws
    with running(simulator.url) as relay:
        assert relay.renew() == {"did": "failed", "reason": "credentials-unusable"}
        assert relay.post(MESSAGE).body["status"] == "accepted"


def test_a_secret_without_a_value(empty: Environment) -> None:
    secrets = empty.client("secretsmanager")
    nothing = secrets.create_secret(Name=f"{empty.table}-nothing")["ARN"]
    with patch.dict("os.environ", TOKEN_SECRET_ARN=nothing):
        assert empty.renew() == {"did": "renewed", "reason": "missing"}
        assert empty.renew()["did"] == "kept"


@pytest.mark.parametrize(
    "error",
    [
        ClientError({"Error": {"Code": "AccessDeniedException"}}, "any"),
        EndpointConnectionError(endpoint_url="https://secretsmanager"),
    ],
)
@pytest.mark.parametrize("operation", ["get_secret_value", "put_secret_value"])
def test_an_unavailable_store(
    empty: Environment,
    simulator: Simulator,
    caplog: pytest.LogCaptureFixture,
    operation: str,
    error: Exception,
) -> None:
    client = token_renewer.parts().token_renewer.store._client  # type: ignore[attr-defined] # noqa: SLF001 - the renewer's client
    with patch.object(client, operation, side_effect=error):
        assert empty.renew() == {"did": "failed", "reason": "secret-unavailable"}
        assert empty.renew({"need": "missing", "token": ""})["reason"] == "failed-before"
    assert requests(simulator) == (operation == "put_secret_value")
    assert caplog.messages == ["token not renewed: secret-unavailable"]
    assert SECRET not in str([vars(record) for record in caplog.records])
    assert empty.renew()["did"] == "renewed"


def test_a_web_page_in_place_of_a_secret(empty: Environment, simulator: Simulator) -> None:
    client = token_renewer.parts().token_renewer.store._client  # type: ignore[attr-defined] # noqa: SLF001 - the renewer's client
    # What botocore makes of a web page with status 200.
    with patch.object(client, "get_secret_value", return_value={"ResponseMetadata": {}}):
        assert empty.renew() == {"did": "failed", "reason": "secret-unavailable"}
    assert requests(simulator) == 0
    assert empty.renew()["did"] == "renewed"


def test_credentials_stored_as_bytes(empty: Environment, simulator: Simulator) -> None:
    empty.client("secretsmanager").put_secret_value(
        SecretId=os.environ["CREDENTIALS_SECRET_ARN"], SecretBinary=b"{}"
    )
    assert empty.renew() == {"did": "failed", "reason": "credentials-unusable"}
    assert requests(simulator) == 0


@contextmanager
def endpoint(*answer: bytes, hold: threading.Event | None = None) -> Iterator[str]:
    """A token endpoint that responds to one request with these bytes."""

    def serve() -> None:
        connection, _ = listener.accept()
        with connection:
            connection.recv(65_536)
            for part in answer:
                try:
                    connection.sendall(part)
                except OSError:
                    return
            if hold:
                hold.wait(10)

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=serve)
        thread.start()
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        if hold:
            hold.set()
        thread.join()


def report(relay: Environment) -> dict[str, dict[str, Any]]:
    return DynamoDbRenewalReport(relay.client("dynamodb"), relay.table).load()


def test_a_renewal_stores_a_report_without_secrets(
    empty: Environment, simulator: Simulator, clock: ShiftedTime
) -> None:
    staged = "the-staged-secret"
    empty.put_credentials(
        client_id=ID,
        client_secret=SECRET,
        auth_base_url=simulator.url,
        account_id=7001234,
        expires_at="2027-05-25",
        staged_client_secret=staged,
        staged_expires_at="2027-10-01",
    )
    empty.renew()
    assert report(empty) == {
        "renewed": {
            "at": clock.start,
            "tokenExpiresAt": clock.start + 1080,
            "scope": "sms_read sms_send",
            "restBaseUrl": simulator.url,
            "businessUnit": "7001234",
            "secretExpiresAt": "2027-05-25T00:00:00+00:00",
            "stagedExpiresAt": "2027-10-01T00:00:00+00:00",
            "staged": "waiting",
        }
    }
    items = str(empty.client("dynamodb").scan(TableName=empty.table)["Items"])
    secrets = (ID, SECRET, staged, current(empty)["access_token"])
    assert not [secret for secret in secrets if secret in items]


def test_a_failure_is_reported_until_the_next_renewal(
    fresh: Environment, simulator: Simulator, clock: ShiftedTime
) -> None:
    clock.offset = 1_000
    simulator.fail("token", "401")
    fresh.renew()
    reported = report(fresh)
    assert reported["failed"] == {"at": clock.time(), "reason": "credentials-refused"}
    assert reported["renewed"]["staged"] is None
    fresh.renew()
    assert report(fresh).keys() == {"renewed"}


def test_an_unavailable_ledger_neither_fails_nor_delays_a_renewal(empty: Environment) -> None:
    reports = []

    def away(_: BaseClient, operation: str, parameters: Any, call: Any) -> Any:
        if operation != "UpdateItem":
            return call()
        reports.append(parameters)
        raise EndpointConnectionError(endpoint_url="https://dynamodb")

    with intercepted(away):
        assert empty.renew() == {"did": "renewed", "reason": "missing"}
        assert empty.renew() == {"did": "kept", "reason": "good"}
    assert len(reports) == 1
    config = token_renewer.parts().token_renewer.report._client.meta.config  # type: ignore[attr-defined]  # noqa: SLF001
    assert (config.read_timeout, config.retries["total_max_attempts"]) == (1, 1), "one short try"


HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"


def answered_by(relay: Environment, url: str) -> str:
    relay.put_credentials(client_id=ID, client_secret=SECRET, auth_base_url=url)
    reason: str = relay.renew()["reason"]
    return reason


def test_a_redirect_is_not_followed(empty: Environment, simulator: Simulator) -> None:
    location = f"Location: {simulator.url}/v2/token\r\nContent-Length: 0\r\n\r\n"
    with endpoint(b"HTTP/1.1 307 Temporary Redirect\r\n" + location.encode()) as url:
        assert answered_by(empty, url) == "unexpected-status"
    assert requests(simulator) == 0


def test_no_proxy_of_the_environment_gets_the_secret(
    empty: Environment, simulator: Simulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    with HostileServer() as proxy:
        monkeypatch.setenv("ALL_PROXY", proxy.url)
        assert answered_by(empty, simulator.url) == "missing"
        assert proxy.connections == 0


def test_an_endless_response_is_cut_off(empty: Environment) -> None:
    with endpoint(HEAD + b"\r\n", *[b'{"access_token": "' + b"t" * 65_536] * 100) as url:
        assert answered_by(empty, url) == "no-token-in-answer"


def test_a_slow_response_ends_with_the_time_out(
    empty: Environment, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(oauth_endpoint, "TOTAL_TIMEOUT", 0.2)
    hold = threading.Event()
    with endpoint(HEAD + b"Content-Length: 100\r\n\r\n{", hold=hold) as url:
        assert answered_by(empty, url) == "timeout"


def test_headers_byte_by_byte_end_with_the_time_out(
    empty: Environment, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(oauth_endpoint, "TOTAL_TIMEOUT", 0.3)
    over = threading.Event()

    def manner(peer: socket.socket) -> None:
        drip(HEAD + b"X: " + b"y" * 1_000, peer, over, every=0.05)

    with HostileServer(manner) as server:
        began = time.perf_counter()
        assert answered_by(empty, server.url) == "timeout"
        assert time.perf_counter() - began < 10, "the whole response would take 50 s"
        over.set()


def test_without_a_server_the_renewal_fails(empty: Environment) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"
    assert answered_by(empty, url) == "no-answer"
