"""Tests how a request is found in the log lines of all functions, and the metrics of times."""

import json
import sys
from collections.abc import Iterator
from contextlib import nullcontext
from typing import Any
from unittest.mock import patch

import pytest

from smsrelay.runtime import api_gateway
from smsrelay.wiring import sending
from tests.support.cloudwatch_metrics import metrics
from tests.support.environment import Environment, running
from tests.support.template import STACK_NAME
from tools.mobileconnect_simulator import Simulator

ROOT = "1-67891233-abcdef012345678912345678"
TRACE = f"Root={ROOT};Parent=53995c3f42cd8ad8;Sampled=1"
MESSAGE: dict[str, Any] = {"message": "MzA6Nzg6MA", "to": ["+1 212 555 0100"], "text": "Hello"}


@pytest.fixture
def relay(aws: None, simulator: Simulator) -> Iterator[Environment]:
    _ = aws
    settings = {"DELIVERY_POLLING": "all", "UPSTREAM_TIMEOUT_SECONDS": "5"}
    with running(simulator.url, **settings) as relay:
        yield relay


def about(caplog: pytest.LogCaptureFixture, message: str) -> Any:
    [record] = [record for record in caplog.records if record.getMessage() == message]
    return record


def test_a_request_is_found_from_its_post_to_its_delivery(
    relay: Environment, simulator: Simulator, caplog: pytest.LogCaptureFixture
) -> None:
    simulator.fail("send", "503-50300", retry_after=0)
    posted = relay.post(MESSAGE, headers={"X-Amzn-Trace-Id": TRACE}).body
    relay.make_due()
    relay.work()
    for _ in range(4):
        relay.make_due()
        relay.follow()
    for line in ("send queued", "send accepted", "delivery delivered"):
        output = about(caplog, line)
        assert output.correlation_id == ROOT
        assert output.message_id == posted["id"]
        assert output.send == f"{posted['id']}/1"
        assert output.client == "web-shop"


def test_a_line_is_json_with_all_ids(relay: Environment, caplog: pytest.LogCaptureFixture) -> None:
    posted = relay.post(MESSAGE, headers={"X-Amzn-Trace-Id": TRACE}).body
    record = about(caplog, "send accepted")
    line = json.loads(sending.parts().logger.registered_formatter.format(record))
    output = {
        "level": "INFO",
        "message": "send accepted",
        "service": STACK_NAME,
        "message_id": posted["id"],
        "send": f"{posted['id']}/1",
        "client": "web-shop",
        "correlation_id": ROOT,
        "token_id": posted["sends"][0]["tokenId"],
    }
    assert output.items() <= line.items()
    assert line["request_id"]


def test_lines_of_a_queue_message_have_its_senders_ids(
    relay: Environment, caplog: pytest.LogCaptureFixture
) -> None:
    record = {
        "messageId": "m-1",
        "receiptHandle": "h",
        "body": json.dumps(MESSAGE),
        "attributes": {"AWSTraceHeader": TRACE},
        "messageAttributes": {},
    }
    relay.hand_worker([record])
    assert about(caplog, "send accepted").correlation_id == ROOT


def test_without_a_trace_the_message_id_is_in_all_lines(
    relay: Environment, caplog: pytest.LogCaptureFixture
) -> None:
    posted = relay.post(MESSAGE).body
    assert about(caplog, "send accepted").correlation_id == posted["id"]


def test_no_line_contains_the_arn_of_a_caller(
    relay: Environment,
    caplog: pytest.LogCaptureFixture,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The name of a session is often a person's name."""
    # The log handler's stream may be an earlier test's closed one.
    monkeypatch.setattr(sending.parts().logger.logger_handler, "stream", sys.stdout)
    session = "arn:aws:sts::123456789012:assumed-role/Shop/jane.doe@example.com"
    headers = {"Content-Type": "application/json"}
    for status in (403, 202, 500):
        if status == 202:
            relay.allow("shop", session)
        failing = patch.object(api_gateway, "headers_of", side_effect=ValueError(session))
        with failing if status == 500 else nullcontext():
            answer = relay.raw(
                "POST", "/iam/messages", headers=headers, body=json.dumps(MESSAGE), client=session
            )
        assert answer["statusCode"] == status
    output = capsys.readouterr()
    lines = [*map(sending.parts().logger.registered_formatter.format, caplog.records)]
    assert lines
    for text in (*lines, output.out, output.err):
        assert "jane.doe" not in text
        assert "role/Shop" not in text


def test_the_relays_and_the_upstreams_times_are_separate_metrics(
    relay: Environment, capsys: pytest.CaptureFixture[str]
) -> None:
    relay.post(MESSAGE)
    capsys.readouterr()
    relay.post(MESSAGE | {"message": "OTIwMjA0Ojc4OjE"})  # responds after 2 s, before the time-out
    output = metrics(capsys.readouterr().out)
    [upstream], [overhead] = output["UpstreamTime"], output["OverheadLatency"]
    assert upstream > 1_900
    assert 0 <= overhead < upstream


def test_several_sends_have_no_metric_of_the_relays_own_time(
    relay: Environment, capsys: pytest.CaptureFixture[str]
) -> None:
    relay.post(MESSAGE | {"to": ["+1 212 555 0100", {"mobile": "+12125550101", "key": "k"}]})
    output = metrics(capsys.readouterr().out)
    assert len(output["UpstreamTime"]) == 2
    assert "OverheadLatency" not in output
