import json
from typing import Any

import pytest

from smsrelay.errors import NotJsonError
from smsrelay.messages.refusals import RequestRefusedError
from smsrelay.messages.strict_json import decode
from smsrelay.sends.queue_envelopes import QueueMessage, QueueRequest, open_envelope, origin_of
from smsrelay.sends.send import SendKey, reference_body
from tests.support.requests import MINIMAL


def opened(body: object, attributes: dict[str, str] | None = None) -> QueueRequest | SendKey:
    text = body if isinstance(body, str) else json.dumps(body)
    return open_envelope(QueueMessage(text, "sqs-id", attributes or {}))


def letter(body: object, attributes: dict[str, str] | None = None) -> QueueRequest:
    found = opened(body, attributes)
    assert isinstance(found, QueueRequest)
    return found


def sns(message: object, **more: object) -> dict[str, Any]:
    return {"Type": "Notification", "MessageId": "sns-id", "Message": json.dumps(message), **more}


def event(detail: object) -> dict[str, Any]:
    return {"version": "0", "id": "event-id", "detail-type": "x", "source": "y", "detail": detail}


STATED = MINIMAL | {"idempotencyKey": "stated"}
ATTRIBUTES = {"Idempotency-Key": "attribute", "client": "shop"}
SNS_ATTRIBUTES = {
    "Idempotency-Key": {"Type": "String", "Value": "topic"},
    "client": {"Type": "String", "Value": "topic-client"},
    "count": {"Type": "Binary"},
}


@pytest.mark.parametrize(
    ("body", "attributes", "client", "key"),
    [
        (MINIMAL, {}, "", "sqs-id"),
        (STATED, {}, "", "stated"),
        (STATED, ATTRIBUTES, "shop", "attribute"),
        (MINIMAL, {"Idempotency-Key": '"quoted"'}, "", "quoted"),
        (MINIMAL | {"idempotencyKey": '"quoted"'}, {}, "", "quoted"),
        (sns(MINIMAL), {}, "", "sns-id"),
        (sns(STATED), {}, "", "stated"),
        (sns(STATED, MessageAttributes=SNS_ATTRIBUTES), {}, "topic-client", "topic"),
        (sns(MINIMAL, MessageAttributes="?"), ATTRIBUTES, "shop", "attribute"),
        (event(MINIMAL), {}, "", "event-id"),
        (event(STATED), {}, "", "stated"),
        (event(STATED), ATTRIBUTES, "shop", "attribute"),
    ],
)
def test_client_and_key_are_read_from_each_envelope(
    body: object, attributes: dict[str, str], client: str, key: str
) -> None:
    found = letter(body, attributes)
    assert (found.client, found.key) == (client, key)
    assert found.document.value["to"] == ["+12125550100"]
    assert found.document.refusals == ()


TOPIC, OTHER = (f"arn:aws:sns:us-east-1:123456789012:{name}" for name in ("orders", "other"))


@pytest.mark.parametrize("senders", [[], [OTHER]])
@pytest.mark.parametrize(
    "topic", [{"TopicArn": TOPIC}, {"TopicArn": ""}, {"TopicArn": [TOPIC]}, {}]
)
def test_topics_that_are_not_listed_are_refused(
    topic: dict[str, object], senders: list[str]
) -> None:
    body = json.dumps(sns(STATED, MessageAttributes=SNS_ATTRIBUTES, **topic))
    message = QueueMessage(body, "sqs-id", {})
    with pytest.raises(RequestRefusedError, match="topic-not-listed"):
        open_envelope(message, senders)
    assert origin_of(message, senders) == ("", "sqs-id", "sqs-id")


def test_a_reference_to_a_send() -> None:
    key = SendKey("01ARZ3NDEKTSV4RRFFQ69G5FAV", 7)
    assert opened(reference_body(key)) == key


@pytest.mark.parametrize(
    "body",
    [{"send": 1}, {"send": {"id": "x"}}, {"send": {"id": "", "n": 1}}, {"send": {}, "to": []}],
)
def test_similar_bodies_are_no_references(body: object) -> None:
    assert letter(body).document.value == body


def test_an_sns_message_must_contain_json() -> None:
    with pytest.raises(NotJsonError):
        opened({"Type": "Notification", "MessageId": "x", "Message": "hello"})


@pytest.mark.parametrize(
    ("message_id", "n"),
    [
        ("\ud800" * 26, 1),
        ("x" * 3_000, 1),
        ("+1 212 555 0100", 1),
        ("01ARZ3NDEKTSV4RRFFQ69G5FAV", 0),
        ("01ARZ3NDEKTSV4RRFFQ69G5FAV", 101),
        ("01ARZ3NDEKTSV4RRFFQ69G5FAV", 10**4_000),
    ],
)
def test_impossible_ids_are_no_references(message_id: str, n: int) -> None:
    """DynamoDB would refuse such keys, and the message would be received up to 100 times."""
    assert isinstance(opened({"send": {"id": message_id, "n": n}}), QueueRequest)


def test_pointers_of_refusals_start_at_an_events_detail() -> None:
    body = '{"detail-type":"x","detail":{"text":"a","text":"b"},"id":"1","x":1,"x":2}'
    assert [refusal.pointer for refusal in letter(body).document.refusals] == ["/text"]


@pytest.mark.parametrize("key", ["", '""', "ü", "x" * 256, " "])
def test_an_invalid_key_is_refused_wherever_it_is(key: str) -> None:
    by_topic = {"Idempotency-Key": {"Type": "String", "Value": key}}
    for body, attributes in (
        (MINIMAL, {"Idempotency-Key": key}),
        (MINIMAL | {"idempotencyKey": key}, {}),
        (sns(MINIMAL, MessageAttributes=by_topic), {}),
    ):
        with pytest.raises(RequestRefusedError, match="invalid-idempotency-key"):
            opened(body, attributes)


def test_duplicate_members_of_an_envelope_are_refused() -> None:
    body = '{"detail-type":"x","detail":{"to":[]},"detail":{},"id":"1"}'
    assert [refusal.code for refusal in letter(body).document.refusals] == ["duplicate-field"]


@pytest.mark.parametrize("client", ["a b", "\ud800", "ü", "Shop", "shop-", "x" * 64, ""])
def test_an_invalid_client_is_refused(client: str) -> None:
    by_topic = sns(MINIMAL, MessageAttributes={"client": {"Type": "String", "Value": client}})
    for body, attributes in ((MINIMAL, {"client": client}), (by_topic, {})):
        with pytest.raises(RequestRefusedError, match="invalid-client"):
            opened(body, attributes)
    assert origin_of(QueueMessage("", "id", {"client": client})).client == ""


@pytest.mark.parametrize(
    ("key", "expected"), [("k", "k"), ('"k"', "k"), ("", "id"), ("ü", "ü"), ("\ud800", "?")]
)
def test_the_origin_of_an_unreadable_message_is_in_its_attributes(key: str, expected: str) -> None:
    message = QueueMessage("not JSON", "id", {"client": "shop", "Idempotency-Key": key})
    assert origin_of(message) == ("shop", expected, "id")


def test_the_document_is_what_decode_gives() -> None:
    assert letter(MINIMAL).document == decode(json.dumps(MINIMAL))
