"""Reads the lock files and the installed distributions."""

import re
import sys
from dataclasses import dataclass
from importlib.metadata import Distribution, distributions
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tools import build_layer
from tools.requirements import ROOT

RUNTIME = ROOT / "layers/smsrelay/requirements.txt"
RUNTIME_DIRECT = ROOT / "tools/requirements/runtime.in"
DEVELOPMENT = ROOT / "tools/requirements/dev.txt"
AUDIT = ROOT / "tools/requirements/audit.txt"
LOCKS = (RUNTIME, DEVELOPMENT, AUDIT)

AUDIT_ENVIRONMENT = ROOT / ".venv-audit"

# pip-compile writes the pin, a line for each hash, and the packages that require it.
_PIN = re.compile(
    r"^(?P<name>[\w.-]+)==(?P<version>\S+)(?P<hashes>(?: \\\n +--hash=sha256:\w+)*)", re.MULTILINE
)


@dataclass(frozen=True)
class Pin:
    """A distribution of a lock file; one of the hashes is that of the installed file."""

    name: str
    version: str
    hashes: tuple[str, ...]


def pins(lock: Path) -> dict[str, Pin]:
    """Return the pins of a lock file by canonical name."""
    found: dict[str, Pin] = {}
    for match in _PIN.finditer(lock.read_text()):
        name = canonicalize_name(match["name"])
        hashes = tuple(re.findall(r"sha256:(\w+)", match["hashes"]))
        found[name] = Pin(name, match["version"], hashes)
    return found


def shipped() -> dict[str, Pin]:
    """Return the pins of the runtime's lock file that are in the layer."""
    return {name: pin for name, pin in pins(RUNTIME).items() if name not in build_layer.LEFT_OUT}


def direct() -> list[str]:
    """Return the canonical names of the functions' direct requirements."""
    lines = (line.partition("#")[0].strip() for line in RUNTIME_DIRECT.read_text().splitlines())
    return sorted(canonicalize_name(Requirement(line).name) for line in lines if line)


def installed(environment: Path = Path(sys.prefix)) -> dict[str, Distribution]:
    """Return the distributions in a virtual environment by canonical name."""
    [packages] = environment.glob("lib/python*/site-packages")
    return {canonicalize_name(found.name): found for found in distributions(path=[str(packages)])}
