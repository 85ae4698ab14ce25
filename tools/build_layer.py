"""Builds the layer: the used files of the locked dependencies, our packages, and their bytecode.

`sam build` runs it (layer.mk). It needs only python3.13 and pip. It installs wheels for the
functions' architecture, so the build machine may have another one.
"""

import argparse
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
from typing import Any, Final

LAYER: Final = Path(__file__).resolve().parents[1] / "layers/smsrelay"
LOCK: Final = LAYER / "requirements.txt"
OURS: Final = ("smsrelay", "licences")
TARGET: Final = (3, 13)
PLACE: Final = "/opt/python"
"""Where Lambda unpacks a layer. Bytecode with these paths needs no correction at import."""

WHEELS: Final = {"arm64": "manylinux2014_aarch64", "x86_64": "manylinux2014_x86_64"}

LEFT_OUT: Final = ("anyio",)
"""Locked distributions that nothing imports: anyio is for httpx's asynchronous client only."""

LISTS: Final = (LAYER / "left_out.txt", LAYER / "aws_data.txt")
AWS_DATA: Final = "botocore/data"


def build(target: Path, architecture: str, cache: Path) -> None:
    """Write the layer's `python` folder to `target`."""
    dependencies = cache / fingerprint(architecture)
    if not dependencies.exists():
        _fill_cache(dependencies, architecture)
    shutil.copytree(dependencies, target, dirs_exist_ok=True)
    for name in OURS:
        shutil.copytree(LAYER / name, target / name, ignore=shutil.ignore_patterns("__pycache__"))
        compile_all(target / name, f"{PLACE}/{name}")


def compile_all(folder: Path, place: str) -> None:
    """Write the bytecode of modules that will be at `place`.

    Python uses it without comparing it with the source (unchecked): a zip does not keep the dates
    of files exactly, and a function can't write new bytecode. A new process makes it, because the
    bytes also depend on which strings the process already has.
    """
    command = [sys.executable, "-I", "-S", "-m", "compileall", "-q"]
    command += ["--invalidation-mode", "unchecked-hash", "-s", str(folder), "-p", place]
    subprocess.run([*command, str(folder)], check=True)  # noqa: S603 - the command is fixed


def patterns(file: Path) -> list[str]:
    """Return the glob patterns of a list: its lines without comments."""
    lines = file.read_text(encoding="utf-8").splitlines()
    return [line for line in lines if line and not line.startswith("#")]


def unused(folder: Path) -> Iterator[Path]:
    """Yield the files and folders of the installed dependencies that the layer leaves out."""
    left_out, aws_data = map(patterns, LISTS)
    for pattern in (*left_out, *(f"{name}*" for name in LEFT_OUT)):
        yield from folder.glob(pattern)
    data = folder / AWS_DATA
    used = {path for pattern in aws_data for path in data.glob(pattern)}
    used |= {parent for path in used for parent in path.parents}
    yield from (path for path in data.rglob("*") if path not in used)


def trim(data: Path) -> None:
    """Remove from botocore's data the endpoints of other services, and all documentation.

    Boto clients read these files in the init phase; the full files make a cold start 10 % slower.
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
    # Otherwise `documentation` is the name of a member.
    if isinstance(part.get("documentation"), str):
        del part["documentation"]
    return part


def _fill_cache(dependencies: Path, architecture: str) -> None:
    """Install and compile the dependencies, and create their folder in one step."""
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
        except OSError:  # another build has created it first
            if not dependencies.exists():
                raise


def _install(folder: Path, architecture: str) -> None:
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    command += ["--require-hashes", "--requirement", str(LOCK), "--target", str(folder)]
    command += ["--no-compile", "--only-binary=:all:", "--implementation", "cp"]
    command += ["--python-version", ".".join(map(str, TARGET)), "--platform", WHEELS[architecture]]
    # The setting PIP_USER would conflict with --target.
    environment = {name: value for name, value in os.environ.items() if name != "PIP_USER"}
    subprocess.run(command, env=environment, check=True)  # noqa: S603 - the command is fixed


def fingerprint(architecture: str) -> str:
    """Return a hash of everything that determines the installed dependencies."""
    digest = hashlib.sha256(architecture.encode())
    for path in (LOCK, *LISTS, Path(__file__)):
        digest.update(path.read_bytes())
    return digest.hexdigest()[:32]


def main() -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("target", type=Path)
    parser.add_argument("--architecture", choices=sorted(WHEELS), required=True)
    parser.add_argument(
        "--cache",
        type=Path,
        required=True,
        help="the folder in which installed dependencies are cached",
    )
    options = parser.parse_args()
    if sys.version_info[:2] != TARGET:
        raise SystemExit("run this with python3.13: the functions need its bytecode")
    build(options.target, options.architecture, options.cache)


if __name__ == "__main__":
    main()
