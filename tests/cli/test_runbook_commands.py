"""Runs the commands of docs/runbook.md, and checks that they do what the page says."""

import logging
import re
import shlex
from pathlib import Path
from typing import NamedTuple

import pytest

from smsrelay.sends.send import Status
from tests.cli.conftest import MESSAGE, Operator
from tests.support.template import ROOT

RUNBOOK = (ROOT / "docs/runbook.md").read_text()


def section(name: str) -> str:
    """Return the text below a heading of the runbook."""
    return RUNBOOK.partition(f"\n### {name}\n")[2].partition("\n### ")[0]


def commands(text: str) -> list[list[str]]:
    """Return the arguments of each smsrelay command in the shell blocks of a text."""
    blocks = re.findall(r"```sh\n(.*?)```", text, re.DOTALL)
    lines = "".join(blocks).replace("\\\n", " ").splitlines()
    split = [shlex.split(line, comments=True) for line in lines]
    assert [words[0] for words in split] == ["smsrelay"] * len(split)
    return [words[1:] for words in split]


def test_the_example_resolves_the_sends_of_a_gateway_outage(operator: Operator) -> None:
    ids = {}
    for client in ("web-shop", "newsletter"):
        operator.relay.end_pauses()
        operator.simulator.fail("send", "502-html")
        ids[client] = operator.relay.post(MESSAGE, client=client).body["id"]
    listed, resend, resolve, *_ = commands(section("UnknownAlarm"))
    assert len(operator.run(*listed).rows) == 2

    assert "1 send " in operator.run(*resend, answer="y\n").err
    assert "1 send " in operator.run(*resolve, answer="y\n").err

    [again] = operator.sends(ids["web-shop"])
    assert again.status is Status.QUEUED
    [ended] = operator.sends(ids["newsletter"])
    assert ended.status is Status.ACCEPTED
    assert ended.note == "gateway outage, see incident 42"
    assert operator.run(*listed).out.startswith("No send is unknown")


def test_the_example_resends_only_the_sends_that_the_gateway_kept(operator: Operator) -> None:
    relay = operator.relay
    too_old = relay.post(MESSAGE, headers={"Prefer": "respond-async"}).body["id"]
    relay.make_too_old()
    relay.work()
    operator.simulator.fail("send", "502-html")
    kept = relay.post(MESSAGE).body["id"]
    *_, resolve, resend = commands(section("UnknownAlarm"))

    assert "1 send " in operator.run(*resolve, answer="y\n").err
    question = operator.run(*resend, answer="y\n").err

    assert "Send 1 send again?" in question
    assert "unknown" not in question
    assert [operator.sends(it)[0].status for it in (kept, too_old)] == [
        Status.QUEUED,
        Status.FAILED,
    ]


class Logged(NamedTuple):
    """A result that could not be stored: the upstream's fault, and how the send must end."""

    then: str
    status: Status
    end: Status
    may_have_been_sent: bool = False


LOGGED = {
    "`accepted`, with a `token_id`": Logged("ok", Status.ACCEPTED, Status.ACCEPTED),
    "`accepted`, without a `token_id`": Logged("202-no-token", Status.ACCEPTED, Status.ACCEPTED),
    "`rejected`": Logged("400", Status.REJECTED, Status.REJECTED),
    "`queued`": Logged("429-50100", Status.QUEUED, Status.ACCEPTED),
    "`failed`": Logged("too old", Status.FAILED, Status.ACCEPTED),
    "`unknown`": Logged("500", Status.UNKNOWN, Status.UNKNOWN, may_have_been_sent=True),
}


def rows_of_results() -> dict[str, str]:
    """Return the commands of the section's table, by the result in the log."""
    table = section("ResultsNotStoredAlarm").partition("| --- | --- | --- |\n")[2]
    return dict(re.findall(r"^\| (.*?) \| .*? \| (.*?) \|$", table, re.MULTILINE))


def lose_result(operator: Operator, logged: Logged) -> None:
    """Make a send whose result is only in the log, and whose lease the sweeper has expired."""
    relay = operator.relay
    if logged.status is Status.FAILED:
        relay.post(MESSAGE, headers={"Prefer": "respond-async"})
        relay.make_too_old()
        with relay.ledger_refuses_writes():
            relay.work()
    else:
        operator.simulator.fail("send", logged.then)
        with relay.ledger_refuses_writes():
            relay.post(MESSAGE)
    relay.change(dueAt=1)
    relay.sweep()


def test_the_runbook_has_a_row_for_each_result() -> None:
    assert list(rows_of_results()) == list(LOGGED)


@pytest.mark.parametrize("name", LOGGED)
def test_a_result_in_the_log_is_resolved_by_its_command(
    operator: Operator, caplog: pytest.LogCaptureFixture, name: str
) -> None:
    logged = LOGGED[name]
    with caplog.at_level(logging.ERROR):
        lose_result(operator, logged)
    [line] = [vars(it) for it in caplog.records if it.getMessage().startswith("result not stored")]
    assert "put it back" in line["message"]
    assert (line["status"], line["may_have_been_sent"]) == (
        logged.status,
        logged.may_have_been_sent,
    )
    message_id, number = line["send"].split("/")
    assert operator.sends(message_id)[0].status is Status.UNKNOWN
    sent_before = len(operator.simulator.sent())

    for command in re.findall(r"`smsrelay (.*?)`", rows_of_results()[name]):
        values = {"ID": message_id, "N": number, "TOKEN_ID": line["token_id"]}
        ended = operator.run(
            *(values.get(word, word) for word in shlex.split(command)), answer="y\n"
        )
        assert ended.code == 0
        assert "twice" not in ended.err
    operator.works()

    [send] = operator.sends(message_id)
    assert send.status is logged.end
    was_sent_now = logged.status in {Status.QUEUED, Status.FAILED}
    assert len(operator.simulator.sent()) - sent_before == was_sent_now
    if logged.status is Status.ACCEPTED:
        assert send.token_id == line["token_id"]


PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
SECRET = re.compile(
    r"\$\{?(API_KEY|\w*_SECRET|AWS_SECRET_ACCESS_KEY|AWS_SESSION_TOKEN)\b|value api_key|hexkey"
    r"|--user\b(?! test:test)"
)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_no_command_has_a_secret_as_an_argument(page: Path) -> None:
    """Other users can see arguments of processes; printf and [ are built into the shell."""
    text = page.read_text()
    for block in re.findall(r"```sh\n(.*?)```", text, re.DOTALL):
        for command in re.split(r"\|+|&&|;|\n|\(\) \{", block.replace("\\\n", " ")):
            if SECRET.search(command):
                assert command.split()[0] in {"printf", "["}
    assert set(re.findall(r"--secret-string ([^\s`]+)", text)) <= {"file:///dev/stdin", "'{}'"}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_no_command_has_a_payload_that_the_aws_cli_takes_for_base64(page: Path) -> None:
    text = page.read_text()
    payloads = text.count("--payload ")
    assert text.count("--cli-binary-format raw-in-base64-out --payload ") == payloads
