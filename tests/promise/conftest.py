from collections.abc import Iterator

import pytest

from tests.promise.harness import Harness, running
from tests.promise.report import SUMMARY, Summary


@pytest.fixture(scope="session")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Harness]:
    with running(tmp_path_factory.mktemp("faults")) as world:
        yield world


@pytest.fixture(scope="session")
def report(pytestconfig: pytest.Config) -> Summary:
    return pytestconfig.stash.setdefault(SUMMARY, Summary())


def pytest_terminal_summary(
    terminalreporter: pytest.TerminalReporter, config: pytest.Config
) -> None:
    report = config.stash.get(SUMMARY, None)
    if report is None:
        return
    terminalreporter.section("the promise under faults")
    for line in report.lines():
        terminalreporter.write_line(line)
