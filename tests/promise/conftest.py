from collections.abc import Iterator

import pytest

from tests.promise.harness import Harness, running
from tests.promise.summary import SUMMARY, Summary


@pytest.fixture(scope="session")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Harness]:
    with running(tmp_path_factory.mktemp("faults")) as world:
        yield world


@pytest.fixture(scope="session")
def summary(pytestconfig: pytest.Config) -> Summary:
    return pytestconfig.stash.setdefault(SUMMARY, Summary())


def pytest_terminal_summary(
    terminalreporter: pytest.TerminalReporter, config: pytest.Config
) -> None:
    summary = config.stash.get(SUMMARY, None)
    if summary is None:
        return
    terminalreporter.section("the promise under faults")
    for line in summary.lines():
        terminalreporter.write_line(line)
