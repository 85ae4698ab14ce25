"""Tests the files of `make release`: their checksums, and a template that refers to them."""

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest

from smsrelay import __version__
from tools import release
from tools.local_stack import build


@pytest.fixture(scope="module")
def dist(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A release of the build for this machine."""
    build.artefacts(lambda _: None)
    folder = tmp_path_factory.mktemp("release")
    (folder / "bill.json").write_text("{}")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(release, "sam_build", lambda *_: None)
        patch.setattr(release, "BUILT", build.SAM_OUTPUT)
        release.release(folder / "dist", folder / "bill.json")
    return folder / "dist"


@pytest.fixture(scope="module")
def template(dist: Path) -> dict[str, Any]:
    template: dict[str, Any] = json.loads((dist / "template.json").read_text())
    return template


def test_the_template_refers_to_every_zip_and_nested_template(
    dist: Path, template: dict[str, Any]
) -> None:
    referred = [
        resource["Properties"][name]
        for resource in template["Resources"].values()
        for name in ("CodeUri", "ContentUri", "TemplateURL")
        if name in resource.get("Properties", {})
    ]
    packages = [*dist.glob("*.zip"), *dist.glob(f"*{build.NESTED_SUFFIX}")]
    assert sorted(referred) == sorted(f"./{path.name}" for path in packages)


def test_the_release_can_be_deployed_only_for_the_layers_processor(
    template: dict[str, Any],
) -> None:
    parameter = template["Parameters"]["Architecture"]
    assert [parameter["Default"]] == parameter["AllowedValues"] == [release.ARCHITECTURE]


def test_the_checksums_are_those_of_all_other_files(dist: Path) -> None:
    lines = (dist / release.CHECKSUMS).read_text().splitlines()
    sums = {name: digest for digest, name in (line.split("  ") for line in lines)}
    others = [path for path in dist.iterdir() if path.name != release.CHECKSUMS]
    assert sums == {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in others}
    assert {f"smsrelay-{__version__}-py3-none-any.whl", "sbom.cdx.json"} <= sums.keys()
