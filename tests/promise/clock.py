"""One clock for all processes of a run; tests advance it instead of waiting."""

import time
from collections.abc import Callable
from types import ModuleType
from unittest.mock import patch

import botocore.endpoint

import smsrelay_cli.main
from smsrelay.adapters import mobileconnect
from smsrelay.wiring import (
    callback_sender,
    delivery_poller,
    event_publisher,
    queue_worker,
    sending,
    token_renewer,
)

MODULES: tuple[ModuleType, ...] = (
    sending,
    queue_worker,
    delivery_poller,
    event_publisher,
    callback_sender,
    token_renewer,
    mobileconnect,
    botocore.endpoint,
    smsrelay_cli.main,
)
"""The modules whose `time` is replaced. The transport's deadlines use real time."""


class Clock:
    """Stands in for the module `time`."""

    def __init__(self, passed: float, skew: float, report: Callable[[str, object], None]) -> None:
        """Start `passed` seconds ahead of real time; this process is `skew` seconds off."""
        self.passed = passed
        self._skew = skew
        self._report = report

    def install(self) -> None:
        """Replace `time` permanently: the process is used for one run only."""
        for module in MODULES:
            patch.object(module, "time", self).start()

    def advance(self, seconds: float) -> None:
        self.passed += seconds
        self._report("passed", self.passed)

    def jump(self, seconds: float) -> None:
        """Set the wall clock."""
        self._skew += seconds

    @property
    def now(self) -> float:
        """The correct time, without this process's skew."""
        return time.time() + self.passed

    def time(self) -> float:
        return self.now + self._skew

    def monotonic(self) -> float:
        return time.monotonic() + self.passed

    def sleep(self, seconds: float) -> None:
        self.advance(seconds)
