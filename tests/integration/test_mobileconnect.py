"""Tests the adapter with real sockets: how it maps failures, and reads responses."""

import inspect
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from smsrelay.adapters.http_transport import KeepAliveTransport, failure_of
from smsrelay.adapters.mobileconnect import MAX_RESPONSE_BYTES, MobileConnect
from smsrelay.errors import TokenUnavailableError
from smsrelay.ports import Credentials
from smsrelay.sends.call_outcome import Failure, Outcome, OutcomeKind
from tests.support.environment import ACCESS_TOKEN
from tools.mobileconnect_simulator import Simulator

BODY = '{"mobileNumbers":["12125550100"]}'
ACCEPTED = b'HTTP/1.1 202 Accepted\r\nContent-Length: 18\r\n\r\n{"tokenId": "abc"}'


class FixedToken:
    def __init__(self, base_url: str, access_token: str = ACCESS_TOKEN) -> None:
        self._credentials = Credentials(access_token, base_url)

    def current(self) -> Credentials:
        return self._credentials

    def renewed(self, refused: Credentials) -> Credentials:
        return refused


def send(base_url: str, timeout: float = 30.0) -> Outcome:
    with KeepAliveTransport(1, time.time) as transport:
        upstream = MobileConnect(transport, FixedToken(base_url), lambda: 0.0)
        return upstream.send("MzA6Nzg6MA", BODY, timeout)


@contextmanager
def server(answer: Callable[[socket.socket], None]) -> Iterator[str]:
    """A server that reads one request, and then calls `answer`."""

    def serve() -> None:
        connection, _ = listener.accept()
        with connection:
            received = b""
            while BODY.encode() not in received:
                received += connection.recv(65_536)
            answer(connection)

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=serve)
        thread.start()
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        thread.join()


def test_the_request_of_a_send(simulator: Simulator) -> None:
    outcome = send(simulator.url)
    [sent] = simulator.sent()
    assert outcome == Outcome(OutcomeKind.ACCEPTED, "accepted", 202, sent["tokenId"])
    assert sent["raw"] == BODY
    assert sent["headers"]["content-type"] == "application/json"
    # The size limit counts bytes, and the relay can't decompress responses.
    assert sent["headers"]["accept-encoding"] == "identity"
    [call] = simulator.calls()
    assert call["path"] == "/sms/v1/messageContact/MzA6Nzg6MA/send"


@pytest.mark.parametrize(
    ("then", "kind", "reason"),
    [
        ("429-50200", OutcomeKind.NOT_SENT, "blocked"),
        ("reset-before-read", OutcomeKind.UNKNOWN, "read-failed"),
        ("reset-after-accept", OutcomeKind.UNKNOWN, "read-failed"),
        ("hang-after-accept", OutcomeKind.UNKNOWN, "read-timeout"),
        ("202-trailing-comma", OutcomeKind.ACCEPTED, "accepted"),
    ],
)
def test_faults_other_than_a_status_and_a_body(
    simulator: Simulator, then: str, kind: OutcomeKind, reason: str
) -> None:
    simulator.fail("send", then)
    outcome = send(simulator.url, timeout=1.5 if then.startswith("hang") else 30.0)
    assert (outcome.kind, outcome.reason) == (kind, reason)
    assert len(simulator.calls()) == 1, "each fault must get exactly one call"


def test_the_waits_of_a_throttled_tenant(simulator: Simulator) -> None:
    simulator.fail("send", "429-50100", retry_after=7)
    assert send(simulator.url).retry_after == 7.0
    simulator.fail("send", "429-50200")
    assert send(simulator.url).retry_after is None


def test_a_refused_connection_was_not_sent() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    assert send(f"http://127.0.0.1:{port}") == Outcome(OutcomeKind.NOT_SENT, "no-connection")


@pytest.mark.parametrize(
    "url", ["http://does-not-exist.invalid", "gopher://127.0.0.1", "http://127.0.0.1:99999999"]
)
def test_a_call_to_an_unreachable_host_was_not_sent(url: str) -> None:
    assert send(url).kind is OutcomeKind.NOT_SENT


def test_a_failed_tls_handshake_was_not_sent(simulator: Simulator) -> None:
    assert send(simulator.url.replace("http:", "https:")) == Outcome(
        OutcomeKind.NOT_SENT, "no-connection"
    )


def self_signed(folder: Path) -> ssl.SSLContext:
    """Return a server's TLS context with a self-signed certificate for 127.0.0.1."""
    key, today = ec.generate_private_key(ec.SECP256R1()), datetime.now(UTC)
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "localhost")])
    certificate = (
        x509.CertificateBuilder(name, name, key.public_key(), 1)
        .not_valid_before(today - timedelta(days=1))
        .not_valid_after(today + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .sign(key, hashes.SHA256())
    )
    pem, no_password = serialization.Encoding.PEM, serialization.NoEncryption()
    private = key.private_bytes(pem, serialization.PrivateFormat.PKCS8, no_password)
    file = folder / "server.pem"
    file.write_bytes(private + certificate.public_bytes(pem))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(file)
    return context


def test_a_server_with_a_self_signed_certificate_gets_no_token(tmp_path: Path) -> None:
    context, received = self_signed(tmp_path), bytearray()

    def serve() -> None:
        connection, _ = listener.accept()
        with suppress(OSError), context.wrap_socket(connection, server_side=True) as peer:
            received.extend(peer.recv(65_536))
            peer.sendall(ACCEPTED)

    with socket.create_server(("localhost", 0), family=socket.AF_INET) as listener:
        thread = threading.Thread(target=serve)
        thread.start()
        outcome = send(f"https://localhost:{listener.getsockname()[1]}")
        thread.join()
    assert outcome == Outcome(OutcomeKind.NOT_SENT, "no-connection")
    assert received == b""


def test_an_answer_that_breaks_off_after_its_status_keeps_its_status() -> None:
    with server(lambda peer: peer.sendall(ACCEPTED[:-8])) as url:
        assert send(url) == Outcome(OutcomeKind.UNKNOWN, "unexpected-success", 202)
    with server(lambda peer: peer.sendall(ACCEPTED[:-1])) as url:
        assert send(url) == Outcome(OutcomeKind.ACCEPTED, "accepted", 202, "abc")


def test_a_connection_that_ends_without_an_answer_is_unknown() -> None:
    with server(lambda peer: peer.shutdown(socket.SHUT_RDWR)) as url:
        assert send(url).kind is OutcomeKind.UNKNOWN


def test_something_that_is_not_http_is_unknown() -> None:
    with server(lambda peer: peer.sendall(b"SSH-2.0-OpenSSH_9.2\r\n\r\n")) as url:
        assert send(url) == Outcome(OutcomeKind.UNKNOWN, "protocol-error")


def test_a_huge_response_is_not_read_to_its_end() -> None:
    def endless(peer: socket.socket) -> None:
        peer.sendall(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 100000000\r\n\r\n")
        try:
            for _ in range(1_000):
                peer.sendall(b"x" * MAX_RESPONSE_BYTES)
        except OSError:
            peer.close()  # the caller has closed the connection

    with server(endless) as url:
        assert send(url) == Outcome(OutcomeKind.UNKNOWN, "unexpected-status", 400)


def test_a_slow_response_ends_with_the_time_out() -> None:
    hung_up = threading.Event()

    def drip(peer: socket.socket) -> None:
        peer.sendall(b"HTTP/1.1 202 Accepted\r\nContent-Length: 1000000\r\n\r\n")
        try:
            while not hung_up.wait(0.05):
                peer.sendall(b" ")
        except OSError:
            pass

    with server(drip) as url:
        outcome = send(url, timeout=1.5)
        hung_up.set()
    assert outcome == Outcome(OutcomeKind.UNKNOWN, "unexpected-success", 202)


def test_no_redirect_is_followed_with_the_token(simulator: Simulator) -> None:
    redirect = (
        f"HTTP/1.1 307 Temporary Redirect\r\nLocation: {simulator.url}/sms/v1/messageContact/"
        "MzA6Nzg6MA/send\r\nContent-Length: 0\r\n\r\n"
    )
    with server(lambda peer: peer.sendall(redirect.encode())) as url:
        assert send(url).kind is OutcomeKind.UNKNOWN
    assert simulator.calls() == []


def test_two_calls_after_a_401_share_one_time(
    simulator: Simulator, pass_time: Callable[[float], None]
) -> None:
    class Renewing(FixedToken):
        takes = 59.0

        def renewed(self, refused: Credentials) -> Credentials:
            pass_time(self.takes)
            return refused._replace(access_token=simulator.issue_token())

    simulator.fail("send", "401")
    simulator.fail("send", "hang-after-accept")
    with KeepAliveTransport(1, time.time) as transport:
        tokens = Renewing(simulator.url)
        upstream = MobileConnect(transport, tokens, lambda: 0.0)
        began = time.perf_counter()
        assert upstream.send("MzA6Nzg6MA", BODY, 60.0).reason == "read-timeout"
        assert time.perf_counter() - began < 10, "both calls must share 60 s"
        simulator.fail("send", "401")
        tokens.takes = 59.9
        assert upstream.send("MzA6Nzg6MA", BODY, 60.0).reason == "out-of-time"
    assert [call["status"] for call in simulator.calls()] == [401, None, 401]


def test_without_time_after_the_token_nothing_is_called(simulator: Simulator) -> None:
    with KeepAliveTransport(1, time.time) as transport:
        upstream = MobileConnect(transport, FixedToken(simulator.url), lambda: 0.0)
        outcome = upstream.send("MzA6Nzg6MA", BODY, timeout=0.1)
    assert outcome == Outcome(OutcomeKind.NOT_SENT, "out-of-time")
    assert simulator.calls() == []


def test_without_a_token_nothing_is_called() -> None:
    class NoToken(FixedToken):
        def current(self) -> Credentials:
            raise TokenUnavailableError

    with KeepAliveTransport(1, time.time) as transport:
        outcome = MobileConnect(transport, NoToken(""), lambda: 0.0).send("m", BODY, 1.0)
    assert outcome == Outcome(OutcomeKind.NOT_SENT, "no-token")


def _all_exceptions() -> list[type[Exception]]:
    found = {
        entry
        for _, entry in inspect.getmembers(httpx, inspect.isclass)
        if issubclass(entry, httpx.HTTPError | httpx.InvalidURL)
    }
    return sorted(found, key=lambda entry: entry.__name__)


BEFORE = {
    httpx.ConnectTimeout,
    httpx.ConnectError,
    httpx.PoolTimeout,
    httpx.UnsupportedProtocol,
    httpx.InvalidURL,
}


@pytest.mark.parametrize("kind", _all_exceptions(), ids=lambda kind: kind.__name__)
def test_every_exception_of_httpx_is_uncertain_unless_it_comes_before_the_request(
    kind: type[Exception],
) -> None:
    error = (
        kind("x", request=None, response=None) if kind is httpx.HTTPStatusError else kind("x")  # type: ignore[arg-type]
    )
    failure = failure_of(error)  # type: ignore[arg-type]
    certain = {Failure.NO_CONNECTION, Failure.CONNECT_TIMEOUT}
    assert (failure in certain) == (kind in BEFORE)
