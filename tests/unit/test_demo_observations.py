"""Tests that the demo reports every difference: each case changes one observation."""

from dataclasses import replace
from typing import Any

import pytest

from tools.local_stack.demo import Case, differences, strays, table, totals
from tools.local_stack.observations import Evidence, Stored
from tools.local_stack.samples import Content, Recipient, Sample, Way, samples

CONTENT = Content(
    upstream_message_id="MzA6Nzg6MA",
    recipients=frozenset([Recipient("12125550100"), Recipient("12125550101")]),
    text="Hello",
    keyword=None,
    media=None,
)
ACCEPTED = Sample("accepted", Way.API, "{}", "key-1", key_in_body=False, content=CONTENT)
GOOD = Evidence(
    message_id="id",
    http_status=202,
    answered_tokens=("token-1",),
    stored=(Stored("delivered", "token-1", 2, 2),),
    arrived=(CONTENT,),
)
REFUSED = Sample("refused", Way.QUEUE, "{}", "key-2", key_in_body=False, content=None)
BURIED = Evidence(message_id="id", refusals=("/to invalid-number",), refused_as="refused")


def test_correct_observations_have_no_difference() -> None:
    cases = [Case(ACCEPTED, GOOD), Case(REFUSED, BURIED)]

    assert differences(cases) == []
    assert strays(cases, {"token-1": CONTENT}) == []
    assert str(totals(cases)) == ("demo: 2 requests, 1 sends accepted, 1 tokenIds stored, 0 lost")


@pytest.mark.parametrize(
    "spoiled",
    [
        {"http_status": 422},
        {"answered_tokens": ()},
        {"answered_tokens": ("token-2",)},
        {"stored": ()},
        {"stored": (Stored("unknown", None, 2),)},
        {"stored": (Stored("queued", "token-1", 2),)},
        {"stored": (Stored("delivered", "token-1", 1, 1),)},
        {"stored": (Stored("delivered", "token-1", 2, 1),)},
        {"stored": (Stored("accepted", "token-1", 2, 2),)},
        {"stored": (Stored("delivered", "token-1", 1, 1), Stored("delivered", "token-2", 1, 1))},
        {"arrived": ()},
        {"arrived": (replace(CONTENT, text="Hallo"),)},
        {"arrived": (replace(CONTENT, upstream_message_id="other"),)},
        {"arrived": (replace(CONTENT, keyword="JOINSMS"),)},
        {"arrived": (replace(CONTENT, recipients=frozenset([Recipient("12125550100")])),)},
    ],
)
def test_a_difference_of_an_accepted_request_is_reported(spoiled: dict[str, Any]) -> None:
    assert differences([Case(ACCEPTED, replace(GOOD, **spoiled))])


@pytest.mark.parametrize(
    "spoiled",
    [
        {"refused_as": None},
        {"refusals": ()},
        {"stored": (Stored("accepted", "token-1", 2),)},
        {"arrived": (CONTENT,)},
    ],
)
def test_a_difference_of_a_refused_request_is_reported(spoiled: dict[str, Any]) -> None:
    assert differences([Case(REFUSED, replace(BURIED, **spoiled))])


def test_the_table_shows_who_was_reached_and_who_waits() -> None:
    waiting = replace(GOOD, stored=(Stored("accepted", "token-1", 2, 0),))
    heading, _, delivered, waits, refused = table(
        [Case(ACCEPTED, GOOD), Case(ACCEPTED, waiting), Case(REFUSED, BURIED)]
    ).splitlines()

    assert "delivered" in heading
    assert "  2 of 2  " in delivered
    assert delivered.endswith("2 phones: “Hello”")
    assert "  0 of 2 (waits)  " in waits
    assert waits.endswith("2 phones, later: “Hello”")
    assert refused.endswith("nothing (dead letter, refused: /to invalid-number)")


def test_a_send_that_is_not_in_the_ledger_is_reported() -> None:
    assert strays([Case(ACCEPTED, GOOD)], {"token-1": CONTENT, "token-2": CONTENT})


def test_send_without_token_counts_as_lost() -> None:
    assert totals([Case(ACCEPTED, replace(GOOD, stored=()))]).lost == 1


def test_samples_use_both_ways_and_envelopes() -> None:
    names = {(sample.name, sample.way) for sample in samples()}

    assert {("number", Way.API), ("number", Way.QUEUE)} <= names
    assert ("sns-notification", Way.QUEUE) in names
    assert any(sample.content is None for sample in samples())
