"""`smsrelay client …`: manages clients, their credentials and their limits."""

import base64
import contextlib
import json
import re
import secrets
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from functools import cached_property
from typing import TYPE_CHECKING, Any

from botocore.exceptions import ClientError

from smsrelay.adapters.aws_errors import error_name
from smsrelay.adapters.dynamodb_api_clients import LIMITS, NAME, DynamoDbApiClients
from smsrelay.adapters.signing_secrets import CACHE_SECONDS as SECRET_CACHE_SECONDS
from smsrelay.adapters.signing_secrets import NO_SECRET
from smsrelay.messages.client_names import RULE, is_client_name
from smsrelay.messages.request import ClientLimits
from smsrelay.security.webhook_signature import parse_secrets
from smsrelay.services.api_clients import principal
from smsrelay.services.client_cache import CACHE_SECONDS
from smsrelay.services.client_rate_limit import DEFAULT_MAX_RECIPIENTS
from smsrelay_cli.deployed_stack import DeployedStack
from smsrelay_cli.exit_codes import DONE, CommandError, UsageError
from smsrelay_cli.terminal import (
    confirm,
    counted,
    print_json,
    print_line,
    print_notice,
    print_table,
)

if TYPE_CHECKING:
    from mypy_boto3_apigateway.type_defs import UsagePlanTypeDef
    from mypy_boto3_iam import IAMClient

SECRET_BYTES = 32
MAX_GUEST_NUMBERS = 100
USAGE_DAYS = 30
"""Days that `client list` looks back for the last use of a client's keys."""
_KEY_ID = re.compile(r"[0-9A-Za-z]{1,19}")
"""An API key's id; its value has 20 characters or more."""
_PRINCIPAL = re.compile(r"arn:[^:]+:iam::[0-9]{12}:(role|user)/(?:.+/)?([^/]+)")
_CREDENTIAL = "CREDENTIAL#"
_COLUMNS = ["client", "rate", "burst", "quota", "maxRecipients", "guest", "lastUse", "keys"]


class Clients:
    """The clients of one relay: their usage plans, API keys, registrations and secrets."""

    def __init__(self, target: DeployedStack) -> None:
        """Make no call yet."""
        self._target = target
        # Plans belong to the account, so the prefix separates them from those of other APIs.
        self._prefix = f"smsrelay/{target.api_id}/"

    @cached_property
    def gateway(self) -> Any:
        return self._target.client("apigateway")

    @cached_property
    def _table(self) -> Any:
        return self._target.client("dynamodb")

    @cached_property
    def names(self) -> DynamoDbApiClients:
        """The clients' names and limits in the relay's table."""
        return DynamoDbApiClients(self._table, self._target.table)

    def register(self, credential: str, client: str) -> None:
        """Register a credential for a client, and list it as the client's.

        The list is written first, so that a removal finds every valid credential.
        """
        self._table.put_item(TableName=self._target.table, Item=_listed(client, credential))
        self.names.put(credential, client)

    def registered(self, client: str) -> list[str]:
        """Return credentials registered for a client; some may belong to other clients now."""
        pages = self._table.get_paginator("query").paginate(
            TableName=self._target.table,
            KeyConditionExpression="pk = :pk AND begins_with(sk, :sk)",
            ExpressionAttributeValues={":pk": {"S": f"CLIENT#{client}"}, ":sk": {"S": _CREDENTIAL}},
            ConsistentRead=True,
        )
        return [it["sk"]["S"].removeprefix(_CREDENTIAL) for page in pages for it in page["Items"]]

    def unregister(self, credential: str, client: str) -> None:
        """Undo `register`, unless the credential belongs to another client now."""
        with contextlib.suppress(self._table.exceptions.ConditionalCheckFailedException):
            self._table.delete_item(
                TableName=self._target.table,
                Key={"pk": {"S": f"CLIENT#{credential}"}, "sk": {"S": NAME}},
                ConditionExpression="client = :client",
                ExpressionAttributeValues={":client": {"S": client}},
            )
        self._table.delete_item(TableName=self._target.table, Key=_listed(client, credential))

    def limits(self, client: str) -> ClientLimits:
        """Return the stored limits of a client's requests, or the default ones."""
        return self.names.limits_of(client) or ClientLimits(DEFAULT_MAX_RECIPIENTS)

    def delete_limits(self, client: str) -> None:
        """Delete the stored limits of a client, so that the default ones apply."""
        key = {"pk": {"S": f"CLIENT#{client}"}, "sk": {"S": LIMITS}}
        self._table.delete_item(TableName=self._target.table, Key=key)

    def plans(self) -> Iterator[tuple[str, "UsagePlanTypeDef"]]:
        """Yield the name and the usage plan of each client."""
        for page in self.gateway.get_paginator("get_usage_plans").paginate():
            for plan in page["items"]:
                if plan["name"].startswith(self._prefix):
                    yield plan["name"].removeprefix(self._prefix), plan

    def plan(self, client: str) -> Any:
        """Return the usage plan of a client, or None if it has no API keys."""
        return next((plan for name, plan in self.plans() if name == client), None)

    def new_plan(self, client: str, rate: float, burst: int, quota: int) -> Any:
        return self.gateway.create_usage_plan(
            name=f"{self._prefix}{client}",
            throttle={"rateLimit": rate, "burstLimit": burst},
            quota={"limit": quota, "period": "DAY"},
            apiStages=[{"apiId": self._target.api_id, "stage": self._target.stage}],
        )

    def change_plan(self, plan_id: str, values: Mapping[str, int]) -> Any:
        """Replace values of a plan by their paths. Its keys do not change."""
        return self.gateway.update_usage_plan(
            usagePlanId=plan_id,
            patchOperations=[
                {"op": "replace", "path": path, "value": str(value)}
                for path, value in values.items()
            ],
        )

    def last_use(self, plan_id: str, now: float) -> str | None:
        """Return the last of the past `USAGE_DAYS` days (UTC) on which a key of a plan was used."""
        today = datetime.fromtimestamp(now, UTC).date()
        pages = self.gateway.get_paginator("get_usage").paginate(
            usagePlanId=plan_id,
            startDate=(today - timedelta(days=USAGE_DAYS - 1)).isoformat(),
            endDate=today.isoformat(),
        )
        # Each key has one entry for each day, the last one for today: requests and remaining quota.
        logs = [days for page in pages for days in page.get("items", {}).values()]
        unused_days = [n for days in logs for n, (used, *_) in enumerate(reversed(days)) if used]
        return (today - timedelta(days=min(unused_days))).isoformat() if unused_days else None

    def new_key(self, client: str, plan_id: str) -> Any:
        """Create an API key for a client, and register it before it can be used."""
        key = self.gateway.create_api_key(name=f"{self._prefix}{client}", enabled=True)
        self.register(key["id"], client)
        self.gateway.create_usage_plan_key(usagePlanId=plan_id, keyId=key["id"], keyType="API_KEY")
        return key

    def remove_from_plan(self, plan_id: str, key_id: str) -> None:
        self.gateway.delete_usage_plan_key(usagePlanId=plan_id, keyId=key_id)

    def delete_key(self, plan_id: str | None, key_id: str) -> None:
        if plan_id:
            self.remove_from_plan(plan_id, key_id)
        self.gateway.delete_api_key(apiKey=key_id)

    def delete_plan(self, plan: Any) -> None:
        """Delete a plan, but first its stages, as API Gateway requires."""
        stages = [f"{it['apiId']}:{it['stage']}" for it in plan.get("apiStages", [])]
        if stages:
            self.gateway.update_usage_plan(
                usagePlanId=plan["id"],
                patchOperations=[
                    {"op": "remove", "path": "/apiStages", "value": stage} for stage in stages
                ],
            )
        self.gateway.delete_usage_plan(usagePlanId=plan["id"])

    def is_own_key(self, credential: str, client: str) -> bool:
        """Return whether a credential is an API key that `new_key` created for the client."""
        key = self.key(credential) if _KEY_ID.fullmatch(credential) else None
        return key is not None and key["name"] == f"{self._prefix}{client}"

    def key(self, key_id: str) -> Any:
        """Return a key of the account without its value, or None if no key has this id."""
        try:
            return self.gateway.get_api_key(apiKey=key_id)
        except ClientError as error:
            if error_name(error) == "NotFoundException":
                return None
            raise

    def principal_like(self, kind: str, name: str) -> str | None:
        """Return the ARN of the role or user with this name; None if it does not exist."""
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

    def webhook_secret(self, client: str) -> str | None:
        """Return the name of a client's webhook secret; None if it does not exist."""
        if not self._target.webhook_secret_prefix:
            return None
        name = f"{self._target.webhook_secret_prefix}{client}"
        try:
            self._target.client("secretsmanager").get_secret_value(SecretId=name)
        except ClientError as error:
            if error_name(error) in NO_SECRET:
                return None
            raise
        return name

    def delete_secret(self, name: str) -> None:
        """Delete a secret without a recovery window, so that its name can be used again at once."""
        store = self._target.client("secretsmanager")
        store.delete_secret(SecretId=name, ForceDeleteWithoutRecovery=True)

    def new_secret(self, prefix: str, client: str, *, revoke: bool) -> tuple[str, str]:
        """Create a secret for signatures, and return its name and its value.

        The previous secret remains valid, unless `revoke` ends all old ones.
        """
        store = self._target.client("secretsmanager")
        name = f"{prefix}{client}"
        value = "whsec_" + base64.b64encode(secrets.token_bytes(SECRET_BYTES)).decode()
        try:
            existing = parse_secrets(store.get_secret_value(SecretId=name)["SecretString"])
        except store.exceptions.ResourceNotFoundException:
            # Without a key of the stack, Secrets Manager uses the key that AWS manages.
            key = {"KmsKeyId": self._target.key_arn} if self._target.key_arn else {}
            store.create_secret(Name=name, SecretString=json.dumps({"current": value}), **key)
        else:
            kept = {"previous": existing[0]} if existing and not revoke else {}
            secret = json.dumps({"current": value} | kept)
            store.put_secret_value(SecretId=name, SecretString=secret)
        return name, value


def list_clients(target: DeployedStack, options: Any, now: float) -> int:
    """List the clients with API keys."""
    clients = Clients(target)
    rows: list[dict[str, Any]] = [
        {
            **_limits(name, plan, clients.limits(name)),
            "lastUse": clients.last_use(plan["id"], now),
            "keys": clients.keys(plan["id"]),
        }
        for name, plan in sorted(clients.plans(), key=lambda entry: entry[0])
    ]
    if options.json:
        print_json(rows)
    elif not rows:
        print_line("There are no clients yet: `smsrelay client add NAME` adds one.")
    else:
        shown = [
            row | {"keys": " ".join(row["keys"]), "guest": "yes" if row["guest"] else ""}
            for row in rows
        ]
        print_table(_COLUMNS, shown)
    if rows and target.is_local:
        print_notice("The last use is not shown: the local stack does not record the use of keys.")
    return DONE


def _limits(client: str, plan: Any, limits: ClientLimits) -> dict[str, Any]:
    """Return the limits of a client; `plan` is None if it has no API keys."""
    plan = plan or {}
    return {
        "client": client,
        "rate": plan.get("throttle", {}).get("rateLimit"),
        "burst": plan.get("throttle", {}).get("burstLimit"),
        "quota": plan.get("quota", {}).get("limit"),
        "maxRecipients": limits.max_recipients,
        "guest": bool(limits.only_to),
    }


def add(target: DeployedStack, options: Any, _now: float) -> int:
    """Create a client's usage plan with its first API key."""
    clients = Clients(target)
    if clients.plan(_meant(target, options)):
        raise CommandError(f"{options.client} exists already: `client rotate` adds a new key")
    if options.max_recipients or options.only_to:
        _put_limits(clients, options)
    plan = clients.new_plan(options.client, options.rate, options.burst, options.quota)
    return _print_key(options, clients.new_key(options.client, plan["id"]))


def change(target: DeployedStack, options: Any, _now: float) -> int:
    """Change the given limits of a client. Its other limits and its keys do not change."""
    clients, client = Clients(target), _checked(options.client)
    of_plan = {
        "/throttle/rateLimit": options.rate,
        "/throttle/burstLimit": options.burst,
        "/quota/limit": options.quota,
    }
    changed = {path: value for path, value in of_plan.items() if value is not None}
    is_limited = options.max_recipients is not None or options.only_to is not None
    if not changed and not is_limited:
        raise UsageError("no limit to change: pass one, such as --quota 20000")
    plan = _plan_of(clients, options) if changed else clients.plan(client)
    limits = _put_limits(clients, options) if is_limited else clients.limits(client)
    if is_limited:
        until = _time_in(CACHE_SECONDS)
        print_notice(f"Functions cache limits, and may use the old ones until {until}.")
    if changed:
        plan = clients.change_plan(plan["id"], changed)
    return _print_fields(options, _limits(client, plan, limits))


def _put_limits(clients: Clients, options: Any) -> ClientLimits:
    """Store the given limits of a client's requests with its other ones, and return them all."""
    stored = clients.limits(options.client)
    only_to = stored.only_to if options.only_to is None else frozenset(options.only_to)
    if len(only_to) > MAX_GUEST_NUMBERS:
        raise UsageError(f"too many numbers: a guest can have at most {MAX_GUEST_NUMBERS}")
    limits = ClientLimits(options.max_recipients or stored.max_recipients, only_to)
    clients.names.put_limits(options.client, limits)
    return limits


def rotate(target: DeployedStack, options: Any, _now: float) -> int:
    """Add one more API key to the client's plan."""
    clients = Clients(target)
    return _print_key(options, clients.new_key(options.client, _plan_of(clients, options)["id"]))


def drop(target: DeployedStack, options: Any, _now: float) -> int:
    """Delete an API key, but not its registration, as it may be valid for some seconds."""
    clients = Clients(target)
    plan_id = _plan_of(clients, options)["id"]
    if options.key_id not in clients.keys(plan_id):
        raise CommandError(f"{options.client} has no key {options.key_id}")
    confirm(
        f"Delete the API key {options.key_id} of {options.client}? Requests with it will fail.",
        yes=options.yes,
    )
    clients.delete_key(plan_id, options.key_id)
    return _print_fields(options, {"client": options.client, "deleted": options.key_id})


def remove(target: DeployedStack, options: Any, _now: float) -> int:
    """Remove a client. Its plan and the list of its credentials are deleted last.

    So if a removal fails halfway, a repeated one finds the rest. Keys that another tool has made
    are not deleted. A guest's numbers are deleted by a second removal, when functions no longer
    accept what the first one has deleted.

    Raises:
        CommandError: there is no such client, or a key of its plan belongs to another client now.
    """
    clients, client = Clients(target), _checked(options.client)
    plan = clients.plan(client)
    in_plan = clients.keys(plan["id"]) if plan else []
    credentials = [*in_plan, *sorted({*clients.registered(client)} - {*in_plan})]
    owners = {it: clients.names.client_of(it) or client for it in credentials}
    _refuse_keys_of_others(client, {it: owners[it] for it in in_plan})
    keys = [it for it in credentials if owners[it] == client and clients.is_own_key(it, client)]
    moved = {it: owner for it, owner in owners.items() if owner != client}
    others = [it for it in credentials if it not in {*keys, *moved}]
    secret = None if options.keep_webhook_secret else clients.webhook_secret(client)
    stored = clients.names.limits_of(client)
    has_more = bool(credentials or secret or plan or options.keep_webhook_secret)
    keeps_numbers = bool(stored and stored.only_to) and has_more
    limits = None if keeps_numbers else stored
    parts = [
        counted(len(keys), "API key") if keys else "",
        counted(len(others), "other registration") if others else "",
        counted(len(moved), "former registration") if moved else "",
        "webhook secret" if secret else "",
        "limits of recipients" if limits else "",
        "usage plan" if plan else "",
    ]
    if not any(parts):
        raise CommandError(f"there is no client {client}, so nothing was removed")
    confirm(f"Remove {client} with its {', '.join(filter(None, parts))}?", yes=options.yes)
    _forget(clients, client, moved)
    removed = []
    if secret:
        clients.delete_secret(secret)
        removed.append({"kind": "webhook secret", "name": secret})
    for credential in others:
        if credential in in_plan:
            clients.remove_from_plan(plan["id"], credential)
        clients.unregister(credential, client)
        removed.append({"kind": "registration", "name": credential})
    for key_id in keys:
        clients.delete_key(plan["id"] if key_id in in_plan else None, key_id)
        clients.unregister(key_id, client)
        removed.append({"kind": "API key", "name": key_id})
    if limits:
        clients.delete_limits(client)
        removed.append({"kind": "limits of recipients", "name": f"{limits.max_recipients}"})
    if plan:
        clients.delete_plan(plan)
        removed.append({"kind": "usage plan", "name": plan["id"]})
    seconds = max(CACHE_SECONDS, SECRET_CACHE_SECONDS)
    cached = "" if options.keep_webhook_secret else " and webhook secrets"
    until = _say_when_forgotten(f"its IAM principals{cached}", seconds)
    if keeps_numbers and not options.keep_webhook_secret:
        print_notice(
            f"Until then {client} must not send to other numbers, so its limits stay: run "
            f"`smsrelay client remove {client}` again after {until} to delete them."
        )
    if options.json:
        print_json({"client": client, "removed": removed, "endsAt": until})
    else:
        print_table(["kind", "name"], removed)
    return DONE


def _refuse_keys_of_others(client: str, owners: Mapping[str, str]) -> None:
    """Raise an error if a key in the client's usage plan is registered for another client."""
    for key_id, owner in owners.items():
        if owner != client:
            raise CommandError(
                f"the API key {key_id} in the usage plan of {client} is registered for {owner}, "
                f"and can't be used without this plan: give {owner} another key, run "
                f"`smsrelay client allow {client} {key_id}`, and remove {client} again"
            )


def _forget(clients: Clients, client: str, moved: Mapping[str, str]) -> None:
    """Delete the client's entries of credentials that are registered for other clients now."""
    for credential, owner in moved.items():
        clients.unregister(credential, client)
        print_notice(f"{credential} is registered for {owner} now, and stays.")


def allow(target: DeployedStack, options: Any, _now: float) -> int:
    """Register an IAM principal, or an API key that was created elsewhere, for a client."""
    clients, client = Clients(target), _meant(target, options)
    credential = _existing(clients, options.credential)
    clients.register(credential, client)
    return _print_fields(options, {"client": options.client, "credential": credential})


def _existing(clients: Clients, given: str) -> str:
    """Return a credential in the form in which AWS passes it to the relay.

    Raises:
        UsageError: it can't be a credential. The error omits it, because it may be a key's value.
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
    """Create a webhook secret. The previous one remains valid until the next one, or is revoked."""
    if not target.webhook_secret_prefix:
        raise CommandError("this relay does not accept webhooks: deploy it with Webhooks=on")
    client, prefix = _checked(options.client), target.webhook_secret_prefix
    return _create_secret(target, prefix, client, options, revoke=options.revoke)


def callback(target: DeployedStack, options: Any, _now: float) -> int:
    """Create a secret for callbacks, which are also signed with the previous one until the next."""
    if not target.callback_secret_prefix:
        raise CommandError("this relay posts no callbacks: deploy it with Callbacks=on")
    return _create_secret(target, target.callback_secret_prefix, _checked(options.client), options)


def _create_secret(
    target: DeployedStack, prefix: str, client: str, options: Any, *, revoke: bool = False
) -> int:
    place, value = Clients(target).new_secret(prefix, client, revoke=revoke)
    fields = {"client": client, "secretName": place}
    if options.show:
        fields["secret"] = value
    if revoke:
        until = _say_when_forgotten("the old secrets", SECRET_CACHE_SECONDS)
        fields["oldSecretsEndAt"] = until
    return _print_fields(options, fields)


def _say_when_forgotten(what: str, cache_seconds: float) -> str:
    """Print until when functions may use cached values, and return this time."""
    until = _time_in(cache_seconds)
    print_notice(
        f"Functions cache {what}, and may accept them until {until}, or longer while they "
        "can't reach Secrets Manager."
    )
    return until


def _time_in(seconds: float) -> str:
    """Return the time in so many seconds, rounded up to a second."""
    return (datetime.now(UTC) + timedelta(seconds=seconds + 1)).isoformat(timespec="seconds")


def _listed(client: str, credential: str) -> Any:
    """Return the item of the table that lists a credential as a client's."""
    return {"pk": {"S": f"CLIENT#{client}"}, "sk": {"S": f"{_CREDENTIAL}{credential}"}}


def _plan_of(clients: Clients, options: Any) -> Any:
    plan = clients.plan(_checked(options.client))
    if plan is None:
        raise CommandError(f"no client {options.client} has API keys: `client add` creates one")
    return plan


def _checked(client: str) -> str:
    if not is_client_name(client):
        raise UsageError(f"a client's name is {RULE}")
    return client


def _meant(target: DeployedStack, options: Any) -> str:
    """Return the client's name, which must be the default client's if `--default` is passed.

    Raises:
        CommandError: it is the default client's, but `--default` is missing.
        UsageError: the name is not valid, or `--default` is passed for another client.
    """
    client = _checked(options.client)
    if client == target.default_client and not options.default:
        raise CommandError(
            f"{client} is the default client, which can see every queue message without a client: "
            "add --default to confirm"
        )
    if options.default and client != target.default_client:
        raise UsageError(f"--default is for the default client, {target.default_client}")
    return client


def _print_key(options: Any, key: Any) -> int:
    fields = {"client": options.client, "keyId": key["id"]}
    return _print_fields(options, fields | ({"key": key["value"]} if options.show else {}))


def _print_fields(options: Any, fields: Mapping[str, object]) -> int:
    if options.json:
        print_json(fields)
    else:
        for name, value in fields.items():
            if value is not None:
                print_line(f"{name:<17}{value}")
    return DONE
