"""Tests the verdicts of the first contact, and that its report contains no values."""

import json
import re
from dataclasses import replace
from typing import Any

import pytest

from smsrelay.sends.send import OnUnknown, Send, SendKey, Status
from tests.support.canaries import Place, planted, spellings, written
from tests.support.template import ROOT
from tools.first_contact.findings import Answer, Findings
from tools.first_contact.report import (
    JUDGED,
    NOT_ASKED,
    NOT_STORED,
    PAGE,
    assumptions,
    judge,
    report_of,
)


def rows(heading: str) -> list[list[str]]:
    """Return the cells of the table below a heading of the page, without the header."""
    section = PAGE.read_text().partition(f"## {heading}\n")[2].partition("\n## ")[0]
    table = [line for line in section.splitlines() if line.startswith("|")][2:]
    return [[cell.strip("` ") for cell in line.strip("|").split(" | ")] for line in table]


UPSTREAM, AWS = rows("Assumptions about Marketing Cloud"), rows("Assumptions about AWS")


def test_the_command_has_exactly_the_assumptions_of_the_page() -> None:
    assert [row[0] for row in UPSTREAM] == list(assumptions())
    assert sorted(assumptions()) == sorted([*JUDGED, *NOT_ASKED])


@pytest.mark.parametrize("row", [*UPSTREAM, *AWS], ids=lambda row: row[0][:30])
def test_each_file_and_each_test_on_the_page_exists(row: list[str]) -> None:
    *_, code, test = row
    assert len(row) == 4
    assert (ROOT / code).is_file()
    if test != "none":
        file, name = test.split("::")
        assert re.search(rf"^def {name}\(", (ROOT / file).read_text(), re.MULTILINE)


def answer(status: int, document: object) -> Answer:
    return Answer(status, "application/json; charset=utf-8", json.dumps(document).encode())


NONE, OFFSET = (
    "The count of mobile numbers or subscribers cannot be zero.",
    "-9900 is not a valid UTC offset.",
)
START = "2100 is not a valid blackout window start time."
BLANK = "Cannot override message text with a blank message."
INCOMPLETE = "A subscriber object must have both a mobile number and subscriber key defined."
KEYWORD = "Keyword cannot be blank when Subscribe or Resubscribe are true."
TIME = "first-contact is not a valid send time (yyyy-MM-dd HH:mm)."
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
        ("field-casing", {"two-mistakes": [NONE], "field-casing": [NONE, BLANK]}, "confirmed"),
        ("field-casing", {"two-mistakes": [NONE, OFFSET], "field-casing": [NONE]}, "refuted"),
        ("field-casing", {"two-mistakes": [NONE], "field-casing": [NONE]}, "untested"),
        ("subscriber-fields", {"": [INCOMPLETE]}, "confirmed"),
        ("subscriber-fields", {"": [NONE]}, "refuted"),
        ("subscriber-fields", {"": (202, {"tokenId": "t"})}, "refuted"),
        ("blank-keyword", {"two-mistakes": [NONE], "": [NONE, KEYWORD]}, "confirmed"),
        ("blank-keyword", {"two-mistakes": [NONE, OFFSET], "": [NONE]}, "refuted"),
        ("blank-keyword", {"two-mistakes": [NONE], "": [NONE]}, "untested"),
        ("bad-send-time", {"two-mistakes": [NONE], "": [NONE, TIME]}, "confirmed"),
        ("bad-send-time", {"two-mistakes": [NONE, OFFSET], "": [NONE]}, "refuted"),
        (
            "window-without-offset",
            {"no-recipients": [NONE], "two-mistakes": [NONE, OFFSET], "": [NONE]},
            "confirmed",
        ),
        (
            "window-without-offset",
            {"no-recipients": [NONE], "two-mistakes": [NONE, OFFSET], "": [NONE, OFFSET]},
            "refuted",
        ),
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
    row = judge("send-accepted", found)
    assert {name: row[name] for name in verdict} == verdict


def test_the_report_has_what_the_stack_stored_of_the_response_to_the_send() -> None:
    found = Findings(send=replace(SEND, status=Status.DELIVERED, token_id="the token id"))
    row = judge("send-accepted", found)
    assert row["response"] == NOT_STORED
    assert row["stored"] == {"status": "delivered", "reason": None, "tokenId": "string"}
    assert judge("trailing-comma", found) == {"verdict": "untested", "reason": NOT_STORED}


REFUSED_ID = {"status": Status.REJECTED, "errors": ("Message id … is not valid.",)}
OTHER_FORM = "MzA6Nzc6MA"
"""Base64 of `30:77:0`."""


@pytest.mark.parametrize(
    ("message_id", "changes", "verdict"),
    [
        ("MzA6Nzg6MA", {"status": Status.DELIVERED, "token_id": "t"}, "confirmed"),
        (OTHER_FORM, {"status": Status.ACCEPTED, "token_id": "t"}, "refuted"),
        ("MzA6Nzg6MA==", {"status": Status.ACCEPTED, "token_id": "t"}, "refuted"),
        ("MzA6Nzg6MA", REFUSED_ID, "refuted"),
        (OTHER_FORM, REFUSED_ID, "untested"),
        (
            "MzA6Nzg6MA",
            REFUSED_ID | {"errors": ("Message … is not valid for the client.",)},
            "untested",
        ),
        ("MzA6Nzg6MA", {"status": Status.UNKNOWN, "reason": "read-timeout"}, "untested"),
        ("MzA6Nzg6MA", None, "untested"),
    ],
)
def test_the_form_of_a_message_id_is_judged_by_the_sends_status(
    message_id: str, changes: dict[str, Any] | None, verdict: str
) -> None:
    send = None if changes is None else replace(SEND, **changes)
    assert (
        judge("message-id-form", Findings(send=send, message_id=message_id))["verdict"] == verdict
    )


def test_the_report_has_shapes_but_no_values() -> None:
    number = planted("to").number or ""
    hidden = [planted(name) for name in ("to", "access token", "client secret", "client id")]
    secrets = [it for canary in hidden for it in (canary.text, canary.token, canary.word)]
    found = Findings(secrets={*secrets, number})
    echoes = [form for canary in hidden for form in spellings(canary.word)] + spellings(number)
    tracking = [{"mobileNumber": number, "standardStatusCode": code} for code in ("4000", 4000)]
    found.answers = {
        "no-recipients": answer(
            400, {"errors": [NONE, *echoes], number: {number: written(number)}}
        ),
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
