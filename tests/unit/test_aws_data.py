"""What the layer holds of botocore's data: enough, up to date, and the same on the wire."""

import ast
import json
import os
import uuid
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from unittest.mock import patch

import botocore.auth
import botocore.session
import pytest
from botocore.awsrequest import AWSResponse
from botocore.config import Config
from botocore.loaders import Loader
from moto.core.models import botocore_stubber

from smsrelay.adapters import aws, quick_calls
from smsrelay.adapters.quick_calls import QuickEndpoint
from smsrelay.bootstrap import patience
from supply import aws_data

ITEM = {"pk": {"S": "MSG#1"}, "n": {"N": "1.500"}, "flag": {"BOOL": True}}
QUEUE = "https://sqs.example.com/123456789012/queue"
TABLE = "arn:aws:dynamodb:us-east-1:123456789012:table/ledger"
CALLS: dict[str, list[tuple[str, dict[str, Any]]]] = {
    "dynamodb": [
        ("batch_get_item", {"RequestItems": {"t": {"Keys": [ITEM], "ConsistentRead": True}}}),
        (
            "put_item",
            {
                "TableName": "t",
                "Item": ITEM,
                "ConditionExpression": "attribute_not_exists(pk)",
                "ReturnValuesOnConditionCheckFailure": "ALL_OLD",
            },
        ),
        ("put_item", {"TableName": TABLE, "Item": ITEM}),
        ("query", {"TableName": "t", "KeyConditionExpression": "pk = :pk", "Limit": 5}),
        ("transact_write_items", {"TransactItems": [{"Put": {"TableName": "t", "Item": ITEM}}]}),
        ("update_item", {"TableName": "t", "Key": ITEM, "ReturnValues": "ALL_NEW"}),
    ],
    "events": [
        (
            "put_events",
            {"Entries": [{"Source": "s", "DetailType": "d", "Time": "2026-10-05T16:01:00Z"}]},
        )
    ],
    "lambda": [
        ("invoke", {"FunctionName": "f", "InvocationType": "Event", "Payload": '{"need": "x"}'})
    ],
    "secretsmanager": [
        ("get_secret_value", {"SecretId": "s", "VersionStage": "AWSCURRENT"}),
        (
            "put_secret_value",
            {"SecretId": "s", "SecretString": "é", "ClientRequestToken": "x" * 32},
        ),
    ],
    "sqs": [
        (
            "change_message_visibility",
            {"QueueUrl": QUEUE, "ReceiptHandle": "r", "VisibilityTimeout": 5},
        ),
        (
            "send_message",
            {
                "QueueUrl": QUEUE,
                "MessageBody": "b",
                "MessageAttributes": {"reason": {"DataType": "String", "StringValue": "é"}},
            },
        ),
        (
            "send_message_batch",
            {"QueueUrl": QUEUE, "Entries": [{"Id": "0", "MessageBody": "b", "DelaySeconds": 3}]},
        ),
    ],
    "ssm": [("get_parameter", {"Name": "/stack/catalogue"})],
}
REGIONS = (
    "us-east-1",
    "eu-central-1",
    "cn-north-1",
    "us-gov-west-1",
    "us-iso-east-1",
    "us-isob-east-1",
    "eusc-de-east-1",
    "eu-central-7",  # one that nobody has heard of yet
)
CERTIFICATES = ("AWS_CA_BUNDLE", "REQUESTS_CA_BUNDLE")
"""With certificates of one's own botocore makes all calls; this machine may have some."""


def operations(service: str) -> set[str]:
    return {name for name, _ in CALLS[service]}


def ours(service: str) -> Any:
    """A client as the relay has it."""
    client: Any = aws.Aws().client  # its types want the service's name as a literal
    made = client(service, config=patience.STORING)
    quick = isinstance(made._endpoint, QuickEndpoint)  # noqa: SLF001 - else botocore makes the calls
    assert quick or service not in {of for of, _ in quick_calls.OPERATIONS}
    return made


def botocores(service: str) -> Any:
    """The same with all of botocore's data, and its own way of a call."""
    session = botocore.session.Session()
    return session.create_client(service, config=patience.STORING)


def sent(make: Callable[[str], Any], service: str, environment: dict[str, str]) -> list[Any]:
    """What would go out."""
    requests: list[Any] = []

    def keep(request: Any, **_: object) -> Any:
        # Powertools adds itself to the names of botocore's callers; others add the host themselves.
        headers = {
            name: value if isinstance(value, bytes) else value.encode()
            for name, value in request.headers.items()
            if name not in {"User-Agent", "host"}
        }
        requests.append((request.method, request.url, headers, request.body))
        body = b'{"Items": [], "Responses": {}, "UnprocessedKeys": {}}'
        raw: Any = type("Raw", (), {"stream": lambda *_: iter([body])})()
        told: Any = {"x-amzn-RequestId": "1"}
        return AWSResponse(request.url, 200, told, raw)

    credentials = {
        "AWS_ACCESS_KEY_ID": "testing",
        "AWS_SECRET_ACCESS_KEY": "testing",
        "AWS_SESSION_TOKEN": "testing",
    }
    with (
        patch.dict("os.environ", credentials | environment),
        patch.object(uuid, "uuid4", lambda: "made-up"),  # ids against repetition
        # Other tests may have moto's account open, which does not know all regions.
        patch.object(botocore_stubber, "enabled", new=False),
        patch.object(botocore.auth, "get_current_datetime", the_time),
        patch.object(quick_calls, "get_current_datetime", the_time),
        # Not the signer in C, if it is installed: Lambda's runtime has none.
        patch.dict(botocore.auth.AUTH_TYPE_MAPS, v4=botocore.auth.SigV4Auth),
    ):
        for name in CERTIFICATES:
            os.environ.pop(name, None)
        client = make(service)
        client.meta.events.register("before-send", keep)
        for name, arguments in CALLS[service]:
            getattr(client, name)(**arguments)
    return requests


def the_time(*, remove_tzinfo: bool = True) -> datetime:
    """One moment for all signatures."""
    moment = datetime(2026, 11, 24, 12, 0, 0, tzinfo=UTC)
    return moment.replace(tzinfo=None) if remove_tzinfo else moment


@pytest.mark.parametrize("region", REGIONS)
@pytest.mark.parametrize("service", CALLS)
def test_requests_are_those_that_botocores_own_data_make(service: str, region: str) -> None:
    for environment in ({}, {"AWS_USE_FIPS_ENDPOINT": "true"}):
        environment["AWS_DEFAULT_REGION"] = region
        requests = sent(ours, service, environment)
        assert len(requests) == len(CALLS[service])
        assert requests == sent(botocores, service, environment)


def test_every_operation_is_compared() -> None:
    for service, names in aws_data.OPERATIONS.items():
        client: Any = aws.Aws().client  # its types want the service's name as a literal
        made = client(service, config=patience.STORING.merge(Config(region_name="us-east-1")))
        mapping = made.meta.method_to_api_mapping
        assert set(mapping.values()) == set(names)
        assert set(mapping) == operations(service)


def called() -> Iterator[str]:
    """Names of attributes in the adapters' calls."""
    for path in Path(aws.__file__).parent.glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
                yield node.func.attr
                if node.func.attr == "get_paginator" and isinstance(node.args[0], ast.Constant):
                    yield str(node.args[0].value)


def test_what_the_adapters_call_is_there() -> None:
    everything: set[str] = set()
    for service in CALLS:
        client = botocore.session.Session().create_client(service, region_name="us-east-1")
        everything |= set(client.meta.method_to_api_mapping)
    assert set(called()) & everything == {name for service in CALLS for name in operations(service)}


def test_the_data_are_those_of_the_botocore_that_is_locked() -> None:
    stored = {
        str(path.relative_to(aws.DATA)): json.loads(path.read_bytes())
        for path in aws.DATA.rglob("*.json")
    }
    assert stored == dict(aws_data.files()), "python -m supply aws-data"


def test_what_a_newer_botocore_asks_for_is_taken_from_it() -> None:
    loader = aws.LittleLoader()
    content, path = loader.load_data_with_path("s3/2006-03-01/service-2")
    assert content["metadata"]["serviceId"] == "S3"
    assert not path.startswith(str(aws.DATA))


def test_a_runtime_whose_botocore_has_other_data_is_not_asked_for_ours(tmp_path: Path) -> None:
    with patch.object(Loader, "BUILTIN_DATA_PATH", str(tmp_path)):
        assert sent(ours, "dynamodb", {"AWS_DEFAULT_REGION": "us-east-1"})


def test_quick_calls_are_compared() -> None:
    compared = {(service, name) for service, names in aws_data.OPERATIONS.items() for name in names}
    assert compared >= quick_calls.OPERATIONS


@pytest.mark.parametrize(
    "environment", [{"AWS_CA_BUNDLE": "/etc/ssl/own.pem"}, {"HTTPS_PROXY": "http://127.0.0.1:1"}]
)
def test_what_is_not_of_the_usual_kind_is_left_to_botocore(
    environment: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in (*CERTIFICATES, "NO_PROXY", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    client: Any = aws.Aws().client
    made = client("dynamodb", config=patience.STORING.merge(Config(region_name="us-east-1")))
    assert not isinstance(made._endpoint, QuickEndpoint)  # noqa: SLF001 - who makes its calls
