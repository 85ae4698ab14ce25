"""Runs what sam has built as Lambda does, with no packages but those of the layer."""

import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path


def run_built(
    script: str, *arguments: Path | str, environment: Mapping[str, str] | None = None
) -> str:
    """What a script prints that sees neither this folder nor the environment's packages."""
    result = subprocess.run(  # noqa: S603 - this very Python
        [sys.executable, "-B", "-I", "-S", "-c", script, *map(str, arguments)],
        env={"PATH": os.environ["PATH"], **(environment or {})},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert result.returncode == 0, result.stderr
    return result.stdout
