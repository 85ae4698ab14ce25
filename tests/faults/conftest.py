from collections.abc import Iterator

import pytest

from tests.faults.report import Report
from tests.faults.world import World, running

REPORT = pytest.StashKey[Report]()


@pytest.fixture(scope="session")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    with running(tmp_path_factory.mktemp("faults")) as world:
        yield world


@pytest.fixture(scope="session")
def report(pytestconfig: pytest.Config) -> Report:
    return pytestconfig.stash.setdefault(REPORT, Report())


def pytest_terminal_summary(
    terminalreporter: pytest.TerminalReporter, config: pytest.Config
) -> None:
    if report := config.stash.get(REPORT, None):
        terminalreporter.section("a death at every step")
        for line in report.text():
            terminalreporter.write_line(line)
