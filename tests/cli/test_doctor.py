"""Tests `smsrelay doctor`: it reports each problem with its remedy, and none in a healthy relay."""

import os
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from email.utils import formatdate
from typing import Any, NamedTuple

import pytest
from botocore.client import BaseClient
from botocore.exceptions import ClientError

from smsrelay.adapters.dynamodb_call_budget import DynamoDbCallBudget
from smsrelay.adapters.dynamodb_ledger import SHARDS
from smsrelay.adapters.dynamodb_renewal_report import DynamoDbRenewalReport
from smsrelay.sends.call_budget import daily_share
from smsrelay_cli import doctor
from tests.cli.conftest import Ended, Operator
from tests.support.aws_calls import intercepted
from tests.support.template import template

HOST = "https://tenant.rest.marketingcloudapis.com"
STAGED = {"staged_client_secret": "the-staged-secret"}
MONITORING = "Monitoring-1ABC"


def date(days: float) -> str:
    return (datetime.now(UTC) + timedelta(days=days)).date().isoformat()


@dataclass
class CheckedRelay:
    """A healthy relay, of which a test breaks one part."""

    operator: Operator
    free_executions: int = 1_000
    seconds_ahead: float = 0
    """Seconds by which this machine's clock is ahead of AWS's."""
    denied: set[str] = field(default_factory=set)
    """The AWS operations that are denied."""

    def __post_init__(self) -> None:
        self.credentials: dict[str, Any] = {
            "client_id": "a",
            "client_secret": "b",
            "auth_base_url": self.operator.simulator.url,
            "expires_at": date(150),
        }
        self.operator.parameters |= {"UpstreamHosts": "http://127.0.0.1", "AlarmTopicArn": "arn"}
        self.alarm("UnknownAlarm", "OK")
        self.renew()

    def renew(self, **credentials: Any) -> None:
        """Let the token renewer fetch a token with these fields of the credentials secret."""
        self.operator.relay.put_secret("{}")
        self.operator.relay.put_credentials(**self.credentials | credentials)
        self.operator.relay.renew()

    def report(self, **facts: Any) -> None:
        """Change facts of the last renewal."""
        report = self.renewal_report
        report.record("renewed", report.load()["renewed"] | facts)

    @property
    def renewal_report(self) -> DynamoDbRenewalReport:
        relay = self.operator.relay
        return DynamoDbRenewalReport(relay.client("dynamodb"), relay.table)

    def forget_renewals(self) -> None:
        self.operator.relay.client("dynamodb").delete_item(
            TableName=self.operator.relay.table, Key={"pk": {"S": "TOKEN"}, "sk": {"S": "RENEWAL"}}
        )

    def alarm(self, name: str, state: str) -> None:
        """Create an alarm of the stack, named as CloudFormation does."""
        cloudwatch = self.operator.relay.client("cloudwatch")
        full_name = f"{os.environ['SMSRELAY_STACK']}-{MONITORING}-{name}-2DEF"
        cloudwatch.put_metric_alarm(
            AlarmName=full_name,
            Namespace="smsrelay",
            MetricName="UnknownSends",
            Statistic="Sum",
            Period=300,
            EvaluationPeriods=1,
            Threshold=1,
            ComparisonOperator="GreaterThanOrEqualToThreshold",
        )
        cloudwatch.set_alarm_state(AlarmName=full_name, StateValue=state, StateReason="a test")

    def call_another_tenant(self) -> None:
        self.report(restBaseUrl=HOST)
        url = "https://other.rest.marketingcloudapis.com"
        hosts = "*.marketingcloudapis.com"
        self.operator.parameters |= {"RestBaseUrl": url, "UpstreamHosts": hosts}

    def make_overdue(self) -> None:
        relay = self.operator.relay
        self.operator.post("429-50100")
        relay.change(dueAt=time.time() - 7_200)

    def use_budget(self) -> None:
        relay = self.operator.relay
        share = daily_share(2_000_000)
        calls = DynamoDbCallBudget(relay.client("dynamodb"), relay.table, share)
        calls.reserve(share, time.time())

    def fail_renewal(self) -> None:
        self.operator.simulator.fail("token", "401")
        self.renew()

    def run(self, *arguments: str) -> Ended:
        with intercepted(self._aws):
            return self.operator.run("doctor", *arguments)

    def checks(self) -> dict[str, dict[str, Any]]:
        return {check["check"]: check for check in self.run("--json").json["checks"]}

    def _aws(self, _: BaseClient, operation: str, _parameters: Any, call: Any) -> Any:
        if operation in self.denied:
            raise ClientError({"Error": {"Code": "AccessDeniedException"}}, operation)
        if operation == "GetAccountSettings":  # missing in moto
            return {"AccountLimit": {"UnreservedConcurrentExecutions": self.free_executions}}
        answer = call()
        if operation == "GetQueueAttributes":
            shown = formatdate(time.time() - self.seconds_ahead, usegmt=True)
            answer["ResponseMetadata"]["HTTPHeaders"]["date"] = shown
        return answer


@pytest.fixture
def checked(operator: Operator, monkeypatch: pytest.MonkeyPatch) -> CheckedRelay:
    for group in ("open", "unknown"):  # 80 queries in moto would take most of a test's time
        monkeypatch.setitem(SHARDS, group, 1)
    return CheckedRelay(operator)


class Problem(NamedTuple):
    inject: Callable[[CheckedRelay], object]
    check: str
    finding: str
    remedy: str


PROBLEMS = {
    "secret-expires": Problem(
        lambda it: it.renew(expires_at=date(20)),
        "client secret",
        "expires in 19 days",
        "smsrelay credentials stage",
    ),
    "secret-has-expired": Problem(
        lambda it: it.report(secretExpiresAt=f"{date(-2)}T00:00:00+00:00"),
        "client secret",
        "has expired",
        "smsrelay credentials stage",
    ),
    "secret-without-date": Problem(
        lambda it: it.renew(expires_at=""),
        "client secret",
        "expiry date is not stored",
        "Add expires_at",
    ),
    "staged-secret-waits-too-long": Problem(
        lambda it: it.renew(**STAGED, expires_at=date(5), staged_expires_at=date(170)),
        "client secret",
        "expires in 4 days",
        "Activate the staged secret",
    ),
    "staged-secret-expires": Problem(
        lambda it: it.renew(**STAGED, staged_expires_at=date(10)),
        "staged secret",
        "expires in 9 days",
        "Generate another one",
    ),
    "staged-secret-in-use": Problem(
        lambda it: it.report(staged="in-use", stagedExpiresAt=f"{date(170)}T00:00:00+00:00"),
        "staged secret",
        "it is active",
        "smsrelay credentials promote",
    ),
    "scope-to-send-missing": Problem(
        lambda it: it.renew(client_id="sim-no-sms-send"),
        "scopes",
        "lacks sms_send",
        "Installed Packages",
    ),
    "scope-to-poll-missing": Problem(
        lambda it: it.renew(client_id="sim-no-sms-read"),
        "scopes",
        "lacks sms_read",
        "Installed Packages",
    ),
    "never-renewed": Problem(
        CheckedRelay.forget_renewals, "access token", "no renewal", "credentials secret"
    ),
    "credentials-refused": Problem(
        CheckedRelay.fail_renewal, "access token", "credentials-refused", "replace it"
    ),
    "renewer-does-not-run": Problem(
        lambda it: it.report(tokenExpiresAt=time.time() - 600),
        "access token",
        "expired 10m ago",
        "token renewer token-renewer",
    ),
    "host-not-allowed": Problem(
        lambda it: it.operator.parameters.update(UpstreamHosts="*.marketingcloudapis.com"),
        "base URL",
        "does not match UpstreamHosts (*.marketingcloudapis.com)",
        "Correct the parameters",
    ),
    "another-tenant": Problem(
        CheckedRelay.call_another_tenant,
        "base URL",
        f"but the token is for {HOST}",
        "Remove the parameter RestBaseUrl",
    ),
    "no-base-url": Problem(
        lambda it: it.report(restBaseUrl=""), "base URL", "returned no URL", "Set the parameter"
    ),
    "paused": Problem(
        lambda it: it.operator.run("pause", "--client", "web-shop", "--note", "wrong text"),
        "pause",
        "sends are paused: web-shop for 0s (wrong text)",
        "smsrelay resume",
    ),
    "sends-overdue": Problem(
        CheckedRelay.make_overdue, "queue", "overdue by 2h", "docs/runbook.md#queueagealarm"
    ),
    "dead-letters": Problem(
        lambda it: it.operator.failed(), "dead letters", "1 dead letter", "smsrelay redrive"
    ),
    "unknown-sends": Problem(
        lambda it: it.operator.unknown(), "unknown sends", "1 send", "smsrelay resolve"
    ),
    "alarm": Problem(
        lambda it: it.alarm("UnknownAlarm", "ALARM"),
        "alarms",
        "active: UnknownAlarm",
        "docs/runbook.md",
    ),
    "account-too-small": Problem(
        lambda it: setattr(it, "free_executions", 9),
        "concurrency",
        "5 workers for MaxConcurrentSends 50, of 9 executions",
        "lower MaxConcurrentSends",
    ),
    "budget-used-up": Problem(
        CheckedRelay.use_budget, "call budget", "used up", "Raise YearlyApiCalls"
    ),
    "another-version": Problem(
        lambda it: it.operator.outputs.update(Version="0.0.9"),
        "version",
        "the stack has 0.0.9",
        "Check out the version",
    ),
    "clock-ahead": Problem(
        lambda it: setattr(it, "seconds_ahead", 200), "clock", "3m ahead of AWS", "Set the clock"
    ),
}


def test_a_healthy_relay_has_no_problem_and_no_secret_is_read(checked: CheckedRelay) -> None:
    checked.denied |= {"GetSecretValue", "DescribeSecret", "ListSecrets"}
    checks = checked.checks()
    assert {name: it for name, it in checks.items() if it["state"] != "ok" or it["remedy"]} == {}
    ended = checked.run()
    assert (ended.code, ended.err) == (0, "")
    assert [line.partition("  ")[0] for line in ended.out.splitlines()] == ["CHECK", *checks]


@pytest.mark.parametrize("problem", PROBLEMS.values(), ids=PROBLEMS)
def test_each_problem_is_named_with_its_remedy(checked: CheckedRelay, problem: Problem) -> None:
    problem.inject(checked)
    ended = checked.run()
    assert ended.code == 1
    lines = ended.out.splitlines()
    assert max(map(len, lines)) <= 100
    [first] = [n for n, line in enumerate(lines) if line.startswith(f"{problem.check}  ")]
    last = next((n for n, line in enumerate(lines) if n > first and line[0] != " "), len(lines))
    row = " ".join(" ".join(lines[first:last]).split())
    assert row.startswith(f"{problem.check} needs attention ")
    finding, remedy = row.split(" → ")
    assert problem.finding in finding
    assert problem.remedy in remedy


DENIED = {
    "GetItem": {"client secret", "staged secret", "scopes", "access token", "base URL"},
    "Query": {"pause", "queue", "unknown sends"},
    "DescribeAlarms": {"alarms"},
    "GetAccountSettings": {"concurrency"},
}


def test_a_denied_call_leaves_the_other_checks(checked: CheckedRelay) -> None:
    checked.operator.parameters["DeliveryPolling"] = "none"
    checked.denied |= DENIED.keys()
    ended = checked.run("--json")
    assert (ended.code, ended.json["ok"]) == (1, False)
    unknown = [check for check in ended.json["checks"] if check["state"] != "ok"]
    assert {check["check"] for check in unknown} == set().union(*DENIED.values())
    for check in unknown:
        assert check["state"] == "unknown"
        assert "AccessDeniedException" in check["finding"]
        assert "docs/permissions.md" in check["remedy"]


def test_pauses_that_this_version_can_not_read_are_named(checked: CheckedRelay) -> None:
    relay = checked.operator.relay
    relay.client("dynamodb").put_item(
        TableName=relay.table, Item={"pk": {"S": "PAUSES"}, "sk": {"S": "SENDS"}}
    )
    pause = checked.checks()["pause"]
    assert pause["state"] == "unknown"
    assert "can't read the item PAUSES/SENDS" in pause["finding"]
    assert "docs/runbook.md#unreadableitemsalarm" in pause["remedy"]


def test_parts_that_are_off_are_no_problem(checked: CheckedRelay) -> None:
    checked.forget_renewals()
    checked.use_budget()
    for name in ("CredentialsSecretArn", "TokenRenewerFunctionName"):
        del checked.operator.outputs[name]
    checked.operator.parameters["DeliveryPolling"] = "none"
    checks = checked.checks()
    assert {it["state"] for it in checks.values()} == {"ok"}
    assert "TokenRenewal=off" in checks["access token"]["finding"]
    assert "DeliveryPolling=none" in checks["call budget"]["finding"]


def test_a_short_failure_of_the_upstream_is_no_problem(checked: CheckedRelay) -> None:
    checked.renewal_report.record("failed", {"at": time.time(), "reason": "timeout"})
    assert checked.run().code == 0


def test_a_failure_of_the_upstream_until_the_token_ends_is_a_problem(checked: CheckedRelay) -> None:
    checked.report(tokenExpiresAt=time.time() - 1)
    checked.renewal_report.record("failed", {"at": time.time(), "reason": "timeout"})
    assert "timeout" in checked.checks()["access token"]["finding"]


def test_the_workers_are_those_of_the_template() -> None:
    mapping = template()["Mappings"]["MaxConcurrentSends"]
    assert {key: doctor.workers_of(int(key)) for key in mapping} == {
        key: row["Workers"] for key, row in mapping.items()
    }
