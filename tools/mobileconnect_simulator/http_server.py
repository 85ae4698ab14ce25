"""The HTTP server: aiohttp routes on a loopback port, and aborted connections."""

import asyncio
import contextlib
import re
import socket
import struct
from collections.abc import Callable, Mapping
from datetime import timedelta
from typing import Final

from aiohttp import web

from tools.mobileconnect_simulator.client_secrets import Change
from tools.mobileconnect_simulator.clock import stamp
from tools.mobileconnect_simulator.faults import BadFaultsError, Route, Then, read_faults
from tools.mobileconnect_simulator.phone_page import (
    Handler,
    PhonePage,
    control_body,
    own_pages_only,
    refused,
)
from tools.mobileconnect_simulator.responses import Manner, Reply
from tools.mobileconnect_simulator.routes import Call, MobileConnect
from tools.mobileconnect_simulator.validation import MAX_BODY_BYTES

LOOPBACK: Final = "127.0.0.1"
_LINGER_NONE: Final = struct.pack("ii", 1, 0)
_SHUTDOWN_SECONDS: Final = 0.5
_COUNT: Final = re.compile(r"[0-9]{1,9}")


class Server:
    """Serves one MobileConnect; all methods run on the event loop that started it."""

    def __init__(self, service: MobileConnect, port: int = 0) -> None:
        self._service = service
        self._port = port
        self._page = PhonePage(service)
        self._stopping = asyncio.Event()
        self._runner = web.AppRunner(
            self._application(),
            access_log=None,
            # If a caller disconnects, its handler is cancelled.
            handler_cancellation=True,
            shutdown_timeout=_SHUTDOWN_SECONDS,
        )

    async def start(self) -> str:
        """Listen, and return the URL.

        Raises:
            OSError: the port is in use.
        """
        await self._runner.setup()
        try:
            # Bound here, so that the port is known before the first request.
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
        await self._page.stop()
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
                *(
                    web.route(it.method, it.path, own_pages_only(it.handler), **it.kwargs)
                    for it in (*self._control_routes(), *self._page.routes())
                ),
                web.route("*", "/_control{rest:.*}", own_pages_only(_no_such_control)),
                web.route("*", "/{rest:.*}", self._upstream(None)),
            ]
        )
        return application

    def _control_routes(self) -> list[web.RouteDef]:
        return [
            web.get("/_control/sent", self._show(self._service.sent)),
            web.get("/_control/calls", self._show_calls),
            web.get("/_control/phones", self._show_newest(self._service.phones)),
            web.get("/_control/posts", self._show_newest(self._service.posts)),
            web.get("/_control/received", self._show_newest(self._service.received)),
            web.get("/_control/tokens", self._show(self._service.token_counts)),
            web.get("/_control/clock", self._show(self._service.clock)),
            web.get("/_control/faults", self._show(self._service.faults_left)),
            web.post("/_control/faults", self._order_faults),
            web.delete("/_control/faults", self._remove_faults),
            web.post("/_control/reset", self._act(self._service.reset)),
            web.post("/_control/tokens/expire", self._act(self._service.expire_tokens)),
            web.post("/_control/secrets", self._change_secrets),
            web.post("/_control/clock", self._advance_clock),
        ]

    # The upstream's routes.

    def _upstream(self, route: Route | None) -> Handler:
        async def handler(request: web.Request) -> web.StreamResponse:
            reply = await self._reply(request, route)
            return await self._deliver(request, reply)

        return handler

    async def _reply(self, request: web.Request, route: Route | None) -> Reply:
        # The body is read even if a fault ignores it. Otherwise a reset could interrupt the caller
        # while it writes, and the error would differ from run to run.
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
            # aiohttp requires a response; it is not sent, because the connection is closed.
            return web.Response()
        return web.Response(
            status=reply.status,
            body=reply.text.encode(),
            headers={"Content-Type": f"{reply.content_type}; charset=utf-8", **reply.headers},
        )

    async def _wait(self, seconds: float) -> None:
        """Wait for the delay, or until the server stops."""
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._stopping.wait(), seconds)

    # The control routes. Faults do not apply to them.

    def _show(self, read: Callable[[], object]) -> Handler:
        async def handler(_: web.Request) -> web.StreamResponse:
            return web.json_response(read())

        return handler

    def _show_newest(self, read: Callable[[int | None], object]) -> Handler:
        async def handler(request: web.Request) -> web.StreamResponse:
            newest = request.query.get("newest")
            if newest is not None and not _COUNT.fullmatch(newest):
                return refused(ValueError("newest must be a whole number."))
            return web.json_response(read(None if newest is None else int(newest)))

        return handler

    async def _show_calls(self, request: web.Request) -> web.StreamResponse:
        """Show the calls of all routes, or of one, because there are many polls of deliveries."""
        route = request.query.get("route")
        if route is not None and route not in set(Route):
            return refused(ValueError("route must be one of send, token, deliveries."))
        show = self._show_newest(lambda newest: self._service.calls(newest, route))
        return await show(request)

    def _act(self, act: Callable[[], None]) -> Handler:
        async def handler(_: web.Request) -> web.StreamResponse:
            act()
            return web.json_response({})

        return handler

    async def _order_faults(self, request: web.Request) -> web.StreamResponse:
        try:
            ordered = read_faults(await control_body(request))
        except BadFaultsError as error:
            return web.json_response({"errors": error.errors}, status=400)
        return web.json_response(self._service.add_faults(ordered))

    async def _remove_faults(self, request: web.Request) -> web.StreamResponse:
        try:
            route, then = (request.query.get(name) for name in ("route", "then"))
            left = self._service.remove_faults(
                None if route is None else Route(route), None if then is None else Then(then)
            )
        except ValueError as error:
            return refused(error)
        return web.json_response(left)

    async def _change_secrets(self, request: web.Request) -> web.StreamResponse:
        body = await control_body(request)
        try:
            change = Change(str(body.get("change") if isinstance(body, Mapping) else body))
            return web.json_response(self._service.change_secrets(change))
        except ValueError as error:
            return refused(error)

    async def _advance_clock(self, request: web.Request) -> web.StreamResponse:
        body = await control_body(request)
        seconds = body.get("advanceSeconds") if isinstance(body, Mapping) else None
        if isinstance(seconds, bool) or not isinstance(seconds, int):
            wrong = "The body must be an object with advanceSeconds, a whole number."
            return web.json_response({"errors": [wrong]}, status=400)
        try:
            now = self._service.advance(timedelta(seconds=seconds))
        except OverflowError:
            wrong = "advanceSeconds is too large: the date would not be valid."
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
    """End the connection with a TCP RST, which no caller can mistake for a response."""
    transport = request.transport
    if transport is None:
        return
    connection = transport.get_extra_info("socket")
    if connection is not None:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _LINGER_NONE)
    transport.abort()


async def _no_such_control(request: web.Request) -> web.StreamResponse:
    wrong = f"No control route {request.method} {request.path}."
    return web.json_response({"errors": [wrong]}, status=404)
