"""Tests hostile responses of the upstream: each one ends in bounded time and memory."""

import gzip
import json
import socket
import threading
import time
import tracemalloc
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import cycle
from typing import Any

import pytest

from smsrelay.adapters.http_transport import KeepAliveTransport
from smsrelay.adapters.mobileconnect import MAX_RESPONSE_BYTES, MobileConnect
from smsrelay.ports import Credentials
from smsrelay.sends.call_outcome import Outcome, OutcomeKind
from smsrelay.services import delivery_poller
from tests.support.environment import Environment, running
from tests.support.http_servers import HostileServer, Manner, drip
from tools.local_stack.polling import wait_for

BODY = '{"mobileNumbers":["12125550100"]}'
TOKEN = "the-access-token-of-the-tenant"
SHORT = 1.0
"""The time-out for endless responses, in seconds; no call begins with less than half a second."""
LATEST = 12.0
"""The limit for a call with a shorter deadline, in seconds, even on a busy machine.

The responses take 50 seconds, or have no end.
"""
LITTLE = 4_000_000
"""The most memory for a response of any size, in bytes."""
ALWAYS_UNKNOWN = (OutcomeKind.UNKNOWN, "protocol-error")

NO_TOKEN = (OutcomeKind.ACCEPTED, "accepted-without-token")
ACCEPTED = (OutcomeKind.ACCEPTED, "accepted")
FOREIGN_SUCCESS = (OutcomeKind.UNKNOWN, "unexpected-success")
REFUSED = (OutcomeKind.REJECTED, "refused")
UNEXPECTED = (OutcomeKind.UNKNOWN, "unexpected-status")
THROTTLED = (OutcomeKind.NOT_SENT, "throttled")


class FixedToken:
    def __init__(self, base_url: str) -> None:
        self._credentials = Credentials(TOKEN, base_url)

    def current(self) -> Credentials:
        return self._credentials

    def renewed(self, refused: Credentials) -> Credentials:
        return refused


@contextmanager
def calling(url: str) -> Iterator[Callable[..., Outcome]]:
    """Yield a function that sends with the relay's own client and connections."""
    with KeepAliveTransport(10, time.time) as transport:
        upstream = MobileConnect(transport, FixedToken(url), time.time)
        yield lambda body=BODY, timeout=30.0: upstream.send("MzA6Nzg6MA", body, timeout)


def call(manner: Manner | bytes, timeout: float = 30.0) -> Outcome:
    with HostileServer(manner) as server, calling(server.url) as send:
        return send(timeout=timeout)


def answer(status: str, body: bytes = b"", *headers: str, length: int | None = None) -> bytes:
    head = [f"HTTP/1.1 {status}", *headers]
    head.append(f"Content-Length: {len(body) if length is None else length}")
    return "\r\n".join(head).encode() + b"\r\n\r\n" + body


def chunked(status: str, body: bytes) -> bytes:
    return f"HTTP/1.1 {status}\r\nTransfer-Encoding: chunked\r\n\r\n".encode() + body


GOOD = b'{"tokenId":"c21NCNSDN2sMMWM2miosdjEHH"}'
UNAVAILABLE = b'{"message":"Service Unavailable","errorcode":50300}'

ANSWERS: dict[str, tuple[bytes, tuple[OutcomeKind, str]]] = {
    # Content encodings.
    "gzip although identity was asked for": (
        answer("202 Accepted", gzip.compress(GOOD), "Content-Encoding: gzip"),
        FOREIGN_SUCCESS,
    ),
    "gzip bomb": (
        answer("400 Bad Request", gzip.compress(b" " * 50_000_000), "Content-Encoding: gzip"),
        UNEXPECTED,
    ),
    "an unknown encoding": (answer("202 Accepted", GOOD, "Content-Encoding: br, zstd"), ACCEPTED),
    "another charset": (
        answer("202 Accepted", GOOD.decode().encode("utf-16"), "Content-Type: text/json"),
        FOREIGN_SUCCESS,
    ),
    "a charset that is none": (
        answer("202 Accepted", GOOD, "Content-Type: application/json; charset=nonsense"),
        ACCEPTED,
    ),
    "a byte order mark": (answer("202 Accepted", b"\xef\xbb\xbf" + GOOD), ACCEPTED),
    "invalid UTF-8": (answer("202 Accepted", b'{"x":"\xff\xfe","tokenId":"abc"}'), ACCEPTED),
    "NUL before": (answer("202 Accepted", b"\x00" + GOOD), FOREIGN_SUCCESS),
    "NULs only": (answer("202 Accepted", b"\x00" * 1_000), FOREIGN_SUCCESS),
    # Invalid or extreme JSON.
    "nested deeply": (answer("400 Bad Request", b"[" * 60_000), UNEXPECTED),
    "nested deeply and closed": (
        answer("400 Bad Request", b'{"errors":[' + b"[" * 30_000 + b"]" * 30_000 + b"]}"),
        UNEXPECTED,
    ),
    "nested as deeply as can be read": (
        answer("400 Bad Request", b'{"errors":[' + b'{"a":' * 5_000 + b"1" + b"}" * 5_000 + b"]}"),
        REFUSED,
    ),
    "an integer of 60,000 digits": (
        answer("202 Accepted", b'{"tokenId":' + b"9" * 60_000 + b"}"),
        FOREIGN_SUCCESS,
    ),
    "an integer of 4,000 digits": (
        answer("202 Accepted", b'{"tokenId":' + b"9" * 4_000 + b"}"),
        NO_TOKEN,
    ),
    "a number out of range": (answer("202 Accepted", b'{"tokenId":1e999}'), NO_TOKEN),
    "NaN": (answer("202 Accepted", b'{"tokenId":NaN}'), NO_TOKEN),
    "duplicate keys": (answer("202 Accepted", b'{"tokenId":"a","tokenId":"b"}'), ACCEPTED),
    "a list as tokenId": (answer("202 Accepted", b'{"tokenId":["a"]}'), NO_TOKEN),
    "an object as tokenId": (answer("202 Accepted", b'{"tokenId":{"a":"b"}}'), NO_TOKEN),
    "a huge tokenId": (answer("202 Accepted", b'{"tokenId":"' + b"a" * 60_000 + b'"}'), NO_TOKEN),
    "a tokenId larger than an index takes": (
        answer("202 Accepted", ('{"tokenId":"' + "\u20ac" * 1_000 + '"}').encode()),
        NO_TOKEN,
    ),
    "control characters as tokenId": (
        answer("202 Accepted", b'{"tokenId":"\\u0000\\u001b[2J\\r\\nX: y"}'),
        ACCEPTED,
    ),
    "half a surrogate pair as tokenId": (
        answer("202 Accepted", b'{"tokenId":"\\ud800"}'),
        ACCEPTED,
    ),
    "a million errors": (
        answer("400 Bad Request", b'{"errors":[' + b"1," * 1_000_000 + b"1]}"),
        UNEXPECTED,
    ),
    "30,000 errors": (answer("400 Bad Request", b'{"errors":[' + b"1," * 30_000 + b"1]}"), REFUSED),
    "one huge error": (
        answer("400 Bad Request", b'{"errors":["' + b"1" * 60_000 + b'"]}'),
        REFUSED,
    ),
    # Status lines.
    "204 with a body": (answer("204 No Content", GOOD), FOREIGN_SUCCESS),
    "101": (
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: Upgrade\r\n\r\n",
        ALWAYS_UNKNOWN,
    ),
    "999": (answer("999 What"), UNEXPECTED),
    "000": (answer("000 What"), ALWAYS_UNKNOWN),
    "099": (answer("099 What"), ALWAYS_UNKNOWN),
    "a negative status": (answer("-202 Accepted"), ALWAYS_UNKNOWN),
    "a status that is no number": (answer("two hundred"), ALWAYS_UNKNOWN),
    "a status of four digits": (answer("2020 Accepted"), ALWAYS_UNKNOWN),
    "a status in other digits": (answer("\u0662\u0660\u0662 Accepted"), ALWAYS_UNKNOWN),
    "HTTP/0.9": (GOOD, ALWAYS_UNKNOWN),
    "HTTP/2 without having been asked": (b"\x00\x00\x12\x04\x00\x00\x00\x00\x00", ALWAYS_UNKNOWN),
    "HTTP/9.9": (b"HTTP/9.9 202 Accepted\r\n\r\n" + GOOD, ACCEPTED),
    "HTTP/1.0": (b"HTTP/1.0 202 Accepted\r\n\r\n" + GOOD, ACCEPTED),
    "no reason phrase": (answer("202", GOOD), ACCEPTED),
    "one 100 first": (b"HTTP/1.1 100 Continue\r\n\r\n" + answer("202 Accepted", GOOD), ACCEPTED),
    "early hints first": (
        b"HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n" + answer("400 Bad Request"),
        UNEXPECTED,
    ),
    # Headers.
    "a giant header": (answer("202 Accepted", GOOD, f"X: {'x' * 1_000_000}"), ALWAYS_UNKNOWN),
    "a large header": (answer("202 Accepted", GOOD, f"X: {'x' * 30_000}"), ACCEPTED),
    "a header without a name": (answer("202 Accepted", GOOD, ": x"), ALWAYS_UNKNOWN),
    "a header of bytes": (
        answer("202 Accepted", GOOD).replace(b"Content", b"X: \xff\xfe\r\nContent"),
        ACCEPTED,
    ),
    "two lengths": (answer("202 Accepted", GOOD, "Content-Length: 5"), ALWAYS_UNKNOWN),
    "a negative length": (answer("202 Accepted", GOOD, length=-1), ALWAYS_UNKNOWN),
    "a length of 5,000 digits": (
        answer("202 Accepted", GOOD).replace(b"Length: 39", b"Length: " + b"9" * 5_000),
        ALWAYS_UNKNOWN,
    ),
    "a longer length than the body": (answer("202 Accepted", GOOD, length=1_000), ACCEPTED),
    "a shorter length than the body": (answer("202 Accepted", GOOD, length=12), FOREIGN_SUCCESS),
    # Chunks.
    "chunks": (chunked("202 Accepted", b"%x\r\n%s\r\n0\r\n\r\n" % (len(GOOD), GOOD)), ACCEPTED),
    "a chunk that is too short": (
        chunked("202 Accepted", b"%x\r\n%s\r\n0\r\n\r\n" % (len(GOOD) + 9, GOOD)),
        ACCEPTED,
    ),
    "a chunk that is too long": (
        chunked("202 Accepted", b"5\r\n%s\r\n0\r\n\r\n" % GOOD),
        FOREIGN_SUCCESS,
    ),
    "a chunk of a negative size": (chunked("202 Accepted", b"-5\r\n" + GOOD), FOREIGN_SUCCESS),
    "a chunk of a huge size": (chunked("202 Accepted", b"f" * 15 + b"\r\n" + GOOD), ACCEPTED),
    "a chunk size that is none": (chunked("400 Bad Request", b"zz\r\n" + GOOD), UNEXPECTED),
    "endless trailers": (
        chunked("202 Accepted", b"%x\r\n%s\r\n0\r\n" % (len(GOOD), GOOD) + b"X: y\r\n" * 50_000),
        ACCEPTED,
    ),
    # Waits.
    **{
        f"Retry-After: {value[:40]}": (
            answer("429 Too Many Requests", b"", f"Retry-After: {value}"),
            THROTTLED,
        )
        for value in (
            "-1",
            "NaN",
            "-inf",
            "1e308",
            "9" * 400,
            "0x10",
            "Fri, 31 Dec 9999 23:59:59 GMT",
            "Mon, 01 Jan 0001 00:00:00 +2359",
            "Fri, 99 Foo 9999 99:99:99 +9999999999999999",
            "tomorrow, tomorrow",
        )
    },
    "two Retry-After": (
        answer("503 Service Unavailable", UNAVAILABLE, "Retry-After: 5", "Retry-After: 7"),
        (OutcomeKind.NOT_SENT, "unavailable"),
    ),
}


@pytest.mark.parametrize("name", ANSWERS)
def test_each_answer_has_a_documented_outcome(name: str) -> None:
    raw, expected = ANSWERS[name]
    outcome = call(raw)
    assert (outcome.kind, outcome.reason) == expected
    assert outcome.retry_after is None or outcome.retry_after >= 0
    assert len(outcome.errors) <= 20
    assert outcome.token_id is None or len(outcome.token_id.encode()) <= 1_024


def test_each_answer_has_a_documented_status(aws: None) -> None:
    """Tests the same responses through the handler: the API's response and the stored status."""
    _ = aws
    documented = {
        OutcomeKind.ACCEPTED: (202, "accepted"),
        OutcomeKind.REJECTED: (422, "rejected"),
        OutcomeKind.NOT_SENT: (202, "queued"),
        OutcomeKind.UNKNOWN: (504, "unknown"),
    }
    with HostileServer() as server, running(server.url) as relay:
        for name, (raw, (kind, reason)) in ANSWERS.items():
            server.answers(raw)
            server.wait_for_hang_up()
            relay.end_pauses()
            response = relay.post({"message": "MzA6Nzg6MA", "to": ["+12125550100"]})
            [send] = response.body["sends"]
            assert (response.status, send["status"]) == documented[kind], name
            stored = relay.get(f"/messages/{response.body['id']}").body["sends"][0]
            assert stored["status"] == send["status"], name
            assert kind is OutcomeKind.ACCEPTED or stored["reason"] == reason, name
        assert len(server.requests) == len(ANSWERS), "each response must get exactly one call"


GOOD_ANSWER = answer("202 Accepted", GOOD, "Content-Type: application/json")


@pytest.mark.parametrize(
    ("status", "body", "whole_is"),
    [
        ("202 Accepted", GOOD, OutcomeKind.ACCEPTED),
        ("400 Bad Request", b'{"errors":["why"]}', OutcomeKind.REJECTED),
        ("503 Unavailable", UNAVAILABLE, OutcomeKind.NOT_SENT),
        ("429 Too Many Requests", UNAVAILABLE, OutcomeKind.NOT_SENT),
    ],
)
def test_an_answer_that_is_cut_anywhere(status: str, body: bytes, whole_is: OutcomeKind) -> None:
    """The outcome is unknown until the deciding part arrives: tokenId, whole body or status."""
    whole = answer(status, body, "Content-Type: application/json")
    head = whole.index(b"\r\n\r\n") + 4
    decides = {"202": len(whole) - 1, "429": head}.get(status[:3], len(whole))
    with HostileServer() as server, calling(server.url) as send:
        ends = []
        for cut in range(len(whole) + 1):
            server.answers(whole[:cut])
            ends.append(send())
    assert {outcome.kind for outcome in ends[:decides]} == {OutcomeKind.UNKNOWN}
    assert {outcome.kind for outcome in ends[decides:]} == {whole_is}
    assert ends[-1].token_id == (body[12:-2].decode() if status[0] == "2" else None)
    assert len(server.requests) == len(whole) + 1


def _forever(head: bytes, piece: bytes) -> Manner:
    def manner(peer: socket.socket) -> None:
        peer.sendall(head)
        for _ in cycle([None]):
            peer.sendall(piece)

    return manner


ENDLESS: dict[str, tuple[Manner, tuple[OutcomeKind, str]]] = {
    "a body of a petabyte": (
        _forever(answer("202 Accepted", length=10**15), b"x" * 1_000_000),
        FOREIGN_SUCCESS,
    ),
    "a body without an end": (
        _forever(b"HTTP/1.1 400 Bad Request\r\n\r\n", b'{"errors":["' * 50_000),
        UNEXPECTED,
    ),
    "chunks without an end": (
        _forever(chunked("202 Accepted", b""), (b"fff\r\n" + b"x" * 4_095 + b"\r\n") * 200),
        FOREIGN_SUCCESS,
    ),
    "tiny chunks": (
        _forever(chunked("202 Accepted", b""), (b"10\r\n" + b"x" * 16 + b"\r\n") * 1_000),
        FOREIGN_SUCCESS,
    ),
    "headers without an end": (
        _forever(b"HTTP/1.1 202 Accepted\r\n", b"X: y\r\n" * 10_000),
        ALWAYS_UNKNOWN,
    ),
    "one header without an end": (
        _forever(b"HTTP/1.1 202 Accepted\r\nX: ", b"x" * 100_000),
        ALWAYS_UNKNOWN,
    ),
    "a status line without an end": (_forever(b"HTTP/1.1 202 ", b"x" * 100_000), ALWAYS_UNKNOWN),
    "blank lines without an end": (_forever(b"", b"\r\n" * 50_000), ALWAYS_UNKNOWN),
    "a chunk's extension without an end": (
        _forever(chunked("202 Accepted", b"5;"), b"x" * 100_000),
        FOREIGN_SUCCESS,
    ),
}


@pytest.mark.parametrize("name", ENDLESS)
def test_an_endless_response_is_cut_off_early(name: str) -> None:
    manner, expected = ENDLESS[name]
    with HostileServer(manner) as server, calling(server.url) as send:
        tracemalloc.start()
        try:
            began = time.monotonic()
            outcome = send(timeout=60.0)
            took = time.monotonic() - began
            _, most = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
        server.wait_for_hang_up()
    assert (outcome.kind, outcome.reason) == expected
    assert took < LATEST, "the size limit must end it, not the time-out"
    assert most < LITTLE


def test_endless_informational_responses_end_with_the_time_out() -> None:
    flood = _forever(b"", b"HTTP/1.1 100 Continue\r\n\r\n" * 1_000)
    began = time.monotonic()
    outcome = call(flood, SHORT)
    assert (outcome.kind, outcome.reason) == (OutcomeKind.UNKNOWN, "read-timeout")
    assert time.monotonic() - began < LATEST


SLOW = {
    "the status line": (b"HTTP/1.1 202 " + b"A" * 1_000, (OutcomeKind.UNKNOWN, "read-timeout")),
    "the headers": (
        b"HTTP/1.1 202 Accepted\r\nX: " + b"y" * 1_000,
        (OutcomeKind.UNKNOWN, "read-timeout"),
    ),
    "informational answers": (b"HTTP/1.1 100\r\n\r\n" * 100, (OutcomeKind.UNKNOWN, "read-timeout")),
    "the body": (b" " * 1_000, FOREIGN_SUCCESS),
    "a chunk's size": (b"0" * 1_000, FOREIGN_SUCCESS),
}
AT_ONCE = {
    "the body": answer("202 Accepted", length=1_000),
    "a chunk's size": chunked("202 Accepted", b""),
}


@pytest.mark.parametrize("name", SLOW)
def test_a_response_byte_by_byte_ends_with_the_time_out(name: str) -> None:
    pieces, expected = SLOW[name]
    over = threading.Event()

    def manner(peer: socket.socket) -> None:
        peer.sendall(AT_ONCE.get(name, b""))
        drip(pieces, peer, over, every=0.05)

    with HostileServer(manner) as server, calling(server.url) as send:
        began = time.monotonic()
        outcome = send(timeout=SHORT)
        took = time.monotonic() - began
        over.set()
    assert (outcome.kind, outcome.reason) == expected
    assert took < LATEST


def test_a_request_that_is_not_read_ends_with_the_time_out() -> None:
    over = threading.Event()

    def manner(_: socket.socket) -> None:
        over.wait(50)

    with HostileServer(manner, receive_buffer=4_096) as server, calling(server.url) as send:
        began = time.monotonic()
        outcome = send(body="x" * 20_000_000, timeout=SHORT)
        took = time.monotonic() - began
        over.set()
    assert (outcome.kind, outcome.reason) == (OutcomeKind.UNKNOWN, "write-failed")
    assert took < LATEST


@pytest.mark.parametrize("status", [300, 301, 302, 303, 305, 307, 308, 401, 421])
@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
def test_the_token_goes_nowhere_else(status: int, host: str) -> None:
    with (
        HostileServer(answer("202 Accepted", GOOD)) as elsewhere,
        HostileServer(stays=True) as server,
    ):
        target = elsewhere.url.replace("127.0.0.1", host) + "/sms/v1/messageContact/x/send"
        server.answers(
            answer(
                f"{status} Elsewhere",
                json.dumps({"errors": [target], "location": target}).encode(),
                f"Location: {target}",
                f"Content-Location: {target}",
                f"Refresh: 0; url={target}",
                f"Alt-Svc: h2={target!r}; ma=99",
                f"Link: <{target}>; rel=preconnect",
                "Set-Cookie: session=1; Path=/",
                'WWW-Authenticate: Basic realm="x"',
            )
        )
        with calling(server.url) as send:
            kinds = {send().kind for _ in range(2)}
        assert OutcomeKind.ACCEPTED not in kinds
        assert elsewhere.connections == 0
        assert len(server.requests) == 2
        assert "cookie" not in server.requests[1].headers
        assert {request.headers["authorization"] for request in server.requests} == {
            f"Bearer {TOKEN}"
        }


@pytest.mark.parametrize("variable", ["HTTP_PROXY", "ALL_PROXY"])
def test_no_proxy_of_the_environment_gets_the_token(
    monkeypatch: pytest.MonkeyPatch, variable: str
) -> None:
    with (
        HostileServer(answer("202 Accepted", GOOD)) as proxy,
        HostileServer(answer("202 Accepted", GOOD)) as server,
    ):
        monkeypatch.setenv(variable, proxy.url)
        with calling(server.url) as send:
            assert send().kind is OutcomeKind.ACCEPTED
        assert (proxy.connections, server.connections) == (0, 1)


def test_a_second_response_is_not_used_for_the_next_request() -> None:
    """The second of two responses to one request must not become that of the next send."""
    first, second = answer("202 Accepted", b'{"tokenId":"first"}'), answer("202 Accepted", GOOD)
    with HostileServer(first + second, stays=True) as server, calling(server.url) as send:
        assert send().token_id == "first"
        server.answers(answer("400 Bad Request", b'{"errors":["no"]}'))
        assert send() == Outcome(OutcomeKind.UNKNOWN, "protocol-error")
        assert send().kind is OutcomeKind.REJECTED
    assert (len(server.requests), server.connections) == (3, 2)


def test_a_call_after_each_response_gets_its_own_response() -> None:
    with HostileServer() as server, calling(server.url) as send:
        for name, (raw, _) in ANSWERS.items():
            server.answers(raw)
            send()
            server.wait_for_hang_up()
            server.answers(GOOD_ANSWER)
            assert send().token_id == GOOD[12:-2].decode(), name


def test_the_size_limit_is_above_every_documented_response() -> None:
    errors = json.dumps({"errors": ["The Message must be in Active status in order to send."] * 20})
    assert len(errors) < MAX_RESPONSE_BYTES / 10


def test_the_api_responds_in_time_with_a_hostile_upstream(aws: None) -> None:
    """The slowest response through the handler: the API responds 504, and the send is unknown."""
    _ = aws
    over = threading.Event()

    def manner(peer: socket.socket) -> None:
        drip(b"HTTP/1.1 202 " + b"A" * 1_000, peer, over, every=0.05)

    with HostileServer(manner) as server, running(server.url) as relay:
        began = time.monotonic()
        response = _post(relay)
        took = time.monotonic() - began
        over.set()
        assert (response, took < LATEST) == (504, True)
        assert [item["status"]["S"] for item in relay.items()] == ["unknown"]


@pytest.fixture
def lookup_takes(
    monkeypatch: pytest.MonkeyPatch, pass_time: Callable[[float], None]
) -> Callable[[float], None]:
    """Make each following address lookup take so many seconds."""
    look_up = socket.getaddrinfo

    def slowly(seconds: float) -> None:
        def slow_lookup(*arguments: Any, **named: Any) -> Any:
            pass_time(seconds)
            return look_up(*arguments, **named)

        monkeypatch.setattr(socket, "getaddrinfo", slow_lookup)

    return slowly


def test_nothing_is_written_after_the_deadline(
    aws: None, lookup_takes: Callable[[float], None]
) -> None:
    """A socket's time-out does not end a lookup."""
    _ = aws
    written: list[bytes] = []
    with (
        HostileServer(lambda peer: written.append(peer.recv(1)), receive_buffer=65_536) as server,
        running(server.url) as relay,
    ):
        lookup_takes(60.0)
        response = relay.post({"message": "MzA6Nzg6MA", "to": ["+12125550100"]})
        wait_for(lambda: written, what="the end of the connection", seconds=20)
    [send] = response.body["sends"]
    assert (response.status, send["status"], send["reason"]) == (202, "queued", "out-of-time")
    assert written == [b""], "nothing may be written to the connection"


def test_a_slow_lookup_leaves_less_time_for_the_response(
    lookup_takes: Callable[[float], None],
) -> None:
    over = threading.Event()

    def manner(_: socket.socket) -> None:
        over.wait(50)

    with HostileServer(manner) as server, calling(server.url) as send:
        lookup_takes(60.0 - SHORT)
        began = time.perf_counter()
        outcome = send(timeout=60.0)
        took = time.perf_counter() - began
        over.set()
    assert (outcome.kind, outcome.reason) == (OutcomeKind.UNKNOWN, "read-timeout")
    assert took < LATEST


def test_a_delivery_report_byte_by_byte_ends_with_the_time_out(
    aws: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    _ = aws
    monkeypatch.setattr(delivery_poller, "TIMEOUT", SHORT)
    over = threading.Event()

    def manner(peer: socket.socket) -> None:
        drip(b"HTTP/1.1 200 " + b"A" * 1_000, peer, over, every=0.05)

    with (
        HostileServer(GOOD_ANSWER) as server,
        running(server.url, DELIVERY_POLLING="all") as relay,
    ):
        assert _post(relay) == 202
        server.answers(manner)
        relay.make_due()
        began = time.perf_counter()
        assert relay.follow() == {"no-report": 1}
        assert time.perf_counter() - began < LATEST
        over.set()


def _post(relay: Environment) -> int:
    return relay.post({"message": "MzA6Nzg6MA", "to": ["+12125550100"]}).status
