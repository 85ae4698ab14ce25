"""`python -m tests.promise promise|mutations`: the whole of it, with a last line that sums up."""

import os
import signal
import sys
from pathlib import Path

import pytest

from tests.promise.summary import SUMMARY, Summary

FOLDER = Path(__file__).parent


class Watcher:
    """Tells how far a test run has come, and keeps its summary beyond its end."""

    def __init__(self) -> None:
        self.summary = Summary(say=self._say)
        self._plays = self._begun = 0

    def pytest_configure(self, config: pytest.Config) -> None:
        config.stash[SUMMARY] = self.summary

    def pytest_collection_finish(self, session: pytest.Session) -> None:
        self._plays = len(session.items)

    def pytest_runtest_logstart(self) -> None:
        self._begun += 1

    @pytest.hookimpl(tryfirst=True)
    def pytest_report_teststatus(self, report: pytest.TestReport) -> tuple[str, str, str] | None:
        has_passed = report.when == "call" and report.passed
        return ("passed", "", "") if has_passed else None  # a line says it

    def _say(self, line: str) -> None:
        print(f"[{self._begun}/{self._plays}] {line}", flush=True)


def main() -> int:
    what = sys.argv[1]
    # Like Ctrl-C: whoever ends this ends the servers that it has started.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    os.environ["SMSRELAY_THOROUGH"] = "1"
    watcher = Watcher()
    tests = str(FOLDER / f"test_{what}.py")
    # Without capturing: the lines of progress are to be seen.
    options = ["-q", "-s", "-p", "no:randomly", "-p", "no:cacheprovider"]
    code = pytest.main([*options, *sys.argv[2:], tests], [watcher])
    summary = watcher.summary
    if not summary.has_begun:
        return code or 1
    print(summary.total() if what == "promise" else summary.mutation_total())
    return code


if __name__ == "__main__":
    sys.exit(main())
