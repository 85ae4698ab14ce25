from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from tests.simulator.calls import TOKEN
from tests.support.browser import browser  # noqa: F401  a fixture
from tools.mobileconnect_simulator import Simulator


@pytest.fixture(scope="module")
def running(request: pytest.FixtureRequest) -> Iterator[Simulator]:
    """A simulator for each module; if the module has a NOW, the simulator's time is fixed there."""
    options: dict[str, Any] = {}
    if now := getattr(request.module, "NOW", None):
        options["time_source"] = lambda: now
    with Simulator(access_tokens=[TOKEN], **options) as simulator:
        yield simulator


@pytest.fixture(scope="module")
def client(running: Simulator) -> Iterator[httpx.Client]:
    headers = {"Authorization": f"Bearer {TOKEN}"}
    with httpx.Client(base_url=running.url, headers=headers, trust_env=False) as client:
        yield client


@pytest.fixture(autouse=True)
def simulator(running: Simulator) -> Simulator:
    running.reset()
    return running
