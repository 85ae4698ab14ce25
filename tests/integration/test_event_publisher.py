"""Tests events and callbacks, from the ledger's stream to the bus and the clients' URLs."""

import json
import os
import re
import shutil
import socket
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import IO, Any
from unittest.mock import patch

import httpx
import jsonschema_rs
import pytest
from botocore.exceptions import BotoCoreError, ClientError
from moto.events.models import Rule
from standardwebhooks import Webhook

from smsrelay.adapters import callback_client
from smsrelay.adapters.dynamodb_ledger import DynamoDbLedger
from smsrelay.adapters.eventbridge import EventBridgeBus
from smsrelay.adapters.sqs import LONGEST_VISIBILITY, SqsCallbacks, SqsRetryQueue
from smsrelay.adapters.ssm_message_catalogue import SsmMessageCatalogue
from smsrelay.errors import (
    LedgerUnavailableError,
    PublishError,
    QueueUnavailableError,
    UnexpectedError,
)
from smsrelay.messages.message_catalogue import Catalogue
from smsrelay.sends import transitions
from smsrelay.sends.send import Status
from smsrelay.sends.status_events import iso_time
from smsrelay.services.callback_sender import RETRY_SCHEDULE
from tests.support.cloudwatch_metrics import metrics
from tests.support.environment import (
    CLIENT,
    Environment,
    client_of,
    running,
)
from tests.support.golden import READABLE, UNREADABLE, put
from tests.support.http_servers import HostileServer, drip
from tests.support.signatures import signed_headers
from tests.support.template import ROOT, alarm, properties, template
from tools.local_stack.polling import wait_for
from tools.local_stack.signing_secrets import new_signing_secret
from tools.mobileconnect_simulator import Simulator

Json = dict[str, Any]
MESSAGE: Json = {"message": "MzA6Nzg6MA", "to": ["+1 212 555 0100"], "text": "Hello"}
PAGE = (ROOT / "docs/events.md").read_text()
[PATTERN] = re.findall(r"```json\n(\{\"source\".*?)```", PAGE, re.DOTALL)
SCHEMA = jsonschema_rs.validator_for(json.loads((ROOT / "docs/event.schema.json").read_text()))


TELLING = {
    "EventPublisherFunction": "IsEventPublisherOn",
    "EventPublisherLogs": "IsEventPublisherOn",
    "EventPublisherRole": "IsEventPublisherOn",
    "CallbackSenderFunction": "AreCallbacksOn",
    "CallbackSenderLogs": "AreCallbacksOn",
    "CallbackSenderRole": "AreCallbacksOn",
}


@dataclass
class Onlooker:
    """A relay with a bus and callbacks, whose output it collects."""

    relay: Environment
    server: HostileServer
    taken: list[Json]
    callback_queue: str
    secret: str
    callback_urls: dict[str, str]
    """The callback URL of each client."""

    def events(self) -> list[Json]:
        """Return the events that the bus has accepted since the last call."""
        taken, self.taken[:] = list(self.taken), []
        return taken

    def statuses(self) -> list[str]:
        return [event["data"]["status"] for event in self.events()]

    def follow(self, times: int = 4) -> None:
        for _ in range(times):
            self.relay.make_due()
            self.relay.follow()


@pytest.fixture
def onlooker(
    aws: None, simulator: Simulator, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Onlooker]:
    _ = aws
    name = f"bus-{uuid.uuid4()}"
    events, sqs = client_of("events"), client_of("sqs")
    events.create_event_bus(Name=name)
    callbacks = sqs.create_queue(QueueName=f"{name}-callbacks")["QueueUrl"]
    taken: list[Json] = []
    put = EventBridgeBus.put

    def noted(bus: EventBridgeBus, payload: Sequence[Json]) -> None:
        put(bus, payload)
        taken.extend(payload)

    monkeypatch.setattr(EventBridgeBus, "put", noted)
    with HostileServer() as server:
        # A catalogue refuses loopback addresses.
        catalogue = Catalogue.model_construct(messages={}, clients={})
        callback_urls = {CLIENT: f"{server.url}/sms-results"}
        monkeypatch.setattr(Catalogue, "callback_of", lambda _, client: callback_urls.get(client))
        monkeypatch.setattr(SsmMessageCatalogue, "current", lambda _: catalogue)
        settings = {
            "EVENT_BUS": name,
            "CALLBACK_QUEUE_URL": callbacks,
            "CATALOGUE_PARAMETER": f"/{name}/catalogue",
            "DELIVERY_POLLING": "all",
        }
        with running(simulator.url, **settings) as relay:
            secret = new_signing_secret()
            relay.client("secretsmanager").create_secret(
                Name=f"{relay.table}/callbacks/{CLIENT}",
                SecretString=json.dumps({"current": secret}),
            )
            yield Onlooker(relay, server, taken, callbacks, secret, callback_urls)


def answering(status: int) -> bytes:
    return f"HTTP/1.1 {status} What\r\nContent-Length: 0\r\n\r\n".encode()


def test_every_change_of_a_status_is_an_event(onlooker: Onlooker) -> None:
    posted = onlooker.relay.post(MESSAGE | {"reference": "order-8812"}).body
    onlooker.follow()
    onlooker.relay.tell()
    events = onlooker.events()
    assert [event["type"] for event in events] == [
        "smsrelay.send.sending",
        "smsrelay.send.accepted",
        "smsrelay.send.delivered",
    ]
    for event in events:
        SCHEMA.validate(event)
    last = events[-1]["data"]
    assert last["id"] == posted["id"]
    assert last["tokenId"] == posted["sends"][0]["tokenId"]
    assert (last["previousStatus"], last["final"]) == ("accepted", True)
    assert last["reference"] == "order-8812"
    assert last["delivery"]["delivered"] == 1
    assert "2125550100" not in json.dumps(events)
    assert "Hello" not in json.dumps(events)


def test_a_rule_on_the_bus_matches_events_by_type(
    onlooker: Onlooker, simulator: Simulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The rule has the pattern of docs/events.md."""
    bus = os.environ["EVENT_BUS"]
    client_of("events").put_rule(Name=bus, EventBusName=bus, EventPattern=PATTERN)
    found: list[Json] = []

    def matched(rule: Rule, event: Any) -> None:
        """Record a matching event: moto's targets need another package."""
        if rule.name == bus and rule.event_pattern.matches_event(event):
            found.append(event)

    monkeypatch.setattr(Rule, "send_to_targets", matched)
    simulator.fail("send", "reset-after-accept")
    posted = onlooker.relay.post(MESSAGE).body
    onlooker.relay.post(MESSAGE)
    onlooker.relay.tell()
    [event] = found
    assert (event["source"], event["detail-type"]) == ("smsrelay", "smsrelay.send.unknown")
    assert event["detail"]["id"] == posted["id"]
    at = datetime.fromtimestamp(event["time"], UTC)
    assert abs((datetime.now(UTC) - at).total_seconds()) < 60
    payload = {"type": event["detail-type"], "timestamp": at.isoformat(), "data": event["detail"]}
    SCHEMA.validate(payload)


def test_a_write_without_a_change_of_status_is_no_event(onlooker: Onlooker) -> None:
    onlooker.relay.post(MESSAGE)
    onlooker.follow(2)
    onlooker.relay.tell()
    assert onlooker.statuses() == ["sending", "accepted"]


def test_failures_are_events_too(onlooker: Onlooker, simulator: Simulator) -> None:
    simulator.fail("send", "reset-after-accept")
    onlooker.relay.post(MESSAGE)
    onlooker.relay.tell()
    assert onlooker.statuses() == ["sending", "unknown"]


def test_other_records_of_the_stream_are_skipped(onlooker: Onlooker) -> None:
    onlooker.relay.enqueue({"message": "m", "to": []})
    onlooker.relay.work()
    onlooker.relay.post(MESSAGE)
    [item] = [item for item in onlooker.relay.items() if item["sk"]["S"].startswith("SEND")]
    onlooker.relay.client("dynamodb").delete_item(
        TableName=onlooker.relay.table, Key={"pk": item["pk"], "sk": item["sk"]}
    )
    onlooker.relay.tell()
    assert onlooker.statuses() == ["sending", "accepted"]


def test_unreadable_records_are_counted_and_the_others_are_events(
    onlooker: Onlooker, capsys: pytest.CaptureFixture[str]
) -> None:
    put(onlooker.relay, *UNREADABLE.values(), *READABLE.values())
    onlooker.relay.tell()
    events = {event["data"]["id"] for event in onlooker.events()}
    assert events == {f"golden-{name}" for name in READABLE}
    assert sum(metrics(capsys.readouterr().out)["UnreadableItems"]) == len(UNREADABLE)


def test_events_that_the_bus_refuses_are_published_again(
    onlooker: Onlooker, monkeypatch: pytest.MonkeyPatch
) -> None:
    onlooker.relay.post(MESSAGE)
    put = EventBridgeBus.put

    def refused(bus: EventBridgeBus, events: Sequence[Mapping[str, Any]]) -> None:
        put(bus, events[:1])
        raise PublishError("the bus refused 1 events")

    with monkeypatch.context() as broken:
        broken.setattr(EventBridgeBus, "put", refused)
        with pytest.raises(UnexpectedError, match="PublishError"):
            onlooker.relay.tell()
    onlooker.relay.tell()
    assert onlooker.statuses() == ["sending", "sending", "accepted"], "at least once"


def test_an_unreadable_catalogue_repeats_no_event(
    onlooker: Onlooker, monkeypatch: pytest.MonkeyPatch
) -> None:
    def unreadable(_: object) -> Catalogue:
        raise LedgerUnavailableError("no catalogue")

    monkeypatch.setattr(SsmMessageCatalogue, "current", unreadable)
    onlooker.relay.post(MESSAGE)
    onlooker.relay.tell()
    assert onlooker.statuses() == ["sending", "accepted"], "each event must be published once"
    onlooker.follow()
    with pytest.raises(UnexpectedError, match="LedgerUnavailableError"):
        onlooker.relay.tell()
    assert onlooker.statuses() == []


EVENT: Json = {
    "type": "smsrelay.send.accepted",
    "timestamp": "2027-01-15T08:00:00.000+00:00",
    "data": {"id": "01K", "n": 1, "status": "accepted", "attempts": 1, "final": True},
}


@pytest.mark.parametrize(
    "answer", [{"FailedEntryCount": 1}, {}, BotoCoreError(), ClientError({}, "PutEvents")]
)
def test_a_response_without_proof_of_acceptance_is_an_error(answer: Any) -> None:
    class Client:
        def put_events(self, **_: object) -> Any:
            if isinstance(answer, Exception):
                raise answer
            return answer

    client: Any = Client()
    with pytest.raises(PublishError):
        EventBridgeBus(client, "bus").put([EVENT])


def test_refused_entries_are_named_by_their_codes() -> None:
    class Client:
        def put_events(self, **_: object) -> Any:
            codes: list[Json] = [{"ErrorCode": "ThrottlingException"}, {"ErrorCode": "Internal"}]
            return {"FailedEntryCount": 2, "Entries": [*codes, {"EventId": "1"}]}

        def send_message_batch(self, **_: object) -> Any:
            return {"Failed": [{"Id": "0", "Code": "ThrottlingException"}]}

    client: Any = Client()
    with pytest.raises(PublishError, match="2 events: Internal, ThrottlingException"):
        EventBridgeBus(client, "bus").put([EVENT])
    with pytest.raises(QueueUnavailableError, match="1 messages: ThrottlingException"):
        SqsCallbacks(client, "queue").put(["{}"])


def test_a_final_result_is_posted_and_signed(
    onlooker: Onlooker, capsys: pytest.CaptureFixture[str]
) -> None:
    posted = onlooker.relay.post(MESSAGE).body
    onlooker.follow()
    onlooker.relay.tell()
    onlooker.server.replies(lambda _: answering(204))
    assert onlooker.relay.call_back() == []
    [request] = onlooker.server.requests
    assert request.target == "/sms-results"
    payload = Webhook(onlooker.secret).verify(request.body, dict(request.headers))
    SCHEMA.validate(payload)
    assert payload["type"] == "smsrelay.send.delivered"
    assert payload["data"]["id"] == posted["id"]
    at = datetime.fromtimestamp(int(request.headers["webhook-timestamp"]), UTC)
    assert abs((datetime.now(UTC) - at).total_seconds()) < 60
    assert metrics(capsys.readouterr().out)["CallbacksDone"] == [1]


def test_a_callback_is_signed_with_the_secret_before_the_current_one_too(
    onlooker: Onlooker,
) -> None:
    new = new_signing_secret()
    onlooker.relay.client("secretsmanager").put_secret_value(
        SecretId=f"{onlooker.relay.table}/callbacks/{CLIENT}",
        SecretString=json.dumps({"current": new, "previous": onlooker.secret}),
    )
    onlooker.relay.post(MESSAGE)
    onlooker.follow()
    onlooker.relay.tell()
    onlooker.server.replies(lambda _: answering(204))
    assert onlooker.relay.call_back() == []
    [request] = onlooker.server.requests
    for secret in (new, onlooker.secret):
        Webhook(secret).verify(request.body, dict(request.headers))


@pytest.mark.parametrize("allowed", ["on", ""])
def test_a_variable_of_the_local_stack_allows_callbacks_to_loopback(
    aws: None, simulator: Simulator, allowed: str
) -> None:
    _ = aws
    name = f"loopback-{uuid.uuid4()}"
    queue = client_of("sqs").create_queue(QueueName=name)["QueueUrl"]
    settings = {
        "EVENT_BUS": "default",
        "CALLBACK_QUEUE_URL": queue,
        "CATALOGUE_PARAMETER": f"/{name}/catalogue",
        "LOOPBACK_CALLBACKS": allowed,
    }
    with HostileServer() as server, running(simulator.url, **settings) as relay:
        server.replies(lambda _: answering(204))
        relay.put_catalogue({"clients": {CLIENT: {"callback": f"{server.url}/callbacks"}}})
        relay.client("secretsmanager").create_secret(
            Name=f"{relay.table}/callbacks/{CLIENT}",
            SecretString=json.dumps({"current": new_signing_secret()}),
        )
        relay.post(MESSAGE)
        if allowed:
            relay.tell()
            assert relay.call_back() == []
            assert [request.target for request in server.requests] == ["/callbacks"]
        else:
            with pytest.raises(UnexpectedError, match="LedgerUnavailableError"):
                relay.tell()
            assert server.requests == []


def test_an_operators_note_is_in_the_event_and_in_the_callback(
    onlooker: Onlooker, simulator: Simulator
) -> None:
    relay = onlooker.relay
    simulator.fail("send", "reset-after-accept")
    posted = relay.post(MESSAGE).body
    ledger = DynamoDbLedger(relay.client("dynamodb"), relay.table, retention_days=90)
    [send] = ledger.load(posted["id"])
    resolved = transitions.resolve_by_operator(
        send, Status.ACCEPTED, token_id=None, note="it rang", now=time.time(), written_by="o"
    )
    assert ledger.replace_if_unchanged(send, resolved)
    relay.tell()
    *_, event = onlooker.events()
    SCHEMA.validate(event)
    assert (event["data"]["status"], event["data"]["note"]) == ("accepted", "it rang")
    onlooker.server.replies(lambda _: answering(204))
    relay.call_back()
    notes = [json.loads(it.body)["data"].get("note") for it in onlooker.server.requests]
    assert sorted(notes, key=str) == [None, "it rang"]


def test_a_repeated_event_has_the_same_id(
    onlooker: Onlooker, monkeypatch: pytest.MonkeyPatch
) -> None:
    details: list[Json] = []
    monkeypatch.setattr(Rule, "send_to_targets", lambda _, event: details.append(event["detail"]))
    bus = os.environ["EVENT_BUS"]
    client_of("events").put_rule(Name=bus, EventBusName=bus, EventPattern=PATTERN)
    onlooker.relay.post(MESSAGE)
    onlooker.follow()
    onlooker.relay.tell()
    onlooker.relay.tell()
    onlooker.server.replies(lambda _: answering(200))
    onlooker.relay.call_back()
    names = [request.headers["webhook-id"] for request in onlooker.server.requests]
    assert len(names) == 2
    assert len(set(names)) == 1
    final = [detail["eventId"] for detail in details if detail["final"]]
    assert final == names


def test_only_clients_with_a_url_get_callbacks(onlooker: Onlooker) -> None:
    onlooker.relay.post(MESSAGE, client="somebody-else")
    onlooker.follow()
    onlooker.relay.tell()
    assert onlooker.relay.call_back() == []
    assert onlooker.server.requests == []


@pytest.mark.parametrize("status", [301, 307, 400, 404, 429, 500, 503])
def test_a_callback_that_is_not_accepted_is_tried_again(onlooker: Onlooker, status: int) -> None:
    onlooker.relay.post(MESSAGE)
    onlooker.follow()
    onlooker.relay.tell()
    onlooker.server.replies(lambda _: answering(status))
    assert len(onlooker.relay.call_back()) == 1
    assert len(onlooker.server.requests) == 1, "and no redirect is followed"
    onlooker.server.replies(lambda _: answering(200))
    onlooker.relay.show_all(onlooker.callback_queue)
    assert onlooker.relay.call_back() == []
    assert len({request.headers["webhook-id"] for request in onlooker.server.requests}) == 1


def test_a_receivers_cookies_are_not_sent_back(onlooker: Onlooker) -> None:
    onlooker.relay.post(MESSAGE)
    onlooker.follow()
    onlooker.relay.tell()
    cookie = b"\r\nSet-Cookie: session=1; Path=/\r\n"
    onlooker.server.replies(lambda _: answering(503).replace(b"\r\n", cookie, 1))
    for _ in range(2):
        assert len(onlooker.relay.call_back()) == 1
        onlooker.relay.show_all(onlooker.callback_queue)
    assert ["cookie" in request.headers for request in onlooker.server.requests] == [False, False]


def test_who_is_gone_is_called_no_more(onlooker: Onlooker) -> None:
    onlooker.relay.post(MESSAGE)
    onlooker.follow()
    onlooker.relay.tell()
    onlooker.server.replies(lambda _: answering(410))
    assert onlooker.relay.call_back() == []


SLOW_CLIENT = "slow-client"


@pytest.fixture
def callbacks_of_two(onlooker: Onlooker) -> Onlooker:
    """Callbacks of two clients in one batch; the slow client has no URL yet."""
    onlooker.relay.client("secretsmanager").create_secret(
        Name=f"{onlooker.relay.table}/callbacks/{SLOW_CLIENT}",
        SecretString=json.dumps({"current": onlooker.secret}),
    )
    onlooker.callback_urls[SLOW_CLIENT] = "http://slow.example/sms-results"
    for client in (SLOW_CLIENT, CLIENT):
        onlooker.relay.post(MESSAGE, client=client)
    onlooker.follow()
    onlooker.relay.tell()
    onlooker.server.replies(lambda _: answering(200))
    return onlooker


def test_a_receiver_that_answers_byte_by_byte_is_tried_again(
    callbacks_of_two: Onlooker, monkeypatch: pytest.MonkeyPatch
) -> None:
    onlooker, over = callbacks_of_two, threading.Event()
    monkeypatch.setattr(callback_client, "TIMEOUT", httpx.Timeout(2.0))

    def manner(peer: socket.socket) -> None:
        drip(b"HTTP/1.1 200 OK\r\nX: " + b"y" * 1_000, peer, over, every=0.05)

    with HostileServer(manner) as slow:
        onlooker.callback_urls[SLOW_CLIENT] = slow.url
        began = time.perf_counter()
        assert len(onlooker.relay.call_back()) == 1
        assert time.perf_counter() - began < 10, "the whole response would take 50 s"
        over.set()
    assert len(onlooker.server.requests) == 1


def test_a_callback_that_hangs_goes_back_to_the_queue_alone(
    callbacks_of_two: Onlooker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An address lookup has no time-out: it could run into Lambda's, and all would be repeated."""
    onlooker, before = callbacks_of_two, threading.active_count()
    look_up, released, ended = socket.getaddrinfo, threading.Event(), threading.Event()

    def hang(host: str, *arguments: Any, **named: Any) -> Any:
        if host == "slow.example":
            released.wait(30)
            ended.set()
            raise socket.gaierror
        return look_up(host, *arguments, **named)

    monkeypatch.setattr(socket, "getaddrinfo", hang)
    assert len(onlooker.relay.call_back(remaining=5.0)) == 1
    assert not ended.is_set(), "the batch must not wait for the slow callback"
    assert len(onlooker.server.requests) == 1
    released.set()
    wait_for(lambda: threading.active_count() <= before, what="the end of the threads", seconds=20)

    onlooker.callback_urls[SLOW_CLIENT] = onlooker.callback_urls[CLIENT]
    onlooker.relay.show_all(onlooker.callback_queue)
    assert onlooker.relay.call_back() == []
    assert len(onlooker.server.requests) == 2


RECEIVERS = dict(re.findall(r"<!-- runs: callback -->\n```(\w+)\n(.*?)```", PAGE, re.DOTALL))
COMMANDS = {
    "python": [sys.executable, "-c"],
    "js": ["node", "--input-type=module", "-e"],
}


@contextmanager
def receiver(language: str, secret: str) -> Iterator[tuple[str, IO[str]]]:
    """Run a receiver of docs/events.md unchanged; yield its URL and its output."""
    environment = {"PATH": os.environ["PATH"], "PORT": "0", "CALLBACK_SECRET": secret}
    command = [*COMMANDS[language], RECEIVERS[language]]
    with subprocess.Popen(  # noqa: S603 - our own page
        command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    ) as process:
        try:
            assert process.stdout
            port = process.stdout.readline().removeprefix("listening on ").strip()
            yield f"http://127.0.0.1:{port}/sms-results", process.stdout
        finally:
            process.kill()


@pytest.mark.parametrize("language", COMMANDS)
def test_the_receivers_of_the_page_accept_only_signed_callbacks(
    onlooker: Onlooker, language: str
) -> None:
    if not shutil.which(COMMANDS[language][0]):
        pytest.skip(f"{language} is not installed")
    posted = onlooker.relay.post(MESSAGE).body
    onlooker.follow()
    onlooker.relay.tell()
    with receiver(language, onlooker.secret) as (url, output):
        onlooker.callback_urls[CLIENT] = url
        assert onlooker.relay.call_back() == []
        assert output.readline().split()[1:] == [posted["id"], "delivered"]
        forged = signed_headers(new_signing_secret(), "{}", "evt_1")
        old = signed_headers(onlooker.secret, "{}", "evt_1", at=time.time() - 600)
        for headers in ({}, forged, old):
            answer = httpx.post(url, content="{}", headers=headers, trust_env=False)
            assert answer.status_code == 401


@pytest.mark.parametrize("language", COMMANDS)
def test_the_receivers_of_the_page_ignore_a_result_that_was_overtaken(language: str) -> None:
    if not shutil.which(COMMANDS[language][0]):
        pytest.skip(f"{language} is not installed")
    secret = new_signing_secret()
    results = [("01K", 0, "unknown"), ("01K", 600, "accepted"), ("01L", 0, "rejected")]
    with receiver(language, secret) as (url, said):
        for number in (1, 0, 2):  # the first callback was refused, and comes after the second
            message, later, status = results[number]
            data = EVENT["data"] | {"id": message, "status": status}
            at = iso_time(1_800_000_000 + later)
            body = json.dumps(EVENT | {"timestamp": at, "data": data})
            headers = signed_headers(secret, body, f"evt_{number}")
            answer = httpx.post(url, content=body, headers=headers, trust_env=False)
            assert answer.status_code == 204
        kept = [said.readline().split()[1:] for _ in range(2)]
    assert kept == [["01K", "accepted"], ["01L", "rejected"]]


def test_without_a_secret_nothing_is_posted_unsigned(
    onlooker: Onlooker, caplog: pytest.LogCaptureFixture
) -> None:
    onlooker.relay.client("secretsmanager").put_secret_value(
        SecretId=f"{onlooker.relay.table}/callbacks/{CLIENT}", SecretString="{}"
    )
    onlooker.relay.post(MESSAGE)
    onlooker.follow()
    onlooker.relay.tell()
    assert len(onlooker.relay.call_back()) == 1
    assert onlooker.server.requests == []
    assert "has no secret" in caplog.text


def test_the_waits_are_those_of_the_specification() -> None:
    assert RETRY_SCHEDULE[:3] == (5, 300, 1_800)
    assert 27 * 3_600 < sum(RETRY_SCHEDULE) < 30 * 3_600
    assert max(RETRY_SCHEDULE) <= LONGEST_VISIBILITY, "SQS can't hide a message for longer"


def test_failed_callbacks_and_unpublished_changes_each_have_a_queue_and_an_alarm() -> None:
    redrive = properties("CallbackQueue")["RedrivePolicy"]
    assert redrive["maxReceiveCount"] == len(RETRY_SCHEDULE) + 1
    watched = alarm("CallbackDeadLettersAlarm")["Dimensions"][0]["Value"]["Ref"]
    assert redrive["deadLetterTargetArn"] == {"Fn::GetAtt": [watched, "Arn"]}
    stream = properties("EventPublisherFunction")["Events"]["Ledger"]["Properties"]
    lost = stream["DestinationConfig"]["OnFailure"]["Destination"]
    other = alarm("EventDeadLettersAlarm")["Dimensions"][0]["Value"]["Ref"]
    assert lost == {"Fn::GetAtt": [other, "Arn"]}
    assert other != watched


def test_the_queue_delays_each_retry(onlooker: Onlooker) -> None:
    onlooker.relay.post(MESSAGE)
    onlooker.follow()
    onlooker.relay.tell()
    onlooker.server.replies(lambda _: answering(503))
    asked: list[float] = []
    with patch.object(
        SqsRetryQueue, "show_again", lambda _queue, _handle, wait: asked.append(wait)
    ):
        for _ in range(len(RETRY_SCHEDULE) + 1):
            assert len(onlooker.relay.call_back()) == 1
            onlooker.relay.show_all(onlooker.callback_queue)
    assert asked == [*RETRY_SCHEDULE, 0]


def test_an_unreadable_catalogue_delays_a_callback_as_any_failure(
    onlooker: Onlooker, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    onlooker.relay.post(MESSAGE)
    onlooker.follow()
    onlooker.relay.tell()
    asked: list[float] = []
    monkeypatch.setattr(SqsRetryQueue, "show_again", lambda _, _handle, wait: asked.append(wait))
    unreadable = LedgerUnavailableError("no catalogue")
    with patch.object(SsmMessageCatalogue, "current", side_effect=unreadable):
        assert len(onlooker.relay.call_back()) == 1
    assert asked == [RETRY_SCHEDULE[0]]
    [line] = [it for it in caplog.records if it.getMessage() == "callback failed"]
    assert vars(line)["status"] == "no catalogue"


def test_a_callback_whose_client_has_no_url_now_is_tried_again(
    onlooker: Onlooker, caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]
) -> None:
    """An operator may have removed `clients` from the catalogue by mistake."""
    onlooker.relay.post(MESSAGE)
    onlooker.follow()
    onlooker.relay.tell()
    onlooker.server.replies(lambda _: answering(200))
    url = onlooker.callback_urls.pop(CLIENT)
    assert len(onlooker.relay.call_back()) == 1
    assert '"CallbacksFailed":[1.0]' in capsys.readouterr().out
    [line] = [it for it in caplog.records if it.getMessage() == "callback failed"]
    assert vars(line)["status"] == "no URL"
    onlooker.callback_urls[CLIENT] = url
    onlooker.relay.show_all(onlooker.callback_queue)
    assert onlooker.relay.call_back() == []
    assert len(onlooker.server.requests) == 1


def test_a_callback_without_a_response_is_logged_with_the_cause(
    onlooker: Onlooker, caplog: pytest.LogCaptureFixture
) -> None:
    onlooker.relay.post(MESSAGE)
    onlooker.follow()
    onlooker.relay.tell()
    onlooker.callback_urls[CLIENT] = "http://127.0.0.1:1/"
    assert len(onlooker.relay.call_back()) == 1
    [line] = [it for it in caplog.records if it.getMessage() == "callback failed"]
    assert vars(line)["status"] == "ConnectError"


def test_events_and_callbacks_are_off_by_default() -> None:
    parameters = template()["Parameters"]
    assert (parameters["EventBus"]["Default"], parameters["Callbacks"]["Default"]) == ("", "off")
    conditions = {name: template()["Resources"][name].get("Condition") for name in TELLING}
    assert conditions == TELLING
