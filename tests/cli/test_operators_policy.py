"""Checks that the policies of docs/permissions.md allow exactly the calls of the commands."""

import io
import json
import re
from collections.abc import Callable
from typing import Any

import botocore.session

from tests.cli.conftest import Operator
from tests.support import permissions
from tests.support.aws_calls import intercepted
from tests.support.environment import CLIENT
from tests.support.permissions import Permission
from tests.support.template import ROOT

CLI = ROOT / "cli/smsrelay_cli"
ADAPTERS = ROOT / "layers/smsrelay/smsrelay/adapters"
NAMES = {
    "arn:aws:cloudformation:REGION:ACCOUNT:stack/STACK/*": "Stack",
    "arn:aws:dynamodb:REGION:ACCOUNT:table/TABLE": "Ledger",
    "arn:aws:sqs:REGION:ACCOUNT:QUEUE": "Queue",
    "arn:aws:sqs:REGION:ACCOUNT:DEAD_LETTER_QUEUE": "DeadLetterQueue",
    "arn:aws:secretsmanager:REGION:ACCOUNT:secret:STACK/webhooks/*": "WebhookSecretPrefix",
    "arn:aws:secretsmanager:REGION:ACCOUNT:secret:STACK/callbacks/*": "CallbackSecretPrefix",
    "arn:aws:cloudwatch:REGION:ACCOUNT:alarm:*": "*",
    "arn:aws:iam::ACCOUNT:role/*": "role/*",
    "arn:aws:iam::ACCOUNT:user/*": "user/*",
    "arn:aws:ssm:REGION:ACCOUNT:parameter/STACK/catalogue": "Catalogue",
    "CREDENTIALS_SECRET_ARN": "CredentialsSecret",
    "arn:aws:lambda:REGION:ACCOUNT:function:TOKEN_RENEWER_FUNCTION_NAME": "token-renewer",
}
# The fake CloudFormation of these tests makes no such call.
FOUND = Permission("cloudformation:DescribeStacks", "Stack")


def policies() -> list[Any]:
    """Return the page's policies in order: operators, clients, catalogue, credentials, the key."""
    page = (ROOT / "docs/permissions.md").read_text()
    return [json.loads(it) for it in re.findall(r"```json\n(\{.*?\n?\})\n```", page, re.DOTALL)]


def allowed(policy: Any) -> set[Permission]:
    found = set()
    for statement in policy["Statement"]:
        for action in permissions.listed(statement["Action"]):
            for resource in permissions.listed(statement["Resource"]):
                table, index, name = resource.partition("/index/")
                table_name = NAMES.get(table, table.removeprefix("arn:aws:apigateway:REGION::"))
                found.add(Permission(action, f"{table_name}{index}{name}"))
    return found


def redriven(operator: Operator) -> None:
    """Redrive dead letters of each kind: with a send, with a body, and one that stays."""
    operator.failed()
    for body in ({"message": "m", "to": []}, "no JSON"):
        operator.relay.enqueue(body)
        operator.relay.work()
    assert operator.run("redrive", "--dry-run").code == 0
    assert operator.run("redrive", "--yes").code == 0


def test_the_operators_policy_allows_exactly_their_commands(operator: Operator) -> None:
    with permissions.noting() as calls:
        redriven(operator)
        unknown, other, token = operator.unknown(), operator.unknown(), operator.post()
        operator.unknown(reference="order-8812")
        [sent] = operator.sends(token)
        for command in (
            ("list", "--status", "unknown"),
            ("show", unknown),
            ("show", "nobodys", "--json"),
            ("find", "--key", "no-such-key"),
            ("find", "--client", CLIENT, "--reference", "order-8812"),
            ("token", str(sent.token_id)),
            ("resend", unknown, "--yes"),
            ("resolve", "--reason", "no-such-reason", "--as", "accepted", "--yes"),
            ("resend", "--client", CLIENT, "--since", "1h", "--limit", "1", "--yes"),
            ("resolve", other, "--as", "rejected", "--yes"),
            ("stats",),
            ("budget",),
            ("pause",),
            ("resume",),
            ("doctor",),
        ):
            operator.run(*command)
    made = calls["operator"]
    needed = {permission for call in made for permission in call.needs} | {FOUND}
    policy = allowed(policies()[0])
    assert sorted(policy - needed) == [], "superfluous"
    assert sorted(needed - policy) == [], "missing"
    # The tests called all operations that the commands' code uses, except those for clients.
    operations = {call.operation for call in made}
    model = botocore.session.get_session().get_service_model("sqs")
    assert permissions.operations_in(CLI, "sqs") & set(model.operation_names) <= operations
    assert "BatchGetItem" in operations


def test_the_policy_for_clients_allows_exactly_the_commands() -> None:
    needed = {Permission(f"dynamodb:{it}", "Ledger") for it in ("PutItem", "Query", "DeleteItem")}
    for service in ("apigateway", "iam", "secretsmanager"):
        model = botocore.session.get_session().get_service_model(service)
        for operation in permissions.operations_in(CLI, service):
            if operation not in model.operation_names:
                continue
            http = model.operation_model(operation).http
            if service == "apigateway":
                place = re.sub(r"\{.*?\}", "*", http["requestUri"])
                needed.add(Permission(f"apigateway:{http['method']}", place))
            elif service == "iam":
                kind = operation.removeprefix("Get").lower()
                needed.add(Permission(f"iam:{operation}", f"{kind}/*"))
            else:
                kinds = {"WebhookSecretPrefix", "CallbackSecretPrefix"}
                if operation == "DeleteSecret":
                    kinds.remove("CallbackSecretPrefix")
                needed |= {Permission(f"secretsmanager:{operation}", kind) for kind in kinds}
    policy = allowed(policies()[1])
    assert sorted(policy - needed) == [], "superfluous"
    assert sorted(needed - policy) == [], "missing"


def test_the_policy_for_clients_writes_only_names() -> None:
    [naming] = [it for it in policies()[1]["Statement"] if it["Sid"] == "NameThem"]
    [keys] = naming["Condition"].values()
    assert keys == {"dynamodb:LeadingKeys": ["CLIENT#*"]}


def test_the_policy_for_the_catalogue_allows_exactly_the_commands() -> None:
    model = botocore.session.get_session().get_service_model("ssm")
    needed = {
        Permission(f"ssm:{operation}", "Catalogue")
        for operation in permissions.operations_in(CLI, "ssm")
        if operation in model.operation_names
    }
    policy = allowed(policies()[2])
    assert sorted(policy - needed) == [], "superfluous"
    assert sorted(needed - policy) == [], "missing"


def test_the_policy_for_the_client_secret_allows_exactly_the_commands(
    operator: Operator,
) -> None:
    def accept(_: Any, operation: str, __: Any, call: Callable[[], Any]) -> Any:
        return (
            {"Payload": io.BytesIO(b'{"reason": "accepted"}')} if operation == "Invoke" else call()
        )

    operator.relay.put_credentials(client_id="a", client_secret="old", auth_base_url="https://x")
    with intercepted(accept), permissions.watching(), permissions.noting() as calls:
        assert operator.run("credentials", "stage", answer="new\n2099-01-01\n").code == 0
        assert operator.run("credentials", "promote", "--yes").code == 0
        assert operator.run("credentials", "status").code == 0
    needed = {permission for call in calls["operator"] for permission in call.needs}
    policy = allowed(policies()[3])
    assert sorted(policy - needed) == [], "superfluous"
    assert sorted(needed - policy) == [], "missing"


def test_with_a_customers_key_operators_need_it_too() -> None:
    needed = permissions.keys_needed(allowed(policies()[0]) | allowed(policies()[1]))
    via = policies()[4]["Condition"]["StringEquals"]["kms:ViaService"]
    assert {it.resource for it in needed} == {host.partition(".")[0] for host in via}
    assert {it.action for it in needed} == set(policies()[4]["Action"])
