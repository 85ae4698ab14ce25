"""Tests `POST /messages` and `GET` through the handler: responses, sends and stored items."""

import json
import logging
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from unittest.mock import patch

import httpx
import pytest
from botocore.client import BaseClient
from botocore.exceptions import EndpointConnectionError

from smsrelay.adapters import mobileconnect
from smsrelay.adapters.dynamodb_ledger import DynamoDbLedger
from smsrelay.adapters.metrics import PowertoolsMetrics
from smsrelay.adapters.mobileconnect import MobileConnect
from smsrelay.errors import LedgerUnavailableError
from smsrelay.messages.refusals import Refusal, RequestRefusedError
from smsrelay.messages.upstream_calls import MAX_BODY_BYTES
from smsrelay.sends import call_outcome
from smsrelay.sends.ids import message_id
from smsrelay.services import request_reader, sender
from smsrelay.services.upstream_pause import UpstreamPause
from tests.conftest import WallClock
from tests.support.aws_calls import intercepted
from tests.support.cloudwatch_metrics import metrics
from tests.support.environment import CLIENT, Environment, HttpAnswer
from tests.support.requests import TOO_LARGE_TO
from tools.mobileconnect_simulator import Simulator

MESSAGE: dict[str, Any] = {"message": "MzA6Nzg6MA", "to": ["+1 212 555 0100"], "text": "Hello"}
KEY = {"Idempotency-Key": "order-8812"}
ASYNC = {"Prefer": "respond-async"}
UTF_8, LATIN_1 = (f"application/json; charset={name}" for name in ("utf-8", "ISO-8859-1"))


def assert_problem(answer: HttpAnswer, status: int, code: str) -> None:
    assert (answer.status, answer.body["code"]) == (status, code)
    assert answer.headers["Content-Type"] == "application/problem+json"
    assert answer.body["status"] == status
    assert answer.body["type"] == f"urn:smsrelay:problem:{code}"
    assert answer.body["title"]
    assert answer.body["detail"]


def test_a_message_is_sent_once_and_its_token_is_stored(
    relay: Environment, simulator: Simulator
) -> None:
    answer = relay.post(MESSAGE)

    [sent] = simulator.sent()
    assert answer.status == 202
    assert answer.headers["Content-Type"] == "application/json"
    assert answer.headers["Location"] == f"/prod/messages/{answer.body['id']}"
    assert answer.body == {
        "id": answer.body["id"],
        "status": "accepted",
        "sends": [
            {
                "n": 1,
                "status": "accepted",
                "recipients": 1,
                "tokenId": sent["tokenId"],
                "segments": 1,
                "encoding": "GSM-7",
            }
        ],
    }
    assert sent["id"] == "MzA6Nzg6MA"
    assert sent["body"] == {
        "mobileNumbers": ["12125550100"],
        "Override": True,
        "messageText": "Hello",
    }
    [item] = relay.items()
    assert item["tokenId"] == {"S": sent["tokenId"]}
    assert int(item["deleteAt"]["N"]) > float(item["createdAt"]["N"]) + 89 * 86_400
    assert "body" not in item, "only an unfinished send keeps its text"
    assert "unfinished" not in item
    assert relay.waiting() == 0


def test_numbers_and_subscribers_become_two_sends(relay: Environment, simulator: Simulator) -> None:
    subscriber = {"mobile": "+12125550101", "key": "k", "attributes": {"FirstName": "Zoë"}}
    answer = relay.post(MESSAGE | {"to": ["+12125550100", subscriber], "reference": "order-8812"})

    assert [(send["n"], send["recipients"]) for send in answer.body["sends"]] == [(1, 1), (2, 1)]
    tokens = {send["tokenId"] for send in answer.body["sends"]}
    assert tokens == {sent["tokenId"] for sent in simulator.sent()}
    stored = relay.get(f"/messages/{answer.body['id']}").body
    assert stored["status"] == "accepted"
    assert stored["reference"] == "order-8812"
    assert [send["attempts"] for send in stored["sends"]] == [1, 1]


def test_a_padded_message_id_is_encoded_into_the_path(
    relay: Environment, simulator: Simulator
) -> None:
    assert relay.post(MESSAGE | {"message": "MzA6Nzg6MA=="}).status == 202
    assert [sent["id"] for sent in simulator.sent()] == ["MzA6Nzg6MA=="]


@pytest.mark.parametrize(
    ("name", "body", "headers", "status", "code"),
    [
        ("no body", None, {}, 400, "not-json"),
        ("empty body", "", {}, 400, "not-json"),
        ("broken JSON", '{"message":', {}, 400, "not-json"),
        ("deep nesting", '{"to":' + "[" * 50_000, {}, 400, "not-json"),
        ("deep but whole", '{"to":' + "[" * 500 + "]" * 500 + "}", {}, 422, "invalid-request"),
        (
            "NUL",
            '{"message":"m","to":["+12125550100"],"text":"\\u0000"}',
            {},
            422,
            "invalid-request",
        ),
        (
            "half a surrogate pair",
            '{"message":"m","to":["+12125550100"],"te\\ud800xt":"\\ud800"}',
            {},
            422,
            "invalid-request",
        ),
        (
            "duplicate names",
            '{"message":"m","to":["+12125550100"],"to":["+12125550101"]}',
            {},
            422,
            "invalid-request",
        ),
        ("an id with a slash", MESSAGE | {"message": "a/b"}, {}, 422, "invalid-request"),
        ("an id with dots", MESSAGE | {"message": "../../v2/token"}, {}, 422, "invalid-request"),
        ("nobody", MESSAGE | {"to": []}, {}, 422, "invalid-request"),
        ("1 MiB", json.dumps(MESSAGE | {"text": "x" * 1_048_576}), {}, 413, "too-large"),
        ("7 MB", json.dumps(MESSAGE | {"text": "x" * 7_000_000}), {}, 413, "too-large"),
        ("a large call", MESSAGE | {"to": TOO_LARGE_TO}, {}, 413, "too-large"),
        ("a form", "message=m", {"Content-Type": "text/plain"}, 415, "wrong-content-type"),
        ("no type", MESSAGE, {"Content-Type": ""}, 415, "wrong-content-type"),
        ("compressed", MESSAGE, {"Content-Encoding": "gzip"}, 415, "wrong-content-type"),
        ("Latin 1", MESSAGE, {"Content-Type": LATIN_1}, 415, "wrong-content-type"),
        ("two", MESSAGE, {"Content-Type": f"{UTF_8}; charset=utf-16"}, 415, "wrong-content-type"),
        ("a bad key", MESSAGE, {"Idempotency-Key": "ü"}, 400, "invalid-header"),
        ("an empty key", MESSAGE, {"Idempotency-Key": '""'}, 400, "invalid-header"),
    ],
)
def test_bad_input_has_a_clear_problem_and_nothing_is_sent(
    relay: Environment,
    simulator: Simulator,
    name: str,
    body: object,
    headers: dict[str, str],
    status: int,
    code: str,
) -> None:
    assert name
    assert_problem(relay.post(body, headers=headers), status, code)
    assert simulator.calls() == []
    assert relay.items() == []
    assert relay.waiting() == 0


def test_a_refusal_lists_pointer_code_and_detail(relay: Environment) -> None:
    answer = relay.post({"message": "m", "to": ["+12"], "subscribe": True, "txt": 1})
    assert_problem(answer, 422, "invalid-request")
    assert {error["pointer"]: error["code"] for error in answer.body["errors"]} == {
        "/to/0": "invalid-number",
        "/keyword": "keyword-missing",
        "/txt": "unknown-field",
    }
    assert all(error["detail"] for error in answer.body["errors"])


def test_a_send_time_long_before_the_request_is_refused(
    wall_clock: WallClock, relay: Environment
) -> None:
    now = datetime.fromtimestamp(wall_clock.now, UTC)
    hour_ago, earlier = ((now - timedelta(seconds=it)).isoformat() for it in (3_600, 3_601))
    refused = relay.post({"message": "m", "to": ["+12"], "sendAt": earlier})
    assert_problem(refused, 422, "invalid-request")
    assert {error["pointer"]: error["code"] for error in refused.body["errors"]} == {
        "/to/0": "invalid-number",
        "/sendAt": "time-in-the-past",
    }
    assert relay.post(MESSAGE | {"sendAt": earlier}, headers=KEY).status == 422
    first = relay.post(MESSAGE | {"sendAt": hour_ago}, headers=KEY)
    assert first.status == 202
    wall_clock.now += 86_400
    again = relay.post(MESSAGE | {"sendAt": hour_ago}, headers=KEY)
    assert (again.status, again.body) == (202, first.body)
    assert again.headers["Idempotent-Replayed"] == "true"


def test_a_million_refusals_are_cut_short(relay: Environment) -> None:
    relay.set_limits(CLIENT, 3_000)
    answer = relay.post({"message": "m", "to": ["x"] * 3_000})
    assert len(answer.body["errors"]) == 1_000
    assert answer.body["errorsOmitted"] == 2_000


@pytest.mark.parametrize(
    "headers",
    [
        {"content-type": UTF_8},
        {"content-type": 'APPLICATION/JSON;profile=x; Charset = "UTF-8"'},
        {"content-type": "application/json;charset=utf8;"},
        {"CONTENT-TYPE": "application/json"},
    ],
)
def test_header_names_and_parameters_of_the_type_dont_matter(
    relay: Environment, headers: dict[str, str]
) -> None:
    assert relay.post(MESSAGE, headers={"Content-Type": "application/json"} | headers).status == 202


def test_the_same_key_and_body_is_answered_again_and_not_sent_again(
    relay: Environment, simulator: Simulator
) -> None:
    first = relay.post(MESSAGE, headers=KEY)
    again = relay.post(
        '{"text":"Hello", "to":["+1 212 555 0100"],"message":"MzA6Nzg6MA"}',
        headers={"Idempotency-Key": '"order-8812"'},  # quoted, as in the IETF draft
    )
    assert (again.status, again.body) == (first.status, first.body)
    assert again.headers["Idempotent-Replayed"] == "true"
    assert "Idempotent-Replayed" not in first.headers
    assert len(simulator.sent()) == 1


def test_the_key_may_be_in_the_body(relay: Environment, simulator: Simulator) -> None:
    first = relay.post(MESSAGE | {"idempotencyKey": "order-8812"})
    again = relay.post(MESSAGE, headers=KEY)
    assert again.body == first.body
    assert first.body["id"] == message_id(CLIENT, "order-8812")
    assert len(simulator.sent()) == 1


def test_the_same_key_with_another_body_is_refused(
    relay: Environment, simulator: Simulator
) -> None:
    first = relay.post(MESSAGE, headers=KEY)
    other = relay.post(MESSAGE | {"text": "Something else"}, headers=KEY)
    assert_problem(other, 422, "idempotency-key-reused")
    assert "sends" not in other.body
    assert first.body["id"] == other.body["id"]
    assert len(simulator.sent()) == 1


@pytest.mark.parametrize(
    "body",
    [
        MESSAGE | {"text": " "},
        MESSAGE | {"to": "+12125550100"},
        '{"text":"Hello","text":"Hello","to":["+1 212 555 0100"],"message":"MzA6Nzg6MA"}',
        MESSAGE | {"to": TOO_LARGE_TO},
    ],
)
def test_an_invalid_body_under_the_key_of_a_stored_message_is_another_body(
    relay: Environment, simulator: Simulator, body: Any
) -> None:
    first = relay.post(MESSAGE, headers=KEY)
    other = relay.post(body, headers=KEY)
    assert_problem(other, 422, "idempotency-key-reused")
    assert first.body["id"] == other.body["id"]
    assert len(simulator.sent()) == 1


def test_a_repetition_gets_the_stored_response_after_a_change_of_the_rules(
    relay: Environment, simulator: Simulator
) -> None:
    first = relay.post(MESSAGE, headers=KEY)
    refused = RequestRefusedError([Refusal("/text", "blank-text", "The text breaks a new rule.")])
    with patch.object(request_reader, "parse_request", side_effect=refused):
        again = relay.post(MESSAGE, headers=KEY)
        assert_problem(relay.post(MESSAGE), 422, "invalid-request")
    assert (again.status, again.body) == (first.status, first.body)
    assert again.headers["Idempotent-Replayed"] == "true"
    assert len(simulator.sent()) == 1


def test_without_a_key_no_fingerprint_is_stored(relay: Environment) -> None:
    relay.post(MESSAGE)
    [item] = relay.items()
    assert "fingerprint" not in item


def test_the_same_key_of_another_client_is_another_message(
    relay: Environment, simulator: Simulator
) -> None:
    first = relay.post(MESSAGE, headers=KEY)
    other = relay.post(MESSAGE, headers=KEY, client="another")
    assert other.status == 202
    assert first.body["id"] != other.body["id"]
    assert len(simulator.sent()) == 2


def test_a_refused_request_does_not_use_its_key_up(relay: Environment) -> None:
    assert relay.post(MESSAGE | {"text": " "}, headers=KEY).status == 422
    assert relay.post(MESSAGE, headers=KEY).status == 202


def test_a_repetition_during_the_first_request_is_refused(
    relay: Environment, simulator: Simulator
) -> None:
    relay.post(MESSAGE, headers=KEY | ASYNC)
    relay.begin_elsewhere(lease=60.0)
    answer = relay.post(MESSAGE, headers=KEY)
    assert_problem(answer, 409, "still-running")
    assert answer.headers["Retry-After"] == "1"
    assert simulator.calls() == []


def test_respond_async_stores_queues_and_answers_at_once(
    relay: Environment, simulator: Simulator
) -> None:
    answer = relay.post(MESSAGE, headers={"Prefer": "wait=10, respond-async"})
    assert answer.status == 202
    assert answer.body["status"] == "queued"
    assert answer.headers["Preference-Applied"] == "respond-async"
    assert simulator.calls() == []
    assert relay.waiting() == 1

    assert relay.work() == []
    stored = relay.get(f"/messages/{answer.body['id']}").body
    assert stored["status"] == "accepted"
    assert stored["sends"][0]["tokenId"] == simulator.sent()[0]["tokenId"]
    assert relay.waiting() == 0


def test_ten_thousand_recipients_become_forty_sends(
    relay: Environment, simulator: Simulator
) -> None:
    numbers = [f"+4477009{n:05d}" for n in range(10_000)]
    relay.set_limits(CLIENT, 10_000)
    answer = relay.post(MESSAGE | {"to": numbers}, headers=ASYNC)
    assert [send["recipients"] for send in answer.body["sends"]] == [250] * 40
    while relay.waiting():
        assert relay.work() == []

    sent = simulator.sent()
    bodies: list[Any] = [call["body"] for call in sent]
    sent_to = sorted(number for body in bodies for number in body["mobileNumbers"])
    assert sent_to == [number[1:] for number in numbers]
    stored = relay.get(f"/messages/{answer.body['id']}").body
    assert stored["status"] == "accepted"
    tokens = {send["tokenId"] for send in stored["sends"]}
    assert len(tokens) == 40
    assert tokens == {call["tokenId"] for call in sent}


def test_several_sends_run_in_parallel(relay: Environment, simulator: Simulator) -> None:
    numbers = [f"+4477009{n:05d}" for n in range(1_000)]
    answer = relay.post(MESSAGE | {"to": numbers})
    assert answer.body["status"] == "accepted"
    assert len(simulator.sent()) == 4


@pytest.mark.parametrize("then", ["429-50100", "429-50200", "503-50300", "401", "403", "404"])
def test_a_send_that_was_not_sent_is_queued_and_sent_by_the_worker(
    relay: Environment, simulator: Simulator, then: str
) -> None:
    simulator.fail("send", then)
    answer = relay.post(MESSAGE, headers=KEY)
    assert answer.status == 202
    assert answer.body["status"] == "queued"
    assert answer.body["sends"][0]["reason"] in {
        "throttled",
        "blocked",
        "unavailable",
        "unauthorised",
        "forbidden",
        "not-found",
    }
    assert relay.waiting() == 1
    [item] = relay.items()
    assert item["body"]["S"]
    assert item["unfinished"]["S"].startswith("open#")
    assert simulator.sent() == []
    replay = relay.post(MESSAGE, headers=KEY)
    assert (replay.status, replay.body["status"]) == (202, "queued")
    assert simulator.sent() == []


def test_some_accepted_and_some_queued_is_partial(relay: Environment, simulator: Simulator) -> None:
    simulator.fail("send", "429-50100")
    numbers = [f"+4477009{n:05d}" for n in range(500)]
    answer = relay.post(MESSAGE | {"to": numbers})
    assert (answer.status, answer.body["status"]) == (202, "partial")
    assert sorted(send["status"] for send in answer.body["sends"]) == ["accepted", "queued"]


@pytest.mark.parametrize(
    "then",
    [
        "500",
        "reset-before-read",
        "reset-after-accept",
        "hang-after-accept",
    ],
)
def test_a_send_in_doubt_is_reported_and_not_sent_again(
    relay: Environment, simulator: Simulator, then: str
) -> None:
    simulator.fail("send", then)
    answer = relay.post(MESSAGE, headers=KEY)
    assert_problem(answer, 504, "delivery-unknown")
    assert answer.body["sends"][0]["status"] == "unknown"
    again = relay.post(MESSAGE, headers=KEY)
    assert_problem(again, 504, "delivery-unknown")
    assert again.headers["Idempotent-Replayed"] == "true"
    assert again.body["id"] == answer.body["id"]
    assert len([call for call in simulator.calls() if call["route"] == "send"]) == 1
    [item] = relay.items()
    assert item["unfinished"]["S"].startswith("unknown#")
    assert relay.waiting() == 0


@pytest.mark.parametrize("then", ["500", "503-html", "403", "404"])
def test_during_a_pause_a_message_is_queued_and_the_upstream_is_not_called(
    relay: Environment, simulator: Simulator, then: str
) -> None:
    simulator.fail("send", then)
    relay.post(MESSAGE)
    answer = relay.post(MESSAGE, headers=KEY)
    assert (answer.status, answer.body["status"]) == (202, "queued")
    assert answer.body["sends"][0]["reason"] == "paused"
    assert relay.waiting() == (1 if then in {"500", "503-html"} else 2)
    other = relay.post(MESSAGE | {"message": "MzE6Nzg6MA"})
    assert other.body["status"] == ("accepted" if then == "404" else "queued")
    relay.make_due()
    assert relay.work() == []
    assert relay.get(f"/messages/{answer.body['id']}").body["status"] == "accepted"


def test_a_send_in_doubt_is_sent_again_with_resend(
    relay: Environment, simulator: Simulator
) -> None:
    simulator.fail("send", "reset-after-accept")
    answer = relay.post(MESSAGE | {"onUnknown": "resend"})
    assert (answer.status, answer.body["status"]) == (202, "queued")
    assert relay.waiting() == 1


def test_accepted_without_a_token_is_accepted_and_never_sent_again(
    relay: Environment, simulator: Simulator
) -> None:
    simulator.fail("send", "202-no-token")
    answer = relay.post(MESSAGE, headers=KEY)
    assert (answer.status, answer.body["status"]) == (202, "accepted")
    assert "tokenId" not in answer.body["sends"][0]
    assert relay.post(MESSAGE, headers=KEY).body == answer.body
    assert len(simulator.sent()) == 1


def test_the_documented_trailing_comma_is_read(relay: Environment, simulator: Simulator) -> None:
    simulator.fail("send", "202-trailing-comma")
    answer = relay.post(MESSAGE)
    assert answer.body["sends"][0]["tokenId"] == simulator.sent()[0]["tokenId"]


def test_a_refusal_of_the_upstream_has_its_own_text(
    relay: Environment, simulator: Simulator
) -> None:
    simulator.fail("send", "400")
    answer = relay.post(MESSAGE, headers=KEY)
    assert_problem(answer, 422, "upstream-refused")
    assert answer.body["errors"]
    assert answer.body["id"] == message_id(CLIENT, "order-8812")
    stored = relay.get(f"/messages/{answer.body['id']}").body
    assert stored["status"] == "rejected"
    assert stored["sends"][0]["errors"] == answer.body["errors"]
    assert_problem(relay.post(MESSAGE, headers=KEY), 422, "upstream-refused")
    assert len(simulator.calls()) == 1


def test_a_tokens_message_is_found(relay: Environment) -> None:
    posted = relay.post(MESSAGE)
    token_id = posted.body["sends"][0]["tokenId"]
    answer = relay.get(f"/tokens/{token_id}")
    assert answer.status == 200
    assert answer.body == {"tokenId": token_id, "id": posted.body["id"], "n": 1}


def test_a_caller_sees_only_its_own_messages(relay: Environment) -> None:
    posted = relay.post(MESSAGE)
    token_id = posted.body["sends"][0]["tokenId"]
    nothing = relay.get("/messages/01ARZ3NDEKTSV4RRFFQ69G5FAV", client="another")
    for path in (f"/messages/{posted.body['id']}", f"/tokens/{token_id}"):
        assert relay.get(path).status == 200
        assert_problem(relay.get(path, client="another"), 404, "not-found")
        assert relay.get(path, client="another") == nothing, "the responses differ"
    assert relay.delete(f"/messages/{posted.body['id']}", client="another") == nothing


def test_a_key_without_a_client_is_refused(relay: Environment, simulator: Simulator) -> None:
    posted = relay.post(MESSAGE)
    for answer in (
        relay.post(MESSAGE, key_id="made-elsewhere"),
        relay.get(f"/messages/{posted.body['id']}", key_id="made-elsewhere"),
        relay.get(f"/tokens/{posted.body['sends'][0]['tokenId']}", key_id="made-elsewhere"),
    ):
        assert_problem(answer, 403, "client-not-registered")
        assert "made-elsewhere" not in json.dumps(answer.body)
    assert len(simulator.calls()) == len(relay.items()) == 1


def test_a_key_is_valid_as_soon_as_it_has_a_client(relay: Environment) -> None:
    assert_problem(relay.post(MESSAGE, key_id="new"), 403, "client-not-registered")
    relay.allow(CLIENT, "new")
    posted = relay.post(MESSAGE, key_id="new")
    assert posted.status == 202
    assert relay.get(f"/messages/{posted.body['id']}").status == 200


@pytest.mark.parametrize("path", ["/messages/01ARZ3NDEKTSV4RRFFQ69G5FAV", "/tokens/none", "/else"])
def test_missing_messages_are_not_found(relay: Environment, path: str) -> None:
    assert_problem(relay.get(path), 404, "not-found")


def test_a_stored_message_that_can_not_be_read_is_not_reported_unsent(relay: Environment) -> None:
    relay.post(MESSAGE, headers=KEY)
    relay.change(status="of a newer version")
    answer = relay.post(MESSAGE, headers=KEY)
    assert_problem(answer, 503, "not-stored")
    assert answer.body["detail"].startswith("The relay has stored this message")


def test_a_stored_message_that_is_out_of_reach_is_not_reported_unsent(
    relay: Environment, simulator: Simulator
) -> None:
    """The put finds the message of the first request; only then DynamoDB fails."""
    relay.post(MESSAGE, headers=KEY)

    def fail(_: BaseClient, operation: str, _parameters: Any, call: Callable[[], Any]) -> Any:
        if operation == "Query":
            raise EndpointConnectionError(endpoint_url="https://dynamodb.invalid")
        return call()

    with intercepted(fail):
        answer = relay.post(MESSAGE, headers=KEY)
    assert_problem(answer, 503, "not-stored")
    assert "not certain whether the message is stored" in answer.body["detail"]
    assert len(simulator.sent()) == 1
    assert relay.post(MESSAGE, headers=KEY).headers["Idempotent-Replayed"] == "true"


def test_nothing_stored_is_nothing_sent(
    relay: Environment, simulator: Simulator, caplog: pytest.LogCaptureFixture
) -> None:
    relay.client("dynamodb").delete_table(TableName=relay.table)
    answer = relay.post(MESSAGE)
    assert_problem(answer, 503, "not-stored")
    [line] = [it for it in caplog.records if it.getMessage() == "responded 503"]
    assert vars(line)["cause"] == "the ledger is unavailable: ResourceNotFoundException"
    assert answer.headers["Retry-After"] == "5"
    assert simulator.calls() == []


@pytest.mark.parametrize("path", ["/messages/01ARZ3NDEKTSV4RRFFQ69G5FAV", "/tokens/none"])
def test_the_problem_of_a_failed_read_does_not_mention_sending(
    relay: Environment, path: str
) -> None:
    relay.client("dynamodb").delete_table(TableName=relay.table)
    answer = relay.get(path)
    assert_problem(answer, 503, "not-read")
    assert answer.headers["Retry-After"] == "5"


@pytest.mark.parametrize("path", [f"/messages/{'x' * 3_000}", f"/tokens/{'x' * 3_000}"])
def test_an_id_that_is_too_long_is_not_looked_up(relay: Environment, path: str) -> None:
    """DynamoDB refuses keys of more than 2,048 bytes; the relay responds 404 without asking it."""
    relay.get("/messages/any")  # caches the client of the API key
    relay.client("dynamodb").delete_table(TableName=relay.table)
    assert_problem(relay.get(path), 404, "not-found")


def test_a_send_that_could_not_be_queued_is_queued_by_a_repetition(
    relay: Environment, simulator: Simulator
) -> None:
    with relay.queue_away():
        answer = relay.post(MESSAGE, headers=ASYNC | KEY)
        assert (answer.status, answer.body["status"]) == (202, "queued")
        assert relay.waiting() == 0
    again = relay.post(MESSAGE, headers=KEY)
    assert (again.status, again.body["status"]) == (202, "queued")
    assert relay.waiting() == 1, "the repetition must queue it"
    assert relay.work() == []
    assert len(simulator.sent()) == 1


def test_a_send_with_an_expired_lease_is_queued_by_a_repetition(
    relay: Environment, simulator: Simulator
) -> None:
    body = MESSAGE | {"onUnknown": "resend"}
    relay.post(body, headers=ASYNC | KEY)
    relay.client("sqs").purge_queue(QueueUrl=relay.queue_url)
    relay.begin_elsewhere(lease=-1.0)
    assert relay.post(body, headers=KEY).body["status"] == "queued"
    assert relay.work() == []
    assert len(simulator.sent()) == 1


def test_an_unexpected_error_leaves_no_send_in_sending(
    relay: Environment, simulator: Simulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(call_outcome, "of_response", fail)
    answer = relay.post(MESSAGE)
    assert_problem(answer, 504, "delivery-unknown")
    assert answer.body["sends"][0]["reason"] == "internal-error"
    assert len(simulator.sent()) == 1


def test_an_error_after_a_response_does_not_prevent_its_storing(
    relay: Environment, simulator: Simulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise ZeroDivisionError

    for owner, step in (
        (sender.logger, "log"),
        (sender.logger, "exception"),
        (sender, "redact"),
        (sender, "retry_delay"),
        (UpstreamPause, "end_call"),
        (mobileconnect, "without"),
        (httpx.Response, "close"),
        (PowertoolsMetrics, "time"),
        (PowertoolsMetrics, "count"),
    ):
        for then, status in (("ok", "accepted"), ("400", "rejected"), ("429-50100", "queued")):
            with monkeypatch.context() as patches:
                patches.setattr(owner, step, fail)
                simulator.fail("send", then)
                message = message_id(CLIENT, f"{step}-{then}")
                relay.post(MESSAGE, headers={"Idempotency-Key": f"{step}-{then}"})
            stored = relay.get(f"/messages/{message}").body
            assert stored["status"] == status, (step, then)
    assert {send["tokenId"] for send in simulator.sent()} == {
        item["tokenId"]["S"] for item in relay.items() if "tokenId" in item
    }


class Lines(logging.Handler):
    """Collects log lines, as the message and its extra fields."""

    def __init__(self) -> None:
        super().__init__()
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(f"{record.levelname} {record.getMessage()} {record.__dict__}")


def test_a_token_that_cannot_be_stored_is_logged_twice(
    relay: Environment, simulator: Simulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is logged before the write, which the process may not survive, and after a failure."""

    def fail(*_: object) -> bool:
        raise LedgerUnavailableError("the ledger is unavailable: AccessDenied")

    monkeypatch.setattr(DynamoDbLedger, "replace_if_unchanged", fail)
    lines = Lines()
    logger = logging.getLogger("smsrelay.services.sender")
    logger.addHandler(lines)
    try:
        answer = relay.post(MESSAGE)
    finally:
        logger.removeHandler(lines)
    [sent] = simulator.sent()
    assert answer.body["sends"][0]["tokenId"] == sent["tokenId"], "the send must be accepted"
    accepted, put_back = [line for line in lines.lines if sent["tokenId"] in line]
    assert accepted.startswith("INFO send accepted")
    assert put_back.startswith("ERROR result not stored, put it back: the ledger is unavailable: A")
    assert f"{answer.body['id']}/1" in put_back


def test_a_result_whose_item_is_gone_is_reported(
    relay: Environment,
    simulator: Simulator,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    replace_if_unchanged = DynamoDbLedger.replace_if_unchanged

    def vanish(*arguments: Any) -> Any:
        relay.delete_items()
        return replace_if_unchanged(*arguments)

    monkeypatch.setattr(DynamoDbLedger, "replace_if_unchanged", vanish)
    lines = Lines()
    logger = logging.getLogger("smsrelay.services.sender")
    logger.addHandler(lines)
    try:
        answer = relay.post(MESSAGE)
    finally:
        logger.removeHandler(lines)
    [sent] = simulator.sent()
    assert answer.body["sends"][0]["tokenId"] == sent["tokenId"], "the send must be accepted"
    _, gone = [line for line in lines.lines if sent["tokenId"] in line]
    assert gone.startswith("ERROR result not stored: the item is gone")
    assert metrics(capsys.readouterr().out)["ResultsNotStored"] == [1]
    assert relay.items() == []


def test_the_largest_message_and_the_longest_errors_fit_into_an_item(
    relay: Environment, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The redaction keeps "…", which has one character but three bytes."""
    errors = ("…" * 500,) * 20
    outcome = call_outcome.Outcome(
        call_outcome.OutcomeKind.UNKNOWN, "server-error", 500, None, errors
    )
    monkeypatch.setattr(MobileConnect, "send", lambda *_: outcome)
    to = [
        {"mobile": f"+4477009{n:05d}", "key": f"k{n}", "attributes": {"name": "\U0001f600" * 330}}
        for n in range(250)
    ]
    answer = relay.post(MESSAGE | {"to": to, "reference": "\U0001f600" * 100})
    assert_problem(answer, 504, "delivery-unknown")
    [item] = relay.items()
    assert 345_000 < len(item["body"]["S"].encode()) <= MAX_BODY_BYTES
    assert item["status"] == {"S": "unknown"}, "the result must be stored"
    # An attribute's name counts, too; 1 KB is reserved for numbers and flags.
    texts = [(name, *value.values()) for name, value in item.items() if "S" in value]
    assert len("".join(map("".join, texts)).encode()) < 409_600 - 1_024


def test_a_token_that_looks_odd_is_found(relay: Environment) -> None:
    relay.post(MESSAGE)
    relay.change(tokenId="abc==")
    assert relay.get("/tokens/abc==").status == 200
    assert relay.get("/tokens/abc%3D%3D").body["tokenId"] == "abc=="


def test_without_enough_time_nothing_is_sent(relay: Environment, simulator: Simulator) -> None:
    answer = relay.post(MESSAGE, remaining=13.9)
    assert (answer.status, answer.body["status"]) == (202, "queued")
    assert answer.body["sends"][0]["reason"] == "out-of-time"
    assert simulator.calls() == []
    numbers = [f"+4477009{n:05d}" for n in range(500)]
    answer = relay.post(MESSAGE | {"to": numbers}, remaining=13.9)
    assert (answer.status, answer.body["status"]) == (202, "queued")
    assert simulator.calls() == []
    assert relay.waiting() == 3


def test_no_body_of_an_answer_repeats_a_number_or_a_text(
    relay: Environment, simulator: Simulator
) -> None:
    secret = "A text that nobody else may read"
    for then in ("ok", "400", "429-50100", "500"):
        simulator.fail("send", then)
        answer = relay.post(MESSAGE | {"text": secret})
        stored = relay.get(f"/messages/{answer.body['id']}")
        for response in (answer.body, stored.body):
            assert secret not in json.dumps(response)
            assert "12125550100" not in json.dumps(response)


@pytest.mark.parametrize("path", ["/docs", "/openapi.json"])
def test_the_documentation_costs_a_start_nothing(relay: Environment, path: str) -> None:
    """The page is not part of the module; only a request for it reads its file."""
    kept = [name for name, value in vars(relay.api).items() if len(repr(value)) > 20_000]
    assert kept == []
    read = Path.read_text
    with patch.object(Path, "read_text", autospec=True, side_effect=read) as reading:
        assert len(relay.raw("GET", path, headers={})["body"]) > 20_000
    read_from = [call.args[0].parent.name for call in reading.call_args_list]
    assert read_from == ["events", "api"], "only the sample event and the page may be read"
