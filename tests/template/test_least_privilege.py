"""Checks that each function's role allows exactly the calls that the function makes."""

import json
import time
from collections.abc import Callable, Mapping
from typing import Any

import pytest
from samtranslator.yaml_helper import yaml_parse

from smsrelay.adapters.dynamodb_renewal_report import KEY
from tests.support import permissions
from tests.support.environment import (
    CLIENT,
    REGION,
    Environment,
    client_of,
    running,
)
from tests.support.permissions import Call, Permission
from tests.support.template import ROOT, template
from tools.local_stack import build, roles
from tools.local_stack import iam as make_iam
from tools.mobileconnect_simulator import Simulator

MESSAGE: dict[str, Any] = {"message": "MzA6Nzg6MA", "to": ["+1 212 555 0100"], "text": "Hello"}
TWO_SENDS = MESSAGE | {"to": ["+1 212 555 0100", {"mobile": "+12125550101", "key": "k"}]}
NAMED, CATALOGUE = MESSAGE | {"message": "welcome"}, {"messages": {"welcome": "MzA6Nzg6MA"}}
REFUSED = MESSAGE | {"text": " "}
JSON = {"Content-Type": "application/json"}
FOLLOWING = {"DELIVERY_POLLING": "all", "RECIPIENT_RESULTS": "on"}
TELLING = {
    "EVENT_BUS": "bus-of-the-privileged",
    "CALLBACK_QUEUE_URL": f"https://sqs.{REGION}.amazonaws.com/123456789012/callbacks-of-the-privileged",
    "CATALOGUE_PARAMETER": "/callbacks-of-the-privileged/catalogue",
}
ASYNC = {"Prefer": "respond-async"}
SEARCHES = ("idempotencyKey=k", "reference=order-8812")
WITH_PATTERN = {"Traces", "WebhookSecretPrefix", "CallbackSecretPrefix"}
"""The statements whose resource may contain a wildcard."""
FUNCTIONS = sorted(
    name
    for name, resource in template()["Resources"].items()
    if resource["Type"] == "AWS::Serverless::Function"
)


def api(relay: Environment, simulator: Simulator) -> None:
    posted = relay.post(MESSAGE).body
    assert relay.get(f"/messages/{posted['id']}").status == 200
    assert relay.get(f"/tokens/{posted['sends'][0]['tokenId']}").status == 200
    for query in SEARCHES:
        assert relay.get(f"/messages?{query}").status == 200
    assert relay.post(TWO_SENDS).status == 202
    assert relay.post(MESSAGE, headers=ASYNC).body["status"] == "queued"
    simulator.fail("send", "503-50300")
    assert relay.post(MESSAGE).body["status"] == "queued"


def worker(relay: Environment, simulator: Simulator) -> None:
    relay.enqueue(TWO_SENDS)
    relay.enqueue(REFUSED)
    assert relay.work() == []
    relay.show_all()
    assert relay.work() == []
    simulator.fail("send", "503-50300")
    relay.enqueue(MESSAGE)
    assert len(relay.work()) == 1
    relay.make_too_old()
    assert relay.work() == []
    assert {letter["reason"] for letter in relay.dead_letters()} == {"refused", "too-old"}
    for _ in range(2):
        relay.enqueue(TWO_SENDS | {"idempotencyKey": "twice"})
    assert relay.work() == []


def waits(relay: Environment, simulator: Simulator) -> None:
    simulator.fail("send", "503-50300")
    relay.enqueue(MESSAGE)
    assert len(relay.work()) == 1, "the message must come back"


def sweeper(relay: Environment, _: Simulator) -> None:
    relay.post(MESSAGE, headers=ASYNC)
    relay.change(dueAt=time.time() - 1_000)
    assert relay.sweep() == {"queued": 1}


def token(relay: Environment, simulator: Simulator) -> None:
    relay.put_secret("{}")
    relay.put_credentials(client_id="i", client_secret="s", auth_base_url=simulator.url)
    assert "renewed" in relay.renew().values()
    assert "kept" in relay.renew().values()


def status(relay: Environment, _: Simulator) -> None:
    posted = relay.post(MESSAGE).body
    for _look in range(4):
        relay.make_due()
        relay.follow()
    [send] = relay.get(f"/messages/{posted['id']}").body["sends"]
    assert send["delivery"]["recipients"]


def status_without_token(relay: Environment, _: Simulator) -> None:
    relay.post(MESSAGE)
    relay.make_due()
    relay.put_secret("{}")
    relay.restart_delivery_poller()
    assert relay.follow() == {"no-token": 1}


def tells(relay: Environment, _: Simulator) -> None:
    client_of("events").create_event_bus(Name=TELLING["EVENT_BUS"])
    queue = client_of("sqs").create_queue(QueueName="callbacks-of-the-privileged")
    assert queue["QueueUrl"] == TELLING["CALLBACK_QUEUE_URL"]
    # The name is reserved, so the receiver does not exist; the call is enough.
    relay.put_catalogue({"clients": {CLIENT: {"callback": "https://shop.invalid/sms"}}})
    for client in (CLIENT, "somebody-else"):
        relay.post(MESSAGE, client=client)
    relay.tell()
    assert len(relay.call_back()) == 1


def iam(relay: Environment, simulator: Simulator) -> None:
    relay.allow("shop", "arn:aws:iam::123456789012:role/Shop")
    caller = "arn:aws:sts::123456789012:assumed-role/Shop/session"
    posted = relay.raw(
        "POST", "/iam/messages", headers=JSON, body=json.dumps(MESSAGE), client=caller
    )
    sent = json.loads(posted["body"])
    assert relay.get(f"/iam/messages/{sent['id']}", client=caller).status == 200
    assert relay.get(f"/iam/tokens/{sent['sends'][0]['tokenId']}", client=caller).status == 200
    for query in SEARCHES:
        assert relay.get(f"/iam/messages?{query}", client=caller).status == 200
    for body, headers in ((TWO_SENDS, JSON), (MESSAGE, JSON | ASYNC)):
        relay.raw("POST", "/iam/messages", headers=headers, body=json.dumps(body), client=caller)
    simulator.fail("send", "503-50300")
    relay.raw("POST", "/iam/messages", headers=JSON, body=json.dumps(MESSAGE), client=caller)


def webhook(relay: Environment, simulator: Simulator) -> None:
    secret = relay.put_webhook_secret("shop")
    for body, then in ((MESSAGE, None), (TWO_SENDS, None), (MESSAGE, "503-50300")):
        if then:
            simulator.fail("send", then)
        assert relay.post_webhook("shop", secret, body).status == 202
    for _ in range(2):
        answer = relay.post_webhook("shop", secret, TWO_SENDS, webhook_id="twice", headers=ASYNC)
        assert answer.status == 202


def without_token_over_http(relay: Environment, _: Simulator) -> None:
    relay.put_secret("{}")
    assert relay.post(MESSAGE).body["status"] == "queued"


def without_token_by_iam(relay: Environment, _: Simulator) -> None:
    relay.put_secret("{}")
    caller, body = "arn:aws:iam::123456789012:user/bob", json.dumps(MESSAGE)
    relay.allow("shop", caller)
    answer = relay.raw("POST", "/iam/messages", headers=JSON, body=body, client=caller)
    assert json.loads(answer["body"])["status"] == "queued"


def without_token_by_webhook(relay: Environment, _: Simulator) -> None:
    relay.put_secret("{}")
    secret = relay.put_webhook_secret("shop")
    assert relay.post_webhook("shop", secret, MESSAGE).body["status"] == "queued"


def without_token_from_the_queue(relay: Environment, _: Simulator) -> None:
    relay.put_secret("{}")
    relay.enqueue(MESSAGE)
    assert len(relay.work()) == 1


# A message by name, for each way in: each function has its own cache of the catalogue.


def named_over_http(relay: Environment, _: Simulator) -> None:
    relay.put_catalogue(CATALOGUE)
    assert relay.post(NAMED).status == 202


def named_by_iam(relay: Environment, _: Simulator) -> None:
    relay.put_catalogue(CATALOGUE)
    caller, body = "arn:aws:iam::123456789012:user/bob", json.dumps(NAMED)
    relay.allow("shop", caller)
    answer = relay.raw("POST", "/iam/messages", headers=JSON, body=body, client=caller)
    assert answer["statusCode"] == 202


def named_by_webhook(relay: Environment, _: Simulator) -> None:
    relay.put_catalogue(CATALOGUE)
    secret = relay.put_webhook_secret("shop")
    assert relay.post_webhook("shop", secret, NAMED).status == 202


def named_in_the_queue(relay: Environment, _: Simulator) -> None:
    relay.put_catalogue(CATALOGUE)
    relay.enqueue(NAMED)
    assert relay.work() == []
    assert relay.dead_letters() == []


SCENARIOS: tuple[tuple[Callable[[Environment, Simulator], None], dict[str, str]], ...] = (
    (api, {}),
    (iam, {"CLIENT_RECIPIENTS_PER_MINUTE": "9"}),
    (webhook, {"CLIENT_RECIPIENTS_PER_MINUTE": "9"}),
    (worker, {"MAX_ATTEMPTS": "1"}),
    (waits, {}),
    (sweeper, {}),
    (token, {}),
    (tells, TELLING),
    (status, FOLLOWING),
    (status_without_token, FOLLOWING),
    (without_token_over_http, {}),
    (without_token_by_iam, {}),
    (without_token_by_webhook, {}),
    (without_token_from_the_queue, {}),
    (named_over_http, {"CATALOGUE_PARAMETER": "/named-over-http/catalogue"}),
    (named_by_iam, {"CATALOGUE_PARAMETER": "/named-by-iam/catalogue"}),
    (named_by_webhook, {"CATALOGUE_PARAMETER": "/named-by-webhook/catalogue"}),
    (named_in_the_queue, {"CATALOGUE_PARAMETER": "/named-in-the-queue/catalogue"}),
)


@pytest.fixture(scope="module")
def calls(aws: None, session_simulator: Simulator) -> Mapping[str, set[Call]]:
    """The calls of each function in the scenarios above."""
    _ = aws
    with permissions.noting() as made:
        for scenario, overrides in SCENARIOS:
            session_simulator.reset()
            with running(session_simulator.url, TOKEN_FUNCTION="asked", **overrides) as relay:
                scenario(relay, session_simulator)
    return made


def needs(calls: Mapping[str, set[Call]], function: str) -> set[Permission]:
    """Return the permissions for a function's calls, and for Lambda's own calls with its role."""
    asked = {permission for call in calls[function] for permission in call.needs}
    return asked | permissions.platform(function)


@pytest.mark.parametrize("function", FUNCTIONS)
def test_a_role_allows_exactly_the_calls_of_its_function(
    calls: Mapping[str, set[Call]], function: str
) -> None:
    allowed, needed = permissions.granted(function), needs(calls, function)
    assert sorted(allowed - needed) == [], "superfluous"
    assert sorted(needed - allowed) == [], "missing"


@pytest.mark.parametrize("function", FUNCTIONS)
def test_with_the_customers_own_key_a_role_allows_what_its_calls_need_of_it(
    calls: Mapping[str, set[Call]], function: str
) -> None:
    needed = permissions.keys_needed(needs(calls, function))
    assert permissions.keys_granted(function) == needed


def test_the_scenarios_make_every_call_that_the_adapters_can_make(
    calls: Mapping[str, set[Call]],
) -> None:
    made = {call.operation for function in FUNCTIONS for call in calls[function]}
    written = permissions.operations_in(ROOT / "layers/smsrelay/smsrelay/adapters")
    assert written == made


def test_only_adapters_call_aws() -> None:
    services = ("dynamodb", "sqs", "secretsmanager", "lambda", "ssm")
    for folder in (ROOT / "functions").iterdir():
        assert not permissions.operations_in(folder, *services)


@pytest.mark.parametrize("function", FUNCTIONS)
def test_make_iam_keeps_only_the_actions_of_lambda_itself(function: str) -> None:
    role = template()["Resources"][function]["Properties"]["Role"]["Fn::GetAtt"][0]
    left_out = {
        permission
        for permission in permissions.granted(function)
        if make_iam.not_judged(roles.Permission(role, *permission))
    }
    assert left_out == permissions.platform(function)
    assert role in make_iam.SCENARIOS


def test_the_docs_have_the_number_of_actions_that_make_iam_removes() -> None:
    resources = template()["Resources"]
    granted = {
        roles.Permission(resources[function]["Properties"]["Role"]["Fn::GetAtt"][0], *permission)
        for function in FUNCTIONS
        for permission in permissions.granted(function)
    }
    judged = len([it for it in granted if not make_iam.not_judged(it)])
    page = (ROOT / "docs/security.md").read_text()
    assert f"`iam: {judged} of {judged} actions are needed`" in page


@pytest.mark.parametrize("function", FUNCTIONS)
def test_only_listed_statements_have_wildcards(function: str) -> None:
    for statement in permissions.statements(function):
        assert statement["Effect"] == "Allow"
        assert "*" not in json.dumps(statement["Action"])
        everything = "*" in permissions.listed(statement["Resource"])
        assert everything == (statement["Sid"] == "Traces"), "only X-Ray has no resources"
        patterns = "*" in json.dumps(statement["Resource"])
        assert patterns == (statement["Sid"] in WITH_PATTERN), statement["Sid"]


def test_the_token_renewer_may_write_only_one_item_of_the_ledger() -> None:
    [report] = [
        statement
        for statement in permissions.statements("TokenRenewerFunction")
        if "dynamodb" in str(statement["Action"])
    ]
    assert report["Action"] == "dynamodb:UpdateItem"
    written = [KEY["pk"]["S"]]
    assert report["Condition"] == {"ForAllValues:StringEquals": {"dynamodb:LeadingKeys": written}}


def test_each_function_has_its_own_role_that_only_lambda_can_assume() -> None:
    resources = template()["Resources"]
    functions = [resources[name]["Properties"] for name in FUNCTIONS]
    roles = {function["Role"]["Fn::GetAtt"][0]: function["CodeUri"] for function in functions}
    # Two functions with the same code share a role, because they make the same calls.
    assert len(roles) == len(set(roles.values()))
    assert all(roles[it["Role"]["Fn::GetAtt"][0]] == it["CodeUri"] for it in functions)
    for role in roles:
        [statement] = resources[role]["Properties"]["AssumeRolePolicyDocument"]["Statement"]
        assert statement["Principal"] == {"Service": "lambda.amazonaws.com"}
        assert statement["Action"] == "sts:AssumeRole"


def test_sam_adds_no_role_but_those_of_the_schedules() -> None:
    source = yaml_parse((ROOT / "template.yaml").read_text())
    for resource in source["Resources"].values():
        for code in build.CODE_PROPERTIES:
            if code in resource.get("Properties", {}):
                resource["Properties"][code] = "s3://bucket/key"
    made = build.transform(source)["Resources"]
    added = {
        name: resource["Properties"]
        for name, resource in made.items()
        if resource["Type"].startswith("AWS::IAM::") and name not in template()["Resources"]
    }
    for name, role in added.items():
        [trust] = role["AssumeRolePolicyDocument"]["Statement"]
        assert trust["Principal"] == {"Service": ["scheduler.amazonaws.com"]}, name
        assert not role.get("ManagedPolicyArns")
        [policy] = role["Policies"]
        [statement] = policy["PolicyDocument"]["Statement"]
        assert statement["Action"] == "lambda:InvokeFunction"
        invoked = permissions.resource_name(statement["Resource"])
        assert invoked in FUNCTIONS
        assert name.startswith(invoked)
