"""A relay that answers what a test tells it to, with a real HTTP server on loopback."""

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

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
    """A text is sent as it is."""
    headers: dict[str, str] = field(default_factory=dict)


class FakeRelay:
    """Keeps what was posted; `answer` decides what is answered, and may call upstream first."""

    def __init__(self) -> None:
        self.url = ""
        self.posted: list[Posted] = []
        self.answer: Callable[[Posted], Answer] = lambda _: Answer(500, {})
        self.stored: Json = {}
        """What GET /messages/… answers."""


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
            """Say nothing."""

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
