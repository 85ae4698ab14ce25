"""Checks that docs/api.md has every field, problem and status of the API."""

import re

from smsrelay.messages.request import MessageRequest
from smsrelay.sends.send import Status
from tests.support.template import ROOT
from tools.openapi.problem_examples import all_problems

SECTIONS = dict(re.findall(r"(?ms)^## (.+?)\n(.*?)(?=^## |\Z)", (ROOT / "docs/api.md").read_text()))


def rows(section: str) -> list[list[str]]:
    """Return the cells of a section's tables."""
    lines = re.findall(r"(?m)^\| (.+) \|$", SECTIONS[section])
    return [line.split(" | ") for line in lines]


def words(cell: str) -> list[str]:
    return re.findall(r"`([\w-]+)`", cell)


def test_the_page_has_each_field() -> None:
    fields = {field.alias for field in MessageRequest.model_fields.values()}
    assert {word for first, *_ in rows("The request") for word in words(first)} == fields


def test_the_page_has_each_problem_with_its_status() -> None:
    listed = {
        (code, status)
        for status, codes, *_ in rows("Responses")
        if status.isdigit()
        for code in words(codes)
    }
    problems = all_problems().items()
    assert listed == {(code, str(problem.body["status"])) for code, problem in problems}


def test_the_table_and_the_diagram_have_each_status() -> None:
    statuses = {status.value for status in Status}
    firsts = [first for first, *_ in rows("A send's life") if first.startswith("`")]
    table = {word for first in firsts for word in words(first)}
    arrows = re.findall(r"(?m)^ +\S+ --> (\w+)", SECTIONS["A send's life"])
    assert table == set(arrows) == statuses
