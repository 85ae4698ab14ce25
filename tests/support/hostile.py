"""A server on loopback that reads a request and then answers whatever a test likes."""

import contextlib
import socket
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import TracebackType
from typing import Self

from tools.local_stack.polling import wait_for

type Manner = Callable[[socket.socket], None]
"""What becomes of a connection whose request was read; it is closed afterwards."""
type Reply = Callable[["Request"], bytes]


@dataclass(frozen=True)
class Request:
    """What a caller sent; header names in lower case."""

    target: str
    headers: Mapping[str, str]
    body: str


class HostileServer:
    """Answers every request in the manner that `answers` names last, and hangs up.

    `stays` lets a connection have another request; with a `receive_buffer` none is read.
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

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        with self._lock:
            for connection in self._open:
                with contextlib.suppress(OSError):
                    connection.shutdown(socket.SHUT_RDWR)  # wakes up who reads or writes
        for thread in self._threads:
            thread.join()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._listener.getsockname()[1]}"

    def answers(self, manner: Manner | bytes) -> None:
        """How the next requests are answered."""
        self._reply: Reply | None = None
        self._manner = (lambda peer: peer.sendall(manner)) if isinstance(manner, bytes) else manner

    def replies(self, reply: Reply) -> None:
        """What the next requests are answered, by what they say."""
        self._reply = reply

    def wait_for_hang_up(self) -> None:
        """Wait until no connection is left."""
        wait_for(lambda: not self._open, what="the end of all connections", seconds=5)

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
