"""Runs what sam has built as Lambda does: beside the runtime's own packages, and no others."""

import importlib.util
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

# What Lambda's own runtime brings, so that the layer need not.
RUNTIME = ("boto3", "botocore", "s3transfer", "dateutil", "urllib3", "six")


def runtime(folder: Path) -> Path:
    """Make a folder with what Lambda's own runtime brings, and nothing else."""
    folder.mkdir()
    for name in RUNTIME:
        spec = importlib.util.find_spec(name)
        assert spec is not None
        assert spec.origin is not None
        origin = Path(spec.origin)
        source = origin.parent if origin.name == "__init__.py" else origin
        (folder / source.name).symlink_to(source)
    return folder


def run_built(script: str, *arguments: Path, environment: Mapping[str, str] | None = None) -> str:
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
