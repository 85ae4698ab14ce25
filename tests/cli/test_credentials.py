"""Tests `smsrelay credentials`: it replaces the client secret in time, and never shows it."""

import io
import json
import os
import time
from argparse import Namespace
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any
from unittest.mock import patch
from uuid import uuid4

import pytest
from botocore.client import BaseClient
from botocore.exceptions import ClientError, ReadTimeoutError

from smsrelay_cli import credentials
from smsrelay_cli.deployed_stack import find_stack
from tests.cli.conftest import Operator
from tests.support.aws_calls import intercepted
from tools.first_contact.findings import Findings
from tools.first_contact.steps import FirstContact

OLD, NEW = "the-old-secret-of-the-client", "the-new-secret-of-the-client"


def date(days: int) -> str:
    return (datetime.now(UTC) + timedelta(days=days)).date().isoformat()


class Person(Operator):
    """An operator whose relay has client credentials."""

    def fields(self) -> dict[str, Any]:
        store = self.relay.client("secretsmanager")
        value = store.get_secret_value(SecretId=os.environ["CREDENTIALS_SECRET_ARN"])
        fields: dict[str, Any] = json.loads(value["SecretString"])
        return fields


@pytest.fixture
def person(operator: Operator, monkeypatch: pytest.MonkeyPatch) -> Iterator[Person]:
    person = Person(operator.relay, operator.simulator, monkeypatch)
    url = operator.simulator.url
    person.relay.put_credentials(client_id="a", client_secret=OLD, auth_base_url=url)
    monkeypatch.setattr(credentials, "CHECK_INTERVAL", 0)
    monkeypatch.setattr(credentials, "BUSY_SECONDS", 0)

    def invoke(_: BaseClient, operation: str, parameters: Any, call: Any) -> Any:
        if operation != "Invoke":
            return call()
        answer = person.relay.renew(json.loads(parameters["Payload"]))
        return {"Payload": io.BytesIO(json.dumps(answer).encode())}

    with intercepted(invoke):
        yield person


def test_a_secret_is_staged_checked_and_promoted(person: Person) -> None:
    assert "no date" in person.run("credentials", "status").out
    staged = person.run("credentials", "stage", answer=f"{NEW}\n{date(180)}\n")
    assert (staged.code, "The staged secret works" in staged.out) == (0, True)
    assert person.fields()["client_secret"] == OLD
    status = person.run("credentials", "status", "--json").json
    assert status == {
        "active": {"expiresAt": None, "daysLeft": None},
        "staged": {"expiresAt": date(180), "daysLeft": 179},
    }
    promoted = person.run("credentials", "promote", "--yes")
    assert promoted.code == 0
    fields = person.fields()
    assert (fields["client_secret"], fields["expires_at"]) == (NEW, date(180))
    assert not {"staged_client_secret", "staged_expires_at"} & fields.keys()
    for ended in (staged, promoted):
        assert not {OLD, NEW} & set((ended.out + ended.err).split())


def test_a_staged_secret_is_checked_until_it_works(person: Person) -> None:
    person.simulator.fail("token", "401", times=3)
    staged = person.run("credentials", "stage", answer=f"{NEW}\n{date(180)}\n")
    assert staged.code == 0
    assert staged.err.count("not accepted yet (credentials-refused)") == 3


def test_the_check_ends_after_ten_minutes(person: Person) -> None:
    person.simulator.fail("token", "401", times=-1)
    minutes = iter(range(100))
    clock = type("Clock", (), {"monotonic": lambda: next(minutes) * 60, "sleep": time.sleep})
    with patch.object(credentials, "time", clock):
        staged = person.run("credentials", "stage", answer=f"{NEW}\n{date(180)}\n")
    assert staged.code == 1
    assert staged.err.count("not accepted yet") == 9
    assert "Do not activate it" in staged.err


def test_a_check_without_an_answer_says_that_the_secret_is_stored(person: Person) -> None:
    def hang(client: BaseClient, operation: str, _: Any, call: Any) -> Any:
        if operation != "Invoke":
            return call()
        config = client.meta.config
        assert (config.read_timeout, config.retries["total_max_attempts"]) == (60, 1)  # type: ignore[attr-defined]  # set in its constructor
        raise ReadTimeoutError(endpoint_url="https://lambda")

    with intercepted(hang):
        staged = person.run("credentials", "stage", answer=f"{NEW}\n{date(180)}\n")
    unchecked = "is stored, but could not be checked: ReadTimeoutError" in staged.err
    assert (staged.code, unchecked) == (1, True)
    assert "Do not activate it" not in staged.err
    assert person.fields()["staged_client_secret"] == NEW


@pytest.mark.parametrize(
    ("failure", "times", "code"),
    [
        ("TooManyRequestsException", 1, 0),
        ("TooManyRequestsException", 100, 1),
        ("AccessDeniedException", 1, 1),
    ],
)
def test_a_secret_that_was_not_checked_is_not_said_not_to_work(
    person: Person, failure: str, times: int, code: int
) -> None:
    """While the run of each minute is in progress, Lambda throttles the check."""
    person.run("credentials", "stage", answer=f"{NEW}\n{date(180)}\n")
    failures = iter([failure] * times)

    def fail(_: BaseClient, operation: str, __: Any, call: Any) -> Any:
        if operation == "Invoke" and (name := next(failures, None)):
            raise ClientError({"Error": {"Code": name}}, operation)
        return call()

    with intercepted(fail):
        ended = person.run("credentials", "promote", "--yes")
    assert ended.code == code
    assert (f"could not be checked: {failure}" in ended.err) == bool(code)
    assert "does not work" not in ended.err
    assert person.fields()["client_secret"] == (OLD if code else NEW)


@pytest.mark.parametrize(
    ("answer", "code", "wrong"),
    [
        ("", 2, "no input for: Staged client secret"),
        (f"{NEW}\n", 2, "no input for: It expires on"),
        (f"{NEW}\nMay 2027\n", 2, "is not a date"),
        (f"{NEW}\n2020-01-01\n", 2, "this date is in the past"),
        (f"{OLD}\n2099-01-01\n", 1, "this is the active secret"),
    ],
)
def test_nothing_is_stored_without_a_valid_secret_and_date(
    person: Person, answer: str, code: int, wrong: str
) -> None:
    before = person.fields()
    ended = person.run("credentials", "stage", answer=answer)
    assert (ended.code, wrong in ended.err) == (code, True)
    assert person.fields() == before


@pytest.mark.parametrize(
    ("command", "answer"),
    [("stage", f"{NEW}\n2099-01-01\n"), ("promote", "y\n")],
    ids=["stage", "promote"],
)
def test_another_persons_change_is_not_overwritten(
    person: Person, command: str, answer: str
) -> None:
    person.relay.put_credentials(**person.fields() | {"staged_client_secret": NEW})
    theirs = person.fields() | {"client_id": "b"}
    ended = person.run(
        "credentials",
        command,
        answer=answer,
        before=lambda: person.relay.put_credentials(**theirs),
    )
    assert (ended.code, "so nothing was stored: run the command again" in ended.err) == (1, True)
    assert person.fields() == theirs


def test_a_staged_secret_that_does_not_work_is_not_promoted(person: Person) -> None:
    assert "there is no staged secret" in person.run("credentials", "promote", "--yes").err
    person.run("credentials", "stage", answer=f"{NEW}\n{date(180)}\n")
    before = person.fields()
    person.simulator.fail("token", "401", times=-1)
    ended = person.run("credentials", "promote", "--yes")
    assert (ended.code, "nothing was changed: credentials-refused" in ended.err) == (1, True)
    assert person.fields() == before


def test_first_contact_asks_for_credentials_until_the_stack_has_a_token(
    person: Person,
    operator: Operator,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    person.relay.put_secret("{}")
    operator.parameters["UpstreamHosts"] = "http://127.0.0.1"
    person.simulator.fail("token", "401")
    typed = ["a", NEW, person.simulator.url, "510000001"]
    monkeypatch.setattr("sys.stdin", io.StringIO("\n".join(typed) + "\n"))
    names = ("stack_file", "stack_name", "region", "profile")
    target = find_stack(Namespace(local=False, **dict.fromkeys(names)))

    keys = ("client_id", "client_secret", "auth_base_url", "account_id")
    fields = dict(zip(keys, typed, strict=True))
    FirstContact(target, "+12125550100", Findings()).store_credentials(fields | {"client_id": "b"})

    printed = capsys.readouterr()
    assert "credentials-refused" in printed.out
    assert person.simulator.token_counts() == {"fetches": 1, "calls": 2}
    assert person.fields() == fields
    assert NEW not in printed.out + printed.err


def test_an_activated_secret_is_not_replaced_before_it_is_promoted(person: Person) -> None:
    person.run("credentials", "stage", answer=f"{NEW}\n{date(180)}\n")
    person.simulator.fail("token", "401")  # the active secret has expired
    person.relay.renew()
    before = person.fields()
    ended = person.run("credentials", "stage", answer=f"another secret\n{date(360)}\n")
    assert (ended.code, "`smsrelay credentials promote` first" in ended.err) == (1, True)
    assert person.fields() == before
    assert person.run("credentials", "promote", "--yes").code == 0
    for _ in range(2):  # the renewal's report still says that a staged secret is in use
        assert person.run("credentials", "stage", answer=f"third\n{date(360)}\n").code == 0


def test_a_promoted_secret_without_a_date_needs_one(person: Person) -> None:
    person.relay.put_credentials(**person.fields() | {"staged_client_secret": NEW})
    promoted = person.run("credentials", "promote", "--yes")
    assert promoted.out == "The relay now uses the new secret only.\n"
    assert "Add expires_at to the secret" in promoted.err


@pytest.mark.parametrize("stored", [{}, {"SecretString": "{}"}])
def test_without_a_first_client_secret_there_is_nothing_to_replace(
    operator: Operator, stored: dict[str, str]
) -> None:
    created = operator.relay.client("secretsmanager").create_secret(Name=f"{uuid4()}", **stored)
    operator.outputs["CredentialsSecretArn"] = created["ARN"]
    ended = operator.run("credentials", "status")
    assert ended.code == 1
    assert "store the client credentials first (docs/deploy.md#first-deployment)" in ended.err


def test_a_relay_that_renews_no_token_has_no_credentials(operator: Operator) -> None:
    operator.outputs.pop("CredentialsSecretArn")
    ended = operator.run("credentials", "status")
    assert (ended.code, "TokenRenewal=on" in ended.err) == (1, True)
