"""Dependencies point one way: functions → bootstrap → the core → ports ← adapters."""

import ast
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

import smsrelay

PACKAGE = Path(smsrelay.__file__).parent
OUTSIDE = {"boto3", "botocore", "httpx", "aws_lambda_powertools"}
CORE = sorted(PACKAGE.glob("*.py"))
PURE = {
    "calling_codes",
    "catalogue",
    "changes",
    "client",
    "client_names",
    "correlation",
    "decoding",
    "delivery",
    "envelopes",
    "errors",
    "freshness",
    "grant",
    "hosts",
    "identity",
    "life",
    "mobile",
    "outcome",
    "redaction",
    "refusals",
    "request",
    "retry",
    "schedule",
    "signature",
    "send",
    "translation",
}
EFFECTS = {"os", "socket", "time", "random", "threading", "logging", "smsrelay.relay"}


def imports(path: Path) -> set[str]:
    """The modules that a module imports, `smsrelay.x` and top-level names of others."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found.add(node.module)
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
    return found


def reaches(path: Path, names: set[str]) -> set[str]:
    return {name for name in imports(path) if name in names or name.partition(".")[0] in names}


def _adapters(names: set[str]) -> set[str]:
    """The modules of adapters among what is imported."""
    found = {name.split(".")[2] for name in names if name.startswith("smsrelay.adapters.")}
    return {name for name in found if (PACKAGE / "adapters" / f"{name}.py").exists()}


@pytest.mark.parametrize("path", CORE, ids=lambda path: path.stem)
def test_the_core_knows_no_adapter_and_no_library_of_the_outside(path: Path) -> None:
    assert not reaches(path, OUTSIDE)
    assert not {name for name in imports(path) if name.startswith("smsrelay.adapters")}
    assert not {name for name in imports(path) if name.startswith("smsrelay.bootstrap")}


@pytest.mark.parametrize("name", sorted(PURE))
def test_decisions_are_pure(name: str) -> None:
    assert not reaches(PACKAGE / f"{name}.py", EFFECTS)


@pytest.mark.parametrize("path", sorted((PACKAGE / "adapters").glob("*.py")), ids=lambda p: p.stem)
def test_adapters_know_the_core_and_each_other_but_not_who_builds_them(path: Path) -> None:
    assert not {name for name in imports(path) if name.startswith("smsrelay.bootstrap")}


def test_adapters_do_not_go_round_in_circles() -> None:
    known = {path.stem: _adapters(imports(path)) for path in (PACKAGE / "adapters").glob("*.py")}
    assert list(TopologicalSorter(known).static_order())


@pytest.mark.parametrize(
    "name", ["api", "callback", "events", "status", "sweeper", "token", "webhook", "worker"]
)
def test_functions_know_no_adapter(name: str) -> None:
    path = PACKAGE.parents[2] / "functions" / name / "app.py"
    assert not {entry for entry in imports(path) if entry.startswith("smsrelay.adapters")}
    assert not reaches(path, {"boto3", "botocore", "httpx"})
