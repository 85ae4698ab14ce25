"""The points at which a process can die: before each I/O call, and before its answer is seen."""

import os
import signal
import threading
from collections.abc import Callable, Iterable
from typing import Any
from unittest.mock import patch

import httpx

BEFORE, AFTER = "before", "after"


class Points:
    """Counts the points that this process passes, and kills it at one of them.

    SIGKILL is what Lambda does to a function that runs out of time or memory: no `finally`, no
    flush, no other thread goes on.
    """

    def __init__(
        self, tell: Callable[[str, object], None], *, number: int | None, name: str | None
    ) -> None:
        """Die at the point of this number, from 1, or at the first of this name."""
        self.armed = True
        self._tell = tell
        self._number = number
        self._name = name
        self._passed = 0
        self._lock = threading.Lock()

    def reach(self, name: str) -> None:
        if not self.armed:
            return
        with self._lock:
            self._passed += 1
            self._tell("point", name)
            if self._passed == self._number or name == self._name:
                os.kill(os.getpid(), signal.SIGKILL)

    def watch(self, emitters: Iterable[Any], *, on_unauthorised: Callable[[], None]) -> None:
        """Hook into boto3's clients by their event emitters, and into httpx.

        `on_unauthorised` is called when the upstream has answered 401.
        """

        def asked(event_name: str, **_: object) -> None:
            self.reach(f"{_operation(event_name)} {BEFORE}")

        def answered(event_name: str, **_: object) -> None:
            self.reach(f"{_operation(event_name)} {AFTER}")

        for events in emitters:
            events.register("before-send", asked)
            events.register("response-received", answered)
        handle = httpx.HTTPTransport.handle_request

        def handled(transport: httpx.HTTPTransport, request: httpx.Request) -> httpx.Response:
            self.reach(f"upstream {BEFORE}")
            try:
                response = handle(transport, request)
                if response.status_code == httpx.codes.UNAUTHORIZED:
                    on_unauthorised()
                return response
            finally:  # a failure is an answer, too
                self.reach(f"upstream {AFTER}")

        # Never undone: the process is made for one run.
        patch.object(httpx.HTTPTransport, "handle_request", handled).start()


def _operation(event_name: str) -> str:
    """`before-send.dynamodb.PutItem` as `dynamodb.PutItem`."""
    return event_name.partition(".")[2]
