"""Tests the message catalogue for each way in: names, defaults, and a missing catalogue."""

import json
import logging
import os
import uuid
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any
from unittest.mock import patch

import pytest
from botocore.client import BaseClient
from botocore.exceptions import EndpointConnectionError

from smsrelay.adapters.ssm_message_catalogue import SsmMessageCatalogue
from smsrelay.errors import LedgerUnavailableError
from smsrelay.services.api_clients import ClientRegistry
from smsrelay.wiring import api, queue_worker
from tests.support import permissions
from tests.support.aws_calls import intercepted
from tests.support.environment import Environment, running
from tools.mobileconnect_simulator import Simulator

ID = "MzA6Nzg6MA"
MESSAGE: dict[str, Any] = {"message": "welcome", "to": ["+1 212 555 0100"], "text": "Hello"}
QUIET = {"start": "21:00", "end": "08:00", "utcOffset": "-05:00"}
WELCOME = {"id": ID, "keyword": "JOINSMS", "quietHours": QUIET, "onUnknown": "resend"}
CATALOGUE: dict[str, Any] = {
    "messages": {"welcome": WELCOME, "payroll": {"id": ID, "allowedClients": ["hr"]}}
}
KEY = {"Idempotency-Key": "order-8812"}


@pytest.fixture
def named(aws: None, simulator: Simulator) -> Iterator[Environment]:
    """A relay with a catalogue."""
    _ = aws
    with running(simulator.url, CATALOGUE_PARAMETER=f"/{uuid.uuid4()}/catalogue") as relay:
        relay.put_catalogue(CATALOGUE)
        yield relay


@contextmanager
def counted() -> Iterator[Counter[str]]:
    """Count the calls that read or write a message, by operation."""
    calls = Counter[str]()

    def count(_: BaseClient, operation: str, parameters: Any, call: Callable[[], Any]) -> Any:
        calls[operation] += "MSG#" in str(parameters)
        return call()

    with intercepted(count):
        yield calls


@contextmanager
def ssm_away() -> Iterator[None]:
    def failing(_: BaseClient, operation: str, _parameters: Any, call: Callable[[], Any]) -> Any:
        if operation == "GetParameter":
            raise EndpointConnectionError(endpoint_url="https://ssm.example")
        return call()

    with intercepted(failing):
        yield


def forget() -> None:
    """Expire the cached catalogues of the API and the worker."""
    for service in (api.parts().api, queue_worker.parts().queue_worker):
        catalogue: Any = service._reader._catalogue  # noqa: SLF001
        catalogue._read_again_at = 0.0  # noqa: SLF001


def only(answer: Any) -> dict[str, str]:
    """Return the only refusal of a request."""
    assert (answer.status, answer.body["code"]) == (422, "invalid-request")
    [refusal] = answer.body["errors"]
    assert isinstance(refusal, dict)
    return refusal


def test_a_name_is_replaced_by_its_id_and_defaults(
    named: Environment, simulator: Simulator
) -> None:
    assert named.post(MESSAGE | {"subscribe": True}).status == 202
    [sent] = simulator.sent()
    assert sent["id"] == ID
    assert sent["body"]["keyword"] == "JOINSMS"
    assert sent["body"]["blackoutWindow"] == {
        "UtcOffset": "-0500",
        "WindowStart": "2100",
        "WindowEnd": "0800",
    }
    [item] = named.items()
    assert (item["template"]["S"], item["onUnknown"]["S"]) == (ID, "resend")


def test_fields_of_a_request_override_defaults(named: Environment, simulator: Simulator) -> None:
    assert named.post(MESSAGE | {"onUnknown": "hold"}).status == 202
    assert "keyword" not in simulator.sent()[0]["body"]
    [item] = named.items()
    assert item["onUnknown"]["S"] == "hold"


def test_a_message_of_the_queue_and_a_webhook_have_names_too(
    named: Environment, simulator: Simulator
) -> None:
    named.enqueue(MESSAGE | {"resubscribe": True})
    assert named.work() == []
    secret = named.put_webhook_secret("shop")
    assert named.post_webhook("shop", secret, MESSAGE | {"subscribe": True}).status == 202
    sent = simulator.sent()
    assert {it["id"] for it in sent} == {ID}
    assert [it["body"]["keyword"] for it in sent] == ["JOINSMS"] * 2


def test_an_unknown_name_is_refused_with_similar_ones(
    named: Environment, simulator: Simulator
) -> None:
    refusal = only(named.post(MESSAGE | {"message": "welcom"}))
    assert (refusal["pointer"], refusal["code"]) == ("/message", "unknown-message")
    assert refusal["detail"].endswith("Similar names: welcome.")
    number = only(named.post(MESSAGE | {"message": "12125550100"}))
    assert "12125550100" not in number["detail"]
    assert "payroll" not in only(named.post(MESSAGE | {"message": "payrol"}))["detail"]
    assert only(named.post(MESSAGE | {"message": "payroll"}))["code"] == "message-not-allowed"
    assert named.post(MESSAGE | {"message": "payroll"}, client="hr").status == 202
    assert len(simulator.sent()) == 1


def test_a_refused_name_of_the_queue_is_a_dead_letter(named: Environment) -> None:
    for name in ("welcom", "payroll"):
        named.enqueue(MESSAGE | {"message": name}, {"client": "shop"})
    assert named.work() == []
    letters = named.dead_letters()
    assert {letter["reason"] for letter in letters} == {"refused"}
    codes = {
        error["code"]
        for letter in letters
        for error in named.get(f"/messages/{letter['messageId']}", client="shop").body["errors"]
    }
    assert codes == {"unknown-message", "message-not-allowed"}


def test_a_queued_send_is_sent_after_its_name_was_removed(
    named: Environment, simulator: Simulator
) -> None:
    simulator.fail("send", "503-50300")
    named.enqueue(MESSAGE)
    assert len(named.work()) == 1
    named.put_catalogue({})
    forget()
    named.make_due()
    assert named.work() == []
    assert named.dead_letters() == []
    assert [sent["id"] for sent in simulator.sent()] == [ID]


def test_an_id_needs_no_catalogue(named: Environment) -> None:
    with ssm_away(), permissions.noting() as calls:
        for message in (ID, f"{ID}=="):
            assert named.post(MESSAGE | {"message": message}).status == 202
        assert only(named.post(MESSAGE | {"message": "../x"}))["code"] == "invalid-message-id"
    assert not [call for call in calls["ApiFunction"] if call.service == "ssm"]


def test_names_are_refused_without_a_catalogue(relay: Environment, simulator: Simulator) -> None:
    with ssm_away():
        assert relay.post(MESSAGE).status == 202
    assert [sent["id"] for sent in simulator.sent()] == ["welcome"]


@pytest.mark.parametrize("way", ["http", "webhook", "queue"])
def test_a_repetition_after_a_change_of_the_catalogue_is_the_same_request(
    named: Environment, simulator: Simulator, way: str
) -> None:
    secret = named.put_webhook_secret("shop")
    body = MESSAGE | {"subscribe": True}

    def post() -> str | None:
        if way == "queue":
            named.enqueue(body, KEY | {"client": "shop"})
            assert named.work() == []
            assert named.dead_letters() == []
            return None
        answer = (
            named.post(body, headers=KEY)
            if way == "http"
            else named.post_webhook("shop", secret, body, webhook_id="msg_1")
        )
        assert answer.status == 202
        return answer.headers.get("Idempotent-Replayed")

    assert post() is None
    changed = WELCOME | {"keyword": "OTHER", "onUnknown": "hold", "id": "MzE6Nzg6MA"}
    named.put_catalogue({"messages": {"welcome": changed}})
    forget()
    assert post() == (None if way == "queue" else "true")
    assert [sent["body"]["keyword"] for sent in simulator.sent()] == ["JOINSMS"]
    # The repetition was read with the new catalogue.
    assert named.post(body).status == 202
    assert simulator.sent()[-1]["body"]["keyword"] == "OTHER"


def test_while_the_catalogue_is_unavailable_nothing_is_stored(
    named: Environment, simulator: Simulator
) -> None:
    with ssm_away():
        answer = named.post(MESSAGE)
        assert (answer.status, answer.body["code"]) == (503, "not-stored")
        assert answer.headers["Retry-After"]
        named.enqueue(MESSAGE)
        assert len(named.work()) == 1
        named.show_all()
        assert len(named.work()) == 1
    assert (named.items(), simulator.sent(), named.dead_letters()) == ([], [], [])
    forget()
    named.show_all()
    assert named.work() == []
    assert len(simulator.sent()) == 1


def test_an_invalid_catalogue_is_reported_counted_and_not_quoted(
    named: Environment,
    capsys: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
) -> None:
    named.put_catalogue(json.dumps({"messages": {"welcome": "a secret/of mine"}}))
    assert named.post(MESSAGE).status == 503
    assert '"CatalogueUnusable":[1.0]' in capsys.readouterr().out
    assert caplog.messages == ["catalogue can't be used", "responded 503"]
    assert "secret" not in str([vars(record) for record in caplog.records])
    named.put_catalogue(CATALOGUE)
    forget()
    assert named.post(MESSAGE).status == 202
    named.put_catalogue("no JSON")
    forget()
    assert named.post(MESSAGE).status == 202, "the last valid catalogue must stay in use"
    assert '"CatalogueUnusable":[1.0]' in capsys.readouterr().out


def test_no_parameter_is_a_catalogue_without_names(named: Environment) -> None:
    named.client("ssm").delete_parameters(Names=[os.environ["CATALOGUE_PARAMETER"]])
    refusal = only(named.post(MESSAGE))
    assert refusal["code"] == "unknown-message"
    assert "Near" not in refusal["detail"]


class Counted:
    """A `Counter` port that records the names."""

    def __init__(self) -> None:
        self.names: list[str] = []

    def count(self, name: str, value: int = 1) -> None:
        self.names += [name] * value

    def time(self, name: str, seconds: float) -> None:
        raise AssertionError(f"unexpected metric {name}: {seconds} s")


def test_a_catalogue_is_cached_for_a_minute_and_longer_during_an_outage(
    named: Environment, caplog: pytest.LogCaptureFixture
) -> None:
    now, counter = 1_000.0, Counted()
    parameter = os.environ["CATALOGUE_PARAMETER"]
    stored = SsmMessageCatalogue(lambda: named.client("ssm"), parameter, counter, lambda: now)
    first = stored.current()
    assert set(first.messages) == {"welcome", "payroll"}
    named.put_catalogue({"messages": {"shipped": ID}})
    now += 59
    assert stored.current() is first
    now += 1
    second = stored.current()
    assert set(second.messages) == {"shipped"}
    with ssm_away(), caplog.at_level(logging.WARNING):
        for _ in range(120):
            now += 1
            assert stored.current() is second
    logged = [it for it in caplog.records if it.name == "smsrelay.adapters.ssm_message_catalogue"]
    assert [it.levelname for it in logged] == ["ERROR"] * 2
    now += 60
    assert set(stored.current().messages) == {"shipped"}
    assert counter.names == ["CatalogueUnusable"] * 2


def test_a_failure_is_cached_briefly_before_the_first_catalogue(
    named: Environment,
) -> None:
    now = 1_000.0
    parameter = os.environ["CATALOGUE_PARAMETER"]
    stored = SsmMessageCatalogue(lambda: named.client("ssm"), parameter, Counted(), lambda: now)
    with ssm_away(), pytest.raises(LedgerUnavailableError):
        stored.current()
    now += 4
    with pytest.raises(LedgerUnavailableError):
        stored.current()
    now += 1
    assert stored.current().messages


NOT_ALLOWED = {"messages": {"welcome": WELCOME | {"allowedClients": ["hr"]}}}
SEVERAL = MESSAGE | {"to": ["+1 212 555 0100", {"mobile": "+1 212 555 0101", "key": "k"}]}


@pytest.mark.parametrize("changed", [{}, NOT_ALLOWED], ids=["name removed", "not allowed"])
@pytest.mark.parametrize("body", [MESSAGE, SEVERAL], ids=["one send", "two sends"])
def test_a_repetition_gets_the_stored_response_after_a_change_of_the_catalogue(
    named: Environment, simulator: Simulator, changed: Any, body: Any
) -> None:
    first = named.post(body, headers=KEY)
    assert first.status == 202
    sent = len(simulator.sent())
    named.put_catalogue(changed)
    forget()
    with counted() as calls:
        again = named.post(body, headers=KEY)
    assert (again.status, again.body) == (202, first.body)
    assert again.headers["Idempotent-Replayed"] == "true"
    assert again.headers["Location"] == first.headers["Location"]
    assert calls["Query"] == 1
    assert calls["PutItem"] == calls["UpdateItem"] == 0
    assert len(simulator.sent()) == sent

    other = named.post(body | {"text": "Another one"}, headers=KEY)
    assert (other.status, other.body["code"]) == (422, "idempotency-key-reused")
    refused = named.post(body, headers={"Idempotency-Key": "order-8813"})
    assert (refused.status, refused.body["code"]) == (422, "invalid-request")
    with counted() as calls:
        without_a_key = named.post(body)
    assert (without_a_key.status, calls["Query"]) == (422, 0)


def test_a_redelivered_queue_message_is_not_refused_although_the_catalogue_has_changed(
    named: Environment, simulator: Simulator
) -> None:
    named.enqueue(MESSAGE, KEY)
    assert named.work() == []
    assert len(simulator.sent()) == 1
    named.put_catalogue({})
    forget()
    named.enqueue(MESSAGE, KEY)
    assert named.work() == []
    assert named.dead_letters() == []
    [item] = named.items()
    assert item["sk"] == {"S": "SEND#001"}, "no refusal may be recorded"
    assert len(simulator.sent()) == 1
    named.enqueue(MESSAGE, {"Idempotency-Key": "order-8813"})
    assert named.work() == []
    assert [letter["reason"] for letter in named.dead_letters()] == ["refused"]


def test_while_the_ledger_is_unavailable_nothing_is_refused_for_good(
    named: Environment, simulator: Simulator
) -> None:
    named.put_catalogue({})
    named.client("dynamodb").delete_table(TableName=named.table)
    with patch.object(ClientRegistry, "client_of", return_value="shop"):
        assert named.post(MESSAGE, headers=KEY).status == 503
    sqs_id = named.enqueue(MESSAGE, KEY)
    assert named.work() == [sqs_id]
    assert named.dead_letters() == []
    assert simulator.calls() == []


def test_a_request_with_a_key_costs_two_writes_and_no_read(named: Environment) -> None:
    with counted() as calls:
        assert named.post(MESSAGE, headers=KEY).status == 202
    assert +calls == {"PutItem": 2}
