"""The commands of docs/runbook.md do what the page says."""

import re
import shlex

from smsrelay.sends.send import Status
from tests.cli.conftest import MESSAGE, Operator
from tests.support.template import ROOT

RUNBOOK = (ROOT / "docs/runbook.md").read_text()


def section(name: str) -> str:
    """The text below a heading of the runbook."""
    return RUNBOOK.partition(f"\n### {name}\n")[2].partition("\n### ")[0]


def commands(text: str) -> list[list[str]]:
    """The arguments of each smsrelay command in the shell blocks of a text."""
    blocks = re.findall(r"```sh\n(.*?)```", text, re.DOTALL)
    lines = "".join(blocks).replace("\\\n", " ").splitlines()
    split = [shlex.split(line, comments=True) for line in lines]
    assert [words[0] for words in split] == ["smsrelay"] * len(split)
    return [words[1:] for words in split]


def test_the_example_settles_a_gateway_outage(operator: Operator) -> None:
    ids = {}
    for client in ("web-shop", "newsletter"):
        operator.relay.end_pauses()
        operator.simulator.fail("send", "502-html")
        ids[client] = operator.relay.post(MESSAGE, client=client).body["id"]
    listed, resend, resolve = commands(section("UnknownAlarm"))
    assert len(operator.run(*listed).rows) == 2

    assert "1 send " in operator.run(*resend, answer="y\n").err
    assert "1 send " in operator.run(*resolve, answer="y\n").err

    [again] = operator.sends(ids["web-shop"])
    assert again.status is Status.QUEUED
    [ended] = operator.sends(ids["newsletter"])
    assert ended.status is Status.ACCEPTED
    assert ended.reason == "resolved-by-operator: gateway outage, see incident 42"
    assert operator.run(*listed).out.startswith("No send is unknown")
