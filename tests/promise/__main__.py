"""`python -m tests.promise promise|mutations|soak`: runs all of it, and prints a summary line."""

import argparse
import os
import signal
import sys
from pathlib import Path

import pytest

from tests.promise.summary import SUMMARY, Summary
from tools.local_stack import ROOT
from tools.local_stack.build import BuildError
from tools.local_stack.stack import StartError

FOLDER = Path(__file__).parent


class Watcher:
    """Prints the progress of a test run, and keeps its summary after the run."""

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
        return ("passed", "", "") if has_passed else None  # the summary prints a line for it

    def _say(self, line: str) -> None:
        print(f"[{self._begun}/{self._plays}] {line}", flush=True)


def main() -> int:
    # SIGTERM acts like Ctrl-C, so the servers that this process started end, too.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    if sys.argv[1] == "soak":
        return _soak()
    return _tests(sys.argv[1], sys.argv[2:])


def _tests(name: str, options: list[str]) -> int:
    os.environ["SMSRELAY_THOROUGH"] = "1"
    watcher = Watcher()
    tests = str(FOLDER / f"test_{name}.py")
    # -s: pytest would capture the progress lines.
    fixed = ["-q", "-s", "-p", "no:randomly", "-p", "no:cacheprovider"]
    code = pytest.main([*fixed, *options, tests], [watcher])
    summary = watcher.summary
    if not summary.has_begun:
        return code or 1
    print(summary.total() if name == "promise" else summary.mutation_total())
    return code


def _soak() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.promise soak")
    parser.add_argument("--seed", type=int, default=1, help="seed of all random choices; default 1")
    parser.add_argument("--requests", type=int, default=2_000, help="requests; default 2,000")
    options = parser.parse_args(sys.argv[2:])
    sys.path[:0] = [str(ROOT / folder) for folder in ("layers/smsrelay", "cli")]
    from tests.promise.soak import command  # noqa: PLC0415 - needs sys.path

    sys.stdout.reconfigure(line_buffering=True)  # type: ignore[union-attr]  # progress in a pipe
    try:
        return command.run(options.seed, options.requests)
    except (StartError, BuildError) as error:
        print(error, file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())
