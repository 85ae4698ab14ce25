"""Tests the result of `sam build`: it is complete, and contains nothing superfluous."""

import importlib.util
import json
import os
import re
import shutil
import sysconfig
import zipfile
from importlib.machinery import SourcelessFileLoader
from pathlib import Path
from typing import Any

import pytest
from botocore.loaders import Loader

from tests.support.permissions import services_in
from tests.support.template import ROOT, run_built
from tools import build_layer
from tools.local_stack import build

HASHED_AND_UNCHECKED = 0b01

CHECKOUT = ("template.yaml", "monitoring.yaml", "functions", "layers", "tools/build_layer.py")

FUNCTIONS = (
    "ApiFunction",
    "CallbackSenderFunction",
    "EventPublisherFunction",
    "IamFunction",
    "DeliveryPollerFunction",
    "SweeperFunction",
    "TokenRenewerFunction",
    "WebhookFunction",
    "QueueWorkerFunction",
)

IMPORT = """
import importlib.machinery, sys, sysconfig
function, layer = sys.argv[1:]
stdlib = sysconfig.get_path("stdlib")
sys.path = [function, layer, stdlib, f"{stdlib}/lib-dynload"]
compile_source = importlib.machinery.SourceFileLoader.source_to_code
def source_to_code(loader, data, path, **more):
    assert not path.startswith((function, layer)), f"{path} is compiled"
    return compile_source(loader, data, path, **more)
importlib.machinery.SourceFileLoader.source_to_code = source_to_code
import app
"""

REGIONS = (
    *("us-east-1", "eu-central-1", "cn-north-1", "us-gov-west-1", "us-iso-east-1"),
    *("us-isob-east-1", "eusc-de-east-1", "eu-central-7"),  # the last region does not exist yet
)
QUEUE = "https://sqs.example.com/123456789012/queue"
CALLS = {
    "dynamodb": ("put_item", {"TableName": "table", "Item": {"pk": {"S": "MSG#1"}}}),
    "events": ("put_events", {"Entries": [{"Source": "s", "Time": "2026-10-05T16:01:00Z"}]}),
    "lambda": ("invoke", {"FunctionName": "f", "InvocationType": "Event", "Payload": "{}"}),
    "secretsmanager": ("get_secret_value", {"SecretId": "s"}),
    "sqs": ("send_message", {"QueueUrl": QUEUE, "MessageBody": "b"}),
    "ssm": ("get_parameter", {"Name": "/stack/catalogue"}),
}
SENT = """
import json, os, sys, sysconfig
paths, calls, paginators, regions = map(json.loads, sys.argv[1:])
stdlib = sysconfig.get_path("stdlib")
sys.path = [*paths, stdlib, f"{stdlib}/lib-dynload"]
from smsrelay.adapters.boto_clients import BotoClients
from smsrelay.wiring.aws_timeouts import AWS_CONFIG

class Sent(BaseException):
    pass

def stop(request, **_):
    scope = str(request.headers["Authorization"]).split("/")[2:4]  # region and service
    target = str(request.headers.get("X-Amz-Target"))
    raise Sent(request.method, request.url, scope, target, str(request.body))

requests = []
for region in regions:
    for fips in ("false", "true"):
        os.environ |= {"AWS_DEFAULT_REGION": region, "AWS_USE_FIPS_ENDPOINT": fips}
        aws = BotoClients()
        for service, (operation, arguments) in calls.items():
            client = aws.client(service, config=AWS_CONFIG)
            client.meta.events.register("before-send", stop)
            try:
                getattr(client, operation)(**arguments)
            except Sent as sent:
                requests.append([region, fips, *sent.args])
for paginator in paginators:
    aws.client("dynamodb", config=AWS_CONFIG).get_paginator(paginator)
print(json.dumps(requests))
"""

ADAPTERS = ROOT / "layers/smsrelay/smsrelay/adapters"


@pytest.fixture(scope="module")
def built() -> Path:
    build.artefacts(lambda _: None)
    return build.SAM_OUTPUT


@pytest.mark.parametrize("function", FUNCTIONS)
def test_a_function_imports_with_the_built_layer_alone(built: Path, function: str) -> None:
    run_built(IMPORT, built / function, built / "Layer/python")


@pytest.mark.parametrize("part", ["Layer", *FUNCTIONS])
def test_all_code_has_bytecode_that_python_uses_without_reading_the_source(
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


def test_the_layer_has_nine_megabytes_at_most(built: Path, tmp_path: Path) -> None:
    package = shutil.make_archive(str(tmp_path / "layer"), "zip", built / "Layer")
    assert Path(package).stat().st_size <= 9_000_000


def test_the_layer_describes_the_aws_services_that_the_functions_call_and_no_others(
    built: Path,
) -> None:
    data = built / "Layer/python" / build_layer.AWS_DATA
    newest = Loader().determine_latest_version
    assert {path.relative_to(data) for path in data.glob("*/*")} == {
        Path(service, newest(service, "service-2")) for service in services_in(ADAPTERS)
    }


def test_a_client_of_the_layer_sends_what_one_with_all_of_botocores_data_sends(built: Path) -> None:
    assert CALLS.keys() == services_in(ADAPTERS)
    code = "".join(path.read_text() for path in ADAPTERS.glob("*.py"))
    paginators = re.findall(r'get_paginator\("(\w+)"\)', code)
    assert paginators
    keys = {"AWS_ACCESS_KEY_ID": "testing", "AWS_SECRET_ACCESS_KEY": "testing"}

    def sent(*paths: str) -> list[Any]:
        arguments = map(json.dumps, (paths, CALLS, paginators, REGIONS))
        requests: list[Any] = json.loads(run_built(SENT, *arguments, environment=keys))
        return requests

    ours = sent(str(built / "Layer/python"))
    assert len(ours) == len(REGIONS) * 2 * len(CALLS)
    assert ours == sent(str(ADAPTERS.parents[1]), sysconfig.get_path("purelib"))


def test_a_build_in_another_folder_and_time_has_the_same_bytes(
    built: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    copy = tmp_path / "another-folder"
    for name in CHECKOUT:
        copied = shutil.copytree if (ROOT / name).is_dir() else shutil.copyfile
        (copy / name).parent.mkdir(parents=True, exist_ok=True)
        copied(ROOT / name, copy / name)
    kept = Path(".aws-sam/dependencies", build_layer.fingerprint(build.architecture()))
    again = copy / kept
    shutil.copytree(ROOT / kept, again, ignore=shutil.ignore_patterns("__pycache__"))
    build_layer.compile_all(again, build_layer.PLACE)
    monkeypatch.setattr(build, "ROOT", copy)
    monkeypatch.setenv("PYTHONHASHSEED", "1")
    before = os.umask(0o077)
    try:
        build.sam_build(copy / "built", build.architecture())
    finally:
        os.umask(before)
    for path in copy.rglob("*"):
        os.utime(path, (1e9, 1e9))
    packages = []
    for folder, name in ((built, "first"), (copy / "built", "second")):
        template = build.package(folder, tmp_path / name, ".", ".")
        files = {path.name: path.read_bytes() for path in (tmp_path / name).iterdir()}
        packages.append((template, files))
    (first, files), (second, files_again) = packages
    assert first == second
    assert files.keys() == files_again.keys() >= {"Layer.zip", "Monitoring.template.json"}
    assert not [name for name in files if files[name] != files_again[name]]
    assert zipfile.ZipFile(tmp_path / "first/Layer.zip").testzip() is None


def test_paths_in_tracebacks_are_those_in_lambda(built: Path) -> None:
    for part, place in (
        ("Layer/python/smsrelay/services/sender.py", "/opt/python/smsrelay/services/sender.py"),
        ("Layer/python/pydantic/main.py", "/opt/python/pydantic/main.py"),
        ("ApiFunction/app.py", "/var/task/app.py"),
    ):
        bytecode = Path(importlib.util.cache_from_source(str(built / part)))
        code = SourcelessFileLoader(part, str(bytecode)).get_code(part)
        assert code is not None
        assert code.co_filename == place


def test_the_layer_holds_the_package_where_python_finds_it(built: Path) -> None:
    layer = built / "Layer/python"
    assert (layer / "smsrelay/services/sender.py").exists()
    assert not (layer / "python").exists(), "it comes from a python/ folder beside requirements.txt"


def test_events_invoke_the_functions_themselves() -> None:
    """Without an alias of a version, a changed parameter takes effect with the deployment."""
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


def test_every_pattern_of_left_out_files_matches_something(built: Path) -> None:
    layer = built / "Layer/python"
    assert not [path for path in build_layer.unused(layer) if path.name != "__pycache__"]
    environment = Path(sysconfig.get_path("purelib"))
    commands = "bin"  # an environment has them in another folder
    left_out, _ = map(build_layer.patterns, build_layer.LISTS)
    for pattern in set(left_out) - {commands}:
        assert next(environment.glob(pattern), None), pattern
