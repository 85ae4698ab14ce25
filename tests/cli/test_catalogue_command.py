"""Tests `smsrelay catalogue …`: it checks, compares, stores and shows a catalogue."""

import json
import os
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest

from smsrelay_cli import deployed_stack
from tests.cli.conftest import Ended, Operator

ID = "MzA6Nzg6MA"
QUIET = {"start": "21:00", "end": "08:00", "timezone": "America/Chicago"}
CATALOGUE: dict[str, Any] = {
    "messages": {"welcome": {"id": ID, "keyword": "JOINSMS", "quietHours": QUIET}, "shipped": ID},
    "clients": {"shop": {"callback": "https://shop.example.com/sms"}},
}


@pytest.fixture
def parameter(operator: Operator, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The parameter of the operator's stack."""
    name = f"/{operator.relay.table}-{uuid.uuid4()}/catalogue"
    describe = deployed_stack.describe_stack

    def described(session: Any, wanted: str) -> Any:
        stack: Any = describe(session, wanted)
        added = {"OutputKey": "CatalogueParameter", "OutputValue": name}
        return stack | {"Outputs": [*stack["Outputs"], added]}

    monkeypatch.setattr(deployed_stack, "describe_stack", described)
    with patch.dict(os.environ, CATALOGUE_PARAMETER=name):
        yield name


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "catalogue.json"


def put(operator: Operator, file: Path, document: object, *options: str, answer: str = "") -> Ended:
    file.write_text(document if isinstance(document, str) else json.dumps(document, indent=2))
    return operator.run("catalogue", "put", str(file), *options, answer=answer)


def test_only_the_local_stack_accepts_a_callback_on_loopback(
    operator: Operator, parameter: str, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    document = {"clients": {"shop": {"callback": "http://127.0.0.1:8080/callbacks"}}}
    refused = put(operator, file, document, "--yes")
    assert (refused.code, "/clients/shop/callback" in refused.out) == (1, True)
    assert operator.run("catalogue", "check", str(file)).code == 1
    assert operator.run("--local", "catalogue", "check", str(file)).code == 0
    monkeypatch.setattr(deployed_stack.DeployedStack, "is_local", True)
    assert put(operator, file, document, "--yes").code == 0
    assert json.loads(stored(operator, parameter)["Value"]) == document
    assert operator.run("catalogue", "show", "--json").json == document


def stored(operator: Operator, parameter: str) -> Any:
    return operator.relay.client("ssm").get_parameter(Name=parameter)["Parameter"]


def test_a_valid_file_is_stored_and_shown(operator: Operator, parameter: str, file: Path) -> None:
    ended = put(operator, file, CATALOGUE, answer="y\n")
    assert ended.code == 0, ended.err
    assert "added    messages: welcome" in ended.out
    assert "by one with 2 messages and 1 client" in ended.err
    found = stored(operator, parameter)
    assert (json.loads(found["Value"]), found["Type"]) == (CATALOGUE, "String")
    assert "\n" not in found["Value"]
    shown = operator.run("catalogue", "show")
    assert [line.split()[:2] for line in shown.out.splitlines()[1:3]] == [
        ["welcome", ID],
        ["shipped", ID],
    ]
    assert "21:00-08:00 America/Chicago" in shown.out
    assert "https://shop.example.com/sms" in shown.out
    assert operator.run("catalogue", "show", "--json").json == CATALOGUE


def test_a_number_with_a_fraction_of_zero_is_stored_as_an_integer(
    operator: Operator, parameter: str, file: Path
) -> None:
    """Other tools write 2 as 2.0 in JSON."""
    ended = put(operator, file, {"messages": {"welcome": {"id": ID, "maxSegments": 2.0}}}, "--yes")
    assert ended.code == 0, ended.err
    assert '"maxSegments":2}' in stored(operator, parameter)["Value"]
    assert operator.run("catalogue", "check", str(file)).code == 0
    operator.relay.put_catalogue(file.read_text())
    shown = operator.run("catalogue", "show", "--json")
    assert (shown.code, '"maxSegments": 2\n' in shown.out) == (0, True)


@pytest.mark.usefixtures("parameter")
def test_a_catalogue_without_messages_is_shown(operator: Operator, file: Path) -> None:
    put(operator, file, {"clients": CATALOGUE["clients"]}, "--yes")
    shown = operator.run("catalogue", "show")
    assert shown.code == 0, shown.err
    assert "https://shop.example.com/sms" in shown.out


def test_changes_are_shown_before_they_are_stored(
    operator: Operator, parameter: str, file: Path
) -> None:
    put(operator, file, CATALOGUE, "--yes")
    changed = {"messages": {"welcome": ID, "shipped": {"id": ID}, "new": ID}}
    asked = put(operator, file, changed, answer="n\n")
    assert asked.code == 3
    assert asked.out.splitlines() == [
        "added    messages: new",
        "changed  messages: welcome",
        "removed  clients: shop",
    ]
    assert json.loads(stored(operator, parameter)["Value"]) == CATALOGUE
    changes = put(operator, file, changed, "--yes", "--json").json
    assert changes[0] == {"what": "added", "section": "messages", "name": "new"}
    again = put(operator, file, changed)
    assert (again.code, again.out) == (0, "no changes: this catalogue is stored already\n")


@pytest.mark.usefixtures("parameter")
def test_an_invalid_file_is_not_stored_and_every_fault_is_reported(
    operator: Operator, file: Path
) -> None:
    wrong = {"messages": {"welcome": {"id": "a/b", "keyword": " "}, "w": {"txt": 1}}}
    for ended in (put(operator, file, wrong), operator.run("catalogue", "check", str(file))):
        assert ended.code == 1
        places = {line.partition(":")[0] for line in ended.out.splitlines()}
        assert places == {
            "/messages/welcome/id",
            "/messages/welcome/keyword",
            "/messages/w/id",
            "/messages/w/txt",
        }
    faults = operator.run("catalogue", "check", str(file), "--json").json
    assert {"pointer", "detail"} == set(faults[0])
    assert "no catalogue is stored yet" in operator.run("catalogue", "show").err


@pytest.mark.usefixtures("parameter")
def test_a_catalogue_that_is_too_large_is_refused(operator: Operator, file: Path) -> None:
    largest = {"messages": {f"message-{n:03}": ID for n in range(290)}}
    assert 4_096 < len(json.dumps(largest, separators=(",", ":"))) < 8_192
    assert put(operator, file, largest, "--yes").code == 0
    for document in ({"messages": {f"message-{n:03}": ID for n in range(400)}}, " " * 2_000_000):
        ended = put(operator, file, document, "--yes")
        assert (ended.code, "8192" in ended.out) == (1, True)


def test_a_check_needs_no_relay_and_no_aws(
    operator: Operator, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("SMSRELAY_STACK")
    file.write_text(json.dumps(CATALOGUE))
    with patch("botocore.client.BaseClient._make_api_call", side_effect=AssertionError):
        ended = operator.run("catalogue", "check", str(file))
    assert (ended.code, "2 messages and 1 client" in ended.out) == (0, True)
    for text in ("{", "[]"):
        file.write_text(text)
        ended = operator.run("catalogue", "check", str(file))
        assert (ended.code, "(the whole document)" in ended.out) == (1, True)
    assert operator.run("catalogue", "check", f"{file}-not").code == 1
    assert operator.run("catalogue", "put", str(file)).code == 2


def test_an_invalid_stored_catalogue_is_shown_and_replaced(
    operator: Operator, parameter: str, file: Path
) -> None:
    operator.relay.put_catalogue('{"messages": {"welcome": 7}}')
    shown = operator.run("catalogue", "show")
    assert (shown.code, "/messages/welcome" in shown.out) == (1, True)
    ended = put(operator, file, CATALOGUE, "--yes")
    assert "the stored catalogue is not valid" in ended.err
    assert json.loads(stored(operator, parameter)["Value"]) == CATALOGUE


def test_a_relay_without_a_catalogue_parameter_stores_none(operator: Operator, file: Path) -> None:
    ended = put(operator, file, CATALOGUE)
    assert (ended.code, "Catalogue=on" in ended.err) == (1, True)
    assert operator.run("catalogue", "show").code == 1
