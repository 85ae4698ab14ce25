"""`smsrelay doctor`: checks the parts of a relay, and prints what to do about each problem.

No check reads a secret: the token renewer stores its results in the ledger.
"""

import re
import textwrap
import time
from collections.abc import Callable
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from functools import cached_property
from typing import Any, Final, NamedTuple

from smsrelay import __version__
from smsrelay.adapters.aws_errors import error_name
from smsrelay.adapters.dynamodb_call_budget import DynamoDbCallBudget
from smsrelay.adapters.dynamodb_operator_pauses import DynamoDbOperatorPauses
from smsrelay.adapters.dynamodb_renewal_report import DynamoDbRenewalReport
from smsrelay.errors import UnreadableItemError
from smsrelay.security.allowed_hosts import AllowedHosts
from smsrelay.sends.call_budget import daily_share, day_of
from smsrelay.sends.operator_pause import active
from smsrelay.tokens.token_response import days_until, parse_date
from smsrelay_cli.deployed_stack import DeployedStack
from smsrelay_cli.exit_codes import DONE, FAILED
from smsrelay_cli.pauses import WAITING_DAYS
from smsrelay_cli.stats import depth
from smsrelay_cli.terminal import DAY, counted, print_json, print_line, shown_age

WIDTH: Final = 100
OK, ATTENTION, UNKNOWN = "ok", "attention", "unknown"
_STATES: Final = {OK: "OK", ATTENTION: "needs attention", UNKNOWN: "unknown"}

ENOUGH_DAYS: Final = 30
"""The threshold of ClientSecretExpiresAlarm."""
MAX_OVERDUE: Final = 1_800
"""Seconds; the threshold of QueueAgeAlarm."""
MAX_SKEW: Final = 60
"""Seconds between the clocks. AWS rejects signatures that are five minutes old."""
SALESFORCE: Final = ".marketingcloudapis.com"
TRANSIENT: Final = {"throttled", "server-error", "timeout", "no-answer", "secret-unavailable"}
"""Reasons that often end with the next run of the token renewer, while the token is valid."""

_ROTATION: Final = "docs/runbook.md#clientsecretexpiresalarm"
_RENEWAL_REMEDIES: Final = {
    "credentials-unusable": "Write client_id, client_secret and auth_base_url to the credentials "
    "secret; the log of the token renewer names the missing one.",
    "credentials-refused": "The client secret is wrong, has expired or was revoked: replace it "
    f"({_ROTATION}).",
    "request-refused": "Check account_id and scope in the credentials secret, and the rights of "
    "the package in Marketing Cloud.",
    "rest-url-not-allowed": "Add the host of the tenant's REST API to the parameter UpstreamHosts.",
    "secret-unavailable": "Check that Secrets Manager works, and that the role of the token "
    "renewer may use both secrets.",
}


class Finding(NamedTuple):
    state: str
    text: str
    remedy: str | None = None


class Checks:
    """The checks of one relay."""

    def __init__(self, target: DeployedStack, now: float) -> None:
        self._target = target
        self._now = now

    @cached_property
    def _renewal(self) -> dict[str, dict[str, Any]]:
        target = self._target
        return DynamoDbRenewalReport(target.client("dynamodb"), target.table).load()

    def client_secret(self) -> Finding:
        renewed = self._renewal.get("renewed")
        if renewed is None:
            return _AFTER_A_RENEWAL
        in_use = "stagedExpiresAt" if renewed["staged"] == "in-use" else "secretExpiresAt"
        expires_at = parse_date(renewed[in_use])
        if expires_at is None:
            return Finding(
                ATTENTION,
                "its expiry date is not stored",
                f"Add expires_at to the credentials secret; Marketing Cloud has it ({_ROTATION}).",
            )
        text = self._expiry(renewed[in_use])
        if days_until(expires_at, self._now) > ENOUGH_DAYS:
            return Finding(OK, text)
        if renewed["staged"] == "waiting":
            remedy = f"Activate the staged secret in Marketing Cloud ({_ROTATION})."
        else:
            remedy = f"Replace it: `smsrelay credentials stage` ({_ROTATION})."
        return Finding(ATTENTION, text, remedy)

    def staged_secret(self) -> Finding:
        renewed = self._renewal.get("renewed")
        if renewed is None:
            return _AFTER_A_RENEWAL
        if renewed["staged"] is None:
            return Finding(OK, "none")
        if renewed["staged"] == "in-use":
            text = f"it is active: the renewal {self._ago(renewed)} used it"
            return Finding(ATTENTION, text, "Run `smsrelay credentials promote`.")
        expires_at = parse_date(renewed["stagedExpiresAt"])
        if expires_at and days_until(expires_at, self._now) <= ENOUGH_DAYS:
            remedy = f"Generate another one: `smsrelay credentials stage` ({_ROTATION})."
            return Finding(ATTENTION, self._expiry(renewed["stagedExpiresAt"]), remedy)
        return Finding(OK, "it is stored, and not activated yet")

    def scopes(self) -> Finding:
        renewed = self._renewal.get("renewed")
        if renewed is None:
            return _AFTER_A_RENEWAL
        scopes = renewed["scope"].split()
        if not scopes:
            return Finding(OK, "Marketing Cloud does not return them")
        needed = ["sms_send", "sms_read"] if self._target.polls_deliveries else ["sms_send"]
        if missing := [scope for scope in needed if scope not in scopes]:
            return Finding(
                ATTENTION,
                f"the token lacks {' and '.join(missing)}",
                "Add the scope to the package in Marketing Cloud (Setup, Installed Packages), and "
                "to `scope` of the credentials secret if it has one.",
            )
        return Finding(OK, " ".join(scopes))

    def access_token(self) -> Finding:
        renewed, failed = self._renewal.get("renewed"), self._renewal.get("failed")
        left = renewed["tokenExpiresAt"] - self._now if renewed else 0
        if failed and (left <= 0 or failed["reason"] not in TRANSIENT):
            reason = failed["reason"]
            remedy = _RENEWAL_REMEDIES.get(reason, "See docs/cli.md#the-access-token.")
            return Finding(ATTENTION, f"renewal failed {self._ago(failed)}: {reason}", remedy)
        name = self._target.token_renewer
        if renewed is None:
            return Finding(
                ATTENTION,
                "no renewal is recorded",
                "Write the client credentials to the credentials secret, then run `aws lambda "
                f"invoke --function-name {name} /dev/stdout`. After an update, wait 20 minutes.",
            )
        if left <= 0:
            return Finding(
                ATTENTION,
                f"it expired {shown_age(-left)} ago, and was not renewed",
                f"Check the log of the token renewer {name}, and its schedule.",
            )
        unit = renewed["businessUnit"] or "of the package"
        return Finding(OK, f"{shown_age(left)} left; business unit {unit}")

    def base_url(self) -> Finding:
        parameters = self._target.parameters
        configured, allowed = parameters["RestBaseUrl"], parameters["UpstreamHosts"]
        seen = self._renewal.get("renewed", {}).get("restBaseUrl", "") if self._renews else ""
        if not (configured or seen):
            if not self._renews:
                return Finding(OK, "rest_instance_url of the token secret")
            if "renewed" not in self._renewal:
                return _AFTER_A_RENEWAL
            text = "Marketing Cloud returned no URL with the token"
            return Finding(ATTENTION, text, "Set the parameter RestBaseUrl.")
        try:
            url = AllowedHosts(allowed).base_url(configured or seen)
        except ValueError:
            return Finding(
                ATTENTION,
                f"{configured or seen} does not match UpstreamHosts ({allowed})",
                "Correct the parameters RestBaseUrl (https:// and a host) and UpstreamHosts.",
            )
        if seen not in {"", url} and seen.endswith(SALESFORCE) and url.endswith(SALESFORCE):
            return Finding(
                ATTENTION,
                f"RestBaseUrl is {url}, but the token is for {seen}",
                "Remove the parameter RestBaseUrl, or set it to the host of the token's tenant.",
            )
        return Finding(OK, url)

    def pause(self) -> Finding:
        target = self._target
        pauses, _ = DynamoDbOperatorPauses(target.client("dynamodb"), target.table).load()
        going_on = active(pauses)
        if not going_on:
            return Finding(OK, "none")
        paused = ", ".join(
            f"{it.client or 'all clients'} for {shown_age(max(0, self._now - it.began))}"
            + (f" ({it.note})" if it.note else "")
            for it in going_on
        )
        last = min(it.began for it in going_on) + WAITING_DAYS * DAY
        return Finding(
            ATTENTION,
            f"sends are paused: {paused}",
            "`smsrelay resume`, with `--client C` for one client, before "
            f"{datetime.fromtimestamp(last, UTC).date()} (docs/runbook.md#sendingpausedalarm).",
        )

    def queue(self) -> Finding:
        waiting = depth(self._target, self._target.queue_url)["waiting"]
        count, first_due = self._target.ledger.count_unfinished("open")
        text = f"{counted(count, 'send')} open, {counted(waiting, 'message')} waiting"
        overdue = 0 if first_due is None else self._now - first_due
        if overdue > MAX_OVERDUE:
            return Finding(
                ATTENTION,
                f"{text}; the first send is overdue by {shown_age(overdue)}",
                "Find the cause: docs/runbook.md#queueagealarm.",
            )
        return Finding(OK, text)

    def dead_letters(self) -> Finding:
        count = sum(depth(self._target, self._target.dead_letter_queue_url).values())
        if count:
            return Finding(
                ATTENTION,
                counted(count, "dead letter"),
                "`smsrelay redrive --dry-run` shows the reasons. Correct the cause, then run "
                "`smsrelay redrive` (docs/runbook.md#deadlettersalarm).",
            )
        return Finding(OK, "none")

    def unknown_sends(self) -> Finding:
        count, _ = self._target.ledger.count_unfinished("unknown")
        if count:
            return Finding(
                ATTENTION,
                f"it is unknown whether {counted(count, 'send')} went out",
                "`smsrelay list --status unknown`, then `smsrelay resolve` or `smsrelay resend` "
                "(docs/runbook.md#unknownalarm).",
            )
        return Finding(OK, "none")

    def alarms(self) -> Finding:
        if self._target.is_local:
            return _NOT_LOCAL
        prefix = f"{self._target.name}-Monitoring-"
        pages = self._target.client("cloudwatch").get_paginator("describe_alarms")
        found = [
            alarm
            for page in pages.paginate(AlarmNamePrefix=prefix)
            for alarm in page["MetricAlarms"]
        ]
        alarmed = [alarm["AlarmName"] for alarm in found if alarm["StateValue"] == "ALARM"]
        if alarmed:
            # CloudFormation names an alarm STACK-Monitoring-ID-NAME-ID.
            names = ", ".join(sorted(name.split("-")[-2] for name in alarmed))
            remedy = "docs/runbook.md has a section for each alarm."
            return Finding(ATTENTION, f"active: {names}", remedy)
        if not found:
            return Finding(
                ATTENTION,
                f"the stack has no alarms: no name begins with {prefix}",
                "Deploy the stack again.",
            )
        topic = self._target.parameters.get("AlarmTopicArn")
        silent = "" if topic else "; AlarmTopicArn is empty, so they notify no person"
        return Finding(OK, f"none of {len(found)} is active{silent}")

    def concurrency(self) -> Finding:
        if self._target.is_local:
            return _NOT_LOCAL
        settings = self._target.client("lambda").get_account_settings()
        free = settings["AccountLimit"]["UnreservedConcurrentExecutions"]
        sends = self._target.parameters["MaxConcurrentSends"]
        workers = workers_of(int(sends))
        text = f"{counted(workers, 'worker')} for MaxConcurrentSends {sends}, of {free} executions"
        if 2 * workers > free:
            return Finding(
                ATTENTION,
                f"{text} of the account that are not reserved",
                "Workers may use half of them: lower MaxConcurrentSends, or request a higher quota "
                "'Concurrent executions' of Lambda (Service Quotas).",
            )
        return Finding(OK, text)

    def call_budget(self) -> Finding:
        target = self._target
        if not target.polls_deliveries:
            return Finding(OK, "DeliveryPolling=none: the relay does not poll")
        if not target.yearly_api_calls:
            return Finding(OK, "unlimited")
        share, today = daily_share(target.yearly_api_calls), day_of(self._now)
        calls, _ = DynamoDbCallBudget(target.client("dynamodb"), target.table, share).load(today)
        left = calls.left(share, today)
        if not left:
            return Finding(
                ATTENTION,
                "today's polls are used up; polling continues tomorrow (UTC)",
                "`smsrelay budget` shows them. Raise YearlyApiCalls if the contract includes more, "
                "or set deliveryPolling to none for messages in the catalogue.",
            )
        return Finding(OK, f"{left:,} polls left today")

    def version(self) -> Finding:
        deployed = self._target.version
        if deployed != __version__:
            return Finding(
                ATTENTION,
                f"the stack has {deployed or 'no version'}, this command {__version__}",
                "Check out the version of the stack, or deploy the version of this command.",
            )
        return Finding(OK, deployed)

    def clock(self) -> Finding:
        answer = self._target.sqs.get_queue_attributes(
            QueueUrl=self._target.queue_url, AttributeNames=["QueueArn"]
        )
        date = answer["ResponseMetadata"]["HTTPHeaders"]["date"]
        skew = round(time.time() - parsedate_to_datetime(date).timestamp())
        if abs(skew) > MAX_SKEW:
            ahead = "ahead of" if skew > 0 else "behind"
            text = f"this machine is {shown_age(abs(skew))} {ahead} AWS"
            return Finding(ATTENTION, text, "Set the clock of this machine (NTP).")
        return Finding(OK, "the clocks of this machine and AWS differ by less than a minute")

    def _ago(self, facts: dict[str, Any]) -> str:
        return f"{shown_age(max(0, self._now - facts['at']))} ago"

    def _expiry(self, date: str) -> str:
        days = days_until(datetime.fromisoformat(date), self._now)
        when = f"expires in {counted(days, 'day')}" if days >= 0 else "has expired"
        return f"{when} ({date[:10]})"

    @property
    def _renews(self) -> bool:
        return bool(self._target.credentials_secret)

    def all(self) -> dict[str, Callable[[], Finding]]:
        """The checks by their names, in the order of the table."""
        of_renewal = {
            "client secret": self.client_secret,
            "staged secret": self.staged_secret,
            "scopes": self.scopes,
            "access token": self.access_token,
        }
        off = Finding(OK, "TokenRenewal=off: the relay does not renew its token")
        return {
            **(of_renewal if self._renews else dict.fromkeys(of_renewal, lambda: off)),
            "base URL": self.base_url,
            "pause": self.pause,
            "queue": self.queue,
            "dead letters": self.dead_letters,
            "unknown sends": self.unknown_sends,
            "alarms": self.alarms,
            "concurrency": self.concurrency,
            "call budget": self.call_budget,
            "version": self.version,
            "clock": self.clock,
        }


def doctor(target: DeployedStack, options: Any, now: float) -> int:
    """Run all checks; the exit code is 0 if each of them is OK."""
    found = {name: _run(check) for name, check in Checks(target, now).all().items()}
    is_well = all(finding.state == OK for finding in found.values())
    if options.json:
        checks = [
            {"check": name, "state": state, "finding": text, "remedy": remedy}
            for name, (state, text, remedy) in found.items()
        ]
        print_json({"ok": is_well, "checks": checks})
    else:
        _print(found)
    return DONE if is_well else FAILED


def workers_of(concurrent_sends: int) -> int:
    """Return Workers in the template's mapping MaxConcurrentSends: ten sends for each worker."""
    return max(2, concurrent_sends // 10)


_AFTER_A_RENEWAL: Final = Finding(UNKNOWN, "no renewal is recorded", "See access token.")
_NOT_LOCAL: Final = Finding(OK, "not checked on the local stack")


def _run(check: Callable[[], Finding]) -> Finding:
    try:
        return check()
    except UnreadableItemError as error:
        return Finding(UNKNOWN, str(error), "See docs/runbook.md#unreadableitemsalarm.")
    except Exception as error:  # noqa: BLE001 - the other checks still help
        name = error_name(cause if isinstance(cause := error.__cause__, Exception) else error)
    if re.search("denied|unauthorized", name, re.IGNORECASE):
        remedy = "Get the permissions of an operator: docs/permissions.md#operators."
        return Finding(UNKNOWN, f"a call was denied ({name})", remedy)
    return Finding(UNKNOWN, f"a call failed ({name})", "Run the command again in a minute.")


def _print(found: dict[str, Finding]) -> None:
    width, state_width = (max(map(len, names)) for names in (found, _STATES.values()))
    print_line(f"{'CHECK'.ljust(width)}  {'STATE'.ljust(state_width)}  FINDING")
    for name, finding in found.items():
        left = f"{name.ljust(width)}  {_STATES[finding.state].ljust(state_width)}  "
        texts = [finding.text, *([f"→ {finding.remedy}"] if finding.remedy else [])]
        for text in texts:
            for line in textwrap.wrap(text, WIDTH - len(left), break_on_hyphens=False):
                print_line(left + line)
                left = " " * len(left)
