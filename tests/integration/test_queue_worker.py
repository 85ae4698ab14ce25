"""Tests the queue worker through its handler: envelopes, retries and dead letters."""

import base64
import json
import socket
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any
from unittest.mock import patch

import pytest
from botocore.client import BaseClient
from botocore.exceptions import EndpointConnectionError

from smsrelay.adapters.sqs import SqsDeadLetterQueue
from smsrelay.errors import QueueUnavailableError
from smsrelay.messages.strict_json import MAX_REQUEST_BYTES
from smsrelay.ports import Deadline
from smsrelay.sends.ids import message_id
from smsrelay.sends.queue_envelopes import QueueMessage
from smsrelay.sends.send import SendKey, reference_body
from smsrelay.services.sender import Sender
from smsrelay.wiring import queue_worker
from tests.conftest import WallClock
from tests.support.aws_calls import intercepted, record
from tests.support.environment import CLIENT, DEFAULT_CLIENT, Context, Environment, running
from tests.support.http_servers import ANSWER, HostileServer
from tests.support.requests import TOO_LARGE_TO
from tests.support.template import ROOT, SAMPLE_TOPIC_ARN
from tools.mobileconnect_simulator import Simulator

MESSAGE: dict[str, Any] = {"message": "MzA6Nzg6MA", "to": ["+1 212 555 0100"], "text": "Hello"}
SUBSCRIBER = {"mobile": "+1 212 555 0101", "key": "ExampleSubKey1"}
OURS = {"client": CLIENT, "Idempotency-Key": "order-8812"}


def test_a_bare_message_is_sent_and_deleted(relay: Environment, simulator: Simulator) -> None:
    sqs_id = relay.enqueue(MESSAGE)
    assert relay.work() == []
    [sent] = simulator.sent()
    [item] = relay.items()
    assert item["tokenId"] == {"S": sent["tokenId"]}
    assert item["client"] == {"S": "internal"}
    assert item["pk"] == {"S": f"MSG#{message_id('', sqs_id)}"}
    assert relay.waiting() == 0


def test_a_send_time_that_passed_in_the_queue_is_sent_unchanged(
    wall_clock: WallClock, relay: Environment, simulator: Simulator
) -> None:
    sent_at = wall_clock.now = datetime(2026, 10, 5, 20, 0, tzinfo=UTC).timestamp()
    scheduled = MESSAGE | {"sendAt": "2026-10-05T17:01:00-04:00"}
    simulator.fail("send", "503-50300")
    assert relay.post(scheduled).body["status"] == "queued"
    wall_clock.now += 3 * 3_600
    relay.make_due()
    assert relay.work() == []
    assert hand_over(relay, scheduled, sent_at) == []
    times = [sent["body"]["SendTime"] for sent in simulator.sent()]
    assert times == ["2026-10-05 21:01"] * 2, "of a waiting send and a waiting request"


def hand_over(relay: Environment, body: dict[str, Any], sent_at: float) -> list[Any]:
    """Invoke the worker with a message of the time `sent_at`; return the ids that come back."""
    relay.enqueue(body, {"Idempotency-Key": "order-8812"})
    [message] = relay.client("sqs").receive_message(
        QueueUrl=relay.queue_url, MessageAttributeNames=["All"]
    )["Messages"]
    message["Attributes"] = {"SentTimestamp": str(int(sent_at * 1_000))}
    failed: list[Any] = relay.hand_worker([record(message)])["batchItemFailures"]
    return failed


def test_a_send_time_long_before_the_message_was_sent_is_refused(
    wall_clock: WallClock, relay: Environment, simulator: Simulator
) -> None:
    send_at = datetime(2026, 10, 5, 20, 0, tzinfo=UTC)
    scheduled = MESSAGE | {"sendAt": send_at.isoformat()}
    wall_clock.now = send_at.timestamp() + 7_200
    assert hand_over(relay, scheduled, send_at.timestamp() + 3_601) == []
    assert [letter["errors"] for letter in relay.dead_letters()] == ["/sendAt time-in-the-past"]
    assert simulator.sent() == []
    assert hand_over(relay, scheduled, send_at.timestamp() + 3_600) == []
    assert len(simulator.sent()) == 1
    # Later and with the same key, it gets the stored result.
    assert hand_over(relay, scheduled, send_at.timestamp() + 86_400) == []
    assert len(simulator.sent()) == len(relay.dead_letters()) == 1


@pytest.mark.parametrize("name", ["sns-notification", "eventbridge-event"])
def test_envelopes(relay: Environment, simulator: Simulator, name: str) -> None:
    relay.enqueue((ROOT / f"events/envelopes/{name}.json").read_text())
    assert relay.work() == []
    assert len(simulator.sent()) == 1


def sns_notification(topic: str, client: str) -> str:
    """Return a topic's notification of a message whose attributes name a client and a key."""
    attributes = {"client": client, "Idempotency-Key": "order-8812"}
    return json.dumps(
        {
            "Type": "Notification",
            "MessageId": "sns-id",
            "TopicArn": topic,
            "Message": json.dumps(MESSAGE),
            "MessageAttributes": {
                name: {"Type": "String", "Value": value} for name, value in attributes.items()
            },
        }
    )


def test_a_listed_topic_names_client_and_key(relay: Environment, simulator: Simulator) -> None:
    relay.enqueue(sns_notification(SAMPLE_TOPIC_ARN, CLIENT))
    assert relay.work() == []
    [item] = relay.items()
    assert item["pk"] == {"S": f"MSG#{message_id(CLIENT, 'order-8812')}"}
    assert item["client"] == {"S": CLIENT}
    assert len(simulator.sent()) == 1


def test_another_topic_is_refused_as_the_default_clients(
    relay: Environment, simulator: Simulator
) -> None:
    body = sns_notification(f"{SAMPLE_TOPIC_ARN}-2", CLIENT)
    sqs_id = relay.enqueue(body)
    assert relay.work() == []
    assert simulator.sent() == []
    [letter] = relay.dead_letters()
    assert letter["errors"] == "/TopicArn topic-not-listed"
    assert (letter["body"], letter["client"]) == (body, DEFAULT_CLIENT)
    assert letter["Idempotency-Key"] == sqs_id
    [item] = relay.items()
    assert item["pk"] == {"S": f"MSG#{message_id('', sqs_id)}"}
    assert item["client"] == {"S": DEFAULT_CLIENT}
    [error] = relay.get(f"/messages/{message_id('', sqs_id)}", client=DEFAULT_CLIENT).body["errors"]
    assert error["code"] == "topic-not-listed"


def test_a_changed_list_of_topics_sends_nothing_again(
    relay: Environment, simulator: Simulator
) -> None:
    """A deployment changes the list between two deliveries of a message."""
    for senders in (SAMPLE_TOPIC_ARN, "", f"{SAMPLE_TOPIC_ARN}-2,{SAMPLE_TOPIC_ARN}"):
        with relay.deployed(QUEUE_SENDER_ARNS=senders):
            relay.enqueue(sns_notification(SAMPLE_TOPIC_ARN, CLIENT))
            assert relay.work() == []
    assert len(simulator.sent()) == 1
    assert len(relay.dead_letters()) == 1


@pytest.mark.parametrize("key", [{}, {"idempotencyKey": "order-8812"}])
def test_an_event_never_names_its_client(
    relay: Environment, simulator: Simulator, key: dict[str, str]
) -> None:
    claimed = {"client": {"Type": "String", "Value": CLIENT}}
    event = {
        "id": "event-id",
        "detail-type": "x",
        "client": CLIENT,
        "TopicArn": SAMPLE_TOPIC_ARN,
        "MessageAttributes": claimed,
        "detail": MESSAGE | key,
    }
    relay.enqueue(event)
    assert relay.work() == []
    [item] = relay.items()
    expected = message_id("", key.get("idempotencyKey", "event-id"))
    assert item["pk"] == {"S": f"MSG#{expected}"}
    assert item["client"] == {"S": DEFAULT_CLIENT}
    assert len(simulator.sent()) == 1


def test_a_key_counts_over_http_and_in_the_queue(relay: Environment, simulator: Simulator) -> None:
    posted = relay.post(MESSAGE, headers={"Idempotency-Key": "order-8812"})
    relay.enqueue(MESSAGE, OURS)
    assert relay.work() == []
    assert len(simulator.sent()) == 1
    assert relay.get(f"/messages/{posted.body['id']}").body["status"] == "accepted"


def test_http_and_queue_share_a_key_only_if_the_queue_message_names_its_client(
    relay: Environment, simulator: Simulator
) -> None:
    """Otherwise a change of DefaultClient would change the ids of queue messages."""
    key = {"Idempotency-Key": "order-8812"}
    relay.post(MESSAGE, headers=key, client=DEFAULT_CLIENT)
    relay.enqueue(MESSAGE, key | {"client": DEFAULT_CLIENT})
    assert relay.work() == []
    assert len(simulator.sent()) == 1
    relay.enqueue(MESSAGE, key)
    assert relay.work() == []
    assert len(simulator.sent()) == 2


@pytest.mark.parametrize("body", [MESSAGE, MESSAGE | {"to": ["+1 212 555 0100", SUBSCRIBER]}])
def test_a_new_default_client_sends_nothing_again(
    relay: Environment, simulator: Simulator, body: dict[str, Any]
) -> None:
    relay.enqueue(body, {"Idempotency-Key": "order-8812"})
    while relay.waiting():
        assert relay.work() == []
    sent, items = len(simulator.sent()), relay.items()

    with relay.default_client("calendar"):
        relay.enqueue(body, {"Idempotency-Key": "order-8812"})
        assert relay.work() == []

    assert len(simulator.sent()) == sent
    assert relay.items() == items, "it must still belong to the first default client"


def test_a_refused_message_stays_with_its_first_default_client(relay: Environment) -> None:
    refused = MESSAGE | {"to": []}
    relay.enqueue(refused, {"Idempotency-Key": "order-8812"})
    assert relay.work() == []
    with relay.default_client("calendar"):
        relay.enqueue(refused, {"Idempotency-Key": "order-8812"})
        assert relay.work() == []
    [item] = relay.items()
    assert item["client"] == {"S": DEFAULT_CLIENT}


@pytest.mark.parametrize("key", ["order-8812", '"order-8812"'])
def test_a_key_in_quotes_is_the_same_key(
    relay: Environment, simulator: Simulator, key: str
) -> None:
    relay.post(MESSAGE, headers={"Idempotency-Key": key})
    relay.post(MESSAGE | {"idempotencyKey": key})
    relay.enqueue(MESSAGE, OURS | {"Idempotency-Key": key})
    relay.enqueue(MESSAGE | {"idempotencyKey": key}, {"client": CLIENT})
    assert relay.work() == []
    assert len(simulator.sent()) == 1
    [item] = relay.items()
    assert item["pk"] == {"S": f"MSG#{message_id(CLIENT, 'order-8812')}"}


def test_the_same_sns_notification_twice_is_one_sms(
    relay: Environment, simulator: Simulator
) -> None:
    body = (ROOT / "events/envelopes/sns-notification.json").read_text()
    for _ in range(2):
        relay.enqueue(body)
        assert relay.work() == []
    assert len(simulator.sent()) == 1


@pytest.mark.parametrize(
    ("body", "reason", "errors"),
    [
        ("this is not JSON", "not-json", "not-json"),
        ("[" * 50_000, "not-json", "not-json"),
        (json.dumps({"message": "m"}), "refused", "/to missing"),
        (json.dumps(MESSAGE | {"keyword": "K"}), "refused", "/keyword keyword-not-needed"),
        (json.dumps(MESSAGE | {"idempotencyKey": "ü"}), "refused", "invalid-idempotency-key"),
        (json.dumps(MESSAGE | {"to": TOO_LARGE_TO}), "refused", "too-large"),
        ('{"send":{"id":"01ARZ3NDEKTSV4RRFFQ69G5FAV","n":1}}', "no-such-send", "/send not-found"),
    ],
)
def test_a_refused_message_is_recorded_and_becomes_a_dead_letter(
    relay: Environment, simulator: Simulator, body: str, reason: str, errors: str
) -> None:
    relay.enqueue(body, OURS)
    assert relay.work() == []

    assert simulator.calls() == []
    assert relay.waiting() == 0
    [letter] = relay.dead_letters()
    assert letter["body"] == body
    assert letter["reason"] == reason
    assert errors in letter["errors"]
    assert letter["client"] == CLIENT
    assert letter["Idempotency-Key"] == "order-8812", "a redrive needs the key"
    recorded = relay.get(f"/messages/{letter['messageId']}")
    assert recorded.status == 200
    assert recorded.body["status"] == "rejected"
    assert recorded.body["errors"]
    assert relay.get(f"/messages/{letter['messageId']}", client="other").status == 404


def test_the_largest_refused_message_loses_its_end_as_a_dead_letter(relay: Environment) -> None:
    """The reason of the refusal needs space, too."""
    body = "x" * MAX_REQUEST_BYTES
    relay.enqueue(body)
    assert relay.work() == []
    [letter] = relay.dead_letters()
    assert letter["reason"] == "not-json"
    assert body.startswith(letter["body"])
    assert len(body) - 1_000 < len(letter["body"]) < len(body)


@pytest.mark.parametrize(
    "client", ["Shop", "shop-", "x" * 64, "arn:aws:iam::123456789012:role/Shop"]
)
def test_a_message_with_an_invalid_client_becomes_a_dead_letter(
    relay: Environment, simulator: Simulator, client: str
) -> None:
    relay.enqueue(MESSAGE, {"client": client, "Idempotency-Key": "order-8812"})
    assert relay.work() == []

    assert simulator.calls() == []
    assert relay.waiting() == 0
    [letter] = relay.dead_letters()
    assert (letter["reason"], letter["errors"]) == ("refused", " invalid-client")
    assert json.loads(letter["body"]) == MESSAGE
    [recorded] = relay.items()
    assert (recorded["sk"]["S"], recorded["client"]["S"]) == ("REFUSED", "internal")


def test_another_body_with_the_same_key_becomes_a_dead_letter(
    relay: Environment, simulator: Simulator
) -> None:
    relay.enqueue(MESSAGE, OURS)
    assert relay.work() == []
    relay.enqueue(MESSAGE | {"text": "Something else"}, OURS)
    assert relay.work() == []
    assert [letter["reason"] for letter in relay.dead_letters()] == ["idempotency-key-reused"]
    assert len(simulator.sent()) == 1


def test_a_corrected_message_may_use_the_key_again(
    relay: Environment, simulator: Simulator
) -> None:
    relay.enqueue(MESSAGE | {"text": " "}, OURS)
    assert relay.work() == []
    relay.enqueue(MESSAGE, OURS)
    assert relay.work() == []
    assert len(simulator.sent()) == 1
    stored = relay.get(f"/messages/{message_id(CLIENT, 'order-8812')}").body
    assert stored["status"] == "accepted"


def test_a_bad_message_does_not_hold_up_its_batch(relay: Environment, simulator: Simulator) -> None:
    simulator.fail("send", "429-50100")
    ids = {text: relay.enqueue(MESSAGE | {"to": ["+12125550100"], "text": text}) for text in "abcd"}
    relay.enqueue("this is not JSON")
    failed = relay.work()
    assert len(failed) == 1
    assert failed[0] in ids.values()
    assert len(simulator.sent()) == 3
    assert len(relay.dead_letters()) == 1
    assert relay.waiting() == 1


def test_each_message_of_a_batch_gets_its_own_result(
    relay: Environment, simulator: Simulator
) -> None:
    """The outcomes are chosen by text; each send must end as its text says."""
    magic = {
        "942901": "queued",
        "950301": "queued",
        "940101": "queued",
        "940006": "rejected",
        "940030": "rejected",
        "920201": "accepted",
    }
    for part in magic:
        template = base64.b64encode(f"{part}:78:0".encode()).decode().rstrip("=")
        relay.enqueue(MESSAGE | {"message": template, "reference": part})
    unstored = relay.enqueue(MESSAGE | {"reference": "unstored"})

    def fail_one(_: BaseClient, operation: str, parameters: Any, call: Callable[[], Any]) -> Any:
        if operation == "PutItem" and parameters["Item"].get("reference") == {"S": "unstored"}:
            raise EndpointConnectionError(endpoint_url="https://dynamodb.invalid")
        return call()

    with intercepted(fail_one):
        failed = relay.work()

    ends = {item["reference"]["S"]: item["status"]["S"] for item in relay.items()}
    assert ends == magic
    assert unstored in failed
    assert len(failed) == 1 + sum(end == "queued" for end in magic.values())
    # Only the returned messages are tried again.
    before = len(simulator.sent())
    relay.make_due()
    relay.work()
    assert len(simulator.sent()) == before + 1
    assert {item["reference"]["S"] for item in relay.items()} == {*magic, "unstored"}


def test_a_message_that_is_delivered_twice_at_once_is_sent_once(
    relay: Environment, simulator: Simulator
) -> None:
    simulator.fail("send", "ok", delay_ms=300)
    relay.enqueue(MESSAGE)
    [message] = relay.client("sqs").receive_message(QueueUrl=relay.queue_url)["Messages"]
    event = {"Records": [record(message)]}
    queue_worker.parts()  # built before, because eight threads would each build their own

    def deliver(_: int) -> Any:
        return relay.worker.handler(event, Context(60.0))

    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(deliver, range(8)))

    assert len(simulator.sent()) == 1
    assert sum(not answer["batchItemFailures"] for answer in answers) >= 1
    assert [item["status"]["S"] for item in relay.items()] == ["accepted"]


def test_a_throttled_send_comes_back_after_the_wait_and_is_sent_once(
    relay: Environment, simulator: Simulator
) -> None:
    simulator.fail("send", "429-50100", retry_after=0)
    sqs_id = relay.enqueue(MESSAGE)
    assert relay.work() == [sqs_id]
    [item] = relay.items()
    assert item["status"] == {"S": "queued"}
    assert float(item["dueAt"]["N"]) > float(item["updatedAt"]["N"])

    relay.make_due()
    assert relay.work() == []
    assert len(simulator.sent()) == 1
    [item] = relay.items()
    assert (item["status"], item["attempts"]) == ({"S": "accepted"}, {"N": "2"})


def test_before_its_time_a_send_is_not_tried(relay: Environment, simulator: Simulator) -> None:
    simulator.fail("send", "429-50100", retry_after=50_000)
    sqs_id = relay.enqueue(MESSAGE)
    assert relay.work() == [sqs_id]
    relay.show_all()  # SQS can't hide it for so long, so it comes back and waits again
    assert relay.work() == [sqs_id]
    assert len(simulator.calls()) == 1
    [item] = relay.items()
    assert float(item["dueAt"]["N"]) >= float(item["createdAt"]["N"]) + 50_000


def test_after_a_throttled_call_the_other_messages_wait(
    relay: Environment, simulator: Simulator
) -> None:
    relay.enqueue(MESSAGE)
    simulator.fail("send", "429-50100", retry_after=7)
    assert len(relay.work()) == 1
    assert relay.slept == []
    relay.enqueue(MESSAGE)
    assert relay.work() == []
    assert relay.slept == pytest.approx([7.0], abs=2.0)
    assert len(simulator.calls()) == 2


@pytest.mark.parametrize(
    ("pauses", "returned", "slept"),
    [([7.0, 3.0, 0.0], 0, [7.0, 3.0]), ([7.0, 20.0], 1, [7.0])],
    ids=["time left", "no time left"],
)
def test_a_pause_that_became_longer_is_waited_for(
    relay: Environment, simulator: Simulator, pauses: list[float], returned: int, slept: list[float]
) -> None:
    relay.enqueue(MESSAGE)
    with patch.object(Sender, "pause_remaining", side_effect=pauses):
        assert len(relay.work(remaining=30.0)) == returned
    assert (relay.slept, len(simulator.calls())) == (slept, 1 - returned)


def test_without_time_for_the_pause_a_message_is_returned_untouched(
    relay: Environment, simulator: Simulator
) -> None:
    relay.enqueue(MESSAGE)
    simulator.fail("send", "429-50100", retry_after=7)
    relay.work()
    late = relay.enqueue(MESSAGE)
    assert relay.work(remaining=20.0) == [late]
    assert (relay.slept, len(simulator.calls())) == ([], 1)
    [item] = relay.items()
    assert item["attempts"] == {"N": "1"}, "the second message must not be tried"


def test_throttled_attempts_do_not_make_a_send_failed(
    relay: Environment, simulator: Simulator
) -> None:
    simulator.fail("send", "429-50100", times=6)
    relay.enqueue(MESSAGE)
    for _ in range(6):  # more than MAX_ATTEMPTS
        assert len(relay.work()) == 1
        relay.make_due()
    assert relay.work() == []
    [item] = relay.items()
    assert (item["status"], item["attempts"]) == ({"S": "accepted"}, {"N": "7"})
    assert item["attemptsPutOff"] == {"N": "6"}


def test_only_its_age_ends_a_send_that_was_certainly_not_sent(
    relay: Environment, simulator: Simulator
) -> None:
    simulator.fail("send", "503-50300", times=-1)
    relay.enqueue(MESSAGE, OURS)
    for _ in range(6):  # more than MAX_ATTEMPTS
        assert len(relay.work()) == 1
        relay.make_due()
    relay.make_too_old()
    assert relay.work() == []

    assert len(simulator.calls()) == 6
    [letter] = relay.dead_letters()
    assert letter["reason"] == "too-old"
    stored = relay.get(f"/messages/{letter['messageId']}").body
    assert (stored["status"], stored["sends"][0]["attempts"]) == ("failed", 7)
    assert relay.waiting() == 0


def queued_message(relay: Environment, _: Simulator) -> None:
    relay.enqueue(MESSAGE, OURS)


def deferred_request(relay: Environment, _: Simulator) -> None:
    relay.post(MESSAGE, headers={"Prefer": "respond-async"})


def throttled_request(relay: Environment, simulator: Simulator) -> None:
    simulator.fail("send", "429-50100")
    assert relay.post(MESSAGE).body["status"] == "queued"
    relay.make_due()


@pytest.mark.parametrize("begin", [queued_message, deferred_request, throttled_request])
def test_a_send_rejected_in_the_worker_keeps_its_body_and_gets_a_dead_letter(
    relay: Environment, simulator: Simulator, begin: Callable[[Environment, Simulator], None]
) -> None:
    begin(relay, simulator)
    simulator.fail("send", "400")
    assert relay.work() == []
    [item] = relay.items()
    assert (item["status"], item["reason"]) == ({"S": "rejected"}, {"S": "refused"})
    assert "12125550100" in item["body"]["S"]
    assert "deleteAt" in item
    number = item["pk"]["S"].removeprefix("MSG#")
    assert relay.dead_letters() == [
        {
            "body": reference_body(SendKey(number, 1)),
            "reason": "rejected",
            "errors": "refused",
            "messageId": number,
            "client": CLIENT,
        }
    ]
    assert relay.waiting() == 0


@pytest.mark.parametrize("to", [["+12125550100"], ["+12125550100", SUBSCRIBER]])
def test_a_send_rejected_over_http_has_neither_body_nor_dead_letter(
    relay: Environment, simulator: Simulator, to: list[Any]
) -> None:
    simulator.fail("send", "400", times=len(to))
    posted = relay.post(MESSAGE | {"to": to}, headers={"Idempotency-Key": "order-8812"})
    assert posted.status == 422
    # The worker finds the stored result, and does not change it.
    relay.enqueue(MESSAGE | {"to": to}, OURS)
    for _ in range(2):
        assert relay.work() == []
    assert [(item["status"], "body" in item) for item in relay.items()] == [
        ({"S": "rejected"}, False) for _ in to
    ]
    assert relay.dead_letters() == []
    assert len(simulator.calls()) == len(to)


def test_a_worker_that_died_before_the_dead_letter_writes_it_after_the_redelivery(
    relay: Environment, simulator: Simulator
) -> None:
    simulator.fail("send", "400")
    sqs_id = relay.enqueue(MESSAGE, OURS)
    unavailable = QueueUnavailableError("refused by a test")
    with patch.object(SqsDeadLetterQueue, "put", side_effect=unavailable):
        assert relay.work() == [sqs_id]
    assert relay.dead_letters() == []
    relay.show_all()
    assert relay.work() == []
    assert [letter["reason"] for letter in relay.dead_letters()] == ["rejected"]
    assert len(simulator.calls()) == 1


def test_a_send_that_another_process_has_begun_is_left_alone_until_its_lease_ends(
    relay: Environment, simulator: Simulator
) -> None:
    relay.post(MESSAGE, headers={"Idempotency-Key": "order-8812", "Prefer": "respond-async"})
    relay.begin_elsewhere(lease=60.0)
    assert len(relay.work()) == 1
    assert simulator.calls() == []
    assert relay.waiting() == 1


@pytest.mark.parametrize(("choice", "status"), [("hold", "unknown"), ("resend", "accepted")])
def test_a_process_that_died_while_sending_leaves_it_unknown(
    relay: Environment, simulator: Simulator, choice: str, status: str
) -> None:
    key = {"Idempotency-Key": "order-8812"}
    posted = relay.post(MESSAGE | {"onUnknown": choice}, headers=key | {"Prefer": "respond-async"})
    relay.begin_elsewhere(lease=-1.0)
    while relay.work():
        relay.show_all()
    stored = relay.get(f"/messages/{posted.body['id']}").body
    assert stored["status"] == status
    assert len(simulator.sent()) == (1 if choice == "resend" else 0)
    replayed = relay.post(MESSAGE | {"onUnknown": choice}, headers=key)
    assert replayed.status == (202 if choice == "resend" else 504)


def test_a_refusal_does_not_end_the_doubt_of_an_earlier_attempt(
    relay: Environment, simulator: Simulator
) -> None:
    simulator.fail("send", "reset-after-accept")
    simulator.fail("send", "400")
    sqs_id = relay.enqueue(MESSAGE | {"onUnknown": "resend"}, OURS)
    assert relay.work() == [sqs_id]
    relay.make_due()
    assert relay.work() == []
    assert len(simulator.sent()) == 1
    [item] = relay.items()
    assert (item["status"], "body" in item) == ({"S": "unknown"}, True)


def test_a_redelivered_message_is_not_sent_again(relay: Environment, simulator: Simulator) -> None:
    relay.enqueue(MESSAGE, OURS)
    assert relay.work() == []
    relay.enqueue(MESSAGE, OURS)
    relay.enqueue(MESSAGE, OURS)
    assert relay.work() == []
    assert len(simulator.sent()) == 1


def test_many_sends_become_queue_messages(relay: Environment, simulator: Simulator) -> None:
    relay.enqueue(MESSAGE | {"to": [f"+4477009{n:05d}" for n in range(600)]})
    assert relay.work() == []
    assert relay.waiting() == 3
    assert relay.work() == []
    bodies: list[Any] = [sent["body"] for sent in simulator.sent()]
    assert sorted(len(body["mobileNumbers"]) for body in bodies) == [100, 250, 250]
    assert relay.waiting() == 0


def test_without_a_ledger_the_message_stays_in_the_queue(
    relay: Environment, simulator: Simulator
) -> None:
    relay.client("dynamodb").delete_table(TableName=relay.table)
    sqs_id = relay.enqueue(MESSAGE)
    assert relay.work() == [sqs_id]
    sqs_id = relay.enqueue("this is not JSON")
    assert relay.work() == [sqs_id]
    assert simulator.calls() == []
    assert relay.waiting() == 2


@pytest.mark.parametrize(
    ("receive_count", "seconds"), [(1, 15), (2, 30), (6, 480), (7, 900), (999, 900), (5_000, 900)]
)
def test_during_an_outage_the_waits_of_a_message_grow(
    wall_clock: WallClock,
    relay: Environment,
    capsys: pytest.CaptureFixture[str],
    receive_count: int,
    seconds: int,
) -> None:
    """SQS moves a message to the dead-letter queue after 1,000 deliveries."""
    sqs_id = relay.enqueue(MESSAGE)
    [message] = relay.client("sqs").receive_message(QueueUrl=relay.queue_url)["Messages"]
    message["Attributes"] = {
        "ApproximateReceiveCount": str(receive_count),
        "SentTimestamp": str(int(wall_clock.now - 1_800) * 1_000),
    }
    relay.client("dynamodb").delete_table(TableName=relay.table)
    waits = []

    def note(_: BaseClient, operation: str, parameters: Any, call: Callable[[], Any]) -> Any:
        if operation == "ChangeMessageVisibility":
            waits.append(parameters["VisibilityTimeout"])
        return call()

    with intercepted(note):
        returned = relay.hand_worker([record(message)])
    assert returned == {"batchItemFailures": [{"itemIdentifier": sqs_id}]}
    assert waits == [seconds]
    # SQS's own metric omits messages that were received three times.
    assert '"QueuedSendAge":[1800000.0]' in capsys.readouterr().out


def test_without_time_left_messages_come_back_untouched(
    relay: Environment, simulator: Simulator
) -> None:
    sqs_id = relay.enqueue(MESSAGE)
    assert relay.work(remaining=13.9) == [sqs_id]
    assert relay.items() == []
    assert simulator.calls() == []


def test_a_batch_runs_in_parallel(aws: None) -> None:
    _ = aws
    all_called = threading.Barrier(10)

    def manner(peer: socket.socket) -> None:
        with suppress(threading.BrokenBarrierError):
            all_called.wait(20)
            peer.sendall(ANSWER)

    settings = {"UPSTREAM_TIMEOUT_SECONDS": "30"}
    with HostileServer(manner) as server, running(server.url, **settings) as relay:
        for n in range(10):
            relay.enqueue(MESSAGE | {"text": str(n)})
        assert relay.work() == []
        assert {item["status"]["S"] for item in relay.items()} == {"accepted"}


def large(text: str) -> Any:
    """Return a message with one send and a body of 120 KB."""
    return MESSAGE | {"to": TOO_LARGE_TO[:30], "text": text}


def receive(relay: Environment) -> list[Any]:
    """Return the records of a batch with all messages of the queue."""
    messages = relay.client("sqs").receive_message(QueueUrl=relay.queue_url, MaxNumberOfMessages=10)
    return [record(message) for message in messages["Messages"]]


def test_large_messages_run_one_by_one_without_delaying_small_ones(
    relay: Environment, simulator: Simulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    small_done = threading.Semaphore(0)
    large_ones: list[bool] = []
    turn = threading.Lock()
    intake = queue_worker.parts().queue_worker
    process = intake.process

    def watch(message: QueueMessage, deadline: Deadline) -> float | None:
        if len(message.body) < 100_000:
            delay = process(message, deadline)
            small_done.release()
            return delay
        is_alone = turn.acquire(blocking=False)
        if not large_ones:
            assert small_done.acquire(timeout=10), "a small message must not wait"
        large_ones.append(is_alone)
        delay = process(message, deadline)
        turn.release()
        return delay

    monkeypatch.setattr(intake, "process", watch)
    for n in range(8):
        relay.enqueue(large(str(n)))
    relay.enqueue(MESSAGE)
    assert relay.work() == []
    assert large_ones == [True] * 8
    assert len(simulator.sent()) == 9


def test_a_large_message_without_time_left_comes_back_untouched(
    relay: Environment, simulator: Simulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    context = Context(60.0)
    intake = queue_worker.parts().queue_worker
    process = intake.process

    def pass_time(message: QueueMessage, deadline: Deadline) -> float | None:
        delay = process(message, deadline)
        context.remaining = 13.9
        return delay

    monkeypatch.setattr(intake, "process", pass_time)
    for n in range(3):
        relay.enqueue(large(str(n)))
    first, *others = receive(relay)
    answer = relay.worker.handler({"Records": [first, *others]}, context)
    failed = [entry["itemIdentifier"] for entry in answer["batchItemFailures"]]
    assert failed == [other["messageId"] for other in others]
    assert len(relay.items()) == len(simulator.sent()) == 1


def test_an_unexpected_error_affects_only_its_message(
    relay: Environment, simulator: Simulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    relay.enqueue(MESSAGE)
    broken = relay.enqueue(MESSAGE | {"text": "break"})
    intake = queue_worker.parts().queue_worker
    receive = intake.process

    def fail(delivery: QueueMessage, deadline: Deadline) -> float | None:
        if "break" in delivery.body:
            raise ZeroDivisionError
        return receive(delivery, deadline)

    monkeypatch.setattr(intake, "process", fail)
    assert relay.work() == [broken]
    assert len(simulator.sent()) == 1
