"""Tests the rotation of the client secret, which expires 180 days after its generation."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any
from unittest.mock import patch

import pytest

from smsrelay.services.token_renewer import TokenRenewer
from smsrelay.wiring import sending, token_renewer
from tests.support.cloudwatch_metrics import metrics
from tests.support.environment import Environment, running
from tools.mobileconnect_simulator import Simulator

ID = "client-of-this-test"
MESSAGE = {"message": "MzA6Nzg6MA", "to": ["+1 212 555 0100"], "text": "Hello"}
TWO_YEARS, ROTATION, STEP = 730, 150, 5
"""In days."""


class Tenant:
    """A relay and a simulator that share a clock, which tests advance."""

    def __init__(self) -> None:
        self.offset = 0.0
        self.fields: dict[str, Any] = {}
        self.relay: Environment
        self.simulator: Simulator

    def time(self) -> float:
        return time.time() + self.offset

    def now(self) -> datetime:
        return datetime.fromtimestamp(self.time(), UTC)

    def put(self, **fields: Any) -> None:
        """Change fields of the credentials secret; None removes a field."""
        merged = self.fields | fields
        self.fields = {name: value for name, value in merged.items() if value is not None}
        self.relay.put_credentials(**self.fields)

    def stage(self) -> None:
        """Generate a staged secret in Marketing Cloud, and store it as the command does."""
        state = self.simulator.change_secrets("stage")
        self.put(staged_client_secret=state["staged"], staged_expires_at=state["expires"])

    def promote(self) -> None:
        self.put(
            client_secret=self.fields["staged_client_secret"],
            expires_at=self.fields["staged_expires_at"],
            staged_client_secret=None,
            staged_expires_at=None,
        )


@pytest.fixture
def tenant(aws: None) -> Iterator[Tenant]:
    """A tenant whose active secret has just been generated."""
    _ = aws
    shared = Tenant()
    with (
        Simulator(client_id=ID, time_source=shared.now) as shared.simulator,
        patch.object(token_renewer, "time", shared),
        patch.object(sending, "time", shared),
        running(shared.simulator.url) as shared.relay,
    ):
        shared.relay.put_secret("{}")
        shared.put(client_id=ID, auth_base_url=shared.simulator.url)
        shared.stage()
        shared.simulator.change_secrets("activate")
        shared.promote()
        yield shared


def statuses_in_two_years(tenant: Tenant) -> Iterator[str]:
    """Post a message every fifth day while secrets are rotated, and yield its status."""
    for day in range(0, TWO_YEARS, STEP):
        tenant.offset = day * 86_400
        match day % ROTATION:
            case 0 if day:
                tenant.stage()
            case 5 if day > ROTATION:
                tenant.simulator.change_secrets("activate")
            case 10 if day > ROTATION:
                tenant.promote()
        tenant.relay.renew()
        yield tenant.relay.post(MESSAGE).body["status"]


def test_no_send_is_refused_in_two_years_of_rotations(tenant: Tenant) -> None:
    assert set(statuses_in_two_years(tenant)) == {"accepted"}
    fetches = tenant.simulator.token_counts()
    assert fetches["calls"] - fetches["fetches"] <= TWO_YEARS // ROTATION, "one refusal a rotation"


def test_without_the_other_secret_sends_are_refused(tenant: Tenant) -> None:
    def only_active(renewer: Any, credentials: Any) -> Any:
        return renewer.issuer.fetch(credentials)

    with patch.object(TokenRenewer, "_fetch", only_active):
        assert any(status != "accepted" for status in statuses_in_two_years(tenant))


def test_a_secret_that_was_activated_is_used_and_reported(
    tenant: Tenant, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    tenant.relay.renew()
    tenant.stage()
    tenant.simulator.change_secrets("activate")
    for days_left in (178, 177):
        tenant.offset += 86_400
        capsys.readouterr()
        assert tenant.relay.renew()["did"] == "renewed"
        printed = capsys.readouterr().out
        assert metrics(printed)["StagedSecretInUse"] == [1]
        assert metrics(printed)["CredentialDaysLeft"] == [days_left]
    assert caplog.text.count("run `smsrelay credentials promote`") == 2
    assert tenant.simulator.token_counts() == {"fetches": 3, "calls": 4}, "not remembered"


def test_two_wrong_secrets_cost_two_requests_a_run(tenant: Tenant) -> None:
    tenant.stage()
    tenant.simulator.change_secrets("revoke")
    for calls in (2, 4):
        assert tenant.relay.renew() == {"did": "failed", "reason": "credentials-refused"}
        assert tenant.simulator.token_counts()["calls"] == calls


@pytest.mark.parametrize("fault", ["500", "429-50100", "reset-before-read"])
def test_the_other_secret_is_not_tried_for_other_failures(tenant: Tenant, fault: str) -> None:
    tenant.stage()
    tenant.simulator.fail("token", fault, times=-1)
    assert tenant.relay.renew()["did"] == "failed"
    assert tenant.simulator.token_counts()["calls"] == 1


@contextmanager
def only_days_left(capsys: pytest.CaptureFixture[str]) -> Iterator[list[float]]:
    found: list[float] = []
    capsys.readouterr()
    yield found
    found += metrics(capsys.readouterr().out)["CredentialDaysLeft"]


@pytest.mark.parametrize(
    ("expires_at", "days"),
    [
        (timedelta(days=100, hours=1), 100),
        (timedelta(days=6, hours=23), 6),
        (timedelta(hours=-1), -1),
        (None, 30),
        ("next spring", 30),
    ],
)
def test_the_days_left_are_those_of_the_secret_that_works(
    tenant: Tenant,
    capsys: pytest.CaptureFixture[str],
    expires_at: timedelta | str | None,
    days: int,
) -> None:
    date = (
        (tenant.now() + expires_at).isoformat() if isinstance(expires_at, timedelta) else expires_at
    )
    tenant.put(expires_at=date)
    with only_days_left(capsys) as found:
        tenant.relay.renew()
    assert found == [days]


def test_the_check_of_a_staged_secret_stores_no_token(tenant: Tenant) -> None:
    check = {"check": "staged"}
    assert tenant.relay.renew(check)["reason"] == "no-staged-secret"
    tenant.stage()
    assert tenant.relay.renew(check) == {"did": "checked", "reason": "accepted"}
    tenant.put(staged_client_secret="mistyped")
    assert tenant.relay.renew(check)["reason"] == "credentials-refused"
    assert tenant.relay.renew() == {"did": "renewed", "reason": "missing"}, "a token was stored"
    tenant.relay.put_credentials()
    assert tenant.relay.renew(check)["reason"] == "credentials-unusable"
