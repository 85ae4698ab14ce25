"""Tests `smsrelay client …` with the functions in process: keys, plans, names and secrets."""

import json
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from botocore.exceptions import ClientError

from smsrelay.adapters.signing_secrets import CACHE_SECONDS
from smsrelay.sends.ids import message_id
from smsrelay.wiring import webhook
from smsrelay_cli import deployed_stack
from tests.cli.conftest import MESSAGE, Operator
from tests.support.aws_calls import Gateway, intercepted

ASYNC = {"Prefer": "respond-async"}


@pytest.fixture
def more_outputs() -> dict[str, str]:
    """Further outputs of the operator's stack, which a test can add."""
    return {}


@pytest.fixture
def gateway(
    operator: Operator, more_outputs: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> Gateway:
    """The fake API Gateway, with the API of the operator's stack."""
    gateway, api = Gateway(), "api1"
    other = deployed_stack.DeployedStack.client

    def client_of(relay: deployed_stack.DeployedStack, service: str) -> Any:
        return gateway if service == "apigateway" else other(relay, service)

    monkeypatch.setattr(deployed_stack.DeployedStack, "client", client_of)
    describe = deployed_stack.describe_stack

    def described(session: Any, name: str) -> Any:
        stack: Any = describe(session, name)
        more = {
            "RestApiId": api,
            "StageName": "prod",
            "WebhookSecretPrefix": f"{operator.relay.table}/webhooks/",
            **more_outputs,
        }
        added = [{"OutputKey": key, "OutputValue": value} for key, value in more.items()]
        return stack | {"Outputs": [*stack["Outputs"], *added]}

    monkeypatch.setattr(deployed_stack, "describe_stack", described)
    return gateway


def client(operator: Operator, *arguments: str, code: int = 0) -> Any:
    ended = operator.run("client", *arguments, "--json")
    assert ended.code == code, ended.err
    return ended.json if code == 0 else ended.err


def made_elsewhere(gateway: Gateway) -> str:
    """Create a key without the command, and return its id."""
    key_id: str = gateway.create_api_key("made elsewhere", enabled=True)["id"]
    return key_id


def new_role(operator: Operator, name: str, path: str = "/") -> str:
    """Create a role, and return its ARN; all tests share IAM."""
    role = operator.relay.client("iam").create_role(
        RoleName=name, Path=path, AssumeRolePolicyDocument="{}"
    )
    arn: str = role["Role"]["Arn"]
    return arn


def test_a_client_gets_a_plan_a_key_and_a_name(operator: Operator, gateway: Gateway) -> None:
    made = client(operator, "add", "shop", "--rate", "5", "--burst", "7", "--quota", "9", "--show")
    key = gateway.api_keys[made["keyId"]]
    assert key["enabled"]
    assert made["key"] == key["value"]
    [row] = client(operator, "list")
    assert row == {
        "client": "shop",
        "rate": 5,
        "burst": 7,
        "quota": 9,
        "maxRecipients": 1_000,
        "guest": False,
        "lastUse": None,
        "keys": [made["keyId"]],
    }
    posted = operator.relay.post(MESSAGE, key_id=made["keyId"])
    assert [send.client for send in operator.sends(posted.body["id"])] == ["shop"]


@pytest.mark.usefixtures("gateway")
def test_a_request_has_at_most_its_clients_limit_of_recipients(operator: Operator) -> None:
    """This holds for each way in; a repeated request still gets its stored result."""
    relay, two, one = operator.relay, MESSAGE, MESSAGE | {"to": ["+1 212 555 0100"]}
    made = client(operator, "add", "shop", "--max-recipients", "1")
    assert [row["maxRecipients"] for row in client(operator, "list")] == [1]
    key, again = made["keyId"], {"Idempotency-Key": "order-8812"}

    refused = relay.post(two, key_id=key, headers=again)

    assert (refused.status, refused.body["code"]) == (422, "invalid-request")
    [error] = refused.body["errors"]
    assert (error["pointer"], error["code"]) == ("/to", "too-many-recipients")
    assert "limit for one request is 1" in error["detail"]
    assert relay.post(one, key_id=key).status == 202
    assert relay.post(two).status == 202, "of another client"
    relay.enqueue(two, {"client": "shop"})
    assert relay.work() == []
    [letter] = relay.dead_letters()
    assert letter["errors"] == "/to too-many-recipients"

    ended = operator.run("client", "set", "shop", "--max-recipients", "2", "--json")
    assert (ended.json["client"], ended.json["maxRecipients"]) == ("shop", 2)
    assert "use the old ones" in ended.err
    relay.forget()
    first = relay.post(two, key_id=key, headers=again)
    assert first.status == 202
    client(operator, "set", "shop", "--max-recipients", "1")
    relay.forget()
    assert relay.post(two, key_id=key, headers=again).body == first.body
    assert relay.post(two, key_id=key).status == 422

    assert "limits of recipients, usage plan" in operator.run("client", "remove", "shop").err
    client(operator, "remove", "shop", "--yes")
    assert "CLIENT#shop" not in registrations(operator, "shop")


@pytest.mark.usefixtures("gateway")
def test_a_guest_sends_only_to_its_own_numbers(operator: Operator) -> None:
    """This holds for each way in, and after its other limit was changed."""
    relay = operator.relay
    numbers = ("+1 (212) 555-0100", "+12125550101")
    key = client(operator, "add", "probe", "--only-to", *numbers)["keyId"]
    client(operator, "set", "probe", "--max-recipients", "3")
    assert [(row["client"], row["guest"]) for row in client(operator, "list")] == [("probe", True)]
    assert "yes" in operator.run("client", "list").out
    subscribers = [{"mobile": f"+1212555010{n}", "key": f"k{n}"} for n in range(3)]

    assert relay.post(MESSAGE | {"to": ["+12125550100"]}, key_id=key).status == 202
    assert relay.post(MESSAGE | {"to": subscribers[:2]}, key_id=key).status == 202
    refused = relay.post(MESSAGE | {"to": [*subscribers]}, key_id=key)
    assert refused.status == 422
    [error] = refused.body["errors"]
    assert (error["pointer"], error["code"]) == ("/to/2/mobile", "recipient-not-allowed")
    refused = relay.post(MESSAGE | {"to": ["+12125550102"]}, key_id=key, path="/messages/preview")
    assert [error["pointer"] for error in refused.body["errors"]] == ["/to/0"]
    relay.enqueue(MESSAGE | {"to": ["+12125550102"]}, {"client": "probe"})
    assert relay.work() == []
    [letter] = relay.dead_letters()
    assert letter["errors"] == "/to/0 recipient-not-allowed"
    assert relay.post(MESSAGE | {"to": ["+12125550102"]}).status == 202, "of another client"


@pytest.mark.usefixtures("gateway")
def test_a_removed_guest_does_not_send_to_other_numbers(operator: Operator) -> None:
    """While functions cache its registration, they must know its numbers."""
    relay, role = operator.relay, new_role(operator, "Probe")
    client(operator, "add", "probe", "--only-to", "+12125550100")
    client(operator, "allow", "probe", role)
    session = role.replace(":iam:", ":sts:").replace(":role/", ":assumed-role/") + "/s1"
    assert relay.get("/iam/messages/any", client=session).status == 404

    ended = operator.run("client", "remove", "probe", "--yes", "--json")

    kinds = [it["kind"] for it in ended.json["removed"]]
    assert kinds == ["registration", "API key", "usage plan"]
    assert f"`smsrelay client remove probe` again after {ended.json['endsAt']}" in ended.err
    refused = relay.post(MESSAGE | {"to": ["+12125550102"]}, client=session, path="/iam/messages")
    assert [error["code"] for error in refused.body["errors"]] == ["recipient-not-allowed"]
    relay.forget()
    assert relay.get("/iam/messages/any", client=session).status == 403
    [limits] = client(operator, "remove", "probe", "--yes")["removed"]
    assert limits["kind"] == "limits of recipients"
    assert registrations(operator, "probe") == []


def test_a_clients_limits_change_and_its_key_stays(operator: Operator, gateway: Gateway) -> None:
    key = client(operator, "add", "shop", "--rate", "5", "--max-recipients", "3")["keyId"]
    changed = client(operator, "set", "shop", "--quota", "20", "--burst", "7")
    expected = {"client": "shop", "rate": 5, "burst": 7, "quota": 20, "maxRecipients": 3}
    assert changed == expected | {"guest": False}
    assert client(operator, "set", "shop", "--only-to", "+12125550100")["guest"]
    changed = client(operator, "set", "shop", "--rate", "9", "--any-number")
    assert changed == expected | {"rate": 9, "guest": False}
    [row] = client(operator, "list")
    assert row == changed | {"lastUse": None, "keys": [key]}
    assert list(gateway.api_keys) == [key]


@pytest.mark.usefixtures("gateway")
def test_a_first_key_keeps_the_limits_that_are_not_given(operator: Operator) -> None:
    client(operator, "set", "bus", "--only-to", "+12125550100")
    client(operator, "add", "bus", "--max-recipients", "5")
    client(operator, "set", "pos", "--max-recipients", "3")
    client(operator, "add", "pos", "--only-to", "+12125550100")
    rows = [(row["maxRecipients"], row["guest"]) for row in client(operator, "list")]
    assert rows == [(5, True), (3, True)]


@pytest.mark.usefixtures("gateway")
def test_only_a_client_with_a_key_has_limits_of_its_requests(operator: Operator) -> None:
    assert "no client bus has API keys" in client(operator, "set", "bus", "--rate", "5", code=1)
    ended = operator.run("client", "set", "bus", "--max-recipients", "5")
    assert [line.split() for line in ended.out.splitlines()] == [
        ["client", "bus"],
        ["maxRecipients", "5"],
        ["guest", "False"],
    ]
    assert "no limit to change" in client(operator, "set", "bus", code=2)
    both = ("--only-to", "+12125550100", "--any-number")
    assert operator.run("client", "set", "bus", *both).code == 2


def test_the_last_use_is_the_last_day_on_which_a_key_was_used(
    operator: Operator, gateway: Gateway
) -> None:
    first = client(operator, "add", "shop")["keyId"]
    second = client(operator, "rotate", "shop")["keyId"]
    client(operator, "add", "idle")
    gateway.usage = {first: [[4, 6], [0, 10], [0, 10]], second: [[0, 10], [1, 9], [0, 10]]}
    today = datetime.now(UTC).date()
    last_use = {row["client"]: row["lastUse"] for row in client(operator, "list")}
    assert last_use == {"idle": None, "shop": (today - timedelta(days=1)).isoformat()}


@pytest.mark.usefixtures("gateway")
def test_a_guest_has_valid_numbers_and_not_too_many(operator: Operator) -> None:
    ended = operator.run("client", "add", "probe", "--only-to", "+1 212 555 CALL")
    assert ended.code == 2
    assert "this is not a numeric string" in ended.err
    assert "CALL" not in ended.err
    numbers = [f"+1212555{n:04d}" for n in range(101)]
    assert operator.run("client", "add", "probe", "--only-to", *numbers).code == 2
    assert client(operator, "list") == []
    client(operator, "add", "probe", "--only-to", *numbers[:100], numbers[0])


@pytest.mark.usefixtures("gateway")
def test_without_a_stored_limit_a_request_has_at_most_1000_recipients(operator: Operator) -> None:
    """This also holds for clients that an earlier version added."""
    numbers = [f"+1212555{n:04d}" for n in range(1_001)]
    message = MESSAGE | {"to": numbers}
    assert operator.relay.post(message, headers=ASYNC).status == 422
    accepted = operator.relay.post(message | {"to": numbers[1:]}, headers=ASYNC)
    assert accepted.status == 202
    operator.relay.enqueue(message)
    operator.relay.enqueue(message, {"client": "nobody-registered-it"})
    assert {letter["errors"] for letter in refused_letters(operator)} == {"/to too-many-recipients"}
    for wrong in ("0", "25001"):
        assert operator.run("client", "set", "shop", "--max-recipients", wrong).code == 2


def refused_letters(operator: Operator) -> list[dict[str, Any]]:
    """Run the worker, and return the dead letters of refused messages."""
    operator.relay.work()
    letters = operator.relay.dead_letters()
    assert len(letters) == 2
    return letters


@pytest.mark.usefixtures("gateway")
def test_a_new_stack_has_no_client_yet(operator: Operator) -> None:
    ended = operator.run("client", "list")
    assert (ended.code, ended.err) == (0, "")
    assert ended.out == "There are no clients yet: `smsrelay client add NAME` adds one.\n"
    assert client(operator, "list") == []


def test_secrets_are_shown_only_on_request(operator: Operator, gateway: Gateway) -> None:
    made = client(operator, "add", "shop")
    assert set(made) == {"client", "keyId"}
    value = gateway.api_keys[made["keyId"]]["value"]
    assert value not in operator.run("client", "list").out
    assert set(client(operator, "webhook", "shop")) == {"client", "secretName"}


def test_a_rotated_key_is_the_same_client(operator: Operator, gateway: Gateway) -> None:
    old = client(operator, "add", "shop")["keyId"]
    new = client(operator, "rotate", "shop")["keyId"]
    [row] = client(operator, "list")
    assert sorted(row["keys"]) == sorted([old, new])
    first = operator.relay.post(MESSAGE, key_id=old)
    path = f"/messages/{first.body['id']}"
    assert operator.relay.get(path, key_id=new).status == 200
    assert "no key" in client(operator, "drop", "shop", "other-key", "--yes", code=1)
    assert operator.run("client", "drop", "shop", old, answer="n\n").code == 3
    client(operator, "drop", "shop", old, "--yes")
    [row] = client(operator, "list")
    assert row["keys"] == [new]
    assert list(gateway.api_keys) == [new]


@pytest.mark.usefixtures("gateway")
def test_impossible_commands_are_refused(operator: Operator) -> None:
    client(operator, "add", "shop")
    assert "exists already" in client(operator, "add", "shop", code=1)
    assert "client add" in client(operator, "rotate", "nobody", code=1)
    for name in ("Shop", "a b", "-a", "a" * 64, "../a"):
        assert "name is 1 to 63" in operator.run("client", "allow", "--", name, "key").err


def test_a_principal_gets_a_name_for_all_its_sessions(operator: Operator, gateway: Gateway) -> None:
    role = new_role(operator, "Shop", path="/team/")
    assert role == "arn:aws:iam::123456789012:role/team/Shop"
    response = client(operator, "allow", "shop", role)
    assert response["credential"] == "arn:aws:iam::123456789012:role/Shop"
    posted = operator.relay.post(MESSAGE, client="other").body
    session = "arn:aws:sts::123456789012:assumed-role/Shop/s1"
    assert operator.relay.get(f"/iam/messages/{posted['id']}", client=session).status == 404
    key_id = made_elsewhere(gateway)
    client(operator, "allow", "shop", key_id)
    posted = operator.relay.post(MESSAGE, key_id=key_id).body
    assert operator.relay.get(f"/iam/messages/{posted['id']}", client=session).status == 200


@pytest.mark.parametrize("command", ["add", "allow"])
def test_the_default_clients_name_needs_an_option(
    operator: Operator, gateway: Gateway, command: str
) -> None:
    """The default client can read the queue messages that name no client."""
    elsewhere = made_elsewhere(gateway)
    arguments = (command, "internal", *([elsewhere] if command == "allow" else []))
    assert "--default" in client(operator, *arguments, code=1)
    assert list(gateway.api_keys) == [elsewhere]
    made = client(operator, *arguments, "--default")
    key = made["keyId"] if command == "add" else elsewhere
    operator.relay.enqueue(MESSAGE, {"Idempotency-Key": "order-8812"})
    operator.works()
    path = f"/messages/{message_id('', 'order-8812')}"
    assert operator.relay.get(path, key_id=key).status == 200


def test_default_is_refused_for_another_client(operator: Operator, gateway: Gateway) -> None:
    for command in (("add", "shop"), ("allow", "shop", "key1")):
        assert "internal" in client(operator, *command, "--default", code=2)
    assert gateway.api_keys == {}


@pytest.mark.usefixtures("gateway")
def test_a_credential_that_does_not_exist_gets_no_name(operator: Operator) -> None:
    iam = operator.relay.client("iam")
    iam.create_user(UserName="carl", Path="/team/")
    role = new_role(operator, "Till")
    other_account = role.replace("123456789012", "210987654321")
    user = "arn:aws:iam::123456789012:user"
    for credential in (f"{role}s", f"{user}/bob", "abcdefghij"):
        assert "there is no" in client(operator, "allow", "shop", credential, code=1)
    assert f"IAM has {role}" in client(operator, "allow", "shop", other_account, code=1)
    response = client(operator, "allow", "shop", f"{user}/carl", code=1)
    assert f"IAM has {user}/team/carl" in response
    table = operator.relay.client("dynamodb").scan(TableName=operator.relay.table)
    assert "shop" not in {item["client"]["S"] for item in table["Items"]}
    client(operator, "allow", "shop", f"{user}/team/carl")


def test_the_value_of_a_key_is_refused_and_not_repeated(
    operator: Operator, gateway: Gateway
) -> None:
    made = client(operator, "add", "shop", "--show")
    response = client(operator, "allow", "shop", made["key"], code=2)
    assert "the id of an API key" in response
    assert made["key"] not in response
    for credential in ("arn:aws:iam::123456789012:root", "key of mine", "key-1", ""):
        assert "the id of an API key" in client(operator, "allow", "shop", credential, code=2)
    assert gateway.asked_for == []


@pytest.mark.usefixtures("gateway")
def test_two_webhook_secrets_are_valid_at_a_time(operator: Operator) -> None:
    relay = operator.relay
    secrets = [client(operator, "webhook", "shop", "--show")["secret"] for _ in range(3)]
    statuses = [relay.post_webhook("shop", secret, MESSAGE).status for secret in secrets]
    assert statuses == [401, 202, 202]


@pytest.mark.usefixtures("gateway")
def test_a_revoked_webhook_secret_ends_with_the_functions_cache(
    operator: Operator, monkeypatch: pytest.MonkeyPatch
) -> None:
    relay = operator.relay
    old = [client(operator, "webhook", "shop", "--show")["secret"] for _ in range(2)]
    read_at = datetime.now(UTC)
    assert relay.post_webhook("shop", old[0], MESSAGE).status == 202

    ended = operator.run("client", "webhook", "shop", "--revoke", "--show", "--json")

    latest = datetime.now(UTC) + timedelta(seconds=CACHE_SECONDS + 1)
    ends_at = ended.json["oldSecretsEndAt"]
    assert latest - timedelta(seconds=60) < datetime.fromisoformat(ends_at) <= latest
    assert f"until {ends_at}" in ended.err
    store = relay.client("secretsmanager")
    value = store.get_secret_value(SecretId=ended.json["secretName"])["SecretString"]
    assert json.loads(value) == {"current": ended.json["secret"]}
    secrets = webhook.parts().webhooks._secrets  # noqa: SLF001 - to advance its clock
    monkeypatch.setattr(secrets, "_clock", lambda: read_at.timestamp() + CACHE_SECONDS - 1)
    assert relay.post_webhook("shop", old[1], MESSAGE).status == 202, "still cached"
    monkeypatch.setattr(secrets, "_clock", datetime.fromisoformat(ends_at).timestamp)
    assert [relay.post_webhook("shop", it, MESSAGE).status for it in old] == [401, 401]
    assert relay.post_webhook("shop", ended.json["secret"], MESSAGE).status == 202


def registrations(operator: Operator, name: str) -> list[str]:
    """Return the keys of the table's items for a client."""
    scanned = operator.relay.client("dynamodb").scan(TableName=operator.relay.table)["Items"]
    return [it["pk"]["S"] for it in scanned if name in json.dumps(it)]


def secret_names(operator: Operator) -> list[str]:
    store = operator.relay.client("secretsmanager")
    prefix = f"{operator.relay.table}/webhooks/"
    found = store.list_secrets(Filters=[{"Key": "name", "Values": [prefix]}])
    return [secret["Name"] for secret in found["SecretList"]]


@contextmanager
def failing_once(gateway: Gateway, operation: str) -> Iterator[None]:
    """Let an operation of API Gateway or another service fail once."""

    def fail(_client: Any, called: str, _parameters: Any, call: Callable[[], Any]) -> Any:
        if called == operation:
            raise ClientError({"Error": {"Code": "ThrottlingException"}}, operation)
        return call()

    gateway.fails_at = operation
    with intercepted(fail):
        yield


@pytest.mark.parametrize(
    "fails_at",
    [
        None,
        "delete_usage_plan_key",
        "delete_api_key",
        "DeleteItem",
        "DeleteSecret",
        "update_usage_plan",
        "delete_usage_plan",
    ],
)
def test_callers_of_a_removed_client_are_refused(
    operator: Operator, gateway: Gateway, fails_at: str | None
) -> None:
    """This holds for each way in. A removal that fails half-way can be repeated."""
    relay, name = operator.relay, f"shop-{fails_at}".lower().replace("_", "-")
    elsewhere, role = made_elsewhere(gateway), new_role(operator, f"Of-{name}")
    key, other = (client(operator, "add", it)["keyId"] for it in (name, "other"))
    client(operator, "allow", name, elsewhere)
    client(operator, "allow", name, role)
    secret = client(operator, "webhook", name, "--show")["secret"]
    client(operator, "webhook", "other")
    [plan_id] = [it for it, plan in gateway.plans.items() if plan["name"].endswith(f"/{name}")]
    if fails_at:
        with failing_once(gateway, fails_at):
            assert "Exception" in client(operator, "remove", name, "--yes", code=1)

    removed = client(operator, "remove", name, "--yes")["removed"]

    if fails_at is None:
        assert removed == [
            {"kind": "webhook secret", "name": f"{relay.table}/webhooks/{name}"},
            {"kind": "registration", "name": role},
            {"kind": "registration", "name": elsewhere},
            {"kind": "API key", "name": key},
            {"kind": "usage plan", "name": plan_id},
        ]
    assert sorted(gateway.api_keys) == sorted([elsewhere, other]), "keys of another API must stay"
    assert [row["client"] for row in client(operator, "list")] == ["other"]
    assert registrations(operator, name) == []
    assert secret_names(operator) == [f"{relay.table}/webhooks/other"]
    session = role.replace(":iam:", ":sts:").replace(":role/", ":assumed-role/") + "/s1"
    for key_id in (key, elsewhere):
        assert relay.post(MESSAGE, key_id=key_id).status == 403
    assert relay.get("/iam/messages/any", client=session).status == 403
    assert relay.post_webhook(name, secret, MESSAGE).status == 401
    assert relay.post(MESSAGE, key_id=other).status == 202
    assert "there is no client" in client(operator, "remove", name, "--yes", code=1)
    client(operator, "add", name)


@pytest.mark.usefixtures("gateway")
def test_a_removed_client_can_keep_its_webhook_secret(operator: Operator) -> None:
    client(operator, "add", "shop")
    secret = client(operator, "webhook", "shop")["secretName"]
    removed = client(operator, "remove", "shop", "--keep-webhook-secret", "--yes")["removed"]
    assert [it["kind"] for it in removed] == ["API key", "usage plan"]
    assert secret_names(operator) == [secret]


@pytest.mark.usefixtures("gateway")
def test_a_removal_asks_first_and_prints_what_it_removed(operator: Operator) -> None:
    key = client(operator, "add", "shop")["keyId"]
    ended = operator.run("client", "remove", "shop", answer="n\n")
    assert (ended.code, ended.out) == (3, "")
    assert "Remove shop with its 1 API key, usage plan?" in ended.err
    assert [row["client"] for row in client(operator, "list")] == ["shop"]

    before = datetime.now(UTC)
    ended = operator.run("client", "remove", "shop", answer="y\n")

    assert [line.split() for line in ended.out.splitlines()] == [
        ["KIND", "NAME"],
        ["API", "key", key],
        ["usage", "plan", "p1"],
    ]
    [until] = re.findall(r"until (\S+),", ended.err)
    after = datetime.fromisoformat(until) - before
    assert CACHE_SECONDS < after.total_seconds() < CACHE_SECONDS + 60


def test_a_credential_that_moved_to_another_client_stays(
    operator: Operator, gateway: Gateway
) -> None:
    key_id = made_elsewhere(gateway)
    for name in ("first", "second"):
        client(operator, "allow", name, key_id)

    ended = operator.run("client", "remove", "first", "--yes", "--json")

    assert (ended.code, ended.json["removed"]) == (0, [])
    assert f"{key_id} is registered for second now, and stays." in ended.err
    assert registrations(operator, "first") == []
    posted = operator.relay.post(MESSAGE, key_id=key_id)
    assert [send.client for send in operator.sends(posted.body["id"])] == ["second"]


def test_a_client_whose_plan_has_a_key_of_another_client_is_not_removed(
    operator: Operator, gateway: Gateway
) -> None:
    """Without the usage plan, API Gateway would refuse the other client's key."""
    key = client(operator, "add", "old")["keyId"]
    client(operator, "allow", "new", key)

    refused = client(operator, "remove", "old", "--yes", code=1)

    assert f"the API key {key} in the usage plan of old is registered for new" in refused
    assert [row["keys"] for row in client(operator, "list")] == [[key]]
    [command] = re.findall(r"`smsrelay client (allow [^`]+)`", refused)
    client(operator, *command.split())
    client(operator, "remove", "old", "--yes")
    assert gateway.api_keys == {}


def test_a_key_that_moved_to_the_plan_of_another_client_stays(
    operator: Operator, gateway: Gateway
) -> None:
    key = client(operator, "add", "old")["keyId"]
    client(operator, "add", "new")
    client(operator, "allow", "new", key)
    plans = {plan["name"].rpartition("/")[2]: it for it, plan in gateway.plans.items()}
    gateway.delete_usage_plan_key(usagePlanId=plans["old"], keyId=key)
    gateway.create_usage_plan_key(usagePlanId=plans["new"], keyId=key, keyType="API_KEY")

    client(operator, "remove", "old", "--yes")

    assert key in gateway.api_keys
    assert operator.relay.post(MESSAGE, key_id=key).status == 202


@pytest.mark.parametrize("is_registered", [True, False])
def test_a_key_from_elsewhere_in_the_usage_plan_is_not_deleted(
    operator: Operator, gateway: Gateway, is_registered: bool
) -> None:
    key, elsewhere = client(operator, "add", "leaver")["keyId"], made_elsewhere(gateway)
    gateway.create_usage_plan_key(usagePlanId="p1", keyId=elsewhere, keyType="API_KEY")
    if is_registered:
        client(operator, "allow", "leaver", elsewhere)

    ended = operator.run("client", "remove", "leaver", answer="y\n")

    assert "Remove leaver with its 1 API key, 1 other registration, usage plan?" in ended.err
    assert [line.split()[-1] for line in ended.out.splitlines()[1:]] == [elsewhere, key, "p1"]
    assert list(gateway.api_keys) == [elsewhere]
    assert list(gateway.plans) == ["p0"]
    assert registrations(operator, "leaver") == []


def test_a_relay_without_webhooks_gets_no_secrets(operator: Operator) -> None:
    ended = operator.run("client", "webhook", "shop")
    assert (ended.code, "Webhooks=on" in ended.err) == (1, True)


@pytest.mark.usefixtures("gateway")
def test_with_the_stacks_own_key_its_webhook_secrets_are_encrypted_with_it(
    operator: Operator, more_outputs: dict[str, str]
) -> None:
    def key_of(name: str) -> str | None:
        response = client(operator, "webhook", name)
        store = operator.relay.client("secretsmanager")
        key: str | None = store.describe_secret(SecretId=response["secretName"]).get("KmsKeyId")
        return key

    assert key_of("shop") is None
    more_outputs["KeyArn"] = "arn:aws:kms:us-east-1:123456789012:key/stacks-own"
    assert key_of("warehouse") == more_outputs["KeyArn"]


@pytest.mark.usefixtures("gateway")
def test_a_client_gets_a_secret_for_callbacks(
    operator: Operator, more_outputs: dict[str, str]
) -> None:
    assert "Callbacks=on" in client(operator, "callback", "shop", code=1)
    more_outputs["CallbackSecretPrefix"] = f"{operator.relay.table}/callbacks/"
    assert "name is 1 to 63" in client(operator, "callback", "Shop", code=2)
    response = client(operator, "callback", "shop")
    assert response == {"client": "shop", "secretName": f"{operator.relay.table}/callbacks/shop"}
    second = client(operator, "callback", "shop", "--show")["secret"]
    store = operator.relay.client("secretsmanager")
    stored = json.loads(store.get_secret_value(SecretId=response["secretName"])["SecretString"])
    assert stored["current"] == second
    assert stored["previous"].startswith("whsec_")
