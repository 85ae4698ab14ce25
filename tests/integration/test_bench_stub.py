"""Checks that the benchmark's stub responds like AWS and MobileConnect."""

import json
import time
from collections.abc import Iterator
from typing import Any

import boto3
import httpx
import pytest

from tools.bench.aws_stub import UPSTREAM, Stub, running

SEND = "/sms/v1/messageContact/MzA6Nzg6MA/send"
KEY: Any = {"pk": {"S": "MSG#1"}, "sk": {"S": "SEND#001"}}


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
    factory: Any = boto3.client  # its types need the service's name as a literal
    return factory(
        service,
        endpoint_url=stub.url,
        region_name="eu-central-1",
        aws_access_key_id="testing",
        aws_secret_access_key="testing",
    )


def test_boto3_accepts_every_response_and_every_call_is_counted(stub: Stub) -> None:
    dynamodb, sqs, queue = client(stub, "dynamodb"), client(stub, "sqs"), f"{stub.url}/1/queue"
    put = {"Put": {"TableName": "t", "Item": KEY}}
    responses = [
        dynamodb.put_item(TableName="t", Item=KEY),
        dynamodb.update_item(TableName="t", Key=KEY),
        dynamodb.delete_item(TableName="t", Key=KEY),
        dynamodb.transact_write_items(TransactItems=[put]),
        dynamodb.get_item(TableName="t", Key=KEY),
        dynamodb.query(TableName="t", KeyConditionExpression="pk = :pk"),
        secret := client(stub, "secretsmanager").get_secret_value(SecretId="token"),
        sqs.send_message(QueueUrl=queue, MessageBody="a"),
        sqs.send_message_batch(QueueUrl=queue, Entries=[{"Id": "0", "MessageBody": "b"}]),
        sqs.change_message_visibility(QueueUrl=queue, ReceiptHandle="r", VisibilityTimeout=1),
        sqs.delete_message(QueueUrl=queue, ReceiptHandle="r"),
    ]
    for response in responses:
        assert response["ResponseMetadata"]["RequestId"]
        assert response["ResponseMetadata"]["RetryAttempts"] == 0
    token = json.loads(secret["SecretString"])
    assert token["rest_instance_url"] == stub.url
    assert 3_500 < token["expires_at"] - time.time() < 3_700
    assert list(stub.calls().values()) == [1] * len(responses)


def test_a_claim_returns_the_item_that_a_transaction_stored(stub: Stub) -> None:
    dynamodb = client(stub, "dynamodb")
    item = KEY | {"status": {"S": "queued"}, "attempts": {"N": "2"}, "reason": {"S": "r"}}
    dynamodb.transact_write_items(TransactItems=[{"Put": {"TableName": "t", "Item": item}}])
    claimed = dynamodb.update_item(
        TableName="t",
        Key=KEY,
        UpdateExpression="SET #status = :sending, attempts = attempts + :one REMOVE reason",
        ExpressionAttributeNames={"#status": "status"},
        ExpressionAttributeValues={":sending": {"S": "sending"}, ":one": {"N": "1"}},
        ReturnValues="ALL_NEW",
    )
    assert claimed["Attributes"] == KEY | {"status": {"S": "sending"}, "attempts": {"N": "3"}}


def test_an_unknown_operation_fails(stub: Stub) -> None:
    dynamodb = client(stub, "dynamodb")
    with pytest.raises(dynamodb.exceptions.ClientError, match="UnknownOperationException"):
        dynamodb.scan(TableName="t")
    assert not stub.calls()


def test_every_send_gets_its_own_token_id(stub: Stub, http: httpx.Client) -> None:
    responses = [http.post(SEND, json={"mobileNumbers": [str(n)]}) for n in range(3)]
    assert [response.status_code for response in responses] == [202] * 3
    assert len({response.json()["tokenId"] for response in responses}) == 3
    assert stub.calls() == {UPSTREAM: 3}
    last = stub.requests(UPSTREAM)[-1]
    assert last["path"] == SEND
    assert last["headers"]["content-type"] == "application/json"
    assert last["body"] == {"mobileNumbers": ["2"]}
    stub.control(reset=True)
    assert not stub.calls()
    assert stub.requests(UPSTREAM) == []


def test_the_upstream_answers_with_the_delay_and_status_that_were_set(
    stub: Stub, http: httpx.Client
) -> None:
    stub.control(delay_ms=200)
    for status in (202, 503):
        stub.control(status=status)
        began = time.monotonic()
        assert http.post(SEND, json={}).status_code == status
        assert time.monotonic() - began >= 0.2
