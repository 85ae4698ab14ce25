"""Checks that commands end without a traceback when the reader of their output has ended."""

import io
import json
import os
import subprocess
import sys
from collections.abc import Sequence
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any

import pytest

from tests.support.template import ROOT
from tools.local_stack import persistent_stack

BROKEN_PIPE = 141
"""A shell's exit code for a program that SIGPIPE ended."""
SMSRELAY = str(ROOT / "cli/smsrelay")


def run_unread(*command: str) -> subprocess.CompletedProcess[str]:
    """Run a command whose output has no reader."""
    buffered = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}
    reader, writer = os.pipe()
    os.close(reader)
    try:
        return subprocess.run(  # noqa: S603 - our own commands
            command,
            cwd=ROOT,
            env=buffered,
            stdout=writer,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
            timeout=60,
        )
    finally:
        os.close(writer)


@pytest.mark.parametrize(
    "command",
    [[SMSRELAY, "--help"], [sys.executable, "-m", "tools.local_stack", "status"]],
    ids=["smsrelay --help", "make status"],
)
def test_a_command_ends_quietly(command: Sequence[str]) -> None:
    ended = run_unread(*command)
    assert (ended.returncode, ended.stderr) == (BROKEN_PIPE, "")


@pytest.mark.parametrize("faults", [1, 10_000], ids=["at the end", "in the middle"])
def test_smsrelay_ends_quietly(tmp_path: Path, faults: int) -> None:
    file = tmp_path / "catalogue.json"
    file.write_text(json.dumps({"messages": {f"m{n}": 7 for n in range(faults)}}))
    ended = run_unread(SMSRELAY, "catalogue", "check", str(file))
    assert (ended.returncode, ended.stderr) == (BROKEN_PIPE, "")


def test_errors_without_a_reader_end_quietly(tmp_path: Path) -> None:
    command = f"'{SMSRELAY}' catalogue check '{tmp_path}/missing' 2>&1"
    assert run_unread("sh", "-c", command).returncode == BROKEN_PIPE


class Pipe(io.RawIOBase):
    """Keeps each write separately."""

    def __init__(self) -> None:
        self.writes: list[str] = []

    def writable(self) -> bool:
        return True

    def write(self, data: Any, /) -> int:
        self.writes.append(bytes(data).decode())
        return len(data)


def test_the_status_is_one_write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With one write, `make status | head -3` ends without an error of make."""
    names = ("api_url", "api_key", "queue_url", "phone_url", "docs_url", "aws_endpoint_url")
    published: dict[str, Any] = dict.fromkeys((*names, "region", "marker"), "-")
    published["pids"] = {}
    file = tmp_path / "stack.json"
    file.write_text(json.dumps(published))
    monkeypatch.setattr(persistent_stack, "FILE", file)
    pipe = Pipe()
    with redirect_stdout(io.TextIOWrapper(io.BufferedWriter(pipe), line_buffering=True)):
        assert persistent_stack.status()
    [text] = pipe.writes
    assert text.startswith("The local stack is running.\n")
    assert text.endswith("events/messages/number.json\n\n")
