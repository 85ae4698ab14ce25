"""Tests the init phase: what is built in it, and that the garbage collector is paused."""

import gc
import subprocess
import sys

import pytest

from smsrelay.runtime import lambda_init

BEFORE = """
import gc
import os
from smsrelay.runtime import lambda_init
assert not gc.isenabled()
made = []
lambda_init.end_init(lambda: made.append(1))
assert made == [1] and gc.isenabled() and gc.get_freeze_count()
"""


def test_the_garbage_collector_waits_for_the_end_of_the_phase() -> None:
    environment = {lambda_init.INITIALIZATION_TYPE: "on-demand", "PYTHONPATH": ":".join(sys.path)}
    subprocess.run([sys.executable, "-c", BEFORE], env=environment, check=True)  # noqa: S603 - the running Python


def test_programs_without_an_init_phase_build_nothing_early(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv(lambda_init.INITIALIZATION_TYPE, raising=False)
    lambda_init.end_init(lambda: pytest.fail("built"))


def test_a_build_error_does_not_fail_the_init_phase(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(lambda_init.INITIALIZATION_TYPE, "on-demand")
    monkeypatch.setattr(gc, "freeze", lambda: None)  # must not affect the process of the tests
    built: list[int] = []

    def fail() -> None:
        built.append(1)
        raise KeyError

    lambda_init.end_init(fail)
    assert built == [1]
