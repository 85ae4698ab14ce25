"""Checks that shipped code uses no private names of its dependencies.

The only exception: the transport replaces the connection pool in httpx's private attribute.
"""

import ast
import dis
import importlib
import importlib.util
import inspect
import pkgutil
import sys
from collections.abc import Iterator
from pathlib import Path
from types import FunctionType, ModuleType

import httpcore
import httpx
import pytest

import smsrelay
import smsrelay_cli
from tests.support.template import ROOT

SHIPPED = sorted(
    path for folder in ("layers", "functions", "cli") for path in (ROOT / folder).rglob("*.py")
)
DOCUMENTED = {"_asdict", "_fields", "_replace"}
"""Public methods of named tuples; the underscore only separates them from the fields."""
BY_NAME = {"getattr", "setattr", "hasattr", "delattr"}
MADE_BY_ABC = {"_abc_impl"}
"""Names that the standard library adds to each abstract class."""


def is_private(name: str) -> bool:
    return name.startswith("_") and not name.startswith("__")


class PrivateNames(ast.NodeVisitor):
    """Collects the private names that a module uses of objects other than `self` and `cls`."""

    def __init__(self) -> None:
        self.found: list[str] = []
        self._own: set[str] = set()
        """The attributes that the surrounding class declares."""

    def visit_ClassDef(self, node: ast.ClassDef) -> None:
        outer = self._own
        self._own = {
            item.target.id
            for item in node.body
            if isinstance(item, ast.AnnAssign) and isinstance(item.target, ast.Name)
        }
        self.generic_visit(node)
        self._own = outer

    def visit_Attribute(self, node: ast.Attribute) -> None:
        is_own = isinstance(node.value, ast.Name) and node.value.id in {"self", "cls"}
        if not is_own and node.attr not in DOCUMENTED | self._own:
            self._look_at(node.attr, node)
        self.generic_visit(node)

    def visit_Call(self, node: ast.Call) -> None:
        if isinstance(node.func, ast.Name) and node.func.id in BY_NAME:
            name = node.args[1]
            if isinstance(name, ast.Constant):
                self._look_at(str(name.value), node)
        self.generic_visit(node)

    def visit_Import(self, node: ast.Import) -> None:
        for alias in node.names:
            self._look_at(alias.name, node)

    def visit_ImportFrom(self, node: ast.ImportFrom) -> None:
        if f"{node.module}".startswith("smsrelay"):
            return  # the project's own modules
        for alias in node.names:
            self._look_at(f"{node.module}.{alias.name}", node)

    def _look_at(self, name: str, node: ast.AST) -> None:
        if any(is_private(part) for part in name.split(".")):
            self.found.append(ast.unparse(node))


def private_names(source: str) -> list[str]:
    finder = PrivateNames()
    finder.visit(ast.parse(source))
    return finder.found


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: str(path.relative_to(ROOT)))
def test_shipped_code_uses_no_private_name_of_a_dependency(path: Path) -> None:
    assert not private_names(path.read_text())


@pytest.mark.parametrize(
    "line",
    [
        "client._endpoint",
        "client._endpoint = None",
        "super()._send(request)",
        "self.client._endpoint.close()",
        "getattr(client, '_endpoint')",
        "import httpx._client",
        "from httpx._client import Client",
        "from httpx import _client",
    ],
)
def test_a_private_name_is_found(line: str) -> None:
    assert private_names(f"class Adapter:\n    def call(self, client):\n        {line}")


def test_a_classs_own_private_names_are_allowed() -> None:
    assert not private_names(
        "class Request:\n"
        "    _original: str\n"
        "    def copy(self, copied):\n"
        "        copied._original = self._text\n"
        "        return copied._replace(a=1), copied.__dict__\n"
    )


def modules() -> Iterator[ModuleType]:
    """Yield all shipped modules that can be imported, and the functions' modules."""
    for package in (smsrelay, smsrelay_cli):
        for found in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
            if not found.name.endswith("__main__"):
                yield importlib.import_module(found.name)
    for path in sorted((ROOT / "functions").glob("*/app.py")):
        spec = importlib.util.spec_from_file_location(f"{path.parent.name}_app", path)
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        yield module


def methods(owner: type) -> Iterator[FunctionType]:
    return filter(inspect.isfunction, vars(owner).values())


def taken(owner: type) -> set[str]:
    """Return the private names that a class defines, or that its methods assign."""
    stored = {
        step.argval
        for method in methods(owner)
        for step in dis.get_instructions(method)
        if step.opname == "STORE_ATTR"
    }
    return {name for name in stored | {*vars(owner)} - MADE_BY_ABC if is_private(name)}


def used(base: type) -> set[str]:
    """Return the names that a class defines, or that its methods read or assign."""
    return {*vars(base)}.union(*(method.__code__.co_names for method in methods(base)))


def test_no_class_overrides_a_private_name_of_a_dependencys_base_class() -> None:
    no_dependency = {"smsrelay", "smsrelay_cli", *sys.stdlib_module_names}
    found = {
        (owner.__name__, name)
        for module in modules()
        for owner in vars(module).values()
        if inspect.isclass(owner) and owner.__module__ == module.__name__
        for base in owner.__mro__[1:]
        if base.__module__.partition(".")[0] not in no_dependency
        for name in taken(owner) & used(base)
    }
    assert found == {("KeepAliveTransport", "_pool")}


def test_httpx_still_has_the_attribute_that_the_transport_replaces() -> None:
    with httpx.HTTPTransport() as transport:
        assert isinstance(transport._pool, httpcore.ConnectionPool)  # noqa: SLF001 - the exception
