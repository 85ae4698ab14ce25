import time
from collections.abc import Callable, Iterator

import pytest
from hypothesis import settings

import smsrelay_cli.main
from smsrelay.adapters.logger import package_logger
from smsrelay.wiring import sending
from smsrelay_cli import sends
from tests.support.environment import ACCESS_TOKEN, Environment, running, simulated_aws
from tools.mobileconnect_simulator import Simulator

# The same examples in every run, and no deadline, so that a slow machine does not fail the tests.
settings.register_profile("deterministic", derandomize=True, database=None, deadline=None)
settings.load_profile("deterministic")


# Each file runs in one process (Makefile). These files take longest, so they must start first.
LONGEST = {
    *("test_foreign_responses", "test_messages", "test_mutations", "test_nothing_leaks"),
    *("test_promise", "test_promise_machine"),
}


@pytest.hookimpl(trylast=True)  # after pytest-randomly
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    items.sort(key=lambda item: item.path.stem not in LONGEST)


@pytest.fixture(scope="session")
def session_simulator() -> Iterator[Simulator]:
    with Simulator(access_tokens=[ACCESS_TOKEN]) as simulator:
        yield simulator


@pytest.fixture
def simulator(session_simulator: Simulator) -> Simulator:
    session_simulator.reset()
    return session_simulator


@pytest.fixture
def pass_time(monkeypatch: pytest.MonkeyPatch) -> Callable[[float], None]:
    """Return a function that advances the monotonic clock, but not `time.perf_counter`."""
    monotonic, passed = time.monotonic, [0.0]
    monkeypatch.setattr(time, "monotonic", lambda: monotonic() + sum(passed))
    return passed.append


class WallClock:
    """The clock of the sending functions and of the operator's command, which tests advance."""

    now = 1_790_000_000.0

    def time(self) -> float:
        return self.now


@pytest.fixture
def wall_clock(monkeypatch: pytest.MonkeyPatch) -> WallClock:
    """Must be requested before `relay`, whose parts use it."""
    clock = WallClock()
    monkeypatch.setattr(sending, "time", clock)
    monkeypatch.setattr(smsrelay_cli.main, "time", clock)
    monkeypatch.setattr(sends, "time", clock.time)
    return clock


@pytest.fixture(scope="session")
def aws() -> Iterator[None]:
    # The logger keeps the stream that it finds first, and the stream of `capsys` is closed after
    # the test.
    package_logger()
    with simulated_aws():
        yield


@pytest.fixture
def relay(aws: None, simulator: Simulator) -> Iterator[Environment]:
    _ = aws
    with running(simulator.url) as environment:
        yield environment
