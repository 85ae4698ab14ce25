"""The programs that are measured: where their code lies, as Lambda would find it.

The folders lie in .local/bench, made anew by each run from what is installed here, so that every
program has the same versions of the same packages. Bytecode is of the kind that `sam build` leads
to in a real deployment, which keeps no dates and lets a function write nothing: either none, or
such as is taken unchecked.
"""

import importlib.metadata
import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

import build_layer
from tools.local_stack import ROOT, build

FOLDER: Final = ROOT / ".local/bench"
BASELINES: Final = ROOT / "tools/bench/baselines"
AS_BUILT: Final = "naive as built"
BYTECODE: Final = "naive bytecode"
OURS: Final = "smsrelay"
LEAN: Final = "bound"
FLOOR: Final = "floor"
LENT: Final = "naive, runtime's boto3"
"""The naive program as built, but with the runtime's boto3 instead of one of its own."""

RUNTIME: Final = ("boto3",)
"""What Lambda's runtime brings, with all that it requires; it has bytecode there."""
TYPICAL_PACKAGES: Final = ("boto3", "aws-lambda-powertools", "aws-xray-sdk", "httpx", "pydantic")
LEAN_PACKAGES: Final = ("aws-lambda-powertools", "httpx", "pydantic")
FUNCTIONS: Final = {"api": "ApiFunction", "worker": "QueueWorkerFunction"}


@dataclass(frozen=True)
class Program:
    """A handler in `app.py` on one of the paths, which are all that it sees beside Python's own."""

    name: str
    function: str
    paths: Sequence[Path]


def programs() -> Sequence[Program]:
    """Lay all programs out, and say where."""
    build.artefacts(print)
    shutil.rmtree(FOLDER, ignore_errors=True)
    runtime = _packages("runtime", RUNTIME, compiled=True)
    typical_bare = _packages("naive-as-built", TYPICAL_PACKAGES, compiled=False)
    typical_lent = _packages("naive-lent", sorted({*TYPICAL_PACKAGES} - {*RUNTIME}), compiled=False)
    typical_compiled = _packages("naive-bytecode", TYPICAL_PACKAGES, compiled=True)
    lean_packages = _packages("bound", LEAN_PACKAGES, compiled=True)
    layer = build.SAM_OUTPUT / "Layer/python"
    found = []
    for function, logical_id in FUNCTIONS.items():
        bare = list(_code("naive", function, compiled=False))
        compiled = list(_code("naive", function, compiled=True))
        lean = list(_code("bound", function, compiled=True))
        found += [
            Program(OURS, function, [build.SAM_OUTPUT / logical_id, layer]),
            Program(AS_BUILT, function, [*bare, typical_bare]),
            Program(LENT, function, [*bare, typical_lent, runtime]),
            Program(BYTECODE, function, [*compiled, typical_compiled]),
            Program(LEAN, function, [*lean, lean_packages]),
        ]
    found.append(Program(FLOOR, "api", [*_code("floor", "api", compiled=True)]))
    return found


def _code(rival: str, function: str, *, compiled: bool) -> Iterator[Path]:
    """A rival's own code: the function's folder, then the layer of all its functions."""
    for part in (function, "layer"):
        source = BASELINES / rival / part
        if not source.is_dir():
            continue
        target = FOLDER / f"{rival}-{function}-{part}-{'bytecode' if compiled else 'bare'}"
        shutil.copytree(source, target, ignore=shutil.ignore_patterns("__pycache__"))
        if compiled:
            build_layer.compile_all(target, str(target))
        yield target


def _packages(name: str, wanted: Sequence[str], *, compiled: bool) -> Path:
    """A folder with distributions and all that they require, as pip would fill it."""
    target = FOLDER / name
    for distribution in sorted(_closure(wanted)):
        for file in importlib.metadata.files(distribution) or ():
            source = Path(str(file.locate()))
            if ".." in file.parts or file.suffix == ".pyc" or not source.is_file():
                continue
            place = target / file
            place.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(source, place)
    if compiled:
        build_layer.compile_all(target, str(target))
    return target


def _closure(wanted: Sequence[str]) -> set[str]:
    """Distributions by their names, and what they require here, extras left out."""
    found: set[str] = set()
    left = list(wanted)
    while left:
        name = left.pop()
        if name in found:
            continue
        found.add(name)
        for line in importlib.metadata.requires(name) or ():
            requirement = Requirement(line)
            if requirement.marker is None or requirement.marker.evaluate({"extra": ""}):
                left.append(canonicalize_name(requirement.name))
    return found


def weights(found: Sequence[Program]) -> Mapping[str, tuple[float, float]]:
    """Megabytes of each program's api with its packages, zipped and not; without the runtime's."""
    told = {}
    for program in found:
        if program.function == "api":
            own = [path for path in program.paths if path.name != "runtime"]
            told[program.name] = (sum(map(_zipped, own)), sum(map(_unzipped, own)))
    return told


def _zipped(folder: Path) -> float:
    archive = FOLDER / "weighed"
    package = Path(shutil.make_archive(str(archive), "zip", folder))
    size = package.stat().st_size
    package.unlink()
    return size / 1e6


def _unzipped(folder: Path) -> float:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()) / 1e6
