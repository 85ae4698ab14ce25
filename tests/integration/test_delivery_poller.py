"""Tests the delivery poller, which polls the simulator for the results of accepted sends."""

import hashlib
import hmac
import json
import os
import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from functools import partial
from itertools import count
from typing import Any
from unittest.mock import patch

import httpx
import pytest

from smsrelay.adapters.dynamodb_ledger import DynamoDbLedger
from smsrelay.adapters.mobileconnect import MobileConnect
from smsrelay.sends.call_budget import TOKEN_CALLS
from smsrelay.sends.call_outcome import (
    OUT_OF_TIME,
    Failure,
    Outcome,
    OutcomeKind,
    of_failure,
    of_response,
)
from smsrelay.sends.delivery_report import parse_report
from smsrelay.sends.polling_schedule import LAST_POLL, POLLING_PERIOD
from smsrelay.wiring import delivery_poller
from tests.support.cloudwatch_metrics import metrics
from tests.support.environment import RECIPIENT_KEY, Environment, running
from tests.support.template import properties
from tools.local_stack.polling import wait_for
from tools.mobileconnect_simulator import Simulator

Json = dict[str, Any]
MESSAGE: Json = {"message": "MzA6Nzg6MA", "to": ["+1 212 555 0100"], "text": "Hello"}
UNDELIVERABLE, UNSUBSCRIBED, EXPIRED = "+1 945 555 0100", "+1 999 555 0100", "+1 945 555 0101"
FINISHED = 4
"""The polls until the simulator reports `Finished`."""


@pytest.fixture
def relay(aws: None, simulator: Simulator) -> Iterator[Environment]:
    _ = aws
    with running(simulator.url, DELIVERY_POLLING="all") as relay:
        yield relay


def look(relay: Environment, times: int = FINISHED) -> Json:
    """Run the poller so often, with due sends; return what it reported last."""
    reported: Json = {}
    for _ in range(times):
        relay.make_due()
        reported = relay.follow()
    return reported


def ask(relay: Environment, posted: Json) -> Json:
    return relay.get(f"/messages/{posted['id']}").body


def calls(simulator: Simulator) -> int:
    return sum(call["route"] == "deliveries" for call in simulator.calls())


def test_an_accepted_send_becomes_a_delivered_one(
    relay: Environment, simulator: Simulator, capsys: pytest.CaptureFixture[str]
) -> None:
    posted = relay.post(MESSAGE | {"to": ["+1 212 555 0100", "+1 212 555 0101"]}).body
    assert "delivery" not in ask(relay, posted)["sends"][0]
    assert look(relay, 2) == {"accepted": 1}
    underway = ask(relay, posted)
    assert underway["status"] == "accepted"
    assert underway["sends"][0]["delivery"]["pending"] == 2
    capsys.readouterr()
    assert look(relay, 2) == {"delivered": 1}
    done = ask(relay, posted)
    [send] = done["sends"]
    assert (done["status"], send["status"]) == ("delivered", "delivered")
    delivery = send["delivery"]
    assert delivery.pop("checkedAt")
    assert delivery == {"delivered": 2, "undelivered": {}, "pending": 0, "unsubscribed": 0}
    counted = metrics(capsys.readouterr().out)
    assert counted["SendsDelivered"] == [1]
    assert counted["RecipientsDelivered"] == [2]
    asked = calls(simulator)
    assert look(relay) == {}
    assert calls(simulator) == asked, "an ended send must not be polled again"
    [item] = relay.items()
    assert "unfinished" not in item


def test_undelivered_recipients_are_reported_by_code(relay: Environment) -> None:
    posted = relay.post(MESSAGE | {"to": ["+1 212 555 0100", UNDELIVERABLE, EXPIRED]}).body
    look(relay)
    [send] = ask(relay, posted)["sends"]
    assert send["status"] == "partially_delivered"
    assert send["delivery"]["undelivered"] == {"4500": 1, "4501": 1}
    nobody = relay.post(MESSAGE | {"to": [EXPIRED]}).body
    look(relay)
    [send] = ask(relay, nobody)["sends"]
    assert (send["status"], send["reason"]) == ("undelivered", "not-delivered")


def test_a_202_that_sent_nothing_is_found_out(
    relay: Environment, capsys: pytest.CaptureFixture[str]
) -> None:
    """A report with count 0: no recipient has subscribed, although the send got a 202."""
    posted = relay.post(MESSAGE | {"to": [UNSUBSCRIBED]})
    assert (posted.status, posted.body["status"]) == (202, "accepted")
    look(relay, 3)
    capsys.readouterr()
    look(relay, 1)
    counted = metrics(capsys.readouterr().out)
    assert counted["SendsWithoutSubscribers"] == [1]
    assert counted["SendsUndelivered"] == [1]
    [send] = ask(relay, posted.body)["sends"]
    assert (send["status"], send["reason"]) == ("undelivered", "no-subscribed-recipient")
    assert send["delivery"]["unsubscribed"] == 1


def test_a_repeated_post_gets_the_first_response(relay: Environment) -> None:
    for to in (["+1 212 555 0100"], [UNSUBSCRIBED]):
        key = {"Idempotency-Key": f"k{to}"}
        first = relay.post(MESSAGE | {"to": to}, headers=key)
        look(relay)
        again = relay.post(MESSAGE | {"to": to}, headers=key)
        assert (again.status, again.body) == (first.status, first.body)
        assert again.headers["Idempotent-Replayed"] == "true"


def test_the_first_poll_comes_after_a_minute(relay: Environment, simulator: Simulator) -> None:
    relay.post(MESSAGE)
    assert relay.follow() == {}
    assert calls(simulator) == 0
    [item] = relay.items()
    wait = float(item["dueAt"]["N"]) - float(item["updatedAt"]["N"])
    assert wait == pytest.approx(60)


def test_a_scheduled_send_is_polled_later(relay: Environment) -> None:
    at = datetime.now(UTC) + timedelta(days=5)
    relay.post(MESSAGE | {"sendAt": at.isoformat()})
    [item] = relay.items()
    assert float(item["dueAt"]["N"]) == pytest.approx(at.timestamp() + 60, abs=1)


def test_the_oldest_are_polled_first_within_the_budget(aws: None, simulator: Simulator) -> None:
    _ = aws
    settings = {"DELIVERY_POLLING": "all", "YEARLY_API_CALLS": str(365 * (TOKEN_CALLS + 3))}
    with running(simulator.url, **settings) as relay:
        posted = [relay.post(MESSAGE).body["id"] for _ in range(5)]
        for age, message_id in enumerate(posted):
            relay.client("dynamodb").update_item(
                TableName=relay.table,
                Key={"pk": {"S": f"MSG#{message_id}"}, "sk": {"S": "SEND#001"}},
                UpdateExpression="SET dueAt = :age",
                ExpressionAttributeValues={":age": {"N": str(age + 1)}},
            )
        assert relay.follow() == {"accepted": 3}
        looked = {item["pk"]["S"] for item in relay.items() if "delivery" in item}
        assert looked == {f"MSG#{message_id}" for message_id in posted[:3]}
        assert relay.follow() == {"no-calls-left": 1}


def test_runs_follow_each_other_and_are_not_repeated() -> None:
    function = properties("DeliveryPollerFunction")
    schedule = function["Events"]["EveryMinute"]["Properties"]
    assert schedule["ScheduleExpression"] == "rate(1 minute)"
    assert function["Timeout"] < 60
    assert schedule["RetryPolicy"] == {"MaximumRetryAttempts": 0}


def test_without_polling_no_send_awaits_a_report(aws: None, simulator: Simulator) -> None:
    _ = aws
    with running(simulator.url) as relay:
        relay.post(MESSAGE)
        assert "unfinished" not in relay.items()[0]
        assert look(relay) == {}
        assert calls(simulator) == 0


def test_the_catalogue_turns_polling_off_for_a_message(aws: None, simulator: Simulator) -> None:
    """This holds for sends made at once, by the worker, and after a failed attempt."""
    _ = aws
    settings = {"DELIVERY_POLLING": "all", "CATALOGUE_PARAMETER": "/polling/catalogue"}
    offers = {"id": "MzA6Nzg6MA", "deliveryPolling": "none"}
    codes = {"id": "MzA6Nzg6MA", "deliveryPolling": "all"}
    with running(simulator.url, **settings) as relay:
        relay.put_catalogue({"messages": {"offers": offers, "codes": codes}})
        simulator.fail("send", "503-50300", times=2)
        for name in ("offers", "codes"):
            relay.post(MESSAGE | {"message": name})
            relay.enqueue(MESSAGE | {"message": name})
        for _round in range(2):
            relay.make_due()
            relay.work()
        sent = relay.items()
        assert [item["status"]["S"] for item in sent] == ["accepted"] * 4
        ended = [item for item in sent if "unfinished" not in item]
        assert [item["deliveryPolling"]["S"] for item in ended] == ["none", "none"]
        assert all("deleteAt" in item for item in ended)
        assert look(relay, 1) == {"accepted": 2}
        assert calls(simulator) == 2


@pytest.mark.parametrize("then", ["429-50100", "429-50200", "503-50300", "403"])
def test_a_refusal_of_polls_stops_the_run(
    relay: Environment, simulator: Simulator, then: str
) -> None:
    for _ in range(4):
        relay.post(MESSAGE)
    simulator.fail("deliveries", then)
    relay.make_due()
    reported = relay.follow()
    assert sum(reported.values()) == 4
    assert calls(simulator) == 1, "the refusal must stop the other polls"
    assert relay.follow() == {"paused": 1}
    assert calls(simulator) == 1
    relay.restart_delivery_poller()
    assert relay.follow() == {"accepted": 4}, "each send must be polled later"


@pytest.mark.parametrize("outcome", [OUT_OF_TIME, of_response(405, {}, b"", 0.0)])
def test_a_failure_of_all_calls_stops_the_run(relay: Environment, outcome: Outcome) -> None:
    for _ in range(2):
        relay.post(MESSAGE)
    relay.make_due()
    with patch.object(MobileConnect, "report", return_value=outcome):
        assert relay.follow() == {outcome.reason: 1, "left": 1}
    assert relay.follow() == {"paused": 1}


@pytest.mark.parametrize(
    ("then", "retry_after", "seconds"),
    [("429-50100", None, 55), ("503-50300", 90, 90), ("429-50200", None, 300)],
)
def test_the_other_polls_wait_as_long_as_retry_after_says(
    relay: Environment, simulator: Simulator, then: str, retry_after: int | None, seconds: int
) -> None:
    """A wait of a minute lasts 55 seconds, so that the run a minute later polls."""
    relay.post(MESSAGE)
    poller, began = delivery_poller.parts().delivery_poller, time.time()
    simulator.fail("deliveries", then, retry_after=retry_after)
    relay.make_due()
    poller.clock = partial(float, began)
    relay.follow()
    relay.make_due()
    poller.clock = partial(float, began + seconds - 0.1)
    assert relay.follow() == {"paused": 1}
    poller.clock = partial(float, began + seconds)
    assert relay.follow() == {"accepted": 1}


def test_a_shorter_pause_does_not_replace_a_longer_one(
    relay: Environment, caplog: pytest.LogCaptureFixture
) -> None:
    for _ in range(3):
        relay.post(MESSAGE)
    relay.make_due()
    poller, began = delivery_poller.parts().delivery_poller, time.time()
    poller.clock = partial(float, began)
    report, calls_made, both_called = MobileConnect.report, count(), threading.Barrier(2)

    def refuse(*arguments: Any) -> Any:
        number = next(calls_made)
        if number == 0:
            return report(*arguments)
        both_called.wait(20)
        if number == 1:
            return Outcome(OutcomeKind.NOT_SENT, "blocked", 429)
        wait_for(lambda: "polling paused: blocked" in caplog.text, what="the pause", seconds=20)
        return of_failure(Failure.CONNECT_TIMEOUT)

    with patch.object(MobileConnect, "report", refuse):
        assert relay.follow() == {"accepted": 1, "blocked": 1, "connect-timeout": 1}
    poller.clock = partial(float, began + 100)
    assert relay.follow() == {"paused": 1}


def test_a_run_with_several_refused_calls_counts_once(
    relay: Environment, capsys: pytest.CaptureFixture[str]
) -> None:
    for _ in range(6):
        relay.post(MESSAGE)
    relay.make_due()
    report, calls_made, all_called = MobileConnect.report, count(), threading.Barrier(5)

    def refuse(*arguments: Any) -> Any:
        if next(calls_made) == 0:
            return report(*arguments)
        all_called.wait(20)
        return of_response(429, {}, b"", 0.0)

    capsys.readouterr()
    with patch.object(MobileConnect, "report", refuse):
        assert relay.follow() == {"accepted": 1, "throttled": 5}
    assert sum(metrics(capsys.readouterr().out)["DeliveryCallsRefused"]) == 1


def test_a_refused_token_is_asked_with_once(relay: Environment, simulator: Simulator) -> None:
    relay.post(MESSAGE)
    relay.make_due()
    simulator.fail("deliveries", "401", times=-1)
    assert relay.follow() == {"unauthorised": 1}
    assert calls(simulator) == 1


def test_a_renewed_token_is_taken(relay: Environment, simulator: Simulator) -> None:
    relay.post(MESSAGE)
    assert look(relay, 1) == {"accepted": 1}, "the first token must be kept"
    issued = httpx.post(
        f"{simulator.url}/v2/token",
        json={"grant_type": "client_credentials", "client_id": "i", "client_secret": "s"},
        trust_env=False,
    ).json()
    fields = {"access_token": issued["access_token"], "rest_instance_url": simulator.url}
    relay.put_secret(json.dumps(fields))
    simulator.fail("deliveries", "401")
    assert look(relay, 1) == {"accepted": 1}
    assert calls(simulator) == 3


@pytest.mark.parametrize("then", ["500", "reset-before-read"])
def test_one_report_that_can_not_be_had_does_not_stop_the_others(
    relay: Environment, simulator: Simulator, then: str
) -> None:
    for _ in range(3):
        relay.post(MESSAGE)
    simulator.fail("deliveries", then)
    relay.make_due()
    assert relay.follow() == {"no-report": 1, "accepted": 2}
    assert look(relay, 1) == {"accepted": 3}


def test_two_runs_at_once_end_a_send_once(
    relay: Environment, capsys: pytest.CaptureFixture[str]
) -> None:
    posted = relay.post(MESSAGE).body
    look(relay, 3)
    relay.make_due()
    capsys.readouterr()
    other = delivery_poller.parts.__wrapped__()
    report, reported = MobileConnect.report, []

    def meanwhile(reports: MobileConnect, template: str, token_id: str, timeout: float) -> Any:
        """Let another run read the same send, get the same report, and write first."""
        answer = report(reports, template, token_id, timeout)
        with patch.object(MobileConnect, "report", report):
            reported.append(other.delivery_poller.run(lambda: 55.0))
        other.metrics.flush()
        return answer

    with patch.object(MobileConnect, "report", meanwhile):
        assert relay.follow() == {"changed": 1}
    other.connections.close()
    assert reported == [{"delivered": 1}]
    assert metrics(capsys.readouterr().out)["SendsDelivered"] == [1]
    assert ask(relay, posted)["sends"][0]["status"] == "delivered"


def test_a_ledger_out_of_reach_loses_nothing(relay: Environment) -> None:
    relay.post(MESSAGE)
    relay.make_due()
    with relay.ledger_refuses_writes():
        assert relay.follow() == {"not-stored": 1}
    assert look(relay, 3) == {"delivered": 1}


def test_a_report_whose_item_is_gone_is_counted_as_not_stored(
    relay: Environment, capsys: pytest.CaptureFixture[str]
) -> None:
    relay.post(MESSAGE)
    look(relay, FINISHED - 1)
    relay.make_due()
    replace_if_unchanged = DynamoDbLedger.replace_if_unchanged

    def vanish(*arguments: Any) -> Any:
        relay.delete_items()
        return replace_if_unchanged(*arguments)

    capsys.readouterr()
    with patch.object(DynamoDbLedger, "replace_if_unchanged", vanish):
        assert relay.follow() == {"gone": 1}
    found = metrics(capsys.readouterr().out)
    assert found["ResultsNotStored"] == [1]
    assert "SendsDelivered" not in found
    assert relay.items() == []


def test_rows_of_recipients_are_kept_only_if_a_parameter_asks_for_them(
    aws: None, simulator: Simulator
) -> None:
    _ = aws
    to = ["+1 212 555 0100", UNDELIVERABLE]
    for rows in ("off", "on"):
        settings = {"DELIVERY_POLLING": "all", "RECIPIENT_RESULTS": rows}
        with running(simulator.url, **settings) as relay:
            posted = relay.post(MESSAGE | {"to": to}).body
            look(relay)
            [send] = ask(relay, posted)["sends"]
            stored = json.dumps(relay.items())
            assert "12125550100" not in stored
            if rows == "off":
                assert "recipients" not in send["delivery"]
                continue
            assert len({item["deleteAt"]["N"] for item in relay.items()}) == 1, "same deleteAt"
            codes = {row["hash"]: row["code"] for row in send["delivery"]["recipients"]}
            assert codes == {_hash("12125550100"): 4000, _hash("19455550100"): 4500}


def test_recipients_are_stored_when_the_time_ends_the_polling(
    aws: None, simulator: Simulator
) -> None:
    _ = aws
    with running(simulator.url, DELIVERY_POLLING="all", RECIPIENT_RESULTS="on") as relay:
        posted = relay.post(MESSAGE).body
        look(relay, 2)
        relay.change(deliverAt=time.time() - LAST_POLL, dueAt=1)
        assert relay.follow() == {"accepted": 1}
        [send] = ask(relay, posted)["sends"]
        assert send["delivery"]["recipients"][0]["hash"] == _hash("12125550100")


def test_a_poll_without_a_report_in_the_last_hour_is_repeated(
    relay: Environment, simulator: Simulator
) -> None:
    posted = relay.post(MESSAGE | {"to": ["+1 212 555 0100", "+1 212 555 0101"]}).body
    look(relay, FINISHED - 1)
    counts = '{"delivered":1,"undelivered":{},"pending":1,"unsubscribed":0,"checkedAt":1.0}'
    relay.change(deliverAt=time.time() - LAST_POLL, dueAt=1, delivery=counts)
    simulator.fail("deliveries", "500")
    assert relay.follow() == {"no-report": 1}
    assert ask(relay, posted)["status"] == "accepted"
    assert look(relay, 1) == {"delivered": 1}


def test_an_unreadable_key_of_the_hashes_is_named(
    aws: None, simulator: Simulator, caplog: pytest.LogCaptureFixture
) -> None:
    _ = aws
    with running(simulator.url, DELIVERY_POLLING="all", RECIPIENT_RESULTS="on") as relay:
        relay.post(MESSAGE)
        key = os.environ["RECIPIENT_KEY_SECRET"]
        relay.client("secretsmanager").delete_secret(SecretId=key, ForceDeleteWithoutRecovery=True)
        assert look(relay) == {"not-stored": 1}
    [line] = [it for it in caplog.records if it.getMessage() == "delivery not stored"]
    assert vars(line)["cause"].startswith("the key of the recipients' hashes can't be read: ")


def test_half_a_surrogate_pair_as_a_number_does_not_stop_a_run(
    aws: None, simulator: Simulator
) -> None:
    _ = aws
    row = b'{"mobileNumber":"\\ud800","standardStatusCode":"4000"}'
    report = parse_report(b'{"status":"Finished","count":1,"tracking":[%s]}' % row)
    with running(simulator.url, DELIVERY_POLLING="all", RECIPIENT_RESULTS="on") as relay:
        for _ in range(2):
            relay.post(MESSAGE)
        relay.make_due()
        with patch.object(MobileConnect, "report", return_value=report):
            assert relay.follow() == {"delivered": 2}


def test_an_unexpected_error_of_one_send_does_not_stop_the_run(
    relay: Environment, capsys: pytest.CaptureFixture[str]
) -> None:
    for _ in range(2):
        relay.post(MESSAGE)
    relay.make_due()
    report = parse_report(b'{"status":"Started","count":1}')
    with patch.object(MobileConnect, "report", side_effect=[RuntimeError("why"), report]):
        assert relay.follow() == {"unexpected-error": 1, "accepted": 1}
    assert metrics(capsys.readouterr().out)["UnexpectedErrors"] == [1]


def test_without_the_key_of_the_hashes_the_next_poll_is_later_and_the_last_one_counts(
    aws: None, simulator: Simulator, capsys: pytest.CaptureFixture[str]
) -> None:
    _ = aws
    with running(simulator.url, DELIVERY_POLLING="all", RECIPIENT_RESULTS="on") as relay:
        posted = relay.post(MESSAGE).body
        key = os.environ["RECIPIENT_KEY_SECRET"]
        relay.client("secretsmanager").delete_secret(SecretId=key, ForceDeleteWithoutRecovery=True)
        look(relay, FINISHED - 1)
        capsys.readouterr()
        assert look(relay, 1) == {"not-stored": 1}
        assert metrics(capsys.readouterr().out)["DeliveryCallsFailed"] == [1]
        assert relay.follow() == {}, "the next poll is not due"
        relay.change(deliverAt=time.time() - POLLING_PERIOD + 60, dueAt=1)
        assert relay.follow() == {"delivered": 1}
        [send] = ask(relay, posted)["sends"]
        assert send["delivery"]["delivered"] == 1
        assert "recipients" not in send["delivery"]


def _hash(number: str) -> str:
    """Hash a number as docs/monitoring.md shows."""
    return hmac.new(RECIPIENT_KEY.encode(), number.encode(), hashlib.sha256).hexdigest()[:32]


def test_sends_of_the_queue_are_polled_too(relay: Environment) -> None:
    relay.enqueue(MESSAGE | {"to": ["+1 212 555 0100", {"mobile": "+12125550101", "key": "k"}]})
    relay.work()
    relay.show_all()
    relay.work()
    assert look(relay) == {"delivered": 2}


def test_without_enough_time_nothing_is_polled(relay: Environment, simulator: Simulator) -> None:
    relay.post(MESSAGE)
    relay.make_due()
    assert relay.follow(remaining=10) == {"left": 1}
    assert calls(simulator) == 0
