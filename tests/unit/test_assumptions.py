"""First contact: its verdicts, what its report leaves out, and which stack it deletes.

tests/e2e runs it against the local stack.
"""

import io
import json
import re
import signal
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from smsrelay.sends.send import OnUnknown, Send, SendKey, Status
from smsrelay_cli.deployed_stack import DEFAULTS, DeployedStack
from smsrelay_cli.exit_codes import UsageError
from tests.support.canaries import Place, planted, spellings, written
from tests.support.template import ROOT
from tools import deploy, first_contact
from tools.first_contact import JUDGED, NOT_ASKED, Answer, Findings, FirstContact, judge, report_of

ROWS = [
    [cell.strip("` ") for cell in line.strip("|").split("|")]
    for line in first_contact.PAGE.read_text().splitlines()
    if line.startswith("| `")
]


def test_the_command_knows_each_assumption_of_the_page_and_no_other() -> None:
    assert [row[0] for row in ROWS] == list(first_contact.assumptions())
    assert sorted(first_contact.assumptions()) == sorted([*JUDGED, *NOT_ASKED])


@pytest.mark.parametrize("row", ROWS, ids=[row[0] for row in ROWS])
def test_each_code_and_each_test_on_the_page_exists(row: list[str]) -> None:
    code, (file, name) = row[2], row[3].split("::")
    assert (ROOT / code).is_file()
    assert re.search(rf"^def {name}\(", (ROOT / file).read_text(), re.MULTILINE)


def answer(status: int, document: object) -> Answer:
    return Answer(status, "application/json; charset=utf-8", json.dumps(document).encode())


NONE, OFFSET = (
    "The count of mobile numbers or subscribers cannot be zero.",
    "-9900 is not a valid UTC offset.",
)
START = "2100 is not a valid blackout window start time."
BLANK = "Cannot override message text with a blank message."
GOOD_TOKEN = {"access_token": "t", "expires_in": 1_079, "rest_instance_url": "https://x.example"}


@pytest.mark.parametrize(
    ("name", "answers", "verdict"),
    [
        ("refusal-shape", {"no-recipients": (400, {"errors": [NONE]})}, "confirmed"),
        ("refusal-shape", {"no-recipients": (400, {"errorcode": 10006})}, "refuted"),
        ("refusal-shape", {"no-recipients": (202, {"tokenId": "t"})}, "refuted"),
        ("refusal-shape", {}, "untested"),
        ("several-reasons", {"two-mistakes": [NONE, OFFSET]}, "confirmed"),
        ("several-reasons", {"two-mistakes": [NONE]}, "refuted"),
        ("refusal-wording", {"no-recipients": (400, {"errors": ["No numbers"]})}, "refuted"),
        (
            "window-over-midnight",
            {"no-recipients": [NONE], "two-mistakes": [NONE, OFFSET], "": [NONE]},
            "confirmed",
        ),
        (
            "window-over-midnight",
            {"no-recipients": [NONE], "two-mistakes": [NONE, OFFSET], "": [NONE, START]},
            "refuted",
        ),
        ("window-over-midnight", {"two-mistakes": [NONE], "": [NONE]}, "untested"),
        ("field-casing", {"two-mistakes": [NONE], "blank-text": [NONE, BLANK]}, "confirmed"),
        ("field-casing", {"two-mistakes": [NONE, OFFSET], "blank-text": [NONE]}, "refuted"),
        ("field-casing", {"two-mistakes": [NONE], "blank-text": [NONE]}, "untested"),
        ("other-content-type", {"": (415, {"errorcode": 30003})}, "confirmed"),
        ("other-content-type", {"": (415, "<html>")}, "refuted"),
        ("token-refused", {"": (401, {"errorcode": 0})}, "confirmed"),
        ("token-refused", {"": (403, {"errorcode": 0})}, "refuted"),
        ("missing-scope", {"": (403, {"errorcode": 20002})}, "confirmed"),
        ("missing-scope", {"": (401, {"errorcode": 0})}, "refuted"),
        ("missing-scope", {"token": (400, {"error": "invalid_scope"})}, "untested"),
        ("client-refused", {"": (401, {"error": "invalid_client"})}, "confirmed"),
        ("client-refused", {"": (400, {"error": "invalid_request"})}, "refuted"),
        ("token-response", {"token": (200, GOOD_TOKEN)}, "confirmed"),
        ("token-response", {"token": (200, GOOD_TOKEN | {"expires_in": "1079"})}, "refuted"),
        ("token-response", {"token": (200, GOOD_TOKEN | {"access_token": 513 * "t"})}, "refuted"),
        ("token-response", {"token": (400, {"error": "invalid_scope"})}, "untested"),
        ("send-accepted", {}, "untested"),
        ("message-text", {}, "untested"),
        ("delivery-report", {}, "untested"),
        ("delivery-codes", {}, "untested"),
        ("one-bad-number", {}, "untested"),
    ],
)
def test_verdicts(name: str, answers: dict[str, Any], verdict: str) -> None:
    found = Findings()
    for which, response in answers.items():
        refused = response if isinstance(response, tuple) else (400, {"errors": response})
        found.answers[which or name] = answer(*refused)
    assert judge(name, found)["verdict"] == verdict


def test_verdicts_on_a_delivery() -> None:
    row = {"mobileNumber": "12125550100", "standardStatusCode": "4000"}
    report = {"status": "Finished", "count": 1, "tracking": [row]}

    def verdicts(document: object, phone: str = "1") -> list[str]:
        found = Findings(phone=phone, answers={"poll": answer(200, document)})
        found.statuses = {"New", json.loads(found.answers["poll"].body)["status"]}
        names = ("delivery-report", "delivery-statuses", "delivery-codes", "unsubscribed-count")
        return [judge(name, found)["verdict"][:1] for name in names]

    assert verdicts(report) == ["c", "c", "c", "u"]
    assert verdicts(report | {"tracking": [{"code": 4000}]}) == ["r", "c", "r", "u"]
    assert verdicts(report | {"status": "Done", "count": "1"}) == ["r", "r", "c", "u"]
    assert verdicts(report | {"count": 0, "tracking": []}, "3") == ["c", "c", "u", "c"]
    assert verdicts(report | {"count": 0, "tracking": ["?"]}, "1") == ["r", "c", "u", "r"]


SEND = Send(
    key=SendKey("0123456789ABCDEFGHJKMNPQRS", 1),
    client="internal",
    upstream_message_id="MzA6Nzg6MA",
    recipients=1,
    status=Status.QUEUED,
    on_unknown=OnUnknown.HOLD,
    fingerprint=None,
    created_at=0,
    updated_at=0,
    due_at=0,
    written_by="test",
)


@pytest.mark.parametrize(
    ("changes", "verdict"),
    [
        ({"status": Status.DELIVERED, "token_id": "t"}, {"verdict": "confirmed"}),
        ({"status": Status.ACCEPTED, "reason": "accepted-without-token"}, {"verdict": "refuted"}),
        ({"status": Status.UNKNOWN, "reason": "unexpected-success"}, {"verdict": "refuted"}),
        (
            {"status": Status.REJECTED, "errors": ("Message MzA6Nzg6MA is not valid.",)},
            {"verdict": "untested", "reason": "The send is rejected. Message … is not valid."},
        ),
    ],
)
def test_verdicts_on_the_send(changes: dict[str, Any], verdict: dict[str, str]) -> None:
    found = Findings(send=replace(SEND, **changes), secrets={"MzA6Nzg6MA"})
    assert judge("send-accepted", found) == verdict


def test_the_report_has_shapes_but_no_values() -> None:
    number = planted("to").number or ""
    hidden = [planted(name) for name in ("to", "access token", "client secret", "client id")]
    secrets = [it for canary in hidden for it in (canary.text, canary.token, canary.word)]
    found = Findings(secrets={*secrets, number})
    said = [form for canary in hidden for form in spellings(canary.word)] + spellings(number)
    tracking = [{"mobileNumber": number, "standardStatusCode": code} for code in ("4000", 4000)]
    found.answers = {
        "no-recipients": answer(400, {"errors": [NONE, *said], number: {number: written(number)}}),
        "token": answer(200, {hidden[1].word + "1": 1, "access_token": hidden[1].token}),
        "poll": answer(200, {"message": hidden[0].text, "tracking": tracking, "count": None}),
        "client-refused": Answer(401, f"text/{number}", hidden[2].text.encode()),
    }

    report = report_of(found, is_local=False)

    text = json.dumps(report)
    assert [leak for canary in hidden for leak in canary.found(text, Place.LOG)] == []
    responses = {row["id"]: row.get("response") for row in report["assumptions"]}
    assert responses["refusal-shape"]["errors"][0] == NONE
    assert responses["refusal-shape"]["body"] == {"errors": ["string"], "…": {"…": "string"}}
    assert responses["client-refused"]["body"] == "not a JSON object"
    assert responses["client-refused"]["contentType"] == "…"
    assert responses["delivery-report"]["body"] == {
        "message": "string",
        "tracking": [
            {"mobileNumber": "string", "standardStatusCode": "string"},
            {"mobileNumber": "string", "standardStatusCode": "number"},
        ],
        "count": "null",
    }


class Renewer:
    """The functions and secrets of a stack: each token request succeeds, and it keeps secrets."""

    def __init__(self) -> None:
        self.stored: list[dict[str, Any]] = []

    def client(self, _: str) -> "Renewer":
        return self

    def invoke(self, **_: str) -> dict[str, Any]:
        return {"Payload": io.BytesIO(b'{"did": "renewed"}')}

    def load(self) -> dict[str, Any]:
        return {}

    def store(self, fields: dict[str, Any]) -> None:
        self.stored.append(fields)


def contact_with(monkeypatch: pytest.MonkeyPatch, entered: str) -> tuple[FirstContact, Renewer]:
    """First contact with a stack that only stores credentials, and with what a person enters."""
    renewer = Renewer()
    target = SimpleNamespace(
        parameters=DEFAULTS, is_local=False, client=renewer.client, token_renewer="renewer"
    )
    monkeypatch.setattr(first_contact, "CredentialsSecret", lambda _: renewer)
    monkeypatch.setattr("sys.stdin", io.StringIO(entered))
    return FirstContact(cast("Any", target), "12125550100", Findings()), renewer


def test_the_question_about_the_phone_is_repeated_until_its_answer_is_offered(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    contact, _ = contact_with(monkeypatch, "\nyes\n12\n 2 \n3\n")
    assert contact.ask_what_the_phone_shows() == "2"


BASE = "https://subdomain.auth.marketingcloudapis.com"


@pytest.mark.parametrize(
    ("entered", "account"),
    [
        (f"\nthe id\n\nthe secret\n\n{BASE}\n123456\n", {"account_id": "123456"}),
        (f"the id\nthe secret\n{BASE}\n\n", {}),
    ],
)
def test_only_the_mid_may_be_empty(
    monkeypatch: pytest.MonkeyPatch, entered: str, account: dict[str, str]
) -> None:
    contact, renewer = contact_with(monkeypatch, entered)
    contact.store_credentials()
    expected = {"client_id": "the id", "client_secret": "the secret", "auth_base_url": BASE}
    assert renewer.stored == [expected | account]


def test_the_end_of_the_input_ends_the_questions(monkeypatch: pytest.MonkeyPatch) -> None:
    contact, _ = contact_with(monkeypatch, "the id\n")
    with pytest.raises(UsageError, match="Client secret"):
        contact.store_credentials()


@pytest.fixture
def steps(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Which steps are run for the stage `trial`; only recorded."""
    done: list[str] = []
    stage = SimpleNamespace(
        name="trial",
        stack_name="smsrelay-trial",
        settings={},
        session=SimpleNamespace(region_name="eu-west-1"),
    )

    def describe() -> dict[str, str]:
        if not {"exists", "deploy"} & set(done):
            raise deploy.DeployError("there is no stack")
        return {"StackId": "another" if "another" in done else "ours"}

    stage.describe = describe
    monkeypatch.setattr(deploy, "load", lambda _: stage)
    monkeypatch.setattr(deploy, "deploy", lambda _: done.append("deploy"))
    monkeypatch.setattr(deploy, "delete", lambda _, *, yes: done.append(f"delete {yes}"))
    target = DeployedStack(
        *(cast("Any", None),) * 3,
        queue_url="",
        dead_letter_queue_url="",
        name="smsrelay-trial",
        parameters=DEFAULTS,
    )
    monkeypatch.setattr(first_contact, "find_stack", lambda _: target)
    return done


def test_the_stack_is_deleted_whatever_happens(
    steps: list[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def run(contact: FirstContact) -> None:
        steps.append(contact.target.name)
        raise KeyboardInterrupt

    monkeypatch.setattr(FirstContact, "run", run)
    monkeypatch.setattr("sys.stdin", io.StringIO("+12125550100\nMzA6Nzg6MA\ny\n"))
    report = tmp_path / "report.json"
    assert first_contact.main(["trial", "--report", str(report)]) == 130
    assert steps == ["deploy", "smsrelay-trial", "delete True"]
    assert json.loads(report.read_text())["stack"] == "deployed"


ENTERED = "+12125550100\nMzA6Nzg6MA\ny\n"
STAYS = "smsrelay-trial may still exist: run `make delete STAGE=trial`"


@pytest.mark.parametrize("step", ["deploy", "delete"])
@pytest.mark.parametrize("ended_by", [KeyboardInterrupt, deploy.DeployError])
@pytest.mark.usefixtures("steps")
def test_a_stack_that_may_still_exist_is_named(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    step: str,
    ended_by: type[BaseException],
) -> None:
    def end(_: object, **_options: object) -> None:
        raise ended_by

    monkeypatch.setattr(deploy, step, end)
    monkeypatch.setattr(FirstContact, "run", lambda _: None)
    monkeypatch.setattr("sys.stdin", io.StringIO(ENTERED))
    assert first_contact.main(["trial", "--report", str(tmp_path / "report.json")]) in {1, 130}
    assert STAYS in capsys.readouterr().err


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_signal_does_not_prevent_the_deletion(
    steps: list[str],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    number: signal.Signals,
) -> None:
    def raise_signal(_: FirstContact) -> None:
        assert signal.getsignal(number) is signal.default_int_handler
        signal.raise_signal(number)

    before = signal.getsignal(number)
    monkeypatch.setattr(FirstContact, "run", raise_signal)
    monkeypatch.setattr("sys.stdin", io.StringIO(ENTERED))
    assert first_contact.main(["trial", "--report", str(tmp_path / "report.json")]) == 130
    assert steps == ["deploy", "delete True"]
    assert STAYS not in capsys.readouterr().err
    assert signal.getsignal(number) is before


def test_a_stack_that_exists_already_is_neither_updated_nor_deleted(
    steps: list[str],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
) -> None:
    steps.append("exists")
    monkeypatch.setattr("sys.stdin", io.StringIO("+12125550100\nMzA6Nzg6MA\ny\n"))
    assert first_contact.main(["trial", "--report", str(tmp_path / "report.json")]) == 2
    assert "smsrelay-trial exists already" in capsys.readouterr().err
    assert steps == ["exists"]


@pytest.mark.parametrize(
    ("entered", "code", "says"),
    [
        ("2125550100\n", 2, "not a number"),
        ("+12125550100\nno id\n", 2, "not a message id"),
        ("+12125550100\nMzA6Nzg6MA\nn\n", 3, "ONE SMS"),
        ("", 2, "nothing was entered"),
    ],
)
def test_nothing_is_done_before_a_person_agrees(
    steps: list[str],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    entered: str,
    code: int,
    says: str,
) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO(entered))
    report = tmp_path / "report.json"
    assert first_contact.main(["trial", "--report", str(report)]) == code
    assert says in capsys.readouterr().err
    assert not steps
    assert not report.exists()
