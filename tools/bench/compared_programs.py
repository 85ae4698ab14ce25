"""Lays out the compared programs in .local/bench, as Lambda would find them.

Each run copies the packages that are installed here, so all programs use the same versions. A
program has unchecked bytecode, or none, as after a plain `sam build`; a function can't write it.
"""

import importlib.metadata
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tools import build_layer
from tools.local_stack import ROOT, build

FOLDER: Final = ROOT / ".local/bench"
BASELINES: Final = ROOT / "tools/bench/baselines"
SMSRELAY: Final = "smsrelay"
TYPICAL: Final = "typical as built"
TYPICAL_COMPILED: Final = "typical with bytecode"
LEAN: Final = "lean"

TYPICAL_PACKAGES: Final = ("boto3", "aws-lambda-powertools", "aws-xray-sdk", "httpx", "pydantic")
LEAN_PACKAGES: Final = ("aws-lambda-powertools", "httpx", "pydantic")
FUNCTIONS: Final = {"api": "ApiFunction", "worker": "QueueWorkerFunction"}


@dataclass(frozen=True)
class Program:
    """A handler in `app.py`. The process imports from these paths and from Python's own library."""

    name: str
    function: str
    paths: Sequence[Path]


def programs() -> Sequence[Program]:
    """Build and copy all programs."""
    build.artefacts(print)
    shutil.rmtree(FOLDER, ignore_errors=True)
    layer = build.SAM_OUTPUT / "Layer/python"
    return [
        *(
            Program(SMSRELAY, name, [build.SAM_OUTPUT / FUNCTIONS[name], layer])
            for name in FUNCTIONS
        ),
        *_baseline(TYPICAL, "typical", TYPICAL_PACKAGES, compiled=False),
        *_baseline(TYPICAL_COMPILED, "typical", TYPICAL_PACKAGES, compiled=True),
        *_baseline(LEAN, "lean", LEAN_PACKAGES, compiled=True),
    ]


def _baseline(name: str, folder: str, packages: Sequence[str], *, compiled: bool) -> list[Program]:
    """Copy the two functions of a baseline, its layer, and the packages that it requires."""
    target = FOLDER / name.replace(" ", "-")
    ignored = shutil.ignore_patterns("__pycache__")
    shutil.copytree(BASELINES / folder, target, ignore=ignored)
    for distribution in _closure(packages):
        for file in importlib.metadata.files(distribution) or ():
            source, copy = Path(str(file.locate())), target / "packages" / file
            if ".." not in file.parts and file.suffix != ".pyc" and source.is_file():
                copy.parent.mkdir(parents=True, exist_ok=True)
                shutil.copy2(source, copy)
    if compiled:
        build_layer.compile_all(target, str(target))
    return [
        Program(name, function, [target / function, target / "layer", target / "packages"])
        for function in FUNCTIONS
    ]


def _closure(wanted: Sequence[str]) -> set[str]:
    """Return the distributions and everything that they require, without extras."""
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


def layer_megabytes() -> float:
    """Return the size of the built layer as a zip."""
    archive = shutil.make_archive(str(FOLDER / "layer"), "zip", build.SAM_OUTPUT / "Layer/python")
    return Path(archive).stat().st_size / 1e6
