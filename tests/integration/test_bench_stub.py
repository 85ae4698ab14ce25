"""The stub that the benchmarks talk to answers as those whom it plays."""

import json
import socket
import time
from collections.abc import Iterator
from typing import Any

import boto3
import httpx
import pytest

from tools.bench.aws_stub import UPSTREAM, Stub, running

SEND = "/sms/v1/messageContact/MzA6Nzg6MA/send"


@pytest.fixture(scope="module")
def started() -> Iterator[Stub]:
    with running() as stub:
        yield stub


@pytest.fixture
def stub(started: Stub) -> Stub:
    started.control(delay_ms=0, status=202, reset=True)
    return started


@pytest.fixture
def http(stub: Stub) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=stub.url) as client:
        yield client


def client(stub: Stub, service: str) -> Any:
    factory: Any = boto3.client  # its types want the service's name as a literal
    return factory(
        service,
        endpoint_url=stub.url,
        region_name="eu-central-1",
        aws_access_key_id="testing",
        aws_secret_access_key="testing",
    )


def counted(stub: Stub) -> dict[str, int]:
    return {operation: count for operation, count in stub.calls().items() if count}


def test_every_operation_is_answered_with_a_request_id_and_counted(stub: Stub) -> None:
    key: Any = {"pk": {"S": "MSG#1"}, "sk": {"S": "SEND#001"}}
    dynamodb, sqs, queue = client(stub, "dynamodb"), client(stub, "sqs"), f"{stub.url}/1/queue"
    put = {"Put": {"TableName": "t", "Item": key}}
    answers = [
        dynamodb.put_item(TableName="t", Item=key),
        dynamodb.update_item(TableName="t", Key=key),
        dynamodb.delete_item(TableName="t", Key=key),
        dynamodb.transact_write_items(TransactItems=[put]),
        dynamodb.get_item(TableName="t", Key=key),
        dynamodb.query(TableName="t", KeyConditionExpression="pk = :pk"),
        client(stub, "secretsmanager").get_secret_value(SecretId="token"),
        sqs.send_message(QueueUrl=queue, MessageBody="a"),
        sqs.send_message_batch(QueueUrl=queue, Entries=[{"Id": "0", "MessageBody": "b"}]),
        sqs.change_message_visibility(QueueUrl=queue, ReceiptHandle="r", VisibilityTimeout=1),
        sqs.delete_message(QueueUrl=queue, ReceiptHandle="r"),
    ]
    for answer in answers:
        assert answer["ResponseMetadata"]["RequestId"]
        assert answer["ResponseMetadata"]["RetryAttempts"] == 0
    _, _, _, _, item, items, secret, message, batch, _, _ = answers
    assert "Item" not in item
    assert items["Items"] == []
    token = json.loads(secret["SecretString"])
    assert token["rest_instance_url"] == stub.url
    assert token["access_token"]
    assert 3_500 < token["expires_at"] - time.time() < 3_700
    assert secret["VersionId"]
    assert abs(secret["CreatedDate"].timestamp() - time.time()) < 60
    assert message["MessageId"] != batch["Successful"][0]["MessageId"]
    assert counted(stub) == dict.fromkeys(
        (operation for operation in stub.calls() if operation != UPSTREAM), 1
    )


def test_an_item_of_a_transaction_is_there_until_it_is_claimed(stub: Stub) -> None:
    dynamodb = client(stub, "dynamodb")
    key: Any = {"pk": {"S": "MSG#1"}, "sk": {"S": "SEND#001"}}
    item = key | {"status": {"S": "queued"}, "attempts": {"N": "2"}, "reason": {"S": "r"}}
    dynamodb.transact_write_items(TransactItems=[{"Put": {"TableName": "t", "Item": item}}])
    claim = {
        "TableName": "t",
        "Key": key,
        "UpdateExpression": "SET #status = :sending, attempts = attempts + :one REMOVE reason",
        "ExpressionAttributeNames": {"#status": "status"},
        "ExpressionAttributeValues": {":sending": {"S": "sending"}, ":one": {"N": "1"}},
    }
    claimed = dynamodb.update_item(**claim, ReturnValues="ALL_NEW")["Attributes"]
    assert claimed == key | {"status": {"S": "sending"}, "attempts": {"N": "3"}}


def test_what_it_does_not_play_fails(stub: Stub) -> None:
    dynamodb = client(stub, "dynamodb")
    with pytest.raises(dynamodb.exceptions.ClientError, match="UnknownOperationException"):
        dynamodb.scan(TableName="t")
    assert counted(stub) == {}


def test_every_send_has_a_token_id_of_its_own(stub: Stub, http: httpx.Client) -> None:
    answers = [http.post(SEND, json={"mobileNumbers": [str(n)]}) for n in range(3)]
    assert [answer.status_code for answer in answers] == [202] * 3
    assert len({answer.json()["tokenId"] for answer in answers}) == 3
    assert counted(stub) == {UPSTREAM: 3}
    last = stub.requests(UPSTREAM)[-1]
    assert last["path"] == SEND
    assert last["headers"]["content-type"] == "application/json"
    assert last["body"] == json.loads(last["raw"]) == {"mobileNumbers": ["2"]}
    stub.control(reset=True)
    assert counted(stub) == {}
    assert stub.requests(UPSTREAM) == []


def test_the_upstream_takes_as_long_as_it_is_told_and_aws_does_not(
    stub: Stub, http: httpx.Client
) -> None:
    stub.control(delay_ms=200)
    began = time.monotonic()
    assert http.post(SEND, json={}).status_code == 202
    answered = time.monotonic()
    client(stub, "dynamodb").query(TableName="t", KeyConditionExpression="pk = :pk")
    assert answered - began >= 0.2
    stub.control(status=503)  # the delay stays
    began = time.monotonic()
    assert http.post(SEND, json={}).status_code == 503
    assert time.monotonic() - began >= 0.2


def test_one_connection_carries_many_requests_however_they_are_cut(stub: Stub) -> None:
    request = f"POST {SEND} HTTP/1.1\r\nHost: x\r\nCONTENT-LENGTH: 7\r\n\r\n".encode()
    body = b'{"a":1}'
    with socket.create_connection(("127.0.0.1", stub.port), timeout=10) as connection:
        answers = connection.makefile("rb")
        for parts in ([request + body], [request, body], [request[:30], request[30:] + body[:3]]):
            for part in parts:
                connection.sendall(part)
        connection.sendall(body[3:])
        seen = [_answer(answers) for _ in range(3)]
    assert len({json.loads(body)["tokenId"] for body in seen}) == 3
    assert [request["body"] for request in stub.requests(UPSTREAM)] == [{"a": 1}] * 3


def _answer(answers: Any) -> bytes:
    length = 0
    while line := answers.readline().strip():
        if line.lower().startswith(b"content-length:"):
            length = int(line.partition(b":")[2])
    body: bytes = answers.read(length)
    return body
