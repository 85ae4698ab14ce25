"""Tests the wheel of `pip install`: the client library and its dependencies."""

import importlib.metadata
import importlib.util
import json
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from tests.support.template import ROOT
from tools import release

SOURCES = ROOT / "layers/smsrelay/smsrelay"
# Including the dependencies of dependencies.
NEEDED = (
    *("pydantic", "pydantic_core", "annotated_types", "typing_extensions", "typing_inspection"),
    "tzdata",
)

USE = """
import json, sys, sysconfig
folders = sys.argv[1:]
stdlib = sysconfig.get_path("stdlib")
sys.path = [*folders, stdlib, f"{stdlib}/lib-dynload"]
from smsrelay.client import MessageRequest, body_of
print(body_of(MessageRequest(message="MzA6Nzg6MA", to=["+1 212 555 0100"], on_unknown="resend")))
loaded = {name.partition(".")[0] for name in sys.modules}
assert not {"boto3", "botocore", "aws_lambda_powertools", "httpx"} & loaded, loaded
"""


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("release")
    release.wheel(folder, folder / "copy")
    [made] = folder.glob("*.whl")
    return made


def test_the_wheel_has_the_client_and_the_rules_of_messages_only(wheel: Path) -> None:
    names = {name for name in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in name}
    rules = {f"smsrelay/messages/{path.name}" for path in (SOURCES / "messages").glob("*.py")}
    top = {"__init__.py", "client.py", "errors.py", "py.typed"}
    assert names == rules | {f"smsrelay/{name}" for name in top}


def test_a_wheel_made_in_another_folder_has_the_same_bytes(wheel: Path, tmp_path: Path) -> None:
    before = os.umask(0o077)
    try:
        release.wheel(tmp_path, tmp_path / "another-folder")
    finally:
        os.umask(before)
    assert (tmp_path / wheel.name).read_bytes() == wheel.read_bytes()


def test_the_wheel_runs_with_its_declared_dependencies_only(wheel: Path, tmp_path: Path) -> None:
    unpacked, needed = tmp_path / "wheel", tmp_path / "needed"
    zipfile.ZipFile(wheel).extractall(unpacked)
    needed.mkdir()
    for name in NEEDED:
        spec = importlib.util.find_spec(name)
        assert spec is not None
        assert spec.origin is not None
        origin = Path(spec.origin)
        source = origin.parent if origin.name == "__init__.py" else origin
        (needed / source.name).symlink_to(source)
    ended = subprocess.run(  # noqa: S603 - the running Python
        [sys.executable, "-B", "-I", "-S", "-c", USE, str(unpacked), str(needed)],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert ended.returncode == 0, ended.stderr
    assert json.loads(ended.stdout) == {
        "message": "MzA6Nzg6MA",
        "to": ["+12125550100"],
        "onUnknown": "resend",
    }
    [metadata] = unpacked.glob("*.dist-info/METADATA")
    asked = importlib.metadata.PathDistribution(metadata.parent).requires or []
    names = {requirement.partition("<")[0].partition(">")[0] for requirement in asked}
    assert names == {"pydantic", "typing-extensions", "tzdata"}


def test_the_wheel_has_the_relays_version() -> None:
    text = (SOURCES / "__init__.py").read_text()
    assert (
        f"version = {text.partition('__version__ = ')[2].strip()}"
        in (ROOT / "pyproject.toml").read_text()
    )
