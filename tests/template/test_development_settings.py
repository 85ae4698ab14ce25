"""Checks editor settings, pre-commit and CONTRIBUTING.md against Makefile and pyproject.toml."""

import configparser
import re
import tomllib
from fnmatch import fnmatch
from typing import Any

import yaml

from tests.support.template import ROOT

MAKEFILE = (ROOT / "Makefile").read_text()
TARGETS = dict(re.findall(r"(?m)^([a-z0-9-]+):(?!=)(.*)$", MAKEFILE))
[OF_MAKE_TEST] = re.findall(r"\$\(MAKE\) --no-print-directory -j2 (.+)", MAKEFILE)
PYPROJECT: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text())
HOOKS: list[dict[str, Any]] = [
    hook
    for repository in yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text())["repos"]
    for hook in repository["hooks"]
]


def test_each_hook_is_a_check_of_make_test() -> None:
    checks = {hook["id"] for hook in HOOKS}
    assert checks == {"lint", "types", "template"}
    assert checks <= {*OF_MAKE_TEST.split()}
    for hook in HOOKS:
        assert hook["entry"] == f"make {hook['id']}"
        assert (hook["language"], hook["pass_filenames"]) == ("system", False)


def test_the_template_hook_runs_for_each_template_that_make_checks() -> None:
    [hook] = [hook for hook in HOOKS if hook["id"] == "template"]
    [linted] = re.findall(r"/cfn-lint ([\w. ]+)", MAKEFILE)
    assert linted.split()
    assert all(re.search(hook["files"], name) for name in linted.split())
    assert not re.search(hook["files"], "events/template.yaml")


def test_editors_use_the_line_length_and_the_tabs_of_the_tools() -> None:
    text = (ROOT / ".editorconfig").read_text()
    sections = configparser.ConfigParser()
    sections.read_string("[root]\n" + text)
    python = sections["*.py"]
    assert int(python["max_line_length"]) == PYPROJECT["tool"]["ruff"]["line-length"]
    assert int(python["indent_size"]) == 4
    [tabs] = [name for name in sections if sections[name].get("indent_style") == "tab"]
    patterns = tabs.strip("{}").split(",")
    for makefile in ("Makefile", "layer.mk"):
        assert any(fnmatch(makefile, pattern) for pattern in patterns)


def test_contributing_names_only_targets_that_exist_and_each_tier_of_tests() -> None:
    text = (ROOT / "CONTRIBUTING.md").read_text()
    named = set(re.findall(r"`make ([a-z0-9-]+)`", text))
    assert named <= TARGETS.keys()
    tests = {"unit", "integration", "e2e", "test", "faults", "faults-mutations", "soak", "iam"}
    assert tests | {"tokens", "bench", "fuzz", "lint-openapi"} <= named
