"""The init phase: what is made in it, and what happens to the garbage collector."""

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


def test_nothing_is_collected_until_the_phase_ends() -> None:
    environment = {lambda_init.INITIALIZATION_TYPE: "on-demand", "PYTHONPATH": ":".join(sys.path)}
    subprocess.run([sys.executable, "-c", BEFORE], env=environment, check=True)  # noqa: S603 - this very Python


def test_programs_without_such_a_phase_build_what_they_need(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv(lambda_init.INITIALIZATION_TYPE, raising=False)
    lambda_init.end_init(lambda: pytest.fail("built"))


def test_what_cannot_be_built_is_told_at_the_first_request(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(lambda_init.INITIALIZATION_TYPE, "on-demand")
    monkeypatch.setattr(gc, "freeze", lambda: None)  # not in the tests' own process
    built: list[int] = []

    def fail() -> None:
        built.append(1)
        raise KeyError

    lambda_init.end_init(fail)
    assert built == [1]
