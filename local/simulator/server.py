"""The network side: aiohttp routes on a loopback port, and connections that end badly."""

import asyncio
import contextlib
import json
import socket
import struct
from collections.abc import Awaitable, Callable, Mapping
from datetime import timedelta
from typing import Final

from aiohttp import web

from local.simulator.answers import Manner, Reply
from local.simulator.clock import stamp
from local.simulator.faults import BadFaultsError, Route, read_faults
from local.simulator.service import Call, MobileConnect
from local.simulator.validation import MAX_BODY_BYTES, NotJsonError, read_json

LOOPBACK: Final = "127.0.0.1"
_LINGER_NONE: Final = struct.pack("ii", 1, 0)
_SHUTDOWN_SECONDS: Final = 0.5

type Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class Server:
    """Serves one MobileConnect; all methods run on the loop that started it."""

    def __init__(self, service: MobileConnect, port: int = 0) -> None:
        self._service = service
        self._port = port
        self._stopping = asyncio.Event()
        self._runner = web.AppRunner(
            self._application(),
            access_log=None,
            # A caller that gives up ends its hanging handler.
            handler_cancellation=True,
            shutdown_timeout=_SHUTDOWN_SECONDS,
        )

    async def start(self) -> str:
        """Listen; returns the URL.

        Raises:
            OSError: the port is taken.
        """
        await self._runner.setup()
        try:
            # Bound here so that the free port is known before anything is served.
            listening = socket.create_server((LOOPBACK, self._port), backlog=512)
            await web.SockSite(self._runner, listening).start()
        except OSError:
            await self._runner.cleanup()
            raise
        port = listening.getsockname()[1]
        self._service.url = f"http://{LOOPBACK}:{port}"
        return self._service.url

    async def stop(self) -> None:
        self._stopping.set()
        await self._runner.cleanup()

    def _application(self) -> web.Application:
        application = web.Application(client_max_size=MAX_BODY_BYTES)
        contact = "/sms/v1/messageContact/{id}"
        application.add_routes(
            [
                web.post("/v2/token", self._upstream(Route.TOKEN)),
                web.post(f"{contact}/send", self._upstream(Route.SEND)),
                web.get(
                    f"{contact}/deliveries/{{token_id}}",
                    self._upstream(Route.DELIVERIES),
                    allow_head=False,
                ),
                web.get("/_control/sent", self._show(self._service.sent)),
                web.get("/_control/calls", self._show(self._service.calls)),
                web.get("/_control/phones", self._show(self._service.phones)),
                web.get("/_control/tokens", self._show(self._service.token_counts)),
                web.get("/_control/faults", self._show(self._service.faults_left)),
                web.post("/_control/faults", self._order_faults),
                web.post("/_control/reset", self._act(self._service.reset)),
                web.post("/_control/tokens/expire", self._act(self._service.expire_tokens)),
                web.post("/_control/clock", self._advance_clock),
                web.route("*", "/_control{rest:.*}", _no_such_control),
                web.route("*", "/{rest:.*}", self._upstream(None)),
            ]
        )
        return application

    # The upstream's routes.

    def _upstream(self, route: Route | None) -> Handler:
        async def handler(request: web.Request) -> web.StreamResponse:
            reply = await self._reply(request, route)
            return await self._deliver(request, reply)

        return handler

    async def _reply(self, request: web.Request, route: Route | None) -> Reply:
        # The body is drained even where a fault strikes before it is looked at: otherwise the reset
        # may meet the caller half-way through writing, and look different from one run to the next.
        try:
            raw = await request.read()
        except web.HTTPRequestEntityTooLarge:
            return self._service.refuse_size(_call(request, route))
        return self._service.handle(_call(request, route, raw))

    async def _deliver(self, request: web.Request, reply: Reply) -> web.StreamResponse:
        if reply.delay_ms:
            await self._wait(reply.delay_ms / 1000)
        if reply.manner is Manner.HANG:
            await self._stopping.wait()
        if reply.manner is not Manner.ANSWER:
            _reset(request)
            # Nobody gets this: aiohttp wants an answer, and drops it on a dead connection.
            return web.Response()
        return web.Response(
            status=reply.status,
            text=reply.text,
            content_type=reply.content_type,
            headers=reply.headers,
        )

    async def _wait(self, seconds: float) -> None:
        """Wait for the delay, or for the end of the server if that comes first."""
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._stopping.wait(), seconds)

    # The control routes: no fault ever strikes them.

    def _show(self, read: Callable[[], object]) -> Handler:
        async def handler(_: web.Request) -> web.StreamResponse:
            return web.json_response(read())

        return handler

    def _act(self, act: Callable[[], None]) -> Handler:
        async def handler(_: web.Request) -> web.StreamResponse:
            act()
            return web.json_response({})

        return handler

    async def _order_faults(self, request: web.Request) -> web.StreamResponse:
        try:
            ordered = read_faults(await _control_body(request))
        except BadFaultsError as error:
            return web.json_response({"errors": error.errors}, status=400)
        return web.json_response(self._service.add_faults(ordered))

    async def _advance_clock(self, request: web.Request) -> web.StreamResponse:
        body = await _control_body(request)
        seconds = body.get("advanceSeconds") if isinstance(body, Mapping) else None
        if isinstance(seconds, bool) or not isinstance(seconds, int):
            wrong = "The body must be an object with advanceSeconds, a whole number."
            return web.json_response({"errors": [wrong]}, status=400)
        try:
            now = self._service.advance(timedelta(seconds=seconds))
        except OverflowError:
            wrong = "advanceSeconds leads out of the calendar."
            return web.json_response({"errors": [wrong]}, status=400)
        return web.json_response({"now": stamp(now)})


def _call(request: web.Request, route: Route | None, raw: bytes | None = None) -> Call:
    return Call(
        method=request.method,
        path=request.raw_path,
        route=route,
        headers={name.lower(): value for name, value in request.headers.items()},
        raw=raw,
        message_id=request.match_info.get("id"),
        token_id=request.match_info.get("token_id"),
    )


def _reset(request: web.Request) -> None:
    """End the connection with a TCP RST, which no caller can take for an answer."""
    transport = request.transport
    if transport is None:
        return
    connection = transport.get_extra_info("socket")
    if connection is not None:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _LINGER_NONE)
    transport.abort()


async def _control_body(request: web.Request) -> object:
    try:
        return read_json(await request.read())
    except NotJsonError as error:
        text = json.dumps({"errors": [f"The body is not valid JSON: {error}."]})
        raise web.HTTPBadRequest(text=text, content_type="application/json") from error


async def _no_such_control(request: web.Request) -> web.StreamResponse:
    wrong = f"No control route {request.method} {request.path}."
    return web.json_response({"errors": [wrong]}, status=404)
