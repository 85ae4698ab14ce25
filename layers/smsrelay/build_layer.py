"""Puts the layer together: the locked dependencies, what is used of them, and their bytecode.

`sam build` runs it (layer.mk). It needs nothing but python3.13 and pip, on any machine: the wheels
are those of the functions' processor, whatever the processor of the build machine.
"""

import argparse
import compileall
import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from py_compile import PycInvalidationMode
from typing import Final

import authorities

HERE: Final = Path(__file__).resolve().parent
LOCK: Final = HERE / "requirements.txt"
OURS: Final = ("smsrelay", "aws_data", "licences")
AUTHORITIES: Final = "authorities"
"""The folder of certifi's certificates. Its own file stays: it is botocore's, too."""
TARGET: Final = (3, 13)
PLACE: Final = "/opt/python"
"""Where Lambda unpacks a layer's packages: bytecode that says so needs no correction at import."""

WHEELS: Final = {"arm64": "manylinux2014_aarch64", "x86_64": "manylinux2014_x86_64"}

LEFT_OUT: Final = ("anyio",)
"""Distributions of the lock that nothing imports: httpx's asynchronous half, which goes without."""

UNUSED: Final = (
    *(f"{name}*" for name in LEFT_OUT),
    "bin",  # commands
    "**/*.pyi",
    "**/__pycache__",
    # Of each distribution only METADATA (its name and version) and its licences are of use.
    "*.dist-info/INSTALLER",
    "*.dist-info/RECORD",
    "*.dist-info/REQUESTED",
    "*.dist-info/WHEEL",
    "*.dist-info/entry_points.txt",
    "*.dist-info/top_level.txt",
    "*.dist-info/sboms",
    "pydantic/v1",  # the old pydantic, for who has not moved on
    "pydantic/experimental",
    "pydantic/mypy.py",
    "idna/uts46data.py",  # how hosts are written that no template allows
    "tzdata/zoneinfo/tzdata.zi",  # all zones in one text; zoneinfo reads the others
    "httpx/_main.py",  # its command
    "certifi/tests",
    # What httpcore tries to import, and goes without: HTTP/2, SOCKS, other ways to wait.
    "httpcore/_*/http2.py",
    "httpcore/_*/socks_proxy.py",
    "httpcore/_backends/anyio.py",
    "httpcore/_backends/trio.py",
    # Of Powertools: logs and metrics.
    "aws_lambda_powertools/event_handler",
    "aws_lambda_powertools/metrics/provider/datadog",
    "aws_lambda_powertools/utilities/auth_alpha",
    "aws_lambda_powertools/utilities/batch",
    "aws_lambda_powertools/utilities/circuit_breaker",
    "aws_lambda_powertools/utilities/data_classes",
    "aws_lambda_powertools/utilities/data_masking",
    "aws_lambda_powertools/utilities/feature_flags",
    "aws_lambda_powertools/utilities/idempotency",
    "aws_lambda_powertools/utilities/kafka",
    "aws_lambda_powertools/utilities/metadata",
    "aws_lambda_powertools/utilities/parameters",
    "aws_lambda_powertools/utilities/parser",
    "aws_lambda_powertools/utilities/streaming",
    "aws_lambda_powertools/utilities/validation",
)
"""What is left out, by pattern. A test holds each to match, and runs the functions without it."""


def build(target: Path, architecture: str, kept: Path) -> None:
    """Make `target` the layer's `python` folder."""
    dependencies = kept / _fingerprint(architecture)
    if not dependencies.exists():
        _keep(dependencies, architecture)
    shutil.copytree(dependencies, target, dirs_exist_ok=True)
    for name in OURS:
        shutil.copytree(HERE / name, target / name, ignore=shutil.ignore_patterns("__pycache__"))
        compile_all(target / name, f"{PLACE}/{name}")


def compile_all(folder: Path, place: str) -> None:
    """Write the bytecode of what will lie at `place`.

    It is taken as it is, without a look at the source: dates do not survive a zip, and a function
    can't write what it would have to compile.
    """
    if not compileall.compile_dir(
        folder,
        quiet=1,
        stripdir=str(folder),
        prependdir=place,
        invalidation_mode=PycInvalidationMode.UNCHECKED_HASH,
    ):
        raise SystemExit(f"{folder} can't be compiled")


def unused(folder: Path) -> Iterator[Path]:
    """What of the installed dependencies is left out."""
    for pattern in UNUSED:
        yield from folder.glob(pattern)


def _keep(dependencies: Path, architecture: str) -> None:
    """Install and compile the dependencies; whoever sees their folder sees all of it."""
    dependencies.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=dependencies.parent) as name:
        folder = Path(name) / "python"
        _install(folder, architecture)
        for path in list(unused(folder)):
            if path.is_dir():
                shutil.rmtree(path)
            else:
                path.unlink(missing_ok=True)
        compile_all(folder, PLACE)
        authorities.write(folder / "certifi/cacert.pem", folder / AUTHORITIES)
        try:
            folder.rename(dependencies)
        except OSError:  # another build was quicker
            if not dependencies.exists():
                raise


def _install(folder: Path, architecture: str) -> None:
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    command += ["--require-hashes", "--requirement", str(LOCK), "--target", str(folder)]
    command += ["--no-compile", "--only-binary=:all:", "--implementation", "cp"]
    command += ["--python-version", ".".join(map(str, TARGET)), "--platform", WHEELS[architecture]]
    # Whatever pip's own settings want to add to it, it goes where --target says.
    environment = {name: value for name, value in os.environ.items() if name != "PIP_USER"}
    subprocess.run(command, env=environment, check=True)  # noqa: S603 - the command is fixed


def _fingerprint(architecture: str) -> str:
    """A name for what the dependencies are when they are installed."""
    digest = hashlib.sha256(architecture.encode())
    for path in (LOCK, Path(__file__), Path(authorities.__file__)):
        digest.update(path.read_bytes())
    return digest.hexdigest()[:32]


def main() -> None:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("target", type=Path)
    parser.add_argument("--architecture", choices=sorted(WHEELS), required=True)
    parser.add_argument("--kept", type=Path, required=True, help="where dependencies are kept")
    given = parser.parse_args()
    if sys.version_info[:2] != TARGET:
        raise SystemExit("python3.13 is needed: its bytecode is what the functions run")
    build(given.target, given.architecture, given.kept)


if __name__ == "__main__":
    main()
