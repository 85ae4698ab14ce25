"""What sam has built: complete in itself, and nothing in it that does not belong there."""

import importlib.util
import json
import re
import shutil
import ssl
import sysconfig
from collections.abc import Iterator
from importlib.machinery import SourcelessFileLoader
from pathlib import Path

import pytest

import build_layer
from local import build
from tests.support import built as support

HASHED_AND_UNCHECKED = 0b01

FUNCTIONS = (
    "ApiFunction",
    "CallbackFunction",
    "EventsFunction",
    "IamFunction",
    "StatusFunction",
    "SweeperFunction",
    "TokenFunction",
    "WebhookFunction",
    "WorkerFunction",
)

IMPORT = """
import importlib.machinery, sys, sysconfig
function, layer, runtime = sys.argv[1:]
stdlib = sysconfig.get_path("stdlib")
sys.path = [function, layer, runtime, stdlib, f"{stdlib}/lib-dynload"]
compile_source = importlib.machinery.SourceFileLoader.source_to_code
def source_to_code(loader, data, path, **more):
    assert not path.startswith((function, layer)), f"{path} is compiled"
    return compile_source(loader, data, path, **more)
importlib.machinery.SourceFileLoader.source_to_code = source_to_code
import app
for name in {"smsrelay", "httpx", "pydantic", "aws_lambda_powertools"} & sys.modules.keys():
    assert sys.modules[name].__file__.startswith(layer), name
"""

TRUSTED = """
import sys, sysconfig
function, layer, runtime = sys.argv[1:]
stdlib = sysconfig.get_path("stdlib")
sys.path = [function, layer, runtime, stdlib, f"{stdlib}/lib-dynload"]
from smsrelay.adapters import keepalive
assert str(keepalive.AUTHORITIES) == f"{layer}/authorities"
assert not keepalive.trusted().get_ca_certs(), "all of them were read"
"""


@pytest.fixture(scope="module")
def built() -> Path:
    build.artefacts(lambda _: None)
    return build.SAM_OUTPUT


@pytest.fixture
def runtime(tmp_path: Path) -> Path:
    return support.runtime(tmp_path / "runtime")


@pytest.mark.parametrize("function", FUNCTIONS)
def test_a_function_imports_with_the_built_layer_and_the_runtime_alone(
    built: Path, runtime: Path, function: str
) -> None:
    support.run_built(IMPORT, built / function, built / "Layer/python", runtime)


@pytest.mark.parametrize("part", ["Layer", *FUNCTIONS])
def test_all_code_has_bytecode_that_python_takes_without_a_look_at_the_source(
    built: Path, part: str
) -> None:
    sources = list((built / part).rglob("*.py"))
    assert sources
    for source in sources:
        bytecode = Path(importlib.util.cache_from_source(str(source)))
        head = bytecode.read_bytes()[:8]
        assert head[:4] == importlib.util.MAGIC_NUMBER, source
        assert int.from_bytes(head[4:], "little") == HASHED_AND_UNCHECKED, source
    assert len(list((built / part).rglob("*.pyc"))) == len(sources)


def test_the_layer_has_five_megabytes_at_most(built: Path, tmp_path: Path) -> None:
    package = shutil.make_archive(str(tmp_path / "layer"), "zip", built / "Layer")
    assert Path(package).stat().st_size <= 5_000_000


def test_the_layer_trusts_certifis_certificate_authorities_and_no_others(built: Path) -> None:
    layer = built / "Layer/python"
    theirs = list(_certificates((layer / "certifi/cacert.pem").read_text()))
    ours = [
        pem
        for path in (layer / build_layer.AUTHORITIES).iterdir()
        for pem in _certificates(path.read_text())
    ]
    assert len(theirs) > 100
    assert sorted(ours) == sorted(theirs)


def test_the_layers_own_folder_of_them_is_what_is_used(built: Path, runtime: Path) -> None:
    support.run_built(TRUSTED, built / "ApiFunction", built / "Layer/python", runtime)


def _certificates(text: str) -> Iterator[bytes]:
    """As the standard library reads them, whatever stands around them."""
    found = re.findall(r"-----BEGIN CERTIFICATE-----.+?-----END CERTIFICATE-----", text, re.DOTALL)
    return map(ssl.PEM_cert_to_DER_cert, found)


def test_places_in_tracebacks_are_those_in_lambda(built: Path) -> None:
    for part, place in (
        ("Layer/python/smsrelay/relay.py", "/opt/python/smsrelay/relay.py"),
        ("Layer/python/pydantic/main.py", "/opt/python/pydantic/main.py"),
        ("ApiFunction/app.py", "/var/task/app.py"),
    ):
        bytecode = Path(importlib.util.cache_from_source(str(built / part)))
        code = SourcelessFileLoader(part, str(bytecode)).get_code(part)
        assert code is not None
        assert code.co_filename == place


def test_the_layer_holds_the_package_where_python_finds_it(built: Path) -> None:
    layer = built / "Layer/python"
    assert (layer / "smsrelay/relay.py").exists()
    assert not (layer / "python").exists(), "a python/ folder beside requirements.txt ends here"
    assert not (layer / "boto3").exists(), "boto3 is the runtime's"


def test_events_invoke_the_functions_themselves() -> None:
    """A changed parameter then takes effect with the deployment: no alias points at a version."""
    resources = build.artefacts(lambda _: None).template["Resources"]
    types = {resource["Type"] for resource in resources.values()}
    assert not types & {"AWS::Lambda::Alias", "AWS::Lambda::Version"}
    invoked = [
        resource["Properties"]["FunctionName"]["Ref"]
        for resource in resources.values()
        if resource["Type"] in {"AWS::Lambda::EventSourceMapping", "AWS::Lambda::Permission"}
    ]
    for resource in resources.values():
        if resource["Type"] == "AWS::Scheduler::Schedule":
            function, attribute = resource["Properties"]["Target"]["Arn"]["Fn::GetAtt"]
            assert attribute == "Arn"
            invoked.append(function)
    assert set(invoked) == set(FUNCTIONS)
    routes = json.dumps(resources["Api"]["Properties"]["Body"])
    integrations = set(re.findall(r"functions/\$\{([\w.]+)\}/invocations", routes))
    assert integrations == {"ApiFunction.Arn", "IamFunction.Arn", "WebhookFunction.Arn"}


@pytest.mark.parametrize("function", FUNCTIONS)
def test_a_function_is_one_module(built: Path, function: str) -> None:
    served = {"openapi.json", "docs.html"} if function in {"ApiFunction", "IamFunction"} else set()
    served |= {"app.py", "__pycache__"}
    assert {path.name for path in (built / function).iterdir()} == served


def test_every_pattern_of_what_is_left_out_says_what_lies_there(built: Path) -> None:
    layer = built / "Layer/python"
    assert not [path for path in build_layer.unused(layer) if path.name != "__pycache__"]
    environment = Path(sysconfig.get_path("purelib"))
    commands = "bin"  # in an environment they lie elsewhere
    for pattern in set(build_layer.UNUSED) - {commands}:
        assert next(environment.glob(pattern), None), pattern
