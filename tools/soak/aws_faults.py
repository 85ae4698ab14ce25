"""AWS as the functions see it in a soak: a proxy before MiniStack that spoils one call in ten."""

import asyncio
import json
import socket
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from random import Random
from types import TracebackType
from typing import Final, Self

import aiohttp
from aiohttp import web

LOOPBACK: Final = "127.0.0.1"
SLOW_SECONDS: Final = 0.5
LATE_SECONDS: Final = 2.5
"""Longer than the functions wait for an answer (bootstrap/patience.py: 2 s)."""
LARGEST_BODY: Final = 16 * 1024 * 1024
NOT_PASSED_ON: Final = {"host", "connection", "content-length", "transfer-encoding"}


class Trouble(StrEnum):
    """What one call meets."""

    THROTTLED = "throttled"
    FAILED = "500, not carried out"
    FAILED_AFTER = "500, carried out"
    SLOW = "slow"
    LATE = "carried out, answered too late"
    LOST_BEFORE = "connection lost, not carried out"
    LOST_AFTER = "connection lost, carried out"

    @property
    def carried_out(self) -> bool:
        return self not in {Trouble.THROTTLED, Trouble.FAILED, Trouble.LOST_BEFORE}


@dataclass(frozen=True)
class Words:
    """A service's own names for what goes wrong."""

    throttled: str
    failed: str


SERVICES: Mapping[str, Words] = {
    "DynamoDB": Words("ProvisionedThroughputExceededException", "InternalServerError"),
    "AmazonSQS": Words("RequestThrottled", "InternalFailure"),
    "secretsmanager": Words("ThrottlingException", "InternalServiceError"),
}
"""By the start of X-Amz-Target. Calls of others are passed on as they are."""
OTHERS: Final = "others"


@dataclass(frozen=True)
class Answer:
    """What MiniStack answered."""

    status: int
    headers: Mapping[str, str]
    body: bytes


class FaultyAws:
    """A reverse proxy on a free loopback port while the `async with` block lasts."""

    def __init__(self, target: str, *, share: float, dice: Random) -> None:
        """Pass calls on to `target`; `share` of them meet trouble."""
        self.calls: Counter[str] = Counter()
        """By service."""
        self.struck: Counter[str] = Counter()
        """By trouble."""
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
        target = request.headers.get("X-Amz-Target", OTHERS)
        service = target.partition(".")[0].partition("_")[0]
        self.calls[service] += 1
        trouble = self._draw() if service in SERVICES else None
        if trouble is not None:
            self.struck[trouble] += 1
        body = await request.read()
        answer = None
        if trouble is None or trouble.carried_out:
            # Shielded: what AWS was asked for is done, whoever is killed meanwhile.
            answer = await asyncio.shield(self._ask(request, body))
        return await self._deliver(request, trouble, answer, SERVICES.get(service))

    def _draw(self) -> Trouble | None:
        return self._dice.choice(list(Trouble)) if self._dice.random() < self._share else None

    async def _ask(self, request: web.Request, body: bytes) -> Answer:
        headers = _passed_on(request.headers)
        url = f"{self._target}{request.rel_url}"
        async with self._client.request(request.method, url, headers=headers, data=body) as answer:
            return Answer(answer.status, answer.headers, await answer.read())

    async def _deliver(
        self,
        request: web.Request,
        trouble: Trouble | None,
        answer: Answer | None,
        words: Words | None,
    ) -> web.StreamResponse:
        match trouble:
            case Trouble.SLOW:
                await asyncio.sleep(SLOW_SECONDS)
            case Trouble.LATE:
                await asyncio.sleep(LATE_SECONDS)
            case Trouble.LOST_BEFORE | Trouble.LOST_AFTER:
                if request.transport is not None:
                    request.transport.abort()
                return web.Response()  # nobody gets this
            case _:
                pass
        if words is not None and trouble is Trouble.THROTTLED:
            return _error(400, words.throttled, "Sender")
        if words is not None and trouble in {Trouble.FAILED, Trouble.FAILED_AFTER}:
            return _error(500, words.failed, "Receiver")
        if answer is None:
            return web.Response(status=502)
        headers = _passed_on(answer.headers)
        return web.Response(status=answer.status, headers=headers, body=answer.body)


def _passed_on(headers: Mapping[str, str]) -> dict[str, str]:
    return {name: value for name, value in headers.items() if name.lower() not in NOT_PASSED_ON}


def _error(status: int, code: str, fault: str) -> web.Response:
    """An error in the JSON protocols' shape."""
    return web.Response(
        status=status,
        text=json.dumps({"__type": code, "message": "A fault of the soak."}),
        content_type="application/x-amz-json-1.0",
        headers={"x-amzn-query-error": f"{code};{fault}"},
    )
