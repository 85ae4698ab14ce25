"""`smsrelay credentials …`: shows when the client secret expires, and replaces it."""

import json
import time
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any

from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from smsrelay.adapters.aws_errors import error_name
from smsrelay.adapters.dynamodb_renewal_report import DynamoDbRenewalReport
from smsrelay.messages.strict_json import json_object
from smsrelay.tokens.token_response import days_until, parse_date
from smsrelay_cli.deployed_stack import DeployedStack
from smsrelay_cli.exit_codes import DONE, FAILED, CommandError, UsageError
from smsrelay_cli.terminal import confirm, entered_line, print_json, print_line, print_notice

CHECK_SECONDS = 600
"""How long `stage` waits. Salesforce does not document how soon a new secret works."""
CHECK_INTERVAL = 30
BUSY_CHECKS, BUSY_SECONDS = 6, 5
"""Checks while another run of the token renewer throttles them, and the seconds between them."""
ACCEPTED = "accepted"
_ACTIVE, _STAGED = "client_secret", "staged_client_secret"
_EXPIRES, _STAGED_EXPIRES = "expires_at", "staged_expires_at"
# Longer than the time-out of the function, whose own request for a token may take 10 seconds.
_ONE_RUN = Config(connect_timeout=3, read_timeout=60, retries={"total_max_attempts": 1})
_BUSY = "TooManyRequestsException"
"""AWS's error while another run of the function uses its reserved concurrency."""
_DATE_MISSING = f"Add {_EXPIRES} to the secret: Marketing Cloud shows the date."


class CredentialsSecret:
    """The JSON document in the secret `CredentialsSecret`."""

    def __init__(self, target: DeployedStack) -> None:
        """Find the secret.

        Raises:
            CommandError: the relay has no client credentials.
        """
        if not target.credentials_secret:
            raise CommandError(
                "this relay does not renew its token: deploy it with TokenRenewal=on"
            )
        self._target = target
        self._client = target.client("secretsmanager")

    def load(self) -> dict[str, Any]:
        """Load the fields.

        Raises:
            CommandError: the secret has no client secret yet.
        """
        fields: dict[str, Any] = {}
        with suppress(self._client.exceptions.ResourceNotFoundException):  # it has no value yet
            value = self._client.get_secret_value(SecretId=self._target.credentials_secret)
            fields = json_object(value.get("SecretString", ""))
        if not fields.get(_ACTIVE):
            raise CommandError(
                "the credentials secret has no client_secret yet: store the client credentials "
                "first (docs/deploy.md#first-deployment)"
            )
        return fields

    def store(self, fields: dict[str, Any]) -> None:
        self._client.put_secret_value(
            SecretId=self._target.credentials_secret, SecretString=json.dumps(fields)
        )

    def replace(self, loaded: dict[str, Any], fields: dict[str, Any]) -> None:
        """Store the fields, unless the secret has changed since `loaded` was loaded.

        Raises:
            CommandError: it has changed. What another person stored is not overwritten.
        """
        if self.load() != loaded:
            raise CommandError(
                "another person changed the credentials secret in the meantime, so nothing was "
                "stored: run the command again"
            )
        self.store(fields)

    def is_in_use(self, fields: dict[str, Any]) -> bool:
        """Return whether the last renewal used this staged secret, because the active one ended."""
        target = self._target
        report = DynamoDbRenewalReport(target.client("dynamodb"), target.table).load()
        renewed = report.get("renewed", {})
        return (
            bool(fields.get(_STAGED))
            and renewed.get("staged") == "in-use"
            # The renewal may have used an earlier staged secret, which was promoted since then.
            and parse_date(renewed["stagedExpiresAt"]) == parse_date(fields.get(_STAGED_EXPIRES))
        )

    def check_staged(self) -> str:
        """Request one token with the staged secret; return `accepted` or a failure's reason.

        Raises:
            CommandError: AWS did not run the token renewer, or its result was lost.
        """
        for n in range(BUSY_CHECKS):
            if n:
                time.sleep(BUSY_SECONDS)
            try:
                result = self.run_renewer({"check": "staged"})
            except (BotoCoreError, ClientError) as error:
                failure = error_name(error)
                if failure != _BUSY:
                    break
            else:
                return str(result.get("reason", "the token renewer failed: see its log"))
        raise CommandError(
            f"the staged secret is stored, but could not be checked: {failure}. Run the command "
            "again"
        )

    def run_renewer(self, event: dict[str, str]) -> dict[str, Any]:
        """Run the token renewer once, and return its result."""
        response = self._target.client("lambda", _ONE_RUN).invoke(
            FunctionName=self._target.token_renewer, Payload=json.dumps(event)
        )
        return json_object(response["Payload"].read().decode())


def status(target: DeployedStack, options: Any, now: float) -> int:
    """Show when each secret expires. Never shows a secret."""
    fields = CredentialsSecret(target).load()
    rows = {"active": _shown(fields.get(_EXPIRES), now)}
    if fields.get(_STAGED):
        rows["staged"] = _shown(fields.get(_STAGED_EXPIRES), now)
    if options.json:
        print_json(rows)
    else:
        for name, row in rows.items():
            days = "no date" if row["daysLeft"] is None else f"{row['daysLeft']} days left"
            print_line(f"{name}  {row['expiresAt'] or '-'}  {days}")
        if rows["active"]["expiresAt"] is None:
            print_notice(_DATE_MISSING)
    return DONE


def stage(target: DeployedStack, options: Any, now: float) -> int:
    """Store the staged secret beside the active one, and check it with a token request."""
    secret = CredentialsSecret(target)
    fields = secret.load()
    if secret.is_in_use(fields):
        raise CommandError(
            "the relay uses the stored staged secret, because the active one has ended: run "
            "`smsrelay credentials promote` first"
        )
    value = read_line("Staged client secret (not shown): ", is_secret=True)
    if value == fields[_ACTIVE]:
        raise CommandError("this is the active secret: generate a staged one in Marketing Cloud")
    expires = _date(read_line("It expires on (YYYY-MM-DD): "))
    if expires.timestamp() <= now:
        raise UsageError(
            "this date is in the past: enter the date on which the staged secret expires"
        )
    staged = {_STAGED: value, _STAGED_EXPIRES: expires.date().isoformat()}
    secret.replace(fields, fields | staged)
    reason = _wait_until_accepted(secret)
    if options.json:
        print_json({"staged": reason})
    elif reason == ACCEPTED:
        print_line(
            "The staged secret works. Activate it in Marketing Cloud; the relay then uses it."
        )
        print_line("Then run `smsrelay credentials promote`.")
    if reason == ACCEPTED:
        return DONE
    print_notice(
        f"smsrelay: the staged secret is stored, but was not accepted: {reason}. "
        "Do not activate it. Check that you copied all of it, and run this command again."
    )
    return FAILED


def promote(target: DeployedStack, options: Any, _now: float) -> int:
    """Replace the active secret by the staged one, if a token request with that succeeds."""
    secret = CredentialsSecret(target)
    loaded = secret.load()
    fields = loaded.copy()
    if not fields.get(_STAGED):
        raise CommandError("there is no staged secret: `smsrelay credentials stage` stores one")
    reason = secret.check_staged()
    if reason != ACCEPTED:
        raise CommandError(f"the staged secret does not work, so nothing was changed: {reason}")
    confirm(
        "Replace the active client secret by the staged one? The active one will be deleted.",
        yes=options.yes,
    )
    fields[_ACTIVE], fields[_EXPIRES] = fields.pop(_STAGED), fields.pop(_STAGED_EXPIRES, None)
    secret.replace(loaded, fields)
    if options.json:
        print_json({"expiresAt": fields[_EXPIRES]})
    else:
        expires = f" It expires on {fields[_EXPIRES]}." if fields[_EXPIRES] else ""
        print_line(f"The relay now uses the new secret only.{expires}")
        if not expires:
            print_notice(_DATE_MISSING)
    return DONE


def _wait_until_accepted(secret: CredentialsSecret) -> str:
    give_up_at = time.monotonic() + CHECK_SECONDS
    while (reason := secret.check_staged()) != ACCEPTED and time.monotonic() < give_up_at:
        print_notice(f"not accepted yet ({reason}); the next attempt is in {CHECK_INTERVAL} s …")
        time.sleep(CHECK_INTERVAL)
    return reason


def read_line(prompt: str, *, is_secret: bool = False) -> str:
    """Read a line from the terminal or the standard input, because `ps` shows arguments."""
    line = entered_line(prompt, is_secret=is_secret).strip()
    if not line:
        raise UsageError(f"no input for: {prompt.strip()}")
    return line


def _date(text: str) -> datetime:
    try:
        return datetime.strptime(text, "%Y-%m-%d").replace(tzinfo=UTC)
    except ValueError:
        raise UsageError(f"{text} is not a date such as 2027-05-25") from None


def _shown(date: object, now: float) -> dict[str, Any]:
    expires = parse_date(date)
    if expires is None:
        return {"expiresAt": None, "daysLeft": None}
    return {"expiresAt": date, "daysLeft": days_until(expires, now)}
