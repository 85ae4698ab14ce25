"""Tests the set-up of each `make` command with few programs on PATH."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

from tests.support.template import ROOT

PROGRAMS = ("cp", "echo", "ln", "make", "mkdir", "sh", "tail", "touch")
"""Without `flock`, which macOS lacks."""
IS_LOCKED = """
import fcntl
with open(".local/venv.lock") as lock:
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        print("locked")
"""
PYTHON = """#!/bin/sh
# A Python that is quick to set up an environment.
case "$*" in
  "-m venv"*) {python} -c '{program}' >> set-ups; mkdir -p .venv/bin; cp "$0" .venv/bin/python ;;
  "-m pip"*) ;;
  *) exec {python} "$@" ;;
esac
"""


def test_two_commands_set_up_the_environment_once_and_without_flock(tmp_path: Path) -> None:
    shutil.copy(ROOT / "Makefile", tmp_path)
    lock = tmp_path / "tools/requirements/dev.txt"
    lock.parent.mkdir(parents=True)
    lock.touch()
    programs = tmp_path / "programs"
    programs.mkdir()
    for name in PROGRAMS:
        found = shutil.which(name)
        assert found is not None
        (programs / name).symlink_to(found)
    python = programs / "python3.13"
    python.write_text(PYTHON.format(python=sys.executable, program=IS_LOCKED))
    python.chmod(0o755)

    commands = [
        subprocess.Popen(  # noqa: S603 - our own Makefile
            [str(programs / "make"), ".venv/ready"],
            cwd=tmp_path,
            env={"PATH": str(programs), "HOME": os.environ["HOME"]},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for _ in range(2)
    ]
    outputs = [command.communicate(timeout=60)[0] for command in commands]

    assert [command.returncode for command in commands] == [0, 0], outputs
    assert not [output for output in outputs if "warning" in output]
    assert (tmp_path / "set-ups").read_text() == "locked\n"
