"""What sam has built: complete in itself, and nothing in it that does not belong there."""

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest

from local import build

FUNCTIONS = (
    "ApiFunction",
    "CallbackFunction",
    "EventsFunction",
    "StatusFunction",
    "SweeperFunction",
    "TokenFunction",
    "WebhookFunction",
    "WorkerFunction",
)
# What Lambda's own runtime brings, so that the layer need not.
RUNTIME = ("boto3", "botocore", "s3transfer", "dateutil", "urllib3", "six")

IMPORT = """
import sys, sysconfig
function, layer, runtime = sys.argv[1:]
stdlib = sysconfig.get_path("stdlib")
sys.path = [function, layer, runtime, stdlib, f"{stdlib}/lib-dynload"]
import app
for name in ("smsrelay", "httpx", "pydantic", "phonenumbers", "aws_lambda_powertools"):
    assert sys.modules[name].__file__.startswith(layer), name
"""


@pytest.fixture(scope="module")
def built() -> Path:
    build.artefacts(lambda _: None)
    return build.SAM_OUTPUT


@pytest.mark.parametrize("function", FUNCTIONS)
def test_a_function_imports_with_the_built_layer_and_the_runtime_alone(
    built: Path, tmp_path: Path, function: str
) -> None:
    for name in RUNTIME:
        spec = importlib.util.find_spec(name)
        assert spec is not None
        assert spec.origin is not None
        origin = Path(spec.origin)
        source = origin.parent if origin.name == "__init__.py" else origin
        (tmp_path / source.name).symlink_to(source)
    result = subprocess.run(  # noqa: S603 - this very Python
        [
            sys.executable,
            "-B",  # the built folder stays as it is
            "-I",  # neither this folder nor the environment's packages
            "-S",
            "-c",
            IMPORT,
            str(built / function),
            str(built / "Layer/python"),
            str(tmp_path),
        ],
        env={"PATH": os.environ["PATH"]},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert result.returncode == 0, result.stderr


def test_the_layer_holds_the_package_where_python_finds_it(built: Path) -> None:
    layer = built / "Layer/python"
    assert (layer / "smsrelay/relay.py").exists()
    assert not (layer / "python").exists(), "a python/ folder beside requirements.txt ends here"
    assert not (layer / "boto3").exists(), "boto3 is the runtime's"


@pytest.mark.parametrize("function", FUNCTIONS)
def test_a_function_is_one_module(built: Path, function: str) -> None:
    served = {"openapi.json", "docs.html"} if function == "ApiFunction" else set()
    assert {path.name for path in (built / function).iterdir()} == {"app.py"} | served
