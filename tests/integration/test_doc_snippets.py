"""Tests the docs' snippets with refused messages; tests/e2e runs them with accepted ones."""

import os
import re
from collections.abc import Iterator

import pytest

from smsrelay.messages.refusals import Refusal, RequestRefusedError
from smsrelay.sends.send import Status
from smsrelay.services import problem_documents
from smsrelay.services.http_response import Response
from tests.support.doc_snippets import PAGES, SNIPPETS, Snippet
from tests.support.http_servers import Answer, FakeRelay, fake_relay
from tests.support.template import ROOT
from tools.local_stack.signing_secrets import new_signing_secret
from tools.openapi.response_schemas import of_message, send

DETAILS = ("Invalid phone number: it has fewer than 8 digits.", "The field is blank.")
WORDS = "Keyword PLAY is invalid for the code on the message"


def _sent_by_relay(answer: Response) -> Answer:
    return Answer(answer.status, dict(answer.body), {"Content-Type": answer.content_type})


REFUSED = _sent_by_relay(
    problem_documents.of_error(
        RequestRefusedError(
            [
                Refusal("/to/0", "invalid-number", DETAILS[0]),
                Refusal("/text", "blank-text", DETAILS[1]),
            ]
        )
    )
)
REFUSED_UPSTREAM = _sent_by_relay(of_message(send(status=Status.REJECTED, errors=(WORDS,))))
NOT_FOUND = Answer(404, {"message": "Not Found"}, {"Content-Type": "application/json"})
BAD_GATEWAY = Answer(502, "<html><h1>502 Bad Gateway</h1></html>", {"Content-Type": "text/html"})

FAILURES = {
    "refused": (REFUSED, ("invalid-request", *DETAILS)),
    "refused upstream": (REFUSED_UPSTREAM, ("upstream-refused", WORDS)),
    "another API": (NOT_FOUND, ("404",)),
    "a proxy": (BAD_GATEWAY, ("502",)),
}

NOT_HANDLED = ("undefined", "SyntaxError", "ValidationError")


GATEWAY_LIMIT = 29
TIME_OUT = re.compile(r"--max-time (\d+)|timeout=(\d+)|AbortSignal\.timeout\((\d+)_000\)")


@pytest.mark.parametrize("snippet", SNIPPETS, ids=str)
def test_a_snippet_waits_for_the_answer_as_long_as_the_gateway(snippet: Snippet) -> None:
    [times] = TIME_OUT.findall(snippet.code)
    assert int("".join(times)) > GATEWAY_LIMIT


@pytest.mark.parametrize("page", {"README.md", *PAGES} - {"docs/deploy.md"})
def test_a_page_with_snippets_begins_with_the_variables_of_the_local_stack(page: str) -> None:
    text = (ROOT / page).read_text()
    blocks = re.findall(r"```sh\n(.*?)```", text, re.DOTALL)
    [first, *_] = [
        it for it in blocks if "make -s env" in it or "$API_URL" in it or "--local" in it
    ]
    assert first.startswith('eval "$(make -s env)" ')
    assert text.index(first) < min(map(text.index, re.findall(r"\$API_URL|<!-- runs", text)))
    commands = re.findall(r"(?m)^smsrelay .*", text)
    assert [it for it in commands if "--local" not in it and "--stack-name" not in it] == []


@pytest.fixture
def relay() -> Iterator[FakeRelay]:
    with fake_relay() as relay:
        yield relay


@pytest.mark.parametrize(("answer", "reasons"), FAILURES.values(), ids=FAILURES)
@pytest.mark.parametrize("snippet", SNIPPETS, ids=str)
def test_a_snippet_fails_with_the_reason_of_a_refusal(
    relay: FakeRelay, snippet: Snippet, answer: Answer, reasons: tuple[str, ...]
) -> None:
    snippet.skip_unless_installed()
    relay.answer = lambda _: answer
    ended = snippet.run(
        {
            "PATH": os.environ["PATH"],
            "PYTHONPATH": str(ROOT / "layers/smsrelay"),  # the client library
            "API_URL": relay.url,
            "API_KEY": "a-key",
            "WEBHOOK_SECRET": new_signing_secret(),
            "AWS_REGION": "eu-central-1",
            "AWS_DEFAULT_REGION": "eu-central-1",
            "AWS_ACCESS_KEY_ID": "testing",
            "AWS_SECRET_ACCESS_KEY": "testing",
        }
    )
    assert len(relay.posted) == 1
    assert ended.returncode != 0
    output = ended.stdout + ended.stderr
    assert [word for word in NOT_HANDLED if word in output] == []
    assert [reason for reason in reasons if reason not in output] == []
