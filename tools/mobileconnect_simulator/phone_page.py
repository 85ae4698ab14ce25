"""The phone page: shows messages as they arrive, sets up faults, and posts messages."""

import asyncio
import contextlib
import json
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from aiohttp import web

from tools.local_stack import ROOT
from tools.mobileconnect_simulator.forward_to_relay import LOOPBACK_HOSTS, BadOrderError, Relay
from tools.mobileconnect_simulator.received import NotReceivedError, read_callback, read_event
from tools.mobileconnect_simulator.routes import MobileConnect
from tools.mobileconnect_simulator.validation import NotJsonError, read_json

FOLDER: Final = Path(__file__).parent / "page"
SAMPLES: Final = ROOT / "events" / "messages"
_FILES: Final = {
    "/": ("phone.html", "text/html"),
    "/_phone/phone.css": ("phone.css", "text/css"),
    "/_phone/phone.js": ("phone.js", "text/javascript"),
}
# Images may come from anywhere, for the media of messages. Trusted types: text never becomes HTML.
_POLICY: Final = (
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; "
    "img-src 'self' data: https: http:; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'none'; require-trusted-types-for 'script'"
)
_HEADERS: Final = {
    "Content-Security-Policy": _POLICY,
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
}
_RECONNECT_MS: Final = 500

type Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class PhonePage:
    """The routes of the page; all methods run on the server's event loop."""

    def __init__(self, service: MobileConnect) -> None:
        self._service = service
        self._relay = Relay(service)
        self._open: set[asyncio.Event] = set()
        self._stopped = False

    def routes(self) -> list[web.RouteDef]:
        return [
            *(web.get(path, _file(name, kind)) for path, (name, kind) in _FILES.items()),
            web.get("/_phone/samples", _samples),
            web.get("/_control/events", self._events, allow_head=False),
            web.get("/_control/relay", self._show_relay),
            web.put("/_control/relay", self._introduce_relay),
            web.post("/_control/post", self._post),
            web.post("/_received/events", self._receive_event),
            web.post("/_received/callbacks", self._receive_callback),
            web.post("/_control/posts/{n:[0-9]{1,9}}/ask", self._ask),
        ]

    async def stop(self) -> None:
        """End the event streams of open pages, and running posts."""
        self._stopped = True
        for changed in self._open:
            changed.set()
        await self._relay.close()

    async def _events(self, request: web.Request) -> web.StreamResponse:
        """Send an event after every change; the page then requests the data that it shows."""
        response = web.StreamResponse(headers={"Cache-Control": "no-store"})
        response.content_type = "text/event-stream"
        await response.prepare(request)
        loop = asyncio.get_running_loop()
        changed = asyncio.Event()
        self._open.add(changed)
        try:
            with (
                contextlib.suppress(ConnectionResetError),
                self._service.watched(lambda: loop.call_soon_threadsafe(changed.set)),
            ):
                await response.write(f"retry: {_RECONNECT_MS}\n\n".encode())
                while not self._stopped:
                    changed.clear()
                    clock = json.dumps(self._service.clock())
                    await response.write(f"data: {clock}\n\n".encode())
                    await changed.wait()
        finally:
            self._open.discard(changed)
        return response

    async def _show_relay(self, _: web.Request) -> web.StreamResponse:
        return web.json_response(self._relay.shown())

    async def _introduce_relay(self, request: web.Request) -> web.StreamResponse:
        try:
            self._relay.introduce(await control_body(request))
        except BadOrderError as error:
            return refused(error)
        for changed in self._open:
            changed.set()
        return web.json_response(self._relay.shown())

    async def _post(self, request: web.Request) -> web.StreamResponse:
        try:
            return web.json_response(await self._relay.post(await control_body(request)))
        except BadOrderError as error:
            return refused(error)

    async def _ask(self, request: web.Request) -> web.StreamResponse:
        try:
            return web.json_response(await self._relay.ask(int(request.match_info["n"])))
        except BadOrderError as error:
            return refused(error)

    async def _receive_event(self, request: web.Request) -> web.StreamResponse:
        try:
            self._service.keep_received(read_event(await request.read()))
        except NotReceivedError as error:
            return refused(error)
        return web.Response(status=204)

    async def _receive_callback(self, request: web.Request) -> web.StreamResponse:
        headers = {name.lower(): value for name, value in request.headers.items()}
        try:
            secret = self._relay.callback_secret
            entry = read_callback(await request.read(), headers, secret)
        except NotReceivedError as error:
            return refused(error, 401)
        self._service.keep_received(entry)
        return web.Response(status=204)


def own_pages_only(handler: Handler) -> Handler:
    """Refuse requests of other sites' pages in the same browser.

    Origin shows another site; Host shows a name that resolves to this machine (DNS rebinding).
    """

    async def guarded(request: web.Request) -> web.StreamResponse:
        origin = request.headers.get("Origin")
        if _host_name(request.host) not in LOOPBACK_HOSTS:
            return refused(
                ValueError("Only for this machine: the Host is not a loopback address."), 403
            )
        if origin is not None and origin != f"http://{request.host}":
            return refused(
                ValueError("Not for other sites' pages: the Origin is not this server."), 403
            )
        return await handler(request)

    return guarded


async def control_body(request: web.Request) -> object:
    try:
        return read_json(await request.read())
    except NotJsonError as error:
        text = json.dumps({"errors": [f"The body is not valid JSON: {error}."]})
        raise web.HTTPBadRequest(text=text, content_type="application/json") from error


def refused(error: ValueError, status: int = 400) -> web.Response:
    return web.json_response({"errors": [str(error)]}, status=status)


def _host_name(host: str) -> str | None:
    try:
        return urlsplit(f"//{host}").hostname
    except ValueError:
        return None


def _file(name: str, kind: str) -> Handler:
    # Read for each request, so that a reload shows changes of the page.
    async def handler(_: web.Request) -> web.StreamResponse:
        text = (FOLDER / name).read_text(encoding="utf-8")
        return web.Response(text=text, content_type=kind, charset="utf-8", headers=_HEADERS)

    return handler


async def _samples(_: web.Request) -> web.StreamResponse:
    """Return the text of the sample messages by name."""
    samples = {path.stem: path.read_text(encoding="utf-8") for path in SAMPLES.glob("*.json")}
    return web.json_response(dict(sorted(samples.items())), headers=_HEADERS)
