"""Checks that dependencies are locked, listed and allowed, and that weaknesses fail the audit."""

import ast
import json
import os
import re
import subprocess
import sys
import tokenize
from collections.abc import Callable, Iterator
from importlib.metadata import distributions, packages_distributions
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

import smsrelay
from tests.support.template import ROOT, template
from tools.local_stack import build
from tools.requirements import locks

INPUTS = sorted((ROOT / "tools/requirements").glob("*.in"))
LOCK_OF = {"audit": locks.AUDIT, "dev": locks.DEVELOPMENT, "runtime": locks.RUNTIME}
CODE = sorted(ROOT.glob("[!.]*/**/*.py"))

LOOSE_LINE = re.compile(r"(?m)^(?![\w.-]+==\S+ \\$| +--hash=sha256:[0-9a-f]{64}( \\)?$| *#|$)")
ELSEWHERE = re.compile(r"://|(^|\s)--?(i|index-url|extra-index-url|f|find-links|trusted-host|e)\b")

# A reason consists of words besides the codes.
SECURITY_NOQA = re.compile(r"noqa: (?:[A-Z]+\d+, )*S\d+(?:, [A-Z]+\d+)*")
REASON = re.compile(r"[a-z]{2,} [a-z]{2,}")

PLANTED_CODE = "import subprocess\nsubprocess.run(input(), shell=True)\n"
PLANTED_TEMPLATE = {
    "Resources": {
        "Role": {
            "Type": "AWS::IAM::Role",
            "Properties": {
                "AssumeRolePolicyDocument": {
                    "Statement": [
                        {"Effect": "Allow", "Principal": {"AWS": "*"}, "Action": "sts:AssumeRole"}
                    ]
                }
            },
        }
    }
}

Run = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(scope="module")
def run() -> Run:
    """Runs a command in the checkout, as a user's shell does."""
    inherited = {name: value for name, value in os.environ.items() if "MAKE" not in name}
    inherited.pop("MFLAGS", None)

    def command(*words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(  # noqa: S603 - our own commands
            words,
            cwd=ROOT,
            env=inherited,
            capture_output=True,
            text=True,
            check=False,
            timeout=300,
        )

    return command


@pytest.fixture(scope="module")
def audit_environment(run: Run) -> Path:
    result = run("make", ".venv-audit/ready")
    assert result.returncode == 0, result.stdout
    return locks.AUDIT_ENVIRONMENT


@pytest.fixture(scope="module")
def layer() -> Path:
    build.artefacts(lambda _: None)
    return build.SAM_OUTPUT / "Layer/python"


# Locks.


def test_no_requirements_are_left_unlocked() -> None:
    found = [*(ROOT / "tools/requirements").glob("*.txt"), *ROOT.glob("layers/*/requirements.txt")]
    assert sorted(found) == sorted(locks.LOCKS)
    assert not [*ROOT.glob("functions/*/requirements.txt")], "a function is one module"


@pytest.mark.parametrize("lock", locks.LOCKS, ids=lambda lock: lock.parent.name + "/" + lock.name)
def test_a_lock_pins_every_file_by_hash_and_has_no_paths(lock: Path) -> None:
    text = lock.read_text()
    assert LOOSE_LINE.search(text) is None
    assert all(pin.hashes for pin in locks.pins(lock).values())
    assert ELSEWHERE.search(re.sub("(?m) *#.*", "", text).replace("--hash", "")) is None


@pytest.mark.parametrize("source", INPUTS, ids=lambda source: source.stem)
def test_a_lock_contains_all_requirements(source: Path) -> None:
    lines = [line.partition("#")[0].strip() for line in source.read_text().splitlines()]
    asked = [Requirement(line) for line in lines if line and not line.startswith("-r ")]
    pins = locks.pins(LOCK_OF[source.stem])
    assert asked
    for requirement in asked:
        assert pins[canonicalize_name(requirement.name)].version in requirement.specifier


def test_tests_use_the_shipped_versions() -> None:
    shipped, tested = locks.pins(locks.RUNTIME), locks.pins(locks.DEVELOPMENT)
    assert shipped.items() <= tested.items()
    environment = locks.installed()
    assert {name: environment[name].version for name in tested} == {
        name: pin.version for name, pin in tested.items()
    }


def test_the_layer_contains_exactly_the_shipped_packages(layer: Path) -> None:
    found = {canonicalize_name(it.name): it.version for it in distributions(path=[str(layer)])}
    assert found == {name: pin.version for name, pin in locks.shipped().items()}


def test_imported_packages_are_locked_and_requirements_are_imported() -> None:
    origins = packages_distributions()
    imported = {
        canonicalize_name(origin)
        for folder in ("functions", "layers/smsrelay/smsrelay")
        for path in (ROOT / folder).rglob("*.py")
        for module in imports(path)
        for origin in set(origins[module])
    }
    by_name_only = {"tzdata"}  # zoneinfo imports it by name
    assert imported <= locks.pins(locks.RUNTIME).keys()
    assert imported >= set(locks.direct()) - by_name_only


def imports(path: Path) -> set[str]:
    """Return the top-level modules of dependencies that `path` imports at run time."""
    found = set()
    nodes = list(ast.walk(ast.parse(path.read_text())))
    for_types = {
        inner
        for node in nodes
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"
        for statement in node.body
        for inner in ast.walk(statement)
    }
    for node in set(nodes) - for_types:
        if isinstance(node, ast.Import):
            found |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            found.add(node.module.partition(".")[0])
    return found - set(sys.stdlib_module_names) - {"smsrelay"}


# Licences and the bill of materials.


def test_every_licence_text_is_shipped(layer: Path) -> None:
    ours = {text.stem for text in layer.glob("licences/*.txt")}  # for wheels without a licence text
    for folder in layer.glob("*.dist-info"):
        texts = [it for it in folder.rglob("*") if re.match("(?i)licen[cs]e", it.name)]
        assert texts or folder.name.partition("-")[0] in ours, folder.name


def test_the_page_of_licences_is_up_to_date(run: Run, tmp_path: Path) -> None:
    committed = (ROOT / "docs/licences.md").read_text()
    page = tmp_path / "licences.md"
    page.write_text(committed)
    result = run("make", "licences", f"LICENCES_PAGE={page}")
    assert result.returncode == 0, result.stdout + result.stderr
    assert page.read_text() == committed, "run `make licences`"
    names = {canonicalize_name(name) for name in re.findall(r"(?m)^\| ([\w-]+) +\|", committed)}
    assert names - {"name"} == set(locks.shipped())


def test_a_licence_that_is_not_allowed_stops_make_licences(run: Run, tmp_path: Path) -> None:
    page = tmp_path / "licences.md"
    page.write_text("<!-- written by make licences -->\n")
    result = run("make", "licences", f"LICENCES_PAGE={page}", "ALLOWED_LICENCES=MIT;MIT License")
    assert result.returncode != 0
    assert "was found for package" in result.stderr


def test_the_bill_of_materials_lists_what_is_shipped(run: Run, tmp_path: Path) -> None:
    texts = []
    for name in ("first", "second"):
        result = run("make", "sbom", f"SBOM={tmp_path / name}")
        assert result.returncode == 0, result.stdout + result.stderr
        texts.append((tmp_path / name).read_text())
    assert texts[0] == texts[1], "two runs must give the same result"
    bill = json.loads(texts[0])
    assert bill["bomFormat"] == "CycloneDX"
    assert bill["metadata"]["component"]["name"] == "smsrelay"
    assert bill["metadata"]["component"]["version"] == smsrelay.__version__
    assert {it["purl"] for it in bill["components"]} == {
        f"pkg:pypi/{pin.name}@{pin.version}" for pin in locks.shipped().values()
    }
    assert all(it["licenses"] for it in bill["components"])
    requires = {it["ref"]: it.get("dependsOn", []) for it in bill["dependencies"]}
    pins = locks.shipped()
    assert f"httpcore=={pins['httpcore'].version}" in requires[f"httpx=={pins['httpx'].version}"]


# Audits.


def test_make_test_checks_all_code_and_templates(run: Run) -> None:
    # `make -n` runs the lines that contain $(MAKE): all of `test` would test the client library.
    checks = {"audit", "template"}
    assert checks <= {*run("make", "-n", "test", "MAKE=echo").stdout.split()}
    commands = re.split(r"&&|;|\n", run("make", "-n", *checks).stdout)
    code, tests = (command.split() for command in commands if "bin/bandit " in command)
    [templates] = (command.split() for command in commands if "bin/checkov " in command)
    assert {path.relative_to(ROOT).parts[0] for path in CODE} <= {*code, *tests}
    transformed = str((build.RESULT / "template.json").relative_to(ROOT))
    assert {"template.yaml", "monitoring.yaml", transformed} <= {*templates}
    [linted] = (command.split() for command in commands if "bin/cfn-lint " in command)
    assert {"template.yaml", "monitoring.yaml"} <= {*linted}


def test_a_weakness_in_code_stops_the_audit(run: Run, tmp_path: Path) -> None:
    (tmp_path / "planted.py").write_text(PLANTED_CODE)
    result = run("make", "audit", f"AUDITED_CODE={tmp_path}")
    assert result.returncode != 0
    assert "B602" in result.stdout


def test_a_weakness_in_a_template_stops_the_audit(run: Run, tmp_path: Path) -> None:
    planted = tmp_path / "planted.json"
    planted.write_text(json.dumps(PLANTED_TEMPLATE))
    no_code = [f"{name}=tools/__init__.py" for name in ("AUDITED_CODE", "AUDITED_TESTS")]
    result = run("make", "audit", *no_code, f"AUDITED_TEMPLATES={planted}")
    assert result.returncode != 0
    assert "CKV_AWS_60" in result.stdout  # a role that everybody may assume


# Suppressions: each has a reason, and is needed.


def comments() -> Iterator[tuple[str, int, str]]:
    for path in CODE:
        with path.open("rb") as source:
            for token in tokenize.tokenize(source.readline):
                if token.type == tokenize.COMMENT:
                    yield str(path.relative_to(ROOT)), token.start[0], token.string


def test_every_suppression_in_code_has_a_reason() -> None:
    suppressions = [it for it in comments() if SECURITY_NOQA.search(it[2]) or "nosec" in it[2]]
    assert suppressions
    for path, line, text in suppressions:
        assert "nosec" not in text or re.search(r"nosec B\d{3}$", text), f"{path}:{line}: no code"
        words = re.sub(r"nosec B\d{3}", "", SECURITY_NOQA.sub("", text))
        assert REASON.search(words.lower()), f"{path}:{line}: a suppression without a reason"


def test_every_suppression_in_a_configuration_has_a_reason() -> None:
    pyproject = (ROOT / "pyproject.toml").read_text()
    rules = re.findall(r'(?m)^ +"[A-Z]+\d*",.*$', pyproject)
    assert all("  # " in rule for rule in rules)
    assert set(re.findall(r'"(B\d{3})",  # ', pyproject)) == {"B311", "B404", "B603"}
    lines = (ROOT / ".checkov.yaml").read_text().splitlines()
    skips = [number for number, line in enumerate(lines) if line.startswith("  - ")]
    assert skips
    assert all(lines[number - 1].startswith("  # ") for number in skips)


def test_every_suppression_of_bandit_is_needed(run: Run) -> None:
    folders = {path.relative_to(ROOT).parts[0] for path in CODE} - {"tests"}
    config = ("-c", "pyproject.toml", "-x", "tools/bench", "--ignore-nosec", "-q", "-f", "json")
    result = run(str(ROOT / ".venv/bin/bandit"), *config, "-r", *sorted(folders))
    found = {(it["filename"], it["line_number"]) for it in json.loads(result.stdout)["results"]}
    assert found == {(path, line) for path, line, text in comments() if "nosec" in text}


def test_every_suppression_of_checkov_is_needed(run: Run, audit_environment: Path) -> None:
    build.artefacts(lambda _: None)
    everything = ("--skip-check", "NONE", "-o", "json")
    config = ("--config-file", ".checkov.yaml", *everything)
    # `make audit` checks all templates for other findings.
    transformed = str(build.RESULT / "template.json")
    result = run(str(audit_environment / "bin/checkov"), *config, "-f", transformed)
    found = {it["check_id"] for it in json.loads(result.stdout)["results"]["failed_checks"]}
    assert found == set(yaml.safe_load((ROOT / ".checkov.yaml").read_text())["skip-check"])


def test_queues_are_encrypted_although_checkov_does_not_see_it() -> None:
    queues = [it for it in template()["Resources"].values() if it["Type"] == "AWS::SQS::Queue"]
    assert queues
    for queue in queues:
        sqs_own = {"Fn::If": ["HasKey", False, True]}
        assert queue["Properties"]["SqsManagedSseEnabled"] == sqs_own
