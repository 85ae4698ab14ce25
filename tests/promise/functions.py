"""Loads the functions' handlers as Lambda does, and provides Lambda's context."""

import importlib.util
import uuid
from types import ModuleType

from tests.promise.clock import Clock
from tests.support.template import properties
from tools.local_stack import ROOT

NAMES = (
    "api",
    "webhook",
    "queue_worker",
    "sweeper",
    "delivery_poller",
    "event_publisher",
    "callback_sender",
    "token_renewer",
)
SECONDS: dict[str, float] = {
    name: properties(f"{name.title().replace('_', '')}Function")["Timeout"] for name in NAMES
}
"""The functions' time-outs in the template."""


class Context:
    """The parts of Lambda's context that a handler uses."""

    function_name = "function"
    memory_limit_in_mb = 1024
    invoked_function_arn = "arn:aws:lambda:us-east-1:123456789012:function:function"

    def __init__(self, seconds: float, clock: Clock) -> None:
        self.aws_request_id = str(uuid.uuid4())
        self.deadline = clock.monotonic() + seconds
        self._clock = clock

    def get_remaining_time_in_millis(self) -> int:
        return max(0, int((self.deadline - self._clock.monotonic()) * 1000))


def load(name: str) -> ModuleType:
    """Import a function's `app` module again, without the module cache."""
    path = ROOT / "functions" / name / "app.py"
    spec = importlib.util.spec_from_file_location(f"{name}_app", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
