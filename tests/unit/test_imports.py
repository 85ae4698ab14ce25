"""Checks that imports go one way: functions → wiring → (services, adapters) → rules → errors."""

import ast
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

import smsrelay

PACKAGE = Path(smsrelay.__file__).parent
FUNCTIONS = PACKAGE.parents[2] / "functions"

RULES = {"errors", "messages", "sends", "security", "tokens"}
PORTS = RULES | {"ports"}
ALLOWED = {
    "errors": set[str](),
    "settings": set[str](),
    "messages": {"errors"},
    "client": {"errors", "messages"},
    "sends": {"errors", "messages"},
    "security": {"errors", "messages"},
    "tokens": {"errors", "messages", "sends", "security"},
    "ports": RULES,
    "services": PORTS,
    "adapters": PORTS,
    "runtime": PORTS | {"services"},
    "wiring": PORTS | {"services", "adapters", "settings"},
}
"""The folders and modules that each folder or module of the package may import."""
ALLOWED_IN_FUNCTIONS = {"errors", "ports", "runtime", "sends", "services", "wiring"}

LIBRARIES = {"boto3", "botocore", "httpx", "aws_lambda_powertools"}
"""Only adapters and wiring use these; `runtime` and functions name Powertools' types."""
EFFECTS = {"os", "socket", "time", "random", "threading", "logging"}
"""Modules that the rules must not import, because they are pure."""


def imports(path: Path) -> set[str]:
    """Return the modules that a module imports: `smsrelay.x.y`, and the names of libraries."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found.add(node.module)
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
    return found


def _parts(names: set[str]) -> set[str]:
    """Return the folders and modules of the package among the imported names."""
    return {name.split(".")[1] for name in names if name.startswith("smsrelay.")}


def _libraries(names: set[str]) -> set[str]:
    return {name.partition(".")[0] for name in names}


def _sources(part: str) -> list[Path]:
    folder = PACKAGE / part
    return sorted(folder.glob("*.py")) if folder.is_dir() else [folder.with_suffix(".py")]


def test_every_folder_and_module_of_the_package_has_a_rule() -> None:
    found = {path.stem for path in PACKAGE.iterdir() if not path.name.startswith("__")}
    assert found - {"py"} == ALLOWED.keys()


@pytest.mark.parametrize("part", ALLOWED)
def test_a_folder_imports_only_what_its_rule_allows(part: str) -> None:
    for path in _sources(part):
        assert _parts(imports(path)) - {part, "__version__"} <= ALLOWED[part], path.name


def test_the_allowed_imports_have_no_cycle() -> None:
    assert list(TopologicalSorter(ALLOWED).static_order())


@pytest.mark.parametrize("part", sorted(ALLOWED.keys() - {"adapters", "wiring"}))
def test_only_adapters_and_wiring_use_io_libraries(part: str) -> None:
    allowed = {"aws_lambda_powertools"} if part == "runtime" else set()
    for path in _sources(part):
        assert not _libraries(imports(path)) & LIBRARIES - allowed, path.name


@pytest.mark.parametrize("part", sorted(RULES | {"client"}))
def test_the_rules_are_pure(part: str) -> None:
    # The client library compares a request's times with the application's clock.
    allowed = {"time"} if part == "client" else set()
    for path in _sources(part):
        assert not _libraries(imports(path)) & EFFECTS - allowed, path.name


def test_adapters_have_no_import_cycle() -> None:
    graph = {
        path.stem: {
            name.split(".")[2] for name in imports(path) if name.startswith("smsrelay.adapters.")
        }
        for path in _sources("adapters")
    }
    assert list(TopologicalSorter(graph).static_order())


@pytest.mark.parametrize("path", sorted(FUNCTIONS.glob("*/app.py")), ids=lambda p: p.parent.name)
def test_functions_import_their_wiring_and_no_adapter(path: Path) -> None:
    names = imports(path)
    assert _parts(names) <= ALLOWED_IN_FUNCTIONS
    assert not _libraries(names) & LIBRARIES - {"aws_lambda_powertools"}
