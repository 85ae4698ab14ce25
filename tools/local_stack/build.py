"""Builds the artefacts of a stack with sam, packages them, and transforms the template.

Nested templates are packaged, too; they need no transformation.

The result is in .aws-sam/local/packages/. It is built again only if its inputs have changed. If
two commands need it at the same time, only one builds it.
"""

import contextlib
import fcntl
import hashlib
import importlib.metadata
import io
import json
import logging
import os
import platform
import shutil
import subprocess
import sys
import time
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import boto3
import yaml

from tools import build_layer
from tools.local_stack import ROOT
from tools.local_stack.aws import REGION
from tools.local_stack.processes import last_lines

TEMPLATES = (ROOT / "template.yaml", ROOT / "monitoring.yaml")
SOURCES = (ROOT / "functions", ROOT / "layers" / "smsrelay")
SAM_FOLDER = ROOT / ".aws-sam"
SAM_OUTPUT = SAM_FOLDER / "local" / "build"
"""Not sam's own folder: `sam deploy` must not deploy a build for this machine."""
RESULT = SAM_FOLDER / "local" / "packages"
SAM_SETTINGS = SAM_FOLDER / "settings"
LOG = ROOT / ".local" / "build.log"

BUCKET = "smsrelay-artefacts"
"""The bucket of the packages and nested templates, as the transformed template names it."""

ARCHITECTURES = {"x86_64": "x86_64", "aarch64": "arm64", "arm64": "arm64"}
CODE_PROPERTIES = ("CodeUri", "ContentUri")
NESTED_SUFFIX = ".template.json"
FILE_MODE = 0o100644
"""Lambda needs read permission for everyone; nothing in the zips is run as a program."""

Template = dict[str, Any]


class BuildError(Exception):
    """The build failed; the message is for the user."""


@dataclass(frozen=True)
class Artefacts:
    """A transformed template, and the files that it refers to, by S3 key."""

    template: Template
    nested: dict[str, Template]
    packages: dict[str, bytes]


def architecture() -> str:
    """Return Lambda's name for the architecture of this machine."""
    return ARCHITECTURES[platform.machine()]


def artefacts(say: Callable[[str], None]) -> Artefacts:
    """Return the artefacts of the current sources, and build them if they are out of date.

    Raises:
        BuildError: sam could not build them.
    """
    with _locked():
        inputs = _fingerprint()
        stamp = RESULT / "inputs.sha256"
        if not stamp.exists() or stamp.read_text() != inputs:
            say("building with sam …")
            began = time.monotonic()
            _build()
            stamp.write_text(inputs)
            say(f"built in {time.monotonic() - began:.1f} s")
        return Artefacts(
            template=json.loads((RESULT / "template.json").read_bytes()),
            nested={
                path.name: json.loads(path.read_bytes())
                for path in RESULT.glob(f"*{NESTED_SUFFIX}")
            },
            packages={path.name: path.read_bytes() for path in RESULT.glob("*.zip")},
        )


@contextlib.contextmanager
def _locked() -> Iterator[None]:
    SAM_FOLDER.mkdir(exist_ok=True)
    with (SAM_FOLDER / "local.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _fingerprint() -> str:
    """Return a hash of all inputs of the build."""
    digest = hashlib.sha256()
    for part in (
        architecture(),
        platform.python_version(),
        importlib.metadata.version("aws-sam-cli"),
        importlib.metadata.version("aws-sam-translator"),
    ):
        digest.update(f"{part}\n".encode())
    files = (path for folder in SOURCES for path in folder.rglob("*") if path.is_file())
    for path in (*TEMPLATES, Path(__file__), Path(build_layer.__file__), *sorted(files)):
        if "__pycache__" not in path.parts:
            content = path.read_bytes()
            digest.update(f"{path.relative_to(ROOT)} {len(content)}\n".encode())
            digest.update(content)
    return digest.hexdigest()


def _build() -> None:
    sam_build(SAM_OUTPUT, architecture())
    template = package(
        SAM_OUTPUT, RESULT, f"s3://{BUCKET}", f"https://s3.{REGION}.amazonaws.com/{BUCKET}"
    )
    (RESULT / "template.json").write_text(json.dumps(transform(template)))


def package(built: Path, target: Path, code_place: str, nested_place: str) -> Template:
    """Write the zips and nested templates of what sam has built into a new folder `target`.

    Returns:
        the template, which refers to them by their names below `code_place` and `nested_place`.
    """
    shutil.rmtree(target, ignore_errors=True)
    target.mkdir()
    template: Template = yaml.safe_load((built / "template.yaml").read_text())
    for name, resource in template["Resources"].items():
        properties = resource.get("Properties", {})
        for code in CODE_PROPERTIES:
            if isinstance(location := properties.get(code), str):
                key = f"{name}.zip"
                (target / key).write_bytes(zipped(built / location))
                properties[code] = f"{code_place}/{key}"
        if resource["Type"] == "AWS::CloudFormation::Stack":
            key = f"{name}{NESTED_SUFFIX}"
            nested = yaml.safe_load((built / properties["TemplateURL"]).read_text())
            (target / key).write_text(json.dumps(nested))
            properties["TemplateURL"] = f"{nested_place}/{key}"
    return template


def sam_build(target: Path, processor: str) -> None:
    """Run `sam build` for `processor` into `target`, with its output in the log.

    sam's cache is off, because it does not notice changes of all files that a Makefile reads. The
    layer's dependencies are cached in .aws-sam/dependencies.

    Raises:
        BuildError: sam could not build it.
    """
    LOG.parent.mkdir(exist_ok=True)
    command = [sys.executable, "-m", "samcli", "build", "--no-cached"]
    command += ["--build-dir", str(target)]
    command += ["--parameter-overrides", f"Architecture={processor}"]
    with LOG.open("w") as log:
        result = subprocess.run(  # noqa: S603 - the command is fixed
            command, cwd=ROOT, env=sam_environment(), stdout=log, stderr=log, check=False
        )
    if result.returncode:
        raise BuildError(
            f"sam build failed ({LOG.relative_to(ROOT)}):\n{last_lines(LOG)}\n"
            "The first build needs the network, for the layer's dependencies."
        )


def sam_environment() -> dict[str, str]:
    """Return an environment without telemetry and version checks, and with this Python first."""
    SAM_SETTINGS.mkdir(parents=True, exist_ok=True)
    (SAM_SETTINGS / "metadata.json").write_text(
        json.dumps({"telemetryEnabled": False, "lastVersionCheck": time.time()})
    )
    return os.environ | {
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}",
        "SAM_CLI_TELEMETRY": "0",
        "__SAM_CLI_APP_DIR": str(SAM_SETTINGS),
    }


def zipped(folder: Path) -> bytes:
    """Return a zip of `folder`: the same bytes for the same files, whatever their dates and modes.

    It is not compressed, because other versions of zlib write other bytes.
    """
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w", zipfile.ZIP_STORED) as package:
        for path in sorted(folder.rglob("*")):
            if path.is_file():
                entry = zipfile.ZipInfo(path.relative_to(folder).as_posix())  # of 1 January 1980
                entry.external_attr = FILE_MODE << 16
                package.writestr(entry, path.read_bytes())
    return content.getvalue()


def transform(template: Template) -> Template:
    """Apply CloudFormation's AWS::Serverless transform to `template`."""
    # Imported here, because it takes 0.4 s, and is needed only after a change.
    from samtranslator.parser.parser import Parser  # noqa: PLC0415
    from samtranslator.translator.translator import Translator  # noqa: PLC0415

    logging.getLogger("samtranslator").setLevel(logging.ERROR)
    translator = Translator({}, Parser(), boto_session=boto3.Session(region_name=REGION))
    transformed: Template = translator.translate(
        template, parameter_values={"Architecture": architecture()}
    )
    return transformed
