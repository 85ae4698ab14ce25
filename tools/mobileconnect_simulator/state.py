"""The simulator in a test's process: a thread with an event loop, and control methods."""

import asyncio
import threading
from collections.abc import Iterable
from datetime import timedelta
from typing import Any, Literal, Self

from tools.mobileconnect_simulator.call_log import CallEntry, PhoneMessage, SentEntry, TokenCounts
from tools.mobileconnect_simulator.client_secrets import Change, SecretsState
from tools.mobileconnect_simulator.clock import TimeSource, utc_now
from tools.mobileconnect_simulator.faults import BadFaultsError, FaultEntry, read_faults
from tools.mobileconnect_simulator.http_server import Server
from tools.mobileconnect_simulator.routes import MobileConnect, Settings
from tools.mobileconnect_simulator.tokens import DEFAULT_SECONDS, SCOPES

__all__ = [
    "BadFaultsError",
    "CallEntry",
    "FaultEntry",
    "PhoneMessage",
    "SentEntry",
    "Simulator",
    "TokenCounts",
]

type RouteName = Literal["send", "token", "deliveries"]


class Simulator:
    """Runs MobileConnect on a free loopback port in a `with` block.

    `time_source` replaces the machine's time. `polls_per_status` is the number of polls that return
    the same status; 0 means Finished at once.
    """

    def __init__(  # noqa: PLR0913  each is an independent setting with a default
        self,
        *,
        port: int = 0,
        access_tokens: Iterable[str] = (),
        client_id: str | None = None,
        client_secret: str | None = None,
        token_seconds: int = DEFAULT_SECONDS,
        polls_per_status: int = 1,
        time_source: TimeSource = utc_now,
    ) -> None:
        settings = Settings(
            access_tokens=tuple(access_tokens),
            client_id=client_id,
            client_secret=client_secret,
            token_seconds=token_seconds,
            polls_per_status=polls_per_status,
        )
        self._service = MobileConnect(settings, time_source)
        self._port = port
        self._started = threading.Event()
        self._thread: threading.Thread | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stop: asyncio.Event | None = None
        self._failure: Exception | None = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def start(self) -> None:
        """Start the server, and return when it is ready.

        Raises:
            OSError: the port is in use.
        """
        self._failure = None
        self._started.clear()
        self._thread = threading.Thread(
            target=lambda: asyncio.run(self._serve()), name="simulator", daemon=True
        )
        self._thread.start()
        self._started.wait()
        if self._failure is not None:
            self._thread.join()
            raise self._failure

    def stop(self) -> None:
        """Close all connections, including hanging ones, and wait for the end of the thread."""
        if self._thread is None or self._loop is None or self._stop is None:
            return
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join()
        self._thread = self._loop = self._stop = None

    async def _serve(self) -> None:
        server = Server(self._service, self._port)
        try:
            await server.start()
        except Exception as error:  # noqa: BLE001  handed to the thread that waits in start()
            self._failure = error
            self._started.set()
            return
        self._loop = asyncio.get_running_loop()
        self._stop = asyncio.Event()
        self._started.set()
        await self._stop.wait()
        await server.stop()

    @property
    def url(self) -> str:
        """`http://127.0.0.1:port`, without a slash at the end."""
        return self._service.url

    def sent(self) -> list[SentEntry]:
        """Return each accepted send, oldest first, even if the caller got no response."""
        return self._service.sent()

    def change_secrets(self, change: str) -> SecretsState:
        """Make a change of Marketing Cloud's setup: `stage`, `activate` or `revoke`."""
        return self._service.change_secrets(Change(change))

    def wait_for_sent(self, count: int, timeout: float = 5) -> list[SentEntry]:
        """Wait until `count` sends are accepted, and return all; `timeout` is in seconds.

        Raises:
            TimeoutError: fewer sends were accepted.
        """
        if not self._service.wait_for_sent(count, timeout):
            raise TimeoutError(f"fewer than {count} sends were accepted within {timeout} s")
        return self.sent()

    def calls(self) -> list[CallEntry]:
        """Return each call to the upstream's routes, including refused ones, with its response."""
        return self._service.calls()

    def phones(self) -> dict[str, list[PhoneMessage]]:
        """Return the messages of each number, oldest first."""
        return self._service.phones()

    def token_counts(self) -> TokenCounts:
        """Return the number of issued tokens, and of token requests."""
        return self._service.token_counts()

    def fail(  # noqa: PLR0913  the fields of a fault
        self,
        route: RouteName,
        then: str,
        *,
        times: int = 1,
        delay_ms: int = 0,
        retry_after: int | None = None,
        response: dict[str, Any] | None = None,
    ) -> None:
        """Make the route's next calls fail; `times` -1 means until the next reset.

        `response` replaces the response: `{"status": 502, "body": "…", "headers": {}}`.

        Raises:
            BadFaultsError: an unknown `then`, a number out of range, or a wrong response.
        """
        entry = FaultEntry(route=route, then=then, times=times, delayMs=delay_ms)
        if retry_after is not None:
            entry["retryAfter"] = retry_after
        if response is not None:
            entry["response"] = response
        self._service.add_faults(read_faults([entry]))

    def faults(self) -> list[FaultEntry]:
        """Return the remaining faults."""
        return self._service.faults_left()

    def reset(self) -> None:
        """Delete all records and faults; reset counters, clock, secrets. Tokens remain valid."""
        self._service.reset()

    def issue_token(self, scopes: Iterable[str] = SCOPES, seconds: int | None = None) -> str:
        """Issue a valid access token without a request, and without counting it."""
        return self._service.issue_token(scopes, seconds)

    def expire_tokens(self) -> None:
        """Expire all issued tokens, but not those that were passed at the start."""
        self._service.expire_tokens()

    def advance(self, by: timedelta) -> None:
        """Advance the simulator's clock."""
        self._service.advance(by)
