"""Servers on loopback: a fake relay whose responses the test decides, and hostile upstreams.

`HostileServer` and the servers after it respond with any bytes, or end connections in many ways.
"""

import contextlib
import json
import socket
import ssl
import struct
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Final, Self

from tools.local_stack.polling import wait_for

Json = dict[str, Any]


@dataclass(frozen=True)
class Posted:
    path: str
    headers: dict[str, str]
    body: str


@dataclass(frozen=True)
class Answer:
    status: int
    body: Json | str
    """A string is sent unchanged."""
    headers: dict[str, str] = field(default_factory=dict)


class FakeRelay:
    """Keeps the posted requests; `answer` returns the response, and may call the upstream first."""

    def __init__(self) -> None:
        self.url = ""
        self.posted: list[Posted] = []
        self.answer: Callable[[Posted], Answer] = lambda _: Answer(500, {})
        self.stored: Json = {}
        """The response to GET /messages/…."""


@contextmanager
def fake_relay() -> Iterator[FakeRelay]:
    relay = FakeRelay()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"])).decode()
            names = {name.lower(): value for name, value in self.headers.items()}
            posted = Posted(self.path, names, body)
            relay.posted.append(posted)
            self._send(relay.answer(posted))

        def do_GET(self) -> None:
            self._send(Answer(200, relay.stored))

        def _send(self, answer: Answer) -> None:
            body = answer.body if isinstance(answer.body, str) else json.dumps(answer.body)
            content = body.encode()
            self.send_response(answer.status)
            for name, value in answer.headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002  its name
            """Log nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    relay.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield relay
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


type Manner = Callable[[socket.socket], None]
"""Handles a connection whose request was read; it is closed afterwards."""
type Reply = Callable[["Request"], bytes]


@dataclass(frozen=True)
class Request:
    """A received request; header names in lower case."""

    target: str
    headers: Mapping[str, str]
    body: str


class HostileServer:
    """Responds to each request as set by the last call of `answers`, and closes the connection.

    With `stays` it keeps the connection open; with a `receive_buffer` it reads no request.
    """

    def __init__(
        self,
        manner: Manner | bytes = b"",
        *,
        stays: bool = False,
        receive_buffer: int | None = None,
    ) -> None:
        self.connections = 0
        self.requests: list[Request] = []
        self._stays = stays
        self._receive_buffer = receive_buffer
        self._threads: list[threading.Thread] = []
        self._open: set[socket.socket] = set()
        self._lock = threading.Lock()
        self.answers(manner)

    def __enter__(self) -> Self:
        self._listener = socket.create_server(("127.0.0.1", 0))
        if self._receive_buffer:
            self._listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, self._receive_buffer)
        self._start(self._accept)
        return self

    def __exit__(self, *_: object) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        with self._lock:
            for connection in self._open:
                with contextlib.suppress(OSError):
                    connection.shutdown(socket.SHUT_RDWR)  # wakes up threads that read or write
        for thread in self._threads:
            thread.join()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._listener.getsockname()[1]}"

    def answers(self, manner: Manner | bytes) -> None:
        """Set the response to the next requests: bytes, or a function for the connection."""
        self._reply: Reply | None = None
        self._manner = (lambda peer: peer.sendall(manner)) if isinstance(manner, bytes) else manner

    def replies(self, reply: Reply) -> None:
        """Set a function that makes the response from the request."""
        self._reply = reply

    def wait_for_hang_up(self) -> None:
        """Wait until all connections are closed."""
        wait_for(lambda: not self._open, what="the end of all connections", seconds=20)

    def _start(self, run: Callable[..., None], *arguments: object) -> None:
        self._threads.append(threading.Thread(target=run, args=arguments))
        self._threads[-1].start()

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            self.connections += 1
            with self._lock:
                self._open.add(connection)
            self._start(self._serve, connection)

    def _serve(self, connection: socket.socket) -> None:
        try:
            with connection:
                while True:
                    request = None if self._receive_buffer else _read(connection)
                    if request:
                        self.requests.append(request)
                    if request and self._reply:
                        connection.sendall(self._reply(request))
                    else:
                        self._manner(connection)
                    if not self._stays:
                        break
        except OSError:
            pass  # the caller has hung up
        finally:
            with self._lock:
                self._open.discard(connection)


def _read(connection: socket.socket) -> Request:
    received = b""
    while b"\r\n\r\n" not in received:
        received += _some(connection)
    head, _, body = received.partition(b"\r\n\r\n")
    first, *lines = head.decode("latin-1").split("\r\n")
    pairs = (line.partition(":") for line in lines)
    headers = {name.lower(): value.strip() for name, _, value in pairs}
    while len(body) < int(headers.get("content-length", 0)):
        body += _some(connection)
    return Request(first.split(" ")[1], headers, body.decode())


def _some(connection: socket.socket) -> bytes:
    data = connection.recv(65_536)
    if not data:
        raise ConnectionResetError
    return data


def drip(pieces: bytes, connection: socket.socket, pause: threading.Event, every: float) -> None:
    """Send a byte per interval until `pause` is set or the caller hangs up."""
    for n in range(len(pieces)):
        connection.sendall(pieces[n : n + 1])
        if pause.wait(every):
            return


ANSWER: Final = b'HTTP/1.1 202 Accepted\r\nContent-Length: 18\r\n\r\n{"tokenId": "abc"}'
_CLOSE_WAIT: Final = "08"  # the codes of TCP's states in /proc/net/tcp
_TIME_WAIT: Final = "06"


class EndingServer:
    """Accepts each send, ends connections, and counts both; uses TLS if it has a context."""

    def __init__(self, context: ssl.SSLContext | None = None) -> None:
        self.accepted = 0
        """The number of accepted connections."""
        self.answered = 0
        """The number of requests that got a response."""
        self.swallowed = 0
        """The number of requests on ended connections, which get no response."""
        self._context = context
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._port: int = self._listener.getsockname()[1]
        self._open: set[socket.socket] = set()
        self._over: set[socket.socket] = set()
        self._resetting: set[socket.socket] = set()
        self._held = 0
        self._gate = threading.Event()
        self._gate.set()
        self._lock = threading.Lock()
        self._threads = [threading.Thread(target=self._accept)]

    @property
    def url(self) -> str:
        return f"{'https' if self._context else 'http'}://127.0.0.1:{self._port}"

    def __enter__(self) -> Self:
        self._threads[0].start()
        return self

    def __exit__(self, *_: object) -> None:
        self._listener.shutdown(socket.SHUT_RD)  # wakes up the thread in `accept`
        self._threads[0].join()
        self._listener.close()
        self._gate.set()
        self.reset()
        for thread in self._threads[1:]:
            thread.join()

    # Ways to end connections. Each method returns after the caller's kernel has noticed.

    def close(self) -> None:
        """End connections with FIN, as a server does with idle ones."""

        def close(connection: socket.socket) -> None:
            # Bypasses TLS, because another thread is reading from its socket.
            socket.socket.shutdown(connection, socket.SHUT_WR)

        self._end_all(close)
        self._wait_until(lambda state, _: state == _CLOSE_WAIT)

    def reset(self) -> None:
        """End connections with RST, as after a crash or at a load balancer's limit."""

        def reset(connection: socket.socket) -> None:
            _end_with_reset(connection)
            # Wakes up the reading thread, which closes the connection.
            socket.socket.shutdown(connection, socket.SHUT_RD)

        self._end_all(reset)
        wait_for(lambda: not self._open, what="the end of all connections", seconds=20)
        self._wait_until(lambda state, _: state == _CLOSE_WAIT)

    def forget(self) -> None:
        """Ignore all further requests, as after a NAT or a load balancer dropped the connection."""
        self._end_all(lambda _: None)

    def reset_at_next_request(self) -> None:
        """Respond to the next request with RST."""

        def arm(connection: socket.socket) -> None:
            _end_with_reset(connection)
            self._resetting.add(connection)

        self._end_all(arm)

    def say(self, unasked: bytes) -> None:
        """Send bytes that no request asked for; not over TLS."""
        self._end_all(lambda connection: connection.sendall(unasked))
        self._wait_until(lambda _, received: received >= len(unasked))

    # Requests that wait for their response.

    def hold(self) -> None:
        """Send no response until `release`."""
        self._gate.clear()

    def wait_for_held(self, count: int) -> None:
        wait_for(lambda: self._held == count, what=f"{count} requests at once", seconds=20)

    def release(self) -> None:
        self._gate.set()

    def release_to_the_kernel(self) -> None:
        """Respond, and wait until the response is in the caller's kernel; not over TLS."""
        self.release()
        self._wait_until(lambda _, received: received == len(ANSWER))

    def _end_all(self, how: Callable[[socket.socket], None]) -> None:
        with self._lock:
            self._over |= self._open
            for connection in self._open:
                with contextlib.suppress(OSError):  # the caller closed it first
                    how(connection)

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            self.accepted += 1
            self._threads.append(threading.Thread(target=self._serve, args=(connection,)))
            self._threads[-1].start()

    def _serve(self, connection: socket.socket) -> None:
        try:
            if self._context:
                connection = self._context.wrap_socket(connection, server_side=True)
            with self._lock:
                self._open.add(connection)
            while _read_request(connection) and self._answer(connection):
                pass
        except OSError:
            pass  # the caller has hung up
        finally:
            with self._lock:
                self._open.discard(connection)
                connection.close()

    def _answer(self, connection: socket.socket) -> bool:
        """Respond to a request; return whether the connection stays open."""
        with self._lock:
            if connection in self._over:
                self.swallowed += 1
                return connection not in self._resetting
            self._held += 1
        self._gate.wait()
        with self._lock:
            self._held -= 1
            self.answered += 1
        connection.sendall(ANSWER)
        return True

    def _wait_until(self, seen: Callable[[str, int], bool]) -> None:
        """Wait until `seen` is true for the caller's end of each connection."""
        wait_for(
            lambda: all(seen(*entry) for entry in _callers(self._port)),
            what="the callers' kernel",
            seconds=20,
        )


def _end_with_reset(connection: socket.socket) -> None:
    """Make the connection end with RST when it is closed."""
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


def _callers(port: int) -> list[tuple[str, int]]:
    """Return the caller's TCP state and unread bytes for each connection to a port."""
    rows = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    return [
        (row[3], int(row[4].partition(":")[2], 16))
        for row in rows
        if row[2].endswith(f":{port:04X}") and row[3] != _TIME_WAIT
    ]


def _read_request(connection: socket.socket) -> bool:
    """Read a whole request; return False if the connection ended before."""
    received = b""
    while b"\r\n\r\n" not in received:
        part = connection.recv(65_536)
        if not part:
            return False
        received += part
    head, _, body = received.partition(b"\r\n\r\n")
    [length] = (
        int(line.partition(b":")[2])
        for line in head.lower().split(b"\r\n")
        if line.startswith(b"content-length:")
    )
    while len(body) < length:
        part = connection.recv(65_536)
        if not part:
            return False
        body += part
    return True
