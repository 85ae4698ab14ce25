"""Tests the message catalogue on the deployed stack: stored by the command, used by name."""

import json
import subprocess
from typing import Any

import httpx
import pytest

from tools.local_stack import ROOT
from tools.local_stack.polling import wait_for
from tools.local_stack.simulator_client import SimulatorControl
from tools.local_stack.stack import Stack

MESSAGE = {"message": "welcome", "to": ["+1 212 555 0100"], "text": "Grüße 👋"}
CATALOGUE = {
    "messages": {
        "welcome": {"id": "MzA6Nzg6MA", "keyword": "JOINSMS"},
        "payroll": {"id": "MzE6Nzg6MA", "allowedClients": ["hr"]},
    }
}


@pytest.fixture(scope="module")
def stored(stack: Stack, api: httpx.Client, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Store a catalogue with the command, and return the command's view of it.

    Environments of earlier tests may have cached the old catalogue for up to a minute.
    """
    folder = tmp_path_factory.mktemp("catalogue")
    (folder / "stack.json").write_text(json.dumps(stack.published()))

    def run(*arguments: str) -> Any:
        command = [str(ROOT / "cli/smsrelay"), "catalogue", *arguments, "--json"]
        ended = subprocess.run(  # noqa: S603 - our own command
            [*command, "--stack-file", str(folder / "stack.json")],
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )
        assert ended.returncode == 0, ended.stderr + ended.stdout
        return json.loads(ended.stdout)

    def is_known() -> bool:
        refused = api.post("/messages", json=MESSAGE | {"message": "payroll"}).json()
        return bool(refused["errors"][0]["code"] == "message-not-allowed")

    callbacks = {"clients": run("show")["clients"]}  # other tests need them for the phone page
    (folder / "catalogue.json").write_text(json.dumps(CATALOGUE | callbacks))
    run("put", str(folder / "catalogue.json"), "--yes")
    wait_for(is_known, what="the catalogue in the API", seconds=90, every=1)
    return run("show")


def test_a_message_is_sent_by_its_name(
    stored: Any, upstream: SimulatorControl, api: httpx.Client
) -> None:
    assert stored["messages"] == CATALOGUE["messages"]
    answer = api.post("/messages", json=MESSAGE | {"subscribe": True})
    assert answer.status_code == 202, answer.text
    [sent] = upstream.sent()
    assert (sent["id"], sent["body"]["keyword"]) == ("MzA6Nzg6MA", "JOINSMS")


@pytest.mark.usefixtures("stored")
def test_a_name_goes_through_the_queue(stack: Stack, upstream: SimulatorControl) -> None:
    stack.clients.sqs.send_message(QueueUrl=stack.queue_url, MessageBody=json.dumps(MESSAGE))
    sent = wait_for(upstream.sent, what="the message of the queue", seconds=60)
    assert [it["id"] for it in sent] == ["MzA6Nzg6MA"]


@pytest.mark.usefixtures("stored")
@pytest.mark.parametrize(
    ("name", "code", "near"),
    [
        ("welcom", "unknown-message", "Similar names: welcome."),
        ("payroll", "message-not-allowed", ""),
    ],
)
def test_another_name_is_refused(
    upstream: SimulatorControl, api: httpx.Client, name: str, code: str, near: str
) -> None:
    answer = api.post("/messages", json=MESSAGE | {"message": name})
    [refusal] = answer.json()["errors"]
    assert (refusal["pointer"], refusal["code"]) == ("/message", code)
    assert refusal["detail"].endswith(near)
    assert upstream.sent() == []
