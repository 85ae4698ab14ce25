"""Posts requests, kills processes, invokes the sweeper, and waits until all sends have ended."""

import asyncio
import contextlib
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Sequence
from dataclasses import dataclass
from random import Random
from typing import Any, Final

import httpx
from botocore.exceptions import BotoCoreError

from tests.promise.soak.aws_proxy import FaultyAws
from tests.promise.soak.clients import BATCH, Poster
from tests.promise.soak.evidence import Evidence
from tests.promise.soak.requests import SHARE_OF_FAULTS, Request, upstream_faults
from tests.promise.soak.worker_killer import WorkerKiller
from tools.local_stack.samples import Way
from tools.local_stack.simulator_client import SimulatorControl
from tools.local_stack.stack import Stack

POSTING_SECONDS: Final = 100
PER_SECOND: Final = 20
"""The most requests per second; half of them call the API."""
STRESS_SECONDS: Final = 120
"""The longest time of kills, in seconds; the last lease (90 s) ends after it."""
KILL_EVERY: Final = 1.0
API_KILL_EVERY: Final = 5.0
SPARED_WORKERS: Final = 0
SPARED_APIS: Final = 1
SWEEP_EVERY: Final = 5.0
LOOK_EVERY: Final = 2.0
SAY_EVERY: Final = 10.0
RETRY_SECONDS: Final = 0.2
VISIBILITY: Final = 20
"""The visibility time-out in seconds (template: 360): a killed worker's messages come back then."""
MESSAGE_LATE: Final = 45.0
"""Seconds after which a queued send's message counts as lost: over twice VISIBILITY."""
STALLED_AFTER: Final = 300.0
"""Seconds after which the sweeper recovers it (smsrelay.services.sender.STALLED_AFTER)."""
UNHURRIED: Final = 2
"""The number of upstream calls with planned faults, as a multiple of the sends."""

NO_ANSWER: Final = (BotoCoreError, httpx.HTTPError)
"""Errors of requests on an overloaded machine; the next request is tried."""


@dataclass
class Played:
    """The counts of a soak."""

    poster: Poster
    aws: FaultyAws
    workers: WorkerKiller
    apis: WorkerKiller
    ordered: Counter[str]
    """The planned faults of the upstream, by kind."""
    missed_kills: int = 0
    """Seconds without a kill, because all workers were still starting."""
    put_forward: int = 0
    """Queued sends without a message that were made due five minutes earlier."""
    sweeps: int = 0
    failed_sweeps: int = 0
    posted_after: float = 0.0
    stressed_for: float = 0.0
    calmed_after: float = 0.0
    left_in_queue: int = 0
    unfinished: int = 0
    """Sends that were queued or being sent when the ledger was last read at the end."""
    unanswered: int = 0
    """Requests over HTTP without a final response."""


@dataclass
class Run:
    """A soak of a stack."""

    stack: Stack
    seed: int
    requests: Sequence[Request]
    ends_by: float
    """When waiting must end, in time.monotonic()."""
    say: Callable[[str], None]

    def __post_init__(self) -> None:
        self._evidence = Evidence(self.stack, self.requests)
        self._posts: list[asyncio.Task[None]] = []
        self._posted = 0

    async def play(self) -> Played:
        """Run the soak, and return when all sends have ended or the time is up."""
        async with (
            FaultyAws(
                self.stack.aws_endpoint_url, share=SHARE_OF_FAULTS, dice=self._dice("aws")
            ) as aws,
            Poster(self.stack) as poster,
        ):
            played = Played(
                poster=poster,
                aws=aws,
                workers=self._killer("QueueWorkerFunction", spared=SPARED_WORKERS),
                apis=self._killer("ApiFunction", spared=SPARED_APIS),
                ordered=await asyncio.to_thread(self._prepare, aws.url),
            )
            try:
                await self._stress(played)
            finally:
                await self._end_posts()
        await asyncio.to_thread(self._point_functions_at, self.stack.aws_endpoint_url)
        return played

    async def _stress(self, played: Played) -> None:
        began = time.monotonic()
        async with _meanwhile(self._sweep(played)), _meanwhile(self._report(played)):
            async with _meanwhile(self._kill(played)):
                await self._post(played)
                played.posted_after = time.monotonic() - began
                await self._until(self._worked_off, began + STRESS_SECONDS)
            played.stressed_for = time.monotonic() - began
            self.say("no more kills; waiting for leases to expire …")
            await self._calm(played)
            played.calmed_after = time.monotonic() - began
        played.unanswered = sum(not post.done() for post in self._posts)

    def _dice(self, purpose: str) -> Random:
        return Random(f"{purpose} {self.seed}")  # noqa: S311 - must be repeatable, not secret

    def _killer(self, function: str, spared: int) -> WorkerKiller:
        name = self.stack.functions[function]
        return WorkerKiller(self.stack.marker, name, spared=spared, dice=self._dice(function))

    def _prepare(self, aws_url: str) -> Counter[str]:
        """Route the functions' AWS calls through the proxy, and plan the upstream's faults."""
        clients = self.stack.clients
        self._point_functions_at(aws_url)
        clients.sqs.set_queue_attributes(
            QueueUrl=self.stack.queue_url, Attributes={"VisibilityTimeout": str(VISIBILITY)}
        )
        # The first start unpacks and compiles the layer, which the soak does not test.
        clients.lambda_.invoke(FunctionName=self.stack.functions["SweeperFunction"])
        sends = sum(len(request.message.recipients) for request in self.requests)
        faults = upstream_faults(self.seed, sends * UNHURRIED)
        with SimulatorControl(self.stack.simulator_url) as control:
            control.fail(faults)
        return Counter(str(fault["then"]) for fault in faults if fault["then"] != "ok")

    def _point_functions_at(self, aws_url: str) -> None:
        client = self.stack.clients.lambda_
        for function in self.stack.functions.values():
            current = client.get_function_configuration(FunctionName=function)
            variables = current["Environment"]["Variables"] | {"AWS_ENDPOINT_URL": aws_url}
            client.update_function_configuration(
                FunctionName=function, Environment={"Variables": variables}
            )

    async def _post(self, played: Played) -> None:
        """Post all requests, evenly over time."""
        pause = min(1 / PER_SECOND, POSTING_SECONDS / len(self.requests))
        batch: list[Request] = []
        began = time.monotonic()
        for n, request in enumerate(self.requests):
            await asyncio.sleep(began + n * pause - time.monotonic())
            if request.way is Way.API:
                self._begin(self._call(played.poster, request))
            else:
                batch.append(request)
            if len(batch) == BATCH:
                self._begin(self._enqueue(played.poster, batch))
                batch = []
            self._posted = n + 1
        if batch:
            self._begin(self._enqueue(played.poster, batch))

    def _begin(self, post: Coroutine[Any, Any, None]) -> None:
        self._posts.append(asyncio.create_task(post))

    async def _end_posts(self) -> None:
        """Cancel the posts that still run, and raise the first error of a post."""
        for post in self._posts:
            post.cancel()
        for result in await asyncio.gather(*self._posts, return_exceptions=True):
            if isinstance(result, Exception):
                raise result

    @staticmethod
    async def _call(poster: Poster, request: Request) -> None:
        await poster.call(request)
        if request.repeated:
            await poster.repeat(request)

    @staticmethod
    async def _enqueue(poster: Poster, requests: Sequence[Request]) -> None:
        await poster.enqueue(requests)
        for request in requests:
            if request.repeated:
                await poster.repeat(request)

    async def _kill(self, played: Played) -> None:
        """Kill a worker every second, and a process of the API every five seconds."""
        began = time.monotonic()
        kills, api_kills_due = 0, API_KILL_EVERY
        while True:
            kills += 1
            await asyncio.sleep(began + kills * KILL_EVERY - time.monotonic())
            until = began + (kills + 1) * KILL_EVERY - RETRY_SECONDS
            while not played.workers.kill():
                await asyncio.sleep(RETRY_SECONDS)
                if time.monotonic() >= until:
                    played.missed_kills += 1
                    break
            if kills * KILL_EVERY >= api_kills_due:
                api_kills_due += API_KILL_EVERY
                played.apis.kill()

    async def _sweep(self, played: Played) -> None:
        """Invoke the sweeper more often than its schedule of once a minute."""
        function = self.stack.functions["SweeperFunction"]
        invoke = self.stack.clients.lambda_.invoke
        while True:
            await asyncio.sleep(SWEEP_EVERY)
            played.sweeps += 1
            try:
                answer = await asyncio.to_thread(invoke, FunctionName=function)
            except BotoCoreError:
                played.failed_sweeps += 1
            else:
                played.failed_sweeps += "FunctionError" in answer

    async def _report(self, played: Played) -> None:
        began = time.monotonic()
        while True:
            await asyncio.sleep(SAY_EVERY)
            try:
                arrived = await asyncio.to_thread(self._evidence.arrivals)
                waiting = await asyncio.to_thread(self._evidence.waiting)
            except NO_ANSWER:
                continue
            spoiled = sum(played.aws.faults.values())
            open_sends = f", {played.unfinished} sends unfinished" if played.unfinished else ""
            self.say(
                f"{time.monotonic() - began:4.0f} s: {self._posted} requests posted, "
                f"{arrived} sends arrived, {waiting} messages in the queue, "
                f"{played.workers.kills} workers killed, {spoiled} AWS calls spoiled{open_sends}"
            )

    async def _worked_off(self) -> bool:
        """Return whether the queue has no visible message left."""
        return await asyncio.to_thread(self._evidence.waiting, visible_only=True) == 0

    async def _calm(self, played: Played) -> None:
        """Wait until nothing is queued or being sent."""

        async def ended() -> bool:
            return await asyncio.to_thread(self._look, played) and all(
                post.done() for post in self._posts
            )

        async def empty() -> bool:
            played.left_in_queue = await asyncio.to_thread(self._evidence.waiting)
            return not played.left_in_queue

        await self._until(ended, self.ends_by)
        # The remaining messages were delivered again while their sends were being sent. They come
        # back when the lease ends, and then need no work. Wait for some of them.
        await self._until(empty, min(self.ends_by, time.monotonic() + VISIBILITY))

    def _look(self, played: Played) -> bool:
        """Return whether all sends have ended; make sends without a message due earlier."""
        backlog = self._evidence.waiting(visible_only=True)
        sends = self._evidence.sends()
        for send in sends:
            if send.status == "queued" and not backlog and _is_lost(send.due_at):
                played.put_forward += self._evidence.put_forward(send, STALLED_AFTER)
        played.unfinished = sum(send.status in {"queued", "sending"} for send in sends)
        missing = self._evidence.missing(played.poster.taken, sends)
        return not (played.unfinished or backlog or missing)

    @staticmethod
    async def _until(condition: Callable[[], Awaitable[bool]], end: float) -> None:
        while time.monotonic() < end:
            with contextlib.suppress(*NO_ANSWER):
                if await condition():
                    return
            await asyncio.sleep(LOOK_EVERY)


def _is_lost(due_at: float) -> bool:
    """Return whether a queued send's message is lost, but not yet due for the sweeper."""
    return MESSAGE_LATE < time.time() - due_at < STALLED_AFTER


@contextlib.asynccontextmanager
async def _meanwhile(activity: Coroutine[Any, Any, None]) -> AsyncIterator[None]:
    """Run an activity while the block lasts; its error fails the soak."""
    task = asyncio.create_task(activity)
    try:
        yield
    finally:
        if not task.done():
            task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task
