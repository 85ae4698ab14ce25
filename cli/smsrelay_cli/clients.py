"""`smsrelay client …`: who may post, by which way, and how much."""

import base64
import json
import re
import secrets
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from functools import cached_property
from typing import TYPE_CHECKING, Any

from botocore.exceptions import ClientError

from smsrelay.adapters.aws_errors import error_name
from smsrelay.adapters.dynamodb_api_clients import DynamoDbApiClients
from smsrelay.adapters.signing_secrets import CACHE_SECONDS
from smsrelay.messages.client_names import RULE, is_client_name
from smsrelay.security.webhook_signature import parse_secrets
from smsrelay.services.api_clients import principal
from smsrelay_cli.deployed_stack import DeployedStack
from smsrelay_cli.exit_codes import DONE, CommandError, UsageError
from smsrelay_cli.terminal import confirm, print_json, print_line, print_notice, print_table

if TYPE_CHECKING:
    from mypy_boto3_apigateway.type_defs import UsagePlanTypeDef
    from mypy_boto3_iam import IAMClient

SECRET_BYTES = 32
_KEY_ID = re.compile(r"[0-9A-Za-z]{1,19}")
"""An API key's id; its value has 20 characters or more."""
_PRINCIPAL = re.compile(r"arn:[^:]+:iam::[0-9]{12}:(role|user)/(?:.+/)?([^/]+)")
_COLUMNS = ["client", "rate", "burst", "quota", "keys"]


class Clients:
    """The clients of one relay: a usage plan for each, its keys, and its webhook secret."""

    def __init__(self, target: DeployedStack) -> None:
        """Nothing is asked for yet."""
        self._target = target
        # Not two clients' in one table: plans are the account's, and other APIs have some, too.
        self._prefix = f"smsrelay/{target.api_id}/"

    @cached_property
    def gateway(self) -> Any:
        return self._target.client("apigateway")

    @cached_property
    def names(self) -> DynamoDbApiClients:
        return DynamoDbApiClients(self._target.client("dynamodb"), self._target.table)

    def plans(self) -> Iterator[tuple[str, "UsagePlanTypeDef"]]:
        """Each client's plan, by the client's name."""
        for page in self.gateway.get_paginator("get_usage_plans").paginate():
            for plan in page["items"]:
                if plan["name"].startswith(self._prefix):
                    yield plan["name"].removeprefix(self._prefix), plan

    def plan(self, client: str) -> Any:
        """The plan of a client; None: it has no API keys."""
        return next((plan for name, plan in self.plans() if name == client), None)

    def new_plan(self, client: str, rate: float, burst: int, quota: int) -> Any:
        return self.gateway.create_usage_plan(
            name=f"{self._prefix}{client}",
            throttle={"rateLimit": rate, "burstLimit": burst},
            quota={"limit": quota, "period": "DAY"},
            apiStages=[{"apiId": self._target.api_id, "stage": self._target.stage}],
        )

    def new_key(self, client: str, plan_id: str) -> Any:
        """A key of a client's; its name comes before it can be used."""
        key = self.gateway.create_api_key(name=f"{self._prefix}{client}", enabled=True)
        self.names.put(key["id"], client)
        self.gateway.create_usage_plan_key(usagePlanId=plan_id, keyId=key["id"], keyType="API_KEY")
        return key

    def key(self, key_id: str) -> Any:
        """A key of the account, without its value; None: there is none."""
        try:
            return self.gateway.get_api_key(apiKey=key_id)
        except ClientError as error:
            if error_name(error) == "NotFoundException":
                return None
            raise

    def principal_like(self, kind: str, name: str) -> str | None:
        """The ARN of the account's role or user with this name."""
        iam: IAMClient = self._target.client("iam")
        try:
            if kind == "role":
                return iam.get_role(RoleName=name)["Role"]["Arn"]
            return iam.get_user(UserName=name)["User"]["Arn"]
        except iam.exceptions.NoSuchEntityException:
            return None

    def keys(self, plan_id: str) -> list[str]:
        pages = self.gateway.get_paginator("get_usage_plan_keys").paginate(usagePlanId=plan_id)
        return [key["id"] for page in pages for key in page["items"]]

    def new_secret(self, prefix: str, client: str, *, revoke: bool) -> tuple[str, str]:
        """A new secret for signatures; its place and its value.

        The one before it still counts, unless `revoke` ends all old ones.
        """
        store = self._target.client("secretsmanager")
        name = f"{prefix}{client}"
        value = "whsec_" + base64.b64encode(secrets.token_bytes(SECRET_BYTES)).decode()
        try:
            existing = parse_secrets(store.get_secret_value(SecretId=name)["SecretString"])
        except store.exceptions.ResourceNotFoundException:
            # Without the stack's own key it is encrypted with the one that AWS manages.
            key = {"KmsKeyId": self._target.key_arn} if self._target.key_arn else {}
            store.create_secret(Name=name, SecretString=json.dumps({"current": value}), **key)
        else:
            kept = {"previous": existing[0]} if existing and not revoke else {}
            secret = json.dumps({"current": value} | kept)
            store.put_secret_value(SecretId=name, SecretString=secret)
        return name, value


def list_clients(target: DeployedStack, options: Any, _now: float) -> int:
    """The clients with API keys."""
    clients = Clients(target)
    rows: list[dict[str, Any]] = [
        {
            "client": name,
            "rate": plan.get("throttle", {}).get("rateLimit"),
            "burst": plan.get("throttle", {}).get("burstLimit"),
            "quota": plan.get("quota", {}).get("limit"),
            "keys": clients.keys(plan["id"]),
        }
        for name, plan in sorted(clients.plans(), key=lambda entry: entry[0])
    ]
    if options.json:
        print_json(rows)
    elif not rows:
        print_line("There is no client yet: `smsrelay client add NAME` makes one.")
    else:
        print_table(_COLUMNS, [row | {"keys": " ".join(row["keys"])} for row in rows])
    return DONE


def add(target: DeployedStack, options: Any, _now: float) -> int:
    """A usage plan with a first key."""
    clients = Clients(target)
    if clients.plan(_meant(target, options)):
        raise CommandError(f"{options.client} is there already: `client rotate` gives it a new key")
    plan = clients.new_plan(options.client, options.rate, options.burst, options.quota)
    return _print_key(options, clients.new_key(options.client, plan["id"]))


def rotate(target: DeployedStack, options: Any, _now: float) -> int:
    """One more key in the same plan."""
    clients = Clients(target)
    return _print_key(options, clients.new_key(options.client, _plan_of(clients, options)["id"]))


def drop(target: DeployedStack, options: Any, _now: float) -> int:
    """A key's end. Its name stays: the gateway may know the key for some seconds more."""
    clients = Clients(target)
    plan_id = _plan_of(clients, options)["id"]
    if options.key_id not in clients.keys(plan_id):
        raise CommandError(f"{options.client} has no key {options.key_id}")
    confirm(f"delete the key {options.key_id} of {options.client}?", yes=options.yes)
    clients.gateway.delete_usage_plan_key(usagePlanId=plan_id, keyId=options.key_id)
    clients.gateway.delete_api_key(apiKey=options.key_id)
    return _print_fields(options, {"client": options.client, "deleted": options.key_id})


def allow(target: DeployedStack, options: Any, _now: float) -> int:
    """A client's name for an IAM principal, or for a key that was made otherwise."""
    clients, client = Clients(target), _meant(target, options)
    credential = _existing(clients, options.credential)
    clients.names.put(credential, client)
    return _print_fields(options, {"client": options.client, "credential": credential})


def _existing(clients: Clients, given: str) -> str:
    """The credential as its callers show it.

    Raises:
        UsageError: it can't be a credential. It is not repeated, because it may be a key's value.
        CommandError: there is no such key, role or user.
    """
    credential = principal(given)
    if match := _PRINCIPAL.fullmatch(credential):
        kind, name = match.groups()
        found = clients.principal_like(kind, name)
        if found is None:
            raise CommandError(f"there is no {kind} {name} in this account")
        if principal(found) != credential:
            raise CommandError(f"IAM has {found}, not {credential}")
    elif not _KEY_ID.fullmatch(credential):
        raise UsageError(
            "a credential is the ARN of an IAM role or user, or the id of an API key. If you gave "
            "the value of a key, replace that key: your shell may have stored the value"
        )
    elif clients.key(credential) is None:
        raise CommandError(f"there is no API key with the id {credential}")
    return credential


def webhook(target: DeployedStack, options: Any, _now: float) -> int:
    """A new webhook secret; the one before it counts, too, until the next, or is revoked."""
    if not target.webhook_secret_prefix:
        raise CommandError("this relay takes no webhooks: deploy it with Webhooks=on")
    client, prefix = _checked(options.client), target.webhook_secret_prefix
    return _create_secret(target, prefix, client, options, revoke=options.revoke)


def callback(target: DeployedStack, options: Any, _now: float) -> int:
    """A new secret for callbacks; they are signed with the one before it, too, until the next."""
    if not target.callback_secret_prefix:
        raise CommandError("this relay calls nobody back: deploy it with Callbacks=on")
    return _create_secret(target, target.callback_secret_prefix, _checked(options.client), options)


def _create_secret(
    target: DeployedStack, prefix: str, client: str, options: Any, *, revoke: bool = False
) -> int:
    place, value = Clients(target).new_secret(prefix, client, revoke=revoke)
    fields = {"client": client, "secretName": place}
    if options.show:
        fields["secret"] = value
    if revoke:
        fields["oldSecretsEndAt"] = _forgotten_at()
        print_notice(
            f"Functions may accept the old secrets until {fields['oldSecretsEndAt']}, because they "
            "cache them; longer only while they can't reach Secrets Manager."
        )
    return _print_fields(options, fields)


def _forgotten_at() -> str:
    """When every function has read again what was changed by now, rounded up to a second."""
    moment = datetime.now(UTC) + timedelta(seconds=CACHE_SECONDS + 1)
    return moment.isoformat(timespec="seconds")


def _plan_of(clients: Clients, options: Any) -> Any:
    plan = clients.plan(_checked(options.client))
    if plan is None:
        raise CommandError(f"there is no client {options.client} with API keys: `client add`")
    return plan


def _checked(client: str) -> str:
    if not is_client_name(client):
        raise UsageError(f"a client's name is {RULE}")
    return client


def _meant(target: DeployedStack, options: Any) -> str:
    """The client's name; the default client's only if the option says so.

    Raises:
        CommandError: the option is missing, or the name is another client's.
    """
    client = _checked(options.client)
    if client == target.default_client and not options.default:
        raise CommandError(
            f"{client} is the default client, which sees every queue message without a client: "
            "add --default if you mean it"
        )
    if options.default and client != target.default_client:
        raise UsageError(f"--default is for the default client, {target.default_client}")
    return client


def _print_key(options: Any, key: Any) -> int:
    fields = {"client": options.client, "keyId": key["id"]}
    return _print_fields(options, fields | ({"key": key["value"]} if options.show else {}))


def _print_fields(options: Any, fields: dict[str, str]) -> int:
    if options.json:
        print_json(fields)
    else:
        for name, value in fields.items():
            print_line(f"{name:<17}{value}")
    return DONE
