"""Tests the three ways in, and the commands that set them up, on the deployed stack.

MiniStack checks the signatures, and that the principal's policy allows execute-api:Invoke.
"""

import json
import os
import subprocess
from datetime import UTC, datetime
from typing import Any

import httpx
import pytest
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from standardwebhooks import Webhook

from smsrelay.sends.ids import message_id
from tests.support.doc_snippets import COMMANDS, SNIPPETS, Snippet
from tools.local_stack import ROOT, persistent_stack
from tools.local_stack.polling import wait_for
from tools.local_stack.simulator_client import SimulatorControl
from tools.local_stack.stack import STAGE, Stack

MESSAGE = {"message": "MzA6Nzg6MA", "to": ["+1 212 555 0100"], "text": "Grüße 👋"}


@pytest.fixture
def anybody(stack: Stack) -> Any:
    with httpx.Client(base_url=stack.api_url, trust_env=False, timeout=60) as client:
        yield client


def iam_user(stack: Stack, name: str) -> tuple[str, Credentials]:
    """Create a user without permissions; return its ARN and its access key."""
    arn = stack.clients.iam.create_user(UserName=name)["User"]["Arn"]
    key = stack.clients.iam.create_access_key(UserName=name)["AccessKey"]
    return arn, Credentials(key["AccessKeyId"], key["SecretAccessKey"])


def allow_to_call(stack: Stack, name: str) -> None:
    """Give a user the policy of the guide."""
    api = stack.api_url.split("/")[-2]
    called = f"arn:aws:execute-api:{stack.region}:000000000000:{api}/{STAGE}/*/iam/*"
    statement = {"Effect": "Allow", "Action": "execute-api:Invoke", "Resource": called}
    stack.clients.iam.put_user_policy(
        UserName=name,
        PolicyName="smsrelay",
        PolicyDocument=json.dumps({"Version": "2012-10-17", "Statement": [statement]}),
    )


def clients_of(stack: Stack, answer: httpx.Response) -> set[str]:
    """Return the clients in a message's records."""
    items = stack.clients.dynamodb.query(
        TableName=stack.table,
        KeyConditionExpression="pk = :pk",
        ExpressionAttributeValues={":pk": {"S": f"MSG#{answer.json()['id']}"}},
    )["Items"]
    assert items
    return {item["client"]["S"] for item in items}


def route_in(stack: Stack, answer: httpx.Response) -> str:
    """Return the route in the response's Location."""
    url = str(answer.url.join(answer.headers["Location"]))
    assert url.startswith(f"{stack.api_url}/")
    return url.removeprefix(stack.api_url)


def test_the_stacks_own_key_is_the_default_clients(
    stack: Stack, upstream: SimulatorControl, operator: Any, anybody: httpx.Client
) -> None:
    [row] = [row for row in operator.run("list") if row["client"] == "internal"]
    assert (row["rate"], row["burst"], len(row["keys"])) == (1000.0, 2000, 1)
    stack.clients.sqs.send_message(
        QueueUrl=stack.queue_url,
        MessageBody=json.dumps(MESSAGE | {"idempotencyKey": "without-a-client"}),
    )
    wait_for(upstream.sent, what="the message from the queue", seconds=90)
    path = f"/messages/{message_id('', 'without-a-client')}"
    assert anybody.get(path, headers={"x-api-key": stack.api_key}).status_code == 200


def test_a_client_with_its_own_key_has_its_own_limits(
    stack: Stack, upstream: SimulatorControl, operator: Any, anybody: httpx.Client
) -> None:
    made = operator.run("add", "billing", "--rate", "1", "--burst", "3", "--quota", "100", "--show")
    key = {"x-api-key": made["key"]}
    answer = anybody.post("/messages", json=MESSAGE, headers=key)
    assert answer.status_code == 202, answer.text
    assert clients_of(stack, answer) == {"billing"}
    second = operator.run("rotate", "billing", "--show")
    path = f"/messages/{answer.json()['id']}"
    assert anybody.get(path, headers={"x-api-key": second["key"]}).status_code == 200
    assert anybody.get(path, headers={"x-api-key": stack.api_key}).status_code == 404
    codes = [anybody.get(path, headers=key).status_code for _ in range(8)]
    assert 429 in codes
    assert anybody.get(path, headers={"x-api-key": stack.api_key}).status_code == 404
    operator.run("set", "billing", "--quota", "200")
    operator.run("drop", "billing", made["keyId"], "--yes")
    assert anybody.get(path, headers=key).status_code == 403
    [row] = [row for row in operator.run("list") if row["client"] == "billing"]
    assert (row["rate"], row["burst"], row["quota"]) == (1.0, 3, 200)
    assert row["keys"] == [second["keyId"]]
    assert len(upstream.sent()) == 1


def test_a_key_from_elsewhere_has_access_after_it_is_allowed(
    stack: Stack, upstream: SimulatorControl, operator: Any, anybody: httpx.Client
) -> None:
    gateway = stack.clients.apigateway
    *_, api_id, stage = stack.api_url.split("/")
    made = gateway.create_api_key(name="made elsewhere", enabled=True)
    plan = gateway.create_usage_plan(
        name="made elsewhere", apiStages=[{"apiId": api_id, "stage": stage}]
    )
    gateway.create_usage_plan_key(usagePlanId=plan["id"], keyId=made["id"], keyType="API_KEY")
    key = {"x-api-key": made["value"]}
    refused = anybody.post("/messages", json=MESSAGE, headers=key)
    assert (refused.status_code, refused.json()["code"]) == (403, "client-not-registered")
    assert refused.headers["Content-Type"] == "application/problem+json"
    operator.run("allow", "elsewhere", made["id"])
    answer = anybody.post("/messages", json=MESSAGE, headers=key)
    assert answer.status_code == 202, answer.text
    assert clients_of(stack, answer) == {"elsewhere"}
    assert len(upstream.sent()) == 1


def test_each_client_has_its_own_quota(
    upstream: SimulatorControl, operator: Any, anybody: httpx.Client
) -> None:
    made = operator.run("add", "tiny", "--quota", "2", "--show")
    key = {"x-api-key": made["key"]}
    answers = [anybody.post("/messages", json=MESSAGE, headers=key) for _ in range(3)]
    assert [answer.status_code for answer in answers] == [202, 202, 429]
    assert answers[2].json()["code"] == "quota-exceeded"
    assert len(upstream.sent()) == 2


def test_a_removed_client_has_no_key_and_no_plan(
    stack: Stack, operator: Any, anybody: httpx.Client
) -> None:
    made = operator.run("add", "leaver", "--show")
    secret = operator.run("webhook", "leaver")["secretName"]
    removed = operator.run("remove", "leaver", "--yes")["removed"]
    assert [it["kind"] for it in removed] == ["webhook secret", "API key", "usage plan"]
    answer = anybody.post("/messages", json=MESSAGE, headers={"x-api-key": made["key"]})
    assert (answer.status_code, answer.json()["code"]) == (403, "api-key-required")
    assert "leaver" not in {row["client"] for row in operator.run("list")}
    store = stack.clients.secretsmanager
    with pytest.raises(store.exceptions.ResourceNotFoundException):
        store.get_secret_value(SecretId=secret)
    assert operator.run("add", "leaver")["client"] == "leaver"
    assert operator.run("webhook", "leaver")["secretName"] == secret


def test_an_iam_principal_belongs_to_its_client(
    stack: Stack, upstream: SimulatorControl, operator: Any, anybody: httpx.Client
) -> None:
    user, credentials = iam_user(stack, "shop-server")
    false = Credentials(credentials.access_key, "no-such-secret")

    def signed(
        method: str, path: str, body: str = "", credentials: Credentials = credentials
    ) -> httpx.Response:
        request = AWSRequest(
            method, f"{stack.api_url}{path}", {"Content-Type": "application/json"}, body.encode()
        )
        SigV4Auth(credentials, "execute-api", stack.region).add_auth(request)
        return anybody.request(method, path, headers=dict(request.headers), content=body.encode())

    assert signed("POST", "/iam/messages", json.dumps(MESSAGE)).status_code == 403, "no policy"
    allow_to_call(stack, "shop-server")
    assert signed("POST", "/iam/messages", json.dumps(MESSAGE), false).status_code == 403
    refused = signed("POST", "/iam/messages", json.dumps(MESSAGE))
    assert (refused.status_code, refused.json()["code"]) == (403, "client-not-registered")
    operator.run("allow", "web-shop", user)
    answer = signed("POST", "/iam/messages", json.dumps(MESSAGE | {"reference": "order-8812"}))
    assert answer.status_code == 202, answer.text
    assert clients_of(stack, answer) == {"web-shop"}
    path = f"/messages/{answer.json()['id']}"
    assert route_in(stack, answer) == f"/iam{path}"
    assert signed("GET", f"/iam{path}").status_code == 200
    assert anybody.get(path, headers={"x-api-key": stack.api_key}).status_code == 404
    search = "/messages?reference=order-8812"
    [found] = signed("GET", f"/iam{search}").json()["messages"]
    assert found["id"] == answer.json()["id"]
    by_key = anybody.get(search, headers={"x-api-key": stack.api_key}).json()["messages"]
    assert found["id"] not in {message["id"] for message in by_key}
    unsigned = anybody.post("/iam/messages", json=MESSAGE)
    assert (unsigned.status_code, unsigned.json()["code"]) == (404, "not-found")
    keyed = anybody.post("/iam/messages", json=MESSAGE, headers={"x-api-key": stack.api_key})
    assert keyed.status_code == 404
    assert len(upstream.sent()) == 1


def test_a_webhook_belongs_to_its_signer(
    stack: Stack, upstream: SimulatorControl, operator: Any, anybody: httpx.Client
) -> None:
    body = json.dumps(MESSAGE, ensure_ascii=False)

    def post(secret: str, webhook_id: str) -> httpx.Response:
        now = datetime.now(UTC)
        headers = {
            "Content-Type": "application/json",
            "webhook-id": webhook_id,
            "webhook-timestamp": str(int(now.timestamp())),
            "webhook-signature": Webhook(secret).sign(webhook_id, now, body),
        }
        return anybody.post("/webhooks/crm", content=body.encode(), headers=headers)

    first = operator.run("webhook", "crm", "--show")["secret"]
    answer = post(first, "msg_1")
    assert answer.status_code == 202, answer.text
    assert clients_of(stack, answer) == {"crm"}
    key = {"x-api-key": operator.run("add", "crm", "--show")["key"]}
    assert anybody.get(route_in(stack, answer), headers=key).json()["id"] == answer.json()["id"]
    again = post(first, "msg_1")
    assert (again.json(), again.headers["Idempotent-Replayed"]) == (answer.json(), "true")
    second = operator.run("webhook", "crm", "--show")["secret"]
    assert first != second
    assert post(first, "msg_2").status_code == 202, "the previous secret must still be valid"
    unknown = post(operator.run("webhook", "other", "--show")["secret"], "msg_3")
    assert (unknown.status_code, unknown.json()["code"]) == (401, "not-signed")
    assert unknown.headers["Content-Type"] == "application/problem+json"
    assert anybody.post("/webhooks/crm", json=MESSAGE).status_code == 401
    assert len(upstream.sent()) == 2


def test_the_guide_has_a_snippet_for_each_way_and_language() -> None:
    runs = {(snippet.way, snippet.language) for snippet in SNIPPETS}
    ways = {(way, language) for way in ("key", "iam", "webhook") for language in COMMANDS}
    assert runs == ways - {("iam", "ts"), ("webhook", "ts")}


@pytest.fixture(scope="module")
def guided(stack: Stack) -> dict[str, str]:
    """The variables that `make env` exports, and those that the pages set."""
    return {
        "PATH": os.environ["PATH"],
        "PYTHONPATH": str(ROOT / "layers/smsrelay"),
        **persistent_stack.environment(stack.published()),
    }


@pytest.mark.parametrize("snippet", SNIPPETS, ids=str)
def test_the_snippets_of_the_guide_work_unchanged(
    stack: Stack,
    upstream: SimulatorControl,
    guided: dict[str, str],
    snippet: Snippet,
) -> None:
    snippet.skip_unless_installed()
    ended = [snippet.run(guided) for _ in range(2)]
    assert [it.returncode for it in ended] == [0, 0], ended
    first, again = (json.loads(it.stdout) for it in ended)
    assert first["status"] == "accepted"
    assert again == first, "the same key and body must get the stored result"
    client = stack.default_client if snippet.way == "key" else "shop"
    assert clients_of(stack, httpx.Response(202, text=ended[0].stdout)) == {client}
    assert len(upstream.sent()) == 1


def test_the_readmes_commands_post_to_the_local_stack_and_find_the_message(
    guided: dict[str, str], upstream: SimulatorControl
) -> None:
    section = (ROOT / "README.md").read_text().partition("\n## Post a message\n")[2]
    exported, post, queue, _, *reads = (
        section.partition("```sh\n")[2].partition("```")[0].split("\n\n")
    )

    def run(commands: str, **variables: str) -> str:
        return subprocess.run(  # noqa: S603 - our own page
            [*COMMANDS["sh"], commands],
            env=guided | variables,
            capture_output=True,
            text=True,
            check=True,
        ).stdout

    assert exported.startswith('eval "$(make -s env)" ')
    posted = json.loads(run(post).splitlines()[-1])
    assert "MessageId" in run(queue)
    wait_for(lambda: len(upstream.sent()) == 2, what="the message from the queue", seconds=60)
    found = run("\n".join(reads), ID=posted["id"], TOKEN_ID=posted["sends"][0]["tokenId"])
    assert found.count(posted["id"]) == 4
