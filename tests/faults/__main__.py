"""`python -m tests.faults promise|mutations`: the whole of it, with a last line that sums up."""

import os
import signal
import sys
from pathlib import Path

import pytest

from tests.faults.report import REPORT

FOLDER = Path(__file__).parent


class Keeper:
    """Keeps the configuration of a test run, in which the report lies, beyond its end."""

    config: pytest.Config

    def pytest_configure(self, config: pytest.Config) -> None:
        self.config = config


def main() -> int:
    what = sys.argv[1]
    # Like Ctrl-C: whoever ends this ends the servers that it has started.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    os.environ["SMSRELAY_THOROUGH"] = "1"
    keeper = Keeper()
    tests = str(FOLDER / f"test_{what}.py")
    code = pytest.main(["-q", "-p", "no:randomly", "-p", "no:cacheprovider", tests], [keeper])
    report = keeper.config.stash.get(REPORT, None)
    if report is None:
        return code or 1
    print(report.total() if what == "promise" else report.mutation_total())
    return code


if __name__ == "__main__":
    sys.exit(main())
