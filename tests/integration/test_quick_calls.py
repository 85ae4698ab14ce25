"""Calls of AWS in a short way: whatever comes back, they end as botocore's own calls do."""

import json
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any

import botocore.endpoint
import botocore.session
import pytest
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError
from moto.core.models import botocore_stubber

from smsrelay.adapters.aws import Aws
from smsrelay.adapters.quick_calls import QuickEndpoint
from tests.support.hostile import HostileServer, Manner

type Make = Callable[[str, pytest.MonkeyPatch], Any]

CONFIG = Config(
    connect_timeout=1,
    read_timeout=0.5,
    retries={"mode": "standard", "total_max_attempts": 2},
    parameter_validation=False,
)
ITEM = {"pk": {"S": "MSG#1"}, "sk": {"S": "SEND#1"}, "body": {"S": "Grüße"}}


def in_turn(*answers: bytes | None) -> Manner:
    """The next of some answers to each request; the last one stays.

    An answer that is None never comes; an empty one ends the connection.
    """
    left = list(answers)

    def manner(connection: socket.socket) -> None:
        answer = left[0] if len(left) == 1 else left.pop(0)
        if answer is None:
            connection.recv(1)  # until the caller hangs up
        elif answer:
            connection.sendall(answer)
        else:
            raise ConnectionResetError

    return manner


def http(status: int, document: object, **headers: str) -> bytes:
    body = document if isinstance(document, bytes) else json.dumps(document).encode()
    lines = [f"HTTP/1.1 {status} Told", "Content-Type: application/x-amz-json-1.0"]
    lines += [f"Content-Length: {len(body)}", "x-amzn-RequestId: request-1"]
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    return "\r\n".join([*lines, "", ""]).encode() + body


def refused(code: str, status: int = 400, **more: object) -> bytes:
    kind = f"com.amazonaws.dynamodb.v20120810#{code}"
    return http(status, {"__type": kind, "message": "no", **more})


OK = http(200, {"Attributes": ITEM})
ANSWERS: dict[str, list[bytes | None]] = {
    "good": [OK],
    "condition failed": [refused("ConditionalCheckFailedException", Item=ITEM)],
    "throttled, then good": [refused("ProvisionedThroughputExceededException"), OK],
    "throttled for ever": [refused("ThrottlingException")],
    "server error, then good": [refused("InternalServerError", 500), OK],
    "server error for ever": [refused("InternalServerError", 500)],
    "unavailable, a web page": [http(503, b"<html>no</html>"), OK],
    "denied": [refused("AccessDeniedException")],
    "expired": [refused("ExpiredTokenException")],
    "no table": [refused("ResourceNotFoundException")],
    "an error of no name": [refused("NobodyKnowsException")],
    "an error without a body": [http(400, b"")],
    "a redirect": [http(302, b"", Location="http://127.0.0.1:1/")],
    "a web page": [http(200, b"<html>yes</html>")],
    "nothing": [http(200, b"")],
    "no answer, then good": [None, OK],
    "no answer for ever": [None],
    "closed, then good": [b"", OK],
    "closed for ever": [b""],
    "no HTTP": [b"220 mail.example.com ESMTP\r\n\r\n"],
    "cut off": [b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{"],
}


@pytest.fixture(autouse=True)
def no_other_aws(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(botocore_stubber, "enabled", False)
    monkeypatch.setattr(botocore.endpoint, "time", SimpleNamespace(sleep=lambda _: None))
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"):
        monkeypatch.setenv(name, "testing")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "eu-central-1")


def quick(url: str, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setenv("AWS_ENDPOINT_URL", url)
    client = Aws().client("dynamodb", config=CONFIG)
    assert isinstance(client._endpoint, QuickEndpoint)  # type: ignore[attr-defined]  # noqa: SLF001 - who makes its calls
    return client


def botocores(url: str, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setenv("AWS_ENDPOINT_URL", url)
    return botocore.session.Session().create_client("dynamodb", config=CONFIG)


def end_of(call: Callable[[], Any]) -> tuple[object, ...]:
    """What a call came to: its result, or its failure, without what is new each time."""
    try:
        result = call()
    except ClientError as error:
        told = error.response
        metadata = {
            name: told["ResponseMetadata"].get(name) for name in ("HTTPStatusCode", "RetryAttempts")
        }
        return type(error).__name__, told.get("Error"), told.get("Item"), metadata
    except BotoCoreError as error:
        return (type(error).__name__,)
    metadata = result.pop("ResponseMetadata")
    return result, metadata["RequestId"], metadata["HTTPStatusCode"], metadata["RetryAttempts"]


@contextmanager
def made(
    make: Make, answers: list[bytes | None], monkeypatch: pytest.MonkeyPatch
) -> Iterator[tuple[Any, HostileServer]]:
    with HostileServer(in_turn(*answers), stays=True) as server:
        client = make(server.url, monkeypatch)
        yield client, server
        client.close()


@pytest.mark.parametrize("name", ANSWERS)
def test_whatever_comes_back_the_end_is_botocores(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    ends = []
    for make in (quick, botocores):
        with made(make, ANSWERS[name], monkeypatch) as (client, server):
            end = end_of(lambda c=client: c.put_item(TableName="ledger", Item=ITEM))  # type: ignore[misc] # bound now
            ends.append((end, len(server.requests)))
    assert ends[0] == ends[1]


def test_a_refusal_is_of_the_class_that_the_client_names(monkeypatch: pytest.MonkeyPatch) -> None:
    with (
        made(quick, ANSWERS["condition failed"], monkeypatch) as (client, _),
        pytest.raises(client.exceptions.ConditionalCheckFailedException) as caught,
    ):
        client.put_item(TableName="ledger", Item=ITEM)
    assert caught.value.response["Item"] == ITEM


def test_where_nobody_listens(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        url = f"http://127.0.0.1:{free.getsockname()[1]}"
    ends = [
        end_of(lambda m=make: m(url, monkeypatch).put_item(TableName="ledger", Item=ITEM))  # type: ignore[misc] # same
        for make in (quick, botocores)
    ]
    assert ends[0] == ends[1] == ("EndpointConnectionError",)


def test_calls_share_a_connection_and_none_that_has_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    with made(quick, [OK], monkeypatch) as (client, server):
        for _ in range(3):
            client.put_item(TableName="ledger", Item=ITEM)
        assert (server.connections, len(server.requests)) == (1, 3)
        client.close()
        client.put_item(TableName="ledger", Item=ITEM)
        assert (server.connections, len(server.requests)) == (2, 4)


def test_a_retry_is_signed_and_counted_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    with made(quick, ANSWERS["server error, then good"], monkeypatch) as (client, server):
        client.put_item(TableName="ledger", Item=ITEM)
    first, second = (request.headers for request in server.requests)
    assert first["amz-sdk-invocation-id"] == second["amz-sdk-invocation-id"]
    assert first["amz-sdk-request"] == "attempt=1"
    assert "attempt=2" in second["amz-sdk-request"]
