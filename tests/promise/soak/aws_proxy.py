"""A proxy between the functions and MiniStack that injects a fault into a share of the calls."""

import asyncio
import json
import socket
from collections import Counter
from collections.abc import Mapping
from random import Random
from types import TracebackType
from typing import Final, Self

import aiohttp
from aiohttp import web

from tests.promise.faults import AWS_FAULTS, aws_error, is_carried_out

LOOPBACK: Final = "127.0.0.1"
SLOW_SECONDS: Final = 0.5
LATE_SECONDS: Final = 2.5
"""Longer than the functions' read time-out (wiring/aws_timeouts.py: 2 s)."""
LARGEST_BODY: Final = 16 * 1024 * 1024
NOT_PASSED_ON: Final = {"connection", "content-length", "transfer-encoding"}
"""Host is passed on, because it is signed."""
SERVICES: Final = {
    "DynamoDB": "dynamodb",
    "AmazonSQS": "sqs",
    "secretsmanager": "secrets-manager",
}
"""By the start of X-Amz-Target. Calls of other services are passed on unchanged."""
OTHERS: Final = "others"


class FaultyAws:
    """A reverse proxy on a free loopback port while the `async with` block lasts."""

    def __init__(self, target: str, *, share: float, dice: Random) -> None:
        """Pass calls on to `target`, and inject a fault into the given share of them."""
        self.calls: Counter[str] = Counter()
        """By service."""
        self.faults: Counter[str] = Counter()
        self.url = ""
        self._target = target
        self._share = share
        self._dice = dice

    async def __aenter__(self) -> Self:
        self._client = aiohttp.ClientSession(
            auto_decompress=False, connector=aiohttp.TCPConnector(limit=0), trust_env=False
        )
        application = web.Application(client_max_size=LARGEST_BODY)
        application.router.add_route("*", "/{rest:.*}", self._handle)
        self._runner = web.AppRunner(
            application, access_log=None, handler_cancellation=True, shutdown_timeout=0.5
        )
        await self._runner.setup()
        listening = socket.create_server((LOOPBACK, 0), backlog=512)
        await web.SockSite(self._runner, listening).start()
        self.url = f"http://{LOOPBACK}:{listening.getsockname()[1]}"
        return self

    async def __aexit__(
        self,
        _type: type[BaseException] | None,
        _error: BaseException | None,
        _traceback: TracebackType | None,
    ) -> None:
        await self._runner.cleanup()
        await self._client.close()

    async def _handle(self, request: web.Request) -> web.StreamResponse:
        target = request.headers.get("X-Amz-Target", OTHERS).partition(".")[0].partition("_")[0]
        service = SERVICES.get(target, OTHERS)
        self.calls[service] += 1
        fault = None
        if service != OTHERS and self._dice.random() < self._share:
            fault = self._dice.choice(AWS_FAULTS)
            self.faults[fault] += 1
        body = await request.read()
        if fault is None:
            return await self._pass_on(request, body)
        answer = None
        if is_carried_out(fault):
            # Shielded: AWS carries out the call even if the calling process is killed meanwhile.
            answer = await asyncio.shield(self._pass_on(request, body))
        return await self._spoil(request, service, fault, answer)

    async def _pass_on(self, request: web.Request, body: bytes) -> web.Response:
        headers = _passed_on(request.headers)
        url = f"{self._target}{request.rel_url}"
        async with self._client.request(request.method, url, headers=headers, data=body) as answer:
            return web.Response(
                status=answer.status, headers=_passed_on(answer.headers), body=await answer.read()
            )

    @staticmethod
    async def _spoil(
        request: web.Request, service: str, fault: str, answer: web.Response | None
    ) -> web.StreamResponse:
        if error := aws_error(service, fault):
            return _error(*error)
        match fault:
            case "slow" if answer is not None:
                await asyncio.sleep(SLOW_SECONDS)
                return answer
            case "garbled-after":
                return web.Response(text="<html>not what you asked for</html>")
            case "time-out" | "time-out-after":
                await asyncio.sleep(LATE_SECONDS)
        if request.transport is not None:
            request.transport.abort()
        return web.Response()  # the connection is already closed


def _passed_on(headers: Mapping[str, str]) -> dict[str, str]:
    return {name: value for name, value in headers.items() if name.lower() not in NOT_PASSED_ON}


def _error(status: int, code: str) -> web.Response:
    """Return an error in the format of AWS's JSON protocols."""
    blame = "Sender" if status // 100 == 4 else "Receiver"
    return web.Response(
        status=status,
        text=json.dumps({"__type": code, "message": "A fault of the soak."}),
        content_type="application/x-amz-json-1.0",
        headers={"x-amzn-query-error": f"{code};{blame}"},
    )
