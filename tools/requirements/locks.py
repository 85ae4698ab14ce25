"""The locks, and the installed distributions."""

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

# As pip-compile writes it: the pin, then a line for each hash, then who wants it.
_PIN = re.compile(
    r"^(?P<name>[\w.-]+)==(?P<version>\S+)(?P<hashes>(?: \\\n +--hash=sha256:\w+)*)", re.MULTILINE
)


@dataclass(frozen=True)
class Pin:
    """One distribution of a lock; one of the hashes is that of the file that gets installed."""

    name: str
    version: str
    hashes: tuple[str, ...]


def pins(lock: Path) -> dict[str, Pin]:
    """What `lock` allows to be installed, by canonical name."""
    found: dict[str, Pin] = {}
    for match in _PIN.finditer(lock.read_text()):
        name = canonicalize_name(match["name"])
        hashes = tuple(re.findall(r"sha256:(\w+)", match["hashes"]))
        found[name] = Pin(name, match["version"], hashes)
    return found


def shipped() -> dict[str, Pin]:
    """What of the runtime's lock is in the layer."""
    return {name: pin for name, pin in pins(RUNTIME).items() if name not in build_layer.LEFT_OUT}


def direct() -> list[str]:
    """The canonical names of what the functions themselves ask for."""
    lines = (line.partition("#")[0].strip() for line in RUNTIME_DIRECT.read_text().splitlines())
    return sorted(canonicalize_name(Requirement(line).name) for line in lines if line)


def installed(environment: Path = Path(sys.prefix)) -> dict[str, Distribution]:
    """The distributions in a virtual environment, by canonical name."""
    [packages] = environment.glob("lib/python*/site-packages")
    return {canonicalize_name(found.name): found for found in distributions(path=[str(packages)])}
