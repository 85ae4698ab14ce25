"""Checks that connections which ended unnoticed do not make sends unknown."""

import contextlib
import datetime as dt
import ipaddress
import json
import os
import signal
import ssl
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace

import httpx
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from smsrelay.adapters import http_transport
from smsrelay.adapters.http_transport import KEEP_ALIVE, KeepAliveTransport
from smsrelay.adapters.mobileconnect import MobileConnect
from smsrelay.ports import Credentials
from smsrelay.sends.call_outcome import Outcome, OutcomeKind
from smsrelay.wiring import sending
from tests.support.environment import running
from tests.support.http_servers import EndingServer
from tools.local_stack import ROOT, processes

HOUR = 3_600.0
BATCH = 10
ACCEPTED = Outcome(OutcomeKind.ACCEPTED, "accepted", 202, "abc")
MESSAGE = {"message": "MzA6Nzg6MA", "to": ["+1 212 555 0100"], "text": "Hello"}


class WallClock:
    """A clock that tests set ahead or back; the monotonic clock stays the same."""

    def __init__(self) -> None:
        self.now = 1_790_000_000.0

    def __call__(self) -> float:
        return self.now


class Token:
    def __init__(self, base_url: str) -> None:
        self._credentials = Credentials("first-access-token", base_url)

    def current(self) -> Credentials:
        return self._credentials

    def renewed(self, refused: Credentials) -> Credentials:
        return refused


class Caller:
    """The adapter as the functions use it."""

    def __init__(self, url: str) -> None:
        self.clock = WallClock()
        self.transport = KeepAliveTransport(BATCH * 2, self.clock)
        self._upstream = MobileConnect(self.transport, Token(url), self.clock)

    def send(self) -> Outcome:
        return self._upstream.send("MzA6Nzg6MA", "{}", timeout=2.0)

    def send_in_parallel(self, server: EndingServer) -> list[Outcome]:
        server.hold()
        with ThreadPoolExecutor(BATCH) as pool:
            sends = [pool.submit(self.send) for _ in range(BATCH)]
            try:
                server.wait_for_held(BATCH)
            finally:
                server.release()
            return [send.result() for send in sends]

    def before_the_first_byte(self, act: Callable[[], None]) -> None:
        """Call `act` once a connection was chosen for the next request."""
        handle = self.transport.handle_request

        def watched(request: httpx.Request) -> httpx.Response:
            def trace(event: str, _: object) -> None:
                if event == "http11.send_request_headers.started":
                    del request.extensions["trace"]
                    act()

            del vars(self.transport)["handle_request"]
            request.extensions["trace"] = trace
            return handle(request)

        vars(self.transport)["handle_request"] = watched


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A self-signed certificate for 127.0.0.1, with its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "upstream")])
    now = dt.datetime.now(dt.UTC)
    address = x509.IPAddress(ipaddress.ip_address("127.0.0.1"))
    signed = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(days=1))
        .not_valid_after(now + dt.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([address]), critical=False)
        .sign(key, hashes.SHA256())
    )
    path = tmp_path_factory.mktemp("tls") / "upstream.pem"
    private = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    path.write_bytes(private + signed.public_bytes(serialization.Encoding.PEM))
    return path


@pytest.fixture
def server() -> Iterator[EndingServer]:
    with EndingServer() as server:
        yield server


@pytest.fixture
def caller(server: EndingServer) -> Iterator[Caller]:
    caller = Caller(server.url)
    with caller.transport:
        yield caller


@pytest.fixture
def tls_server(certificate: Path) -> Iterator[EndingServer]:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificate)
    with EndingServer(context) as server:
        yield server


@pytest.fixture
def tls_caller(
    tls_server: EndingServer, certificate: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Caller]:
    trusting = ssl.create_default_context(cafile=certificate)
    monkeypatch.setattr(http_transport, "trusted", lambda: trusting)
    caller = Caller(tls_server.url)
    with caller.transport:
        yield caller


@pytest.fixture(params=["plain", "tls"])
def pair(request: pytest.FixtureRequest) -> tuple[EndingServer, Caller]:
    prefix = "tls_" if request.param == "tls" else ""
    return (
        request.getfixturevalue(f"{prefix}server"),
        request.getfixturevalue(f"{prefix}caller"),
    )


Pair = tuple[EndingServer, Caller]


def test_a_busy_worker_uses_its_connections_again(pair: Pair) -> None:
    server, caller = pair
    for _ in range(3):
        caller.clock.now += KEEP_ALIVE - 0.1
        assert caller.send() == ACCEPTED
    assert server.accepted == 1
    for _ in range(3):
        caller.clock.now += KEEP_ALIVE - 0.1
        assert caller.send_in_parallel(server) == [ACCEPTED] * BATCH
    assert server.accepted == BATCH


@pytest.mark.parametrize("end", [EndingServer.close, EndingServer.reset])
def test_a_connection_that_the_server_ended_is_not_used(
    pair: Pair, end: Callable[[EndingServer], None]
) -> None:
    server, caller = pair
    assert caller.send_in_parallel(server) == [ACCEPTED] * BATCH
    end(server)
    assert caller.send_in_parallel(server) == [ACCEPTED] * BATCH
    assert (server.accepted, server.answered, server.swallowed) == (2 * BATCH, 2 * BATCH, 0)


def test_unrequested_bytes_are_no_response(server: EndingServer, caller: Caller) -> None:
    assert caller.send() == ACCEPTED
    server.say(b"HTTP/1.1 408 Request Timeout\r\nContent-Length: 0\r\n\r\n")
    assert caller.send() == ACCEPTED
    assert (server.accepted, server.swallowed) == (2, 0)


@pytest.mark.parametrize("jump", [KEEP_ALIVE + 0.1, HOUR, -0.1, -HOUR])
@pytest.mark.parametrize("end", [EndingServer.forget, EndingServer.reset_at_next_request])
def test_a_connection_is_not_used_when_the_wall_clock_jumped(
    pair: Pair, end: Callable[[EndingServer], None], jump: float
) -> None:
    server, caller = pair
    assert caller.send() == ACCEPTED
    end(server)
    caller.clock.now += jump
    assert caller.send() == ACCEPTED
    assert (server.accepted, server.answered, server.swallowed) == (2, 2, 0)


def test_a_connection_is_not_used_when_the_monotonic_clock_jumped(
    server: EndingServer, caller: Caller, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert caller.send() == ACCEPTED
    server.forget()
    monotonic = time.monotonic
    monkeypatch.setattr(time, "monotonic", lambda: monotonic() + KEEP_ALIVE + 0.1)
    assert caller.send() == ACCEPTED
    assert (server.accepted, server.swallowed) == (2, 0)


def test_idle_connections_expire_beside_a_busy_one(server: EndingServer, caller: Caller) -> None:
    assert caller.send_in_parallel(server) == [ACCEPTED] * BATCH
    # 2 seconds pass between calls: too short for the connection that is in use to expire.
    for _ in range(3):
        caller.clock.now += 2
        assert caller.send() == ACCEPTED
    assert server.accepted == BATCH
    caller.clock.now += 2
    assert caller.send_in_parallel(server) == [ACCEPTED] * BATCH
    assert server.accepted == BATCH + BATCH - 1


def test_a_call_that_is_under_way_is_not_interrupted(server: EndingServer, caller: Caller) -> None:
    server.hold()
    with ThreadPoolExecutor() as pool:
        slow = pool.submit(caller.send)
        server.wait_for_held(1)
        caller.clock.now += HOUR
        quick = pool.submit(caller.send)
        server.wait_for_held(2)
        server.release()
        assert [slow.result(), quick.result()] == [ACCEPTED, ACCEPTED]
    assert server.accepted == 2


@pytest.mark.parametrize("end", ["close", "reset", "jump", "other thread"])
def test_an_end_before_the_first_byte_only_needs_another_connection(
    server: EndingServer, caller: Caller, end: str
) -> None:
    def jump() -> None:
        server.forget()
        caller.clock.now += HOUR

    ends: dict[str, Callable[[], None]] = {
        "close": server.close,
        "reset": server.reset,
        "jump": jump,
        "other thread": caller.transport.close,
    }
    assert caller.send() == ACCEPTED
    caller.before_the_first_byte(ends[end])
    assert caller.send() == ACCEPTED
    assert (server.accepted, server.answered, server.swallowed) == (2, 2, 0)


@pytest.mark.parametrize(
    ("end", "reason"),
    [
        (EndingServer.reset_at_next_request, "read-failed"),
        (EndingServer.forget, "read-timeout"),
    ],
)
def test_an_unnoticed_end_of_a_fresh_connection_makes_the_send_unknown(
    server: EndingServer, caller: Caller, end: Callable[[EndingServer], None], reason: str
) -> None:
    assert caller.send() == ACCEPTED
    end(server)
    assert caller.send() == Outcome(OutcomeKind.UNKNOWN, reason)
    assert (server.accepted, server.answered, server.swallowed) == (1, 1, 1)
    assert caller.send() == ACCEPTED, "the next call must use a new connection"


def test_the_functions_use_this_transport(
    aws: None, server: EndingServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    _ = aws
    clock = WallClock()
    monkeypatch.setattr(sending, "time", SimpleNamespace(time=clock))
    with running(server.url) as relay:
        assert relay.post(MESSAGE).status == 202
        assert relay.post(MESSAGE).status == 202
        assert server.accepted == 1
        server.forget()
        clock.now += HOUR
        assert relay.post(MESSAGE).status == 202
    assert (server.accepted, server.swallowed) == (2, 0)


class HandlerProcess:
    """The real API handler in a process that can be frozen."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process

    def begin(self, jump: float = 0.0) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps({"body": MESSAGE, "jump": jump}) + "\n")
        self._process.stdin.flush()

    def status(self) -> str:
        assert self._process.stdout is not None
        _, body = json.loads(self._process.stdout.readline())
        return str(body["status"])

    def post(self, jump: float = 0.0) -> str:
        self.begin(jump)
        return self.status()

    @contextlib.contextmanager
    def frozen(self) -> Iterator[None]:
        self._process.send_signal(signal.SIGSTOP)
        os.waitpid(self._process.pid, os.WUNTRACED)  # returns when the process has stopped
        try:
            yield
        finally:
            self._process.send_signal(signal.SIGCONT)


@pytest.fixture(scope="module")
def far_server() -> Iterator[EndingServer]:
    with EndingServer() as server:
        yield server


@pytest.fixture(scope="module")
def handler(far_server: EndingServer) -> Iterator[HandlerProcess]:
    """A process for all tests, because starting it takes longer than the tests."""
    inherited = {name: os.environ[name] for name in processes.PASSED_ON if name in os.environ}
    path = os.pathsep.join(str(ROOT / folder) for folder in ("layers/smsrelay", "cli", "."))
    with subprocess.Popen(  # noqa: S603 - a module of these tests
        [sys.executable, "-m", "tests.support.handler_process", far_server.url],
        cwd=ROOT,
        env=inherited | {"PYTHONPATH": path},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        yield HandlerProcess(process)  # leaving the block closes its input, which ends it


@pytest.mark.parametrize("end", [EndingServer.close, EndingServer.reset])
def test_a_process_is_frozen_while_the_server_ends_its_connections(
    far_server: EndingServer, handler: HandlerProcess, end: Callable[[EndingServer], None]
) -> None:
    assert handler.post() == "accepted"
    before = far_server.accepted
    with handler.frozen():
        end(far_server)
    assert handler.post() == "accepted"
    assert far_server.accepted == before + 1


def test_a_process_is_frozen_until_its_connections_are_forgotten(
    far_server: EndingServer, handler: HandlerProcess
) -> None:
    assert handler.post() == "accepted"
    swallowed = far_server.swallowed
    with handler.frozen():
        far_server.forget()
    assert handler.post(jump=HOUR) == "accepted"
    assert far_server.swallowed == swallowed


def test_a_process_is_frozen_in_a_call_and_finds_its_answer(
    far_server: EndingServer, handler: HandlerProcess
) -> None:
    far_server.hold()
    handler.begin()
    far_server.wait_for_held(1)
    with handler.frozen():
        far_server.release_to_the_kernel()
        far_server.close()
    assert handler.status() == "accepted"
