"""Checks docs/dependencies.md against the locks, and that only wheels are installed."""

import json
import re
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tests.support.template import ROOT
from tools.requirements import locks

PAGE = (ROOT / "docs/dependencies.md").read_text()
REQUIREMENTS = ROOT / "tools/requirements"
SECTIONS = {
    "In the layer": (REQUIREMENTS / "runtime.in", locks.RUNTIME),
    "For development": (REQUIREMENTS / "dev.in", locks.DEVELOPMENT),
    "For the audit": (REQUIREMENTS / "audit.in", locks.AUDIT),
}
ROW = re.compile(
    r"\| (?P<package>[\w@/-]+) \| (?P<locked>[\d.]+) \| (?P<last>.+) \| (?P<reason>.+) \|"
)
LAST_RELEASE = re.compile(r"unknown|20\d\d-\d\d-\d\d( \([\d.]+\))?")


def rows(title: str) -> dict[str, str]:
    """Return the locked version of each package in a section of the page."""
    section = PAGE.split(f"\n## {title}\n")[1].partition("\n## ")[0]
    table = [line for line in section.splitlines() if line.startswith("| ")][1:]
    found = [ROW.fullmatch(line) for line in table if not line.startswith("| ---")]
    assert found
    assert all(found), f"{title}: a row has another form"
    matches = [match for match in found if match]
    assert all(LAST_RELEASE.fullmatch(match["last"]) for match in matches)
    assert len({match["package"] for match in matches}) == len(matches)
    return {match["package"]: match["locked"] for match in matches}


def asked(source: Path) -> set[str]:
    lines = [line.partition("#")[0].strip() for line in source.read_text().splitlines()]
    requirements = [line for line in lines if line and not line.startswith("-r ")]
    return {canonicalize_name(Requirement(line).name) for line in requirements}


def test_each_python_package_has_a_row_with_its_locked_version() -> None:
    for title, (source, lock) in SECTIONS.items():
        pins = locks.pins(lock)
        assert rows(title) == {name: pins[name].version for name in asked(source)}, title


def test_each_npm_package_has_a_row_with_its_locked_version() -> None:
    lock = json.loads((ROOT / "tools/typescript/package-lock.json").read_text())["packages"]
    direct = lock[""]["devDependencies"]
    assert rows("npm") == {name: lock[f"node_modules/{name}"]["version"] for name in direct}


def test_the_page_counts_the_packages_of_the_locks() -> None:
    counts = [len(locks.pins(lock)) for lock in (locks.RUNTIME, locks.DEVELOPMENT, locks.AUDIT)]
    layer, development, audit = counts
    text = " ".join(PAGE.split())
    assert f"{layer} packages for the layer, {development} for development, {audit} for" in text


def test_every_installation_uses_wheels_only() -> None:
    makefile = (ROOT / "Makefile").read_text().replace("\\\n", " ")
    [options] = re.findall(r"(?m)^PIP_OPTIONS := (.+)$", makefile)
    assert {"--require-hashes", "--only-binary :all:"} <= {*re.split(r" (?=--)", options)}
    recipes = [line for line in makefile.splitlines() if line.startswith("\t")]
    installations = [line for line in recipes if re.search(r"-m pip\b", line)]
    assert installations
    assert all(re.search(r"\binstall \$\(PIP_OPTIONS\) ", line) for line in installations)
