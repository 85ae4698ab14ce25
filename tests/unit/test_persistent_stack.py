"""Tests `make up` while the local stack is running. tests/e2e starts and stops a stack."""

import json
from pathlib import Path

import pytest

from tools.local_stack import persistent_stack


@pytest.mark.parametrize(("seconds", "is_ignored"), [(60, False), (90, True), (1080, False)])
def test_a_token_lifetime_that_a_running_stack_ignores_is_reported(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    seconds: int,
    is_ignored: bool,
) -> None:
    monkeypatch.setattr(persistent_stack, "STATE", tmp_path)
    monkeypatch.setattr(persistent_stack, "FILE", tmp_path / "stack.json")
    monkeypatch.setattr(persistent_stack, "_addresses", str)
    published = {"marker": "none", "pids": {}, "token_seconds": 60}
    persistent_stack.FILE.write_text(json.dumps(published))
    persistent_stack.up(token_seconds=seconds)
    warning = "TOKEN_SECONDS takes effect only when the stack starts: run `make down` first."
    assert (warning in capsys.readouterr().out) == is_ignored
