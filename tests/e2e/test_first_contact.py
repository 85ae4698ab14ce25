"""Runs tools/first_contact as a person does, against the deployed stack and its simulator."""

import io
import json
from pathlib import Path

import pytest

from tools.first_contact import __main__ as first_contact
from tools.first_contact import questions, steps
from tools.first_contact.report import NOT_ASKED
from tools.local_stack.simulator_client import SimulatorControl
from tools.local_stack.stack import Stack

NUMBER = "12125550109"
MESSAGE = "MzA6Nzg6MA"


def test_one_sms_and_a_report_without_secrets(
    stack: Stack,
    upstream: SimulatorControl,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    file, report = tmp_path / "stack.json", tmp_path / "report" / "first-contact.json"
    file.write_text(json.dumps(stack.published()))
    monkeypatch.setattr("sys.stdin", io.StringIO(f"+1 212 555 0109\n{MESSAGE}\ny\n1\n"))
    monkeypatch.setattr(steps, "POLL_INTERVAL", 0.05)

    code = first_contact.main(["--stack-file", str(file), "--report", str(report)])

    printed = capsys.readouterr()
    assert code == 0, printed.out + printed.err
    [sent] = upstream.sent()
    assert sent["body"] == {
        "mobileNumbers": [NUMBER],
        "Override": True,
        "messageText": questions.TEXT,
    }
    refused = [
        call
        for call in upstream.calls()
        if call["route"] != "token" and not call["accepted"] and call["path"]
    ]
    assert {call["status"] for call in refused} == {400, 401, 403, 404}
    bodies = [json.loads(call["raw"]) for call in refused if call["method"] == "POST"]
    recipients = [body.get("mobileNumbers", body.get("Subscribers")) for body in bodies]
    assert sorted(recipients) == [[]] * 11 + [[{}]]

    found = json.loads(report.read_text())
    rows = {row["id"]: row for row in found["assumptions"]}
    untested = {name for name, row in rows.items() if row["verdict"] != "confirmed"}
    assert untested == {*NOT_ASKED, "unsubscribed-count"}
    assert rows["refusal-shape"]["response"] == {
        "status": 400,
        "contentType": "application/json",
        "body": {"errors": ["string"]},
        "errors": ["The count of mobile numbers or subscribers cannot be zero."],
    }
    assert rows["send-accepted"]["stored"]["tokenId"] == "string"
    assert found["doctor"]["access token"] == "ok"
    text = report.read_text() + printed.out + printed.err
    secrets = stack.clients.secretsmanager
    for name in (stack.token_secret, stack.credentials_secret):
        values = json.loads(secrets.get_secret_value(SecretId=name)["SecretString"])
        hidden = [values.get(it) for it in ("access_token", "client_id", "client_secret")]
        assert not [word for word in hidden if word and word in text]
    assert not [word for word in (NUMBER, NUMBER[1:], sent["tokenId"]) if word in text]
    assert stack.api_key not in text
    assert MESSAGE not in report.read_text()
