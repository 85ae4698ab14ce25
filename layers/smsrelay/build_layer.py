"""Puts the layer together: the locked dependencies, what is used of them, and their bytecode.

`sam build` runs it (layer.mk). It needs nothing but python3.13 and pip, on any machine: the wheels
are those of the functions' processor, whatever the processor of the build machine.
"""

import argparse
import compileall
import gzip
import hashlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from py_compile import PycInvalidationMode
from typing import Any, Final

HERE: Final = Path(__file__).resolve().parent
LOCK: Final = HERE / "requirements.txt"
OURS: Final = ("smsrelay", "licences")
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

AWS_DATA: Final = "botocore/data"
AWS_DATA_USED: Final = (
    # Read for every client.
    "_retry.json",
    "endpoints.json",
    "partitions.json",
    "sdk-default-configuration.json",
    # The services that the functions call, each in its only API version in use.
    *(
        f"{service}/{file}"
        for service in (
            "dynamodb/2012-08-10",
            "events/2015-10-07",
            "lambda/2015-03-31",
            "secretsmanager/2017-10-17",
            "sqs/2012-11-05",
            "ssm/2014-11-06",
        )
        for file in ("service-2*.json*", "endpoint-rule-set-1*.json*")
    ),
    "dynamodb/2012-08-10/paginators-1.json",
)
"""Patterns of the files of botocore's data that are shipped. The rest describes other services."""


def build(target: Path, architecture: str, cache: Path) -> None:
    """Make `target` the layer's `python` folder."""
    dependencies = cache / _fingerprint(architecture)
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
    """Yield the files and folders of the installed dependencies that are left out."""
    for pattern in UNUSED:
        yield from folder.glob(pattern)
    data = folder / AWS_DATA
    used = {path for pattern in AWS_DATA_USED for path in data.glob(pattern)}
    used |= {parent for path in used for parent in path.parents}
    yield from (path for path in data.rglob("*") if path not in used)


def trim(data: Path) -> None:
    """Remove from botocore's data the endpoints of other services, and all documentation.

    Clients read the files in the init phase: without this a cold start takes a tenth longer.
    """
    services = {path.name for path in data.iterdir() if path.is_dir()}
    file = data / "endpoints.json"
    endpoints = json.loads(file.read_bytes())
    for partition in endpoints["partitions"]:
        for name in partition["services"].keys() - services:
            del partition["services"][name]
    file.write_text(json.dumps(endpoints))
    for packed in data.rglob("*.json.gz"):
        model = json.loads(gzip.decompress(packed.read_bytes()), object_hook=_undocumented)
        packed.with_suffix("").write_text(json.dumps(model))
        packed.unlink()


def _undocumented(part: dict[str, Any]) -> dict[str, Any]:
    if isinstance(part.get("documentation"), str):  # else it is the name of something described
        del part["documentation"]
    return part


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
        trim(folder / AWS_DATA)
        compile_all(folder, PLACE)
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
    for path in (LOCK, Path(__file__)):
        digest.update(path.read_bytes())
    return digest.hexdigest()[:32]


def main() -> None:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("target", type=Path)
    parser.add_argument("--architecture", choices=sorted(WHEELS), required=True)
    parser.add_argument("--kept", type=Path, required=True, help="where dependencies are kept")
    options = parser.parse_args()
    if sys.version_info[:2] != TARGET:
        raise SystemExit("python3.13 is needed: its bytecode is what the functions run")
    build(options.target, options.architecture, options.kept)


if __name__ == "__main__":
    main()
