"""Tests segments in responses and the catalogue's limit, through the handlers."""

import uuid
from collections.abc import Iterator
from typing import Any

import pytest

from tests.support.environment import Environment, HttpAnswer, running
from tools.mobileconnect_simulator import Simulator

Json = dict[str, Any]

ID = "MzA6Nzg6MA"
TO = {"to": ["+1 212 555 0100"]}
LONG = "x" * 307
"""A text of two SMS without concatenation, and three with it."""


@pytest.fixture
def named(aws: None, simulator: Simulator) -> Iterator[Environment]:
    """A relay whose catalogue has a message with concatenation, and one with a limit."""
    _ = aws
    with running(simulator.url, CATALOGUE_PARAMETER=f"/{uuid.uuid4()}/catalogue") as relay:
        relay.put_catalogue(
            {
                "messages": {
                    "joined": {"id": ID, "concatenate": True},
                    "short": {"id": ID, "concatenate": True, "maxSegments": 2},
                }
            }
        )
        yield relay


def size(answer: HttpAnswer) -> Json:
    names = ("segments", "segmentsAtLeast", "encoding")
    [send] = answer.body["sends"]
    return {name: send[name] for name in names if name in send}


def test_each_response_has_the_size_of_the_text(named: Environment) -> None:
    two, three = ({"segments": n, "encoding": "GSM-7"} for n in (2, 3))
    key = {"Idempotency-Key": "order-8812"}
    posted = named.post({"message": ID, "text": LONG} | TO, headers=key)
    assert size(posted) == two
    assert size(named.post({"message": ID, "text": LONG} | TO, headers=key)) == two
    assert size(named.get(f"/messages/{posted.body['id']}")) == two
    assert size(named.post({"message": "joined", "text": LONG} | TO)) == three
    personal = named.post({"message": ID, "text": "Hi %%FirstName%%"} | TO)
    assert size(personal) == {"segments": 1, "segmentsAtLeast": True, "encoding": "GSM-7"}
    assert size(named.post({"message": ID} | TO)) == {}


def test_the_catalogues_limit_counts_for_each_way_in(
    named: Environment, simulator: Simulator
) -> None:
    refused = named.post({"message": "short", "text": LONG, "maxSegments": 9} | TO)
    assert [(one["pointer"], one["code"]) for one in refused.body["errors"]] == [
        ("/text", "too-many-segments")
    ]
    named.enqueue({"message": "short", "text": LONG} | TO)
    named.work()
    [letter] = named.dead_letters()
    assert letter["errors"] == "/text too-many-segments"
    assert simulator.calls() == []
    assert named.post({"message": "short", "text": LONG[1:]} | TO).status == 202
