from collections.abc import Iterator

import pytest

from local.simulator import Simulator
from tests.support.environment import ACCESS_TOKEN, Environment, running


@pytest.fixture(scope="session")
def session_simulator() -> Iterator[Simulator]:
    with Simulator(access_tokens=[ACCESS_TOKEN]) as simulator:
        yield simulator


@pytest.fixture
def simulator(session_simulator: Simulator) -> Simulator:
    session_simulator.reset()
    return session_simulator


@pytest.fixture
def relay(simulator: Simulator) -> Iterator[Environment]:
    with running(simulator.url) as environment:
        yield environment
