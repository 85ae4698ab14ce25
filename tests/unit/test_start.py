"""The init phase: what is made in it, and what happens to the garbage collector."""

import gc
import os
import random
import subprocess
import sys
from collections.abc import Iterator
from unittest.mock import patch

import pytest
import snapshot_restore_py

from smsrelay import start

BEFORE = """
import gc
import os
from smsrelay import start
assert not gc.isenabled()
made = []
start.ends(lambda: made.append(1))
assert made == [1] and gc.isenabled() and gc.get_freeze_count()
"""


@pytest.fixture
def hooks() -> Iterator[None]:
    with (
        patch.object(gc, "freeze"),  # in the tests' own process
        patch.object(snapshot_restore_py, "_after_restore_registry", []),
    ):
        yield


def test_nothing_is_collected_until_the_phase_ends() -> None:
    environment = {start.INITIALIZATION: "on-demand", "PYTHONPATH": ":".join(sys.path)}
    subprocess.run([sys.executable, "-c", BEFORE], env=environment, check=True)  # noqa: S603 - this very Python


def test_programs_without_such_a_phase_build_what_they_need(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv(start.INITIALIZATION, raising=False)
    start.ends(lambda: pytest.fail("built"))


@pytest.mark.usefixtures("hooks")
def test_what_cannot_be_built_is_told_at_the_first_request(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(start.INITIALIZATION, "on-demand")
    built: list[int] = []
    start.ends(lambda: built.append(1), lambda: os.environ["NOT_THERE"])
    assert built == [1]
    assert not snapshot_restore_py.get_after_restore()


@pytest.mark.usefixtures("hooks")
def test_two_copies_of_a_snapshot_do_not_wait_equally_long(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(start.INITIALIZATION, start.SNAP_START)
    start.ends()
    [(restored, arguments, named)] = snapshot_restore_py.get_after_restore()
    snapshot, waits = random.getstate(), []
    for _copy in range(2):
        random.setstate(snapshot)
        restored(*arguments, **named)
        waits.append(random.random())  # noqa: S311 - no secret, but a wait
    assert waits[0] != waits[1]
