"""Tests how messages are found by key or reference, for each way in."""

import json
from collections.abc import Callable
from typing import Any
from urllib.parse import quote

import pytest

from smsrelay.adapters.dynamodb_ledger import DynamoDbLedger
from smsrelay.sends.ids import message_id, new_id
from smsrelay.sends.send import OnUnknown, Send, SendKey, Status
from smsrelay.services import api
from tests.support import golden
from tests.support.aws_calls import intercepted
from tests.support.environment import CLIENT, DEFAULT_CLIENT, Environment, HttpAnswer
from tests.support.template import SAMPLE_TOPIC_ARN
from tools.mobileconnect_simulator import Simulator

Json = dict[str, Any]
MESSAGE: Json = {"message": "MzA6Nzg6MA", "to": ["+1 212 555 0100"], "text": "Hello"}
ASYNC = {"Prefer": "respond-async"}
BY_REFERENCE = "/messages?reference=order-8812"
EVENT_ID = "7bf73129-1428-4cd3-a780-95db273d1602"
ROLE = "arn:aws:iam::123456789012:role/Shop"
CALLER = "arn:aws:sts::123456789012:assumed-role/Shop/session"


def ids_of(answer: HttpAnswer) -> list[str]:
    assert answer.status == 200
    return [message["id"] for message in answer.body["messages"]]


def bare(relay: Environment, message: Json = MESSAGE) -> str:
    return relay.enqueue(message)


def from_sns(relay: Environment, message: Json = MESSAGE) -> str:
    notification = {"Type": "Notification", "TopicArn": SAMPLE_TOPIC_ARN, "MessageId": EVENT_ID}
    relay.enqueue(notification | {"Message": json.dumps(message)})
    return EVENT_ID


def from_eventbridge(relay: Environment, message: Json = MESSAGE) -> str:
    relay.enqueue({"id": EVENT_ID, "detail-type": "Shipped", "detail": message})
    return EVENT_ID


def with_a_key_in_the_json(relay: Environment) -> str:
    relay.enqueue(MESSAGE | {"idempotencyKey": "order 8812+1/ship&ped"})
    return "order 8812+1/ship&ped"


@pytest.mark.parametrize("put", [bare, from_sns, from_eventbridge, with_a_key_in_the_json])
def test_a_queue_message_is_found_by_its_key_or_by_the_id_that_its_sender_got(
    relay: Environment, put: Callable[[Environment], str]
) -> None:
    path = f"/messages?idempotencyKey={quote(put(relay), safe='')}"
    assert ids_of(relay.get(path, client=DEFAULT_CLIENT)) == []
    relay.work()
    found = relay.get(path, client=DEFAULT_CLIENT)
    [message] = found.body["messages"]
    assert message == relay.get(f"/messages/{message['id']}", client=DEFAULT_CLIENT).body
    assert (message["status"], found.body["next"]) == ("accepted", None)
    assert ids_of(relay.get(path)) == [], "the message belongs to the default client"


@pytest.mark.parametrize("path", ["/messages/{id}", "/messages?idempotencyKey=k", BY_REFERENCE])
def test_a_body_is_not_read_to_show_its_message(relay: Environment, path: str) -> None:
    headers = {"Idempotency-Key": "k"} | ASYNC
    posted = relay.post(MESSAGE | {"reference": "order-8812"}, headers=headers)
    read: list[Json] = []

    def record(_client: Any, operation: str, parameters: Json, call: Callable[[], Any]) -> Any:
        response = call()
        if operation == "Query" and parameters["TableName"] == relay.table:
            read.extend(response["Items"])
        return response

    with intercepted(record):
        assert relay.get(path.format(id=posted.body["id"])).status == 200
    assert "body" in relay.items()[0]
    assert "createdAt" in {name for item in read for name in item}
    assert [item for item in read if "body" in item] == []


def test_a_queue_message_that_names_its_client_is_found_by_this_client_only(
    relay: Environment,
) -> None:
    relay.enqueue(MESSAGE, {"client": CLIENT, "Idempotency-Key": "k"})
    relay.work()
    assert ids_of(relay.get("/messages?idempotencyKey=k")) == [message_id(CLIENT, "k")]
    assert ids_of(relay.get("/messages?idempotencyKey=k", client=DEFAULT_CLIENT)) == []


def test_a_message_stays_with_the_default_client_that_it_was_stored_for(
    relay: Environment,
) -> None:
    relay.enqueue(MESSAGE | {"idempotencyKey": "k", "reference": "order-8812"})
    relay.work()
    with relay.default_client("billing"):
        for path in ("/messages?idempotencyKey=k", BY_REFERENCE):
            assert ids_of(relay.get(path, client=DEFAULT_CLIENT)) == [message_id("", "k")]
            assert ids_of(relay.get(path, client="billing")) == []


def test_one_key_over_http_and_in_the_queue_can_be_two_messages(relay: Environment) -> None:
    relay.post(MESSAGE, headers={"Idempotency-Key": "k"}, client=DEFAULT_CLIENT)
    relay.enqueue(MESSAGE, {"Idempotency-Key": '"k"'})
    relay.work()
    found = ids_of(relay.get("/messages?idempotencyKey=%22k%22", client=DEFAULT_CLIENT))
    assert found == [message_id(DEFAULT_CLIENT, "k"), message_id("", "k")]


def test_a_webhook_is_found_by_its_id(relay: Environment) -> None:
    secret = relay.put_webhook_secret(CLIENT)
    posted = relay.post_webhook(CLIENT, secret, MESSAGE, webhook_id="msg_8812")
    assert ids_of(relay.get("/messages?idempotencyKey=msg_8812")) == [posted.body["id"]]


@pytest.mark.parametrize("put", [bare, from_sns, from_eventbridge])
def test_a_message_that_was_refused_in_the_queue_is_found_with_the_reasons(
    relay: Environment, put: Callable[..., str]
) -> None:
    key = put(relay, MESSAGE | {"to": ["(310) 555-0100"]})
    relay.work()
    path = f"/messages?idempotencyKey={key}"
    [message] = relay.get(path, client=DEFAULT_CLIENT).body["messages"]
    assert (message["status"], message["sends"]) == ("rejected", [])
    assert [error["code"] for error in message["errors"]] == ["number-not-international"]
    assert ids_of(relay.get(path)) == []


def broken_json_from_sns(relay: Environment) -> str:
    attributes = {
        name: {"Type": "String", "Value": value}
        for name, value in {"client": CLIENT, "Idempotency-Key": "order-8812"}.items()
    }
    relay.enqueue(
        {
            "Type": "Notification",
            "TopicArn": SAMPLE_TOPIC_ARN,
            "MessageId": EVENT_ID,
            "MessageAttributes": attributes,
            "Message": '{"to": [',
        }
    )
    return "order-8812"


def invalid_key_from_eventbridge(relay: Environment) -> str:
    event = {"id": EVENT_ID, "detail-type": "Shipped", "detail": MESSAGE | {"idempotencyKey": "ü"}}
    relay.enqueue(event, {"client": CLIENT})
    return EVENT_ID


def invalid_key(relay: Environment) -> str:
    return relay.enqueue(MESSAGE, {"client": CLIENT, "Idempotency-Key": "ü"})


def key_of_another_message(relay: Environment) -> str:
    relay.post(MESSAGE, headers={"Idempotency-Key": "order-8812"})
    other = MESSAGE | {"text": "Something else"}
    return relay.enqueue(other, {"client": CLIENT, "Idempotency-Key": "order-8812"})


@pytest.mark.parametrize(
    "put",
    [broken_json_from_sns, invalid_key_from_eventbridge, invalid_key, key_of_another_message],
)
def test_a_refused_message_is_found_by_what_its_sender_knows(
    relay: Environment, put: Callable[[Environment], str]
) -> None:
    key = put(relay)
    relay.work()
    [message] = relay.get(f"/messages?idempotencyKey={key}").body["messages"]
    assert message["status"] == "rejected"
    assert message["errors"]


@pytest.mark.parametrize("reference", ["order-8812", "#", "é+ü 100 %&=?#/", "👋" * 256, "\t a "])
def test_a_message_is_found_by_any_reference(relay: Environment, reference: str) -> None:
    two_sends = [MESSAGE["to"][0], {"mobile": "+12125550101", "key": "k"}]
    posted = relay.post(MESSAGE | {"to": two_sends, "reference": reference}).body
    relay.post(MESSAGE | {"reference": f"{reference[:-1]}_"})
    path = f"/messages?reference={quote(reference, safe='')}"
    found = relay.get(path)
    assert found.body == {"messages": [relay.get(f"/messages/{posted['id']}").body], "next": None}
    assert found.body["messages"][0]["reference"] == reference
    assert ids_of(relay.get(path, client="another")) == []


@pytest.mark.parametrize("then", ["500", "400", "503-50300"])
def test_a_message_is_found_in_every_status(
    relay: Environment, simulator: Simulator, then: str
) -> None:
    simulator.fail("send", then)
    posted = relay.post(MESSAGE | {"reference": "order-8812"}).body
    assert ids_of(relay.get(BY_REFERENCE)) == [posted["id"]]


def test_iam_principals_find_the_messages_of_their_client(relay: Environment) -> None:
    relay.allow("shop", ROLE)
    relay.enqueue(MESSAGE | {"reference": "order-8812"}, {"client": "shop", "Idempotency-Key": "k"})
    relay.work()
    for query in ("idempotencyKey=k", "reference=order-8812"):
        found = relay.get(f"/iam/messages?{query}", client=CALLER)
        assert ids_of(found) == [message_id("shop", "k")]
        assert ids_of(relay.get(f"/messages?{query}")) == []


@pytest.fixture
def stored(relay: Environment) -> list[str]:
    """45 messages with the same reference, newest first; pairs of them have the same time."""
    ledger = DynamoDbLedger(relay.client("dynamodb"), relay.table, retention_days=90)
    return [put_message(ledger, 1_790_000_000.0 - n // 2 / 4) for n in range(45)]


def put_message(ledger: DynamoDbLedger, at: float, *, client: str = CLIENT, sends: int = 1) -> str:
    found = new_id()
    ledger.create(
        [
            Send(
                key=SendKey(found, n),
                client=client,
                upstream_message_id="MzA6Nzg6MA",
                recipients=1,
                status=Status.REJECTED,
                on_unknown=OnUnknown.HOLD,
                fingerprint=None,
                created_at=at,
                updated_at=at,
                due_at=at,
                written_by="me",
                reference="order-8812",
            )
            for n in range(1, sends + 1)
        ]
    )
    return found


def pages_of(relay: Environment) -> list[list[str]]:
    pages, path = [], BY_REFERENCE
    while path:
        page = relay.get(path)
        pages.append(ids_of(page))
        cursor = page.body["next"]
        path = f"{BY_REFERENCE}&next={cursor}" if cursor else ""
    return pages


def test_pages_have_20_messages_the_newest_first(relay: Environment, stored: list[str]) -> None:
    pages = pages_of(relay)
    assert [len(page) for page in pages] == [20, 20, 5]
    found = [message for page in pages for message in page]
    assert sorted(found) == sorted(stored)
    newest_first = [relay.get(f"/messages/{message}").body["createdAt"] for message in found]
    assert newest_first == sorted(newest_first, reverse=True)


def test_a_full_last_page_is_the_last_one(
    relay: Environment, stored: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(api, "PAGE_SIZE", 15)
    pages = pages_of(relay)
    assert [len(page) for page in pages] == [15, 15, 15]
    assert sorted(message for page in pages for message in page) == sorted(stored)


def test_a_page_ends_before_its_messages_have_too_many_sends(
    relay: Environment, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(api, "MAX_SENDS", 4)
    ledger = DynamoDbLedger(relay.client("dynamodb"), relay.table, retention_days=90)
    found = [put_message(ledger, 1_790_000_000.0 - n, sends=3) for n in range(3)]
    assert pages_of(relay) == [found[:2], found[2:]]


def test_a_cursor_shows_no_client_the_messages_of_another(
    relay: Environment, stored: list[str]
) -> None:
    cursor = relay.get(BY_REFERENCE).body["next"]
    path = f"{BY_REFERENCE}&next={cursor}"
    assert ids_of(relay.get(path, client="another")) == []
    ledger = DynamoDbLedger(relay.client("dynamodb"), relay.table, retention_days=90)
    own = put_message(ledger, 1_700_000_000.0, client="another")
    assert ids_of(relay.get(path, client="another")) == [own]
    assert len(stored) == 45


@pytest.mark.parametrize(
    "query",
    [
        "",
        "idempotencyKey=k&reference=r",
        "idempotencyKey=k&idempotencyKey=k",
        "reference=r&reference=r",
        "idempotencyKey=k&next=1800000000.25-403QDVK492SX83H9VMGX2PC8JT",
        "next=1800000000.25-403QDVK492SX83H9VMGX2PC8JT",
        "reference=r&cursor=x",
        "idempotencykey=k",
        "idempotencyKey=",
        "idempotencyKey=%C3%A9",
        f"idempotencyKey={'k' * 256}",
        "reference=",
        "reference=%20",
        f"reference={'r' * 257}",
        "reference=r&next=",
        "reference=r&next=x",
        "reference=r&next=1800000000.25-403QDVK492SX83H9VMGX2PC8JT%0A",
        "reference=r&next=%D9%A1-403QDVK492SX83H9VMGX2PC8JT",
    ],
)
def test_a_query_that_can_not_be_used_is_refused(relay: Environment, query: str) -> None:
    answer = relay.get(f"/messages?{query}")
    assert (answer.status, answer.body["code"]) == (422, "invalid-query")


@pytest.mark.parametrize("query", ["idempotencyKey=k", "reference=order-8812"])
def test_a_search_reports_an_unavailable_ledger(relay: Environment, query: str) -> None:
    relay.client("dynamodb").delete_table(TableName=relay.table)
    answer = relay.get(f"/messages?{query}")
    assert (answer.status, answer.body["code"]) == (503, "not-read")


def test_an_unreadable_message_does_not_hide_others_with_its_reference(relay: Environment) -> None:
    first, second = (relay.post(MESSAGE | {"reference": "order-8812"}).body["id"] for _ in "12")
    [item] = [item for item in relay.items() if item["pk"]["S"] == f"MSG#{second}"]
    golden.put(relay, item | {"status": {"S": "of a newer version"}})
    assert ids_of(relay.get(BY_REFERENCE)) == [first]


def test_another_clients_unreadable_message_does_not_hide_a_message_with_its_key(
    relay: Environment,
) -> None:
    golden.put(
        relay, golden.UNREADABLE["unknown-status"] | {"pk": {"S": f"MSG#{message_id('', 'k')}"}}
    )
    posted = relay.post(MESSAGE, headers={"Idempotency-Key": "k"})
    assert ids_of(relay.get("/messages?idempotencyKey=k")) == [posted.body["id"]]
