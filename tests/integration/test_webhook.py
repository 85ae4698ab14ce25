"""Tests webhooks in process: the real function, with moto's secrets and ledger."""

import base64
import json
import os
import re
import time
from collections.abc import Iterator
from typing import Any
from unittest.mock import patch

import pytest
from botocore.exceptions import ClientError
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from smsrelay.adapters import signing_secrets
from smsrelay.wiring import api, webhook
from tests.support.environment import (
    Context,
    Environment,
    HttpAnswer,
    running,
)
from tests.support.signatures import signed_headers
from tests.support.template import ROOT
from tools.local_stack.signing_secrets import new_signing_secret
from tools.mobileconnect_simulator import Simulator

MESSAGE = {"message": "MzA6Nzg6MA", "to": ["+1 212 555 0100"], "text": "Grüße 👋"}
OTHER = MESSAGE | {"text": "Something else"}


def code(answer: HttpAnswer) -> tuple[int, str]:
    return int(answer.status), answer.body["code"]


class Clock:
    def __init__(self) -> None:
        self.ahead = 0.0

    def __call__(self) -> float:
        return time.time() + self.ahead


@pytest.fixture
def reads(relay: Environment) -> Iterator[list[str]]:
    """Record the reads of Secrets Manager, as the clients' names."""
    read: list[str] = []
    stored = webhook.parts().webhooks._secrets  # noqa: SLF001 - its calls are counted
    assert isinstance(stored, signing_secrets.StoredSigningSecrets)
    fetch = stored._client.get_secret_value  # noqa: SLF001 - same

    def noted(**parameters: Any) -> Any:
        read.append(parameters["SecretId"].rpartition("/")[2])
        return fetch(**parameters)

    assert relay.table
    with patch.object(stored._client, "get_secret_value", noted):  # noqa: SLF001 - same
        yield read


@pytest.fixture
def clock(relay: Environment) -> Iterator[Clock]:
    clock = Clock()
    assert relay.table
    stored: Any = webhook.parts().webhooks._secrets  # noqa: SLF001 - only the cache's clock
    with patch.object(stored, "_clock", clock):
        yield clock


def test_a_signed_webhook_is_sent_and_is_its_clients(
    relay: Environment, simulator: Simulator
) -> None:
    secret = relay.put_webhook_secret("shop")
    answer = relay.post_webhook("shop", secret, MESSAGE)
    assert answer.status == 202
    [sent] = simulator.sent()
    assert sent["body"]["messageText"] == MESSAGE["text"]
    [item] = relay.items()
    assert item["client"]["S"] == "shop"


def test_only_its_client_sees_a_webhooks_message(relay: Environment) -> None:
    secret = relay.put_webhook_secret("shop")
    posted = relay.post_webhook("shop", secret, MESSAGE).body
    relay.allow("shop", "arn:aws:iam::123456789012:role/Shop")
    relay.allow("spy", "arn:aws:iam::123456789012:role/Spy")
    session = "arn:aws:sts::123456789012:assumed-role/Shop/s1"
    token = posted["sends"][0]["tokenId"]
    for path in (f"/messages/{posted['id']}", f"/tokens/{token}"):
        assert relay.get(path, client="shop").status == 200
        assert relay.get(f"/iam{path}", client=session).status == 200
        assert relay.get(path, client="other").status == 404
        assert relay.get(f"/iam{path}", client=session.replace("Shop", "Spy")).status == 404


def test_a_principal_without_a_client_is_refused(relay: Environment, simulator: Simulator) -> None:
    caller = "arn:aws:iam::123456789012:user/bob"

    def post() -> tuple[int, str | None]:
        answer = relay.raw(
            "POST",
            "/iam/messages",
            headers={"Content-Type": "application/json"},
            body=json.dumps(MESSAGE),
            client=caller,
        )
        return answer["statusCode"], json.loads(answer["body"]).get("code")

    assert post() == (403, "client-not-registered")
    assert code(relay.get("/iam/messages/any", client=caller)) == (403, "client-not-registered")
    assert simulator.calls() == relay.items() == []
    relay.allow("shop", caller)
    assert post() == (202, None), "the principal must be valid at once"


def test_a_repeated_webhook_is_not_sent_again(relay: Environment, simulator: Simulator) -> None:
    secret = relay.put_webhook_secret("shop")
    first, second = (
        relay.post_webhook("shop", secret, MESSAGE, webhook_id="msg_1") for _ in range(2)
    )
    assert (second.status, second.body) == (first.status, first.body)
    assert second.headers["Idempotent-Replayed"] == "true"
    assert len(simulator.sent()) == 1


def test_an_id_with_another_body_is_refused(relay: Environment, simulator: Simulator) -> None:
    secret = relay.put_webhook_secret("shop")
    relay.post_webhook("shop", secret, MESSAGE, webhook_id="msg_1")
    answer = relay.post_webhook("shop", secret, OTHER, webhook_id="msg_1")
    assert code(answer) == (422, "idempotency-key-reused")
    assert len(simulator.sent()) == 1


def test_an_id_in_quotes_is_the_same_key(relay: Environment, simulator: Simulator) -> None:
    secret = relay.put_webhook_secret("shop")
    relay.allow("shop", "key-1")
    first = relay.post_webhook("shop", secret, MESSAGE, webhook_id='"msg_1"')
    for key in ("msg_1", '"msg_1"'):
        again = relay.post(MESSAGE, headers={"Idempotency-Key": key}, key_id="key-1")
        assert (again.status, again.body) == (202, first.body)
    assert len(simulator.sent()) == 1
    answer = relay.post_webhook("shop", secret, MESSAGE, webhook_id='""')
    assert code(answer) == (400, "invalid-header")


def test_an_unsigned_key_does_not_replace_the_id(relay: Environment, simulator: Simulator) -> None:
    secret = relay.put_webhook_secret("shop")
    for key in ("one", "two"):
        relay.post_webhook(
            "shop", secret, MESSAGE, webhook_id="msg_1", headers={"Idempotency-Key": key}
        )
    assert len(simulator.sent()) == 1


def test_all_missing_parts_get_the_same_response(relay: Environment, simulator: Simulator) -> None:
    secret = relay.put_webhook_secret("shop")
    relay.put_webhook_secret("broken", current="no secret")
    wrong = new_signing_secret()
    good = signed_headers(secret, json.dumps(MESSAGE), "msg_1")
    old = signed_headers(secret, json.dumps(MESSAGE), "msg_1", time.time() - 400)
    answers = [
        relay.post_webhook("shop", wrong, MESSAGE),
        relay.post_webhook("nobody", secret, MESSAGE),
        relay.post_webhook("Not a name%2F..", secret, MESSAGE),
        relay.post_webhook("broken", secret, MESSAGE),
        relay.post_webhook("shop", secret, MESSAGE, headers=old),
        relay.post_webhook("shop", secret, OTHER, headers=good),
        relay.post_webhook("shop", secret, MESSAGE, headers={"webhook-signature": "rubbish"}),
    ]
    assert {code(answer) for answer in answers} == {(401, "not-signed")}
    assert len({json.dumps(answer.body) for answer in answers}) == 1
    assert simulator.calls() == []
    assert relay.items() == []


def test_one_clients_secret_does_not_sign_for_another(relay: Environment) -> None:
    secret = relay.put_webhook_secret("shop")
    relay.put_webhook_secret("other")
    assert relay.post_webhook("other", secret, MESSAGE).status == 401


def test_a_new_secret_is_valid_at_once_beside_the_old_one(
    relay: Environment, clock: Clock, reads: list[str]
) -> None:
    old = relay.put_webhook_secret("shop")
    assert relay.post_webhook("shop", old, MESSAGE).status == 202
    clock.ahead += signing_secrets.MIN_REFRESH_INTERVAL
    new = new_signing_secret()
    relay.put_webhook_secret("shop", current=new, previous=old)
    assert relay.post_webhook("shop", new, MESSAGE).status == 202
    assert relay.post_webhook("shop", old, MESSAGE).status == 202
    assert reads == ["shop", "shop"]


def test_a_secret_that_was_replaced_twice_is_soon_refused(relay: Environment, clock: Clock) -> None:
    old = relay.put_webhook_secret("shop")
    assert relay.post_webhook("shop", old, MESSAGE).status == 202
    relay.put_webhook_secret("shop")
    clock.ahead += signing_secrets.CACHE_SECONDS
    assert relay.post_webhook("shop", old, MESSAGE).status == 401


@pytest.mark.parametrize("client", ["shop", "nobody"])
def test_a_flood_of_bad_signatures_costs_few_reads(
    relay: Environment, clock: Clock, reads: list[str], client: str
) -> None:
    relay.put_webhook_secret("shop")
    for _ in range(20):
        assert relay.post_webhook(client, new_signing_secret(), MESSAGE).status == 401
    assert reads == [client]
    clock.ahead += signing_secrets.MIN_REFRESH_INTERVAL
    for _ in range(20):
        relay.post_webhook(client, new_signing_secret(), MESSAGE)
    assert reads == [client, client]


def test_the_cache_of_unknown_names_is_bounded(relay: Environment) -> None:
    with patch.object(signing_secrets, "CACHE_SIZE", 3):
        for n in range(5):
            relay.post_webhook(f"nobody-{n}", new_signing_secret(), MESSAGE)
    stored: Any = webhook.parts().webhooks._secrets  # noqa: SLF001 - the cache is private
    assert list(stored._cache) == ["nobody-2", "nobody-3", "nobody-4"]  # noqa: SLF001 - same


def test_during_an_outage_of_the_secrets_cached_ones_stay_valid(
    relay: Environment, clock: Clock, reads: list[str]
) -> None:
    secret = relay.put_webhook_secret("shop")
    relay.put_webhook_secret("other")
    assert relay.post_webhook("shop", secret, MESSAGE).status == 202
    clock.ahead += signing_secrets.CACHE_SECONDS
    stored: Any = webhook.parts().webhooks._secrets  # noqa: SLF001 - only the relay's store fails
    error = ClientError(
        {"Error": {"Code": "InternalServiceError", "Message": ""}}, "GetSecretValue"
    )
    with patch.object(stored._client, "get_secret_value", side_effect=error):  # noqa: SLF001 - same
        assert relay.post_webhook("shop", secret, MESSAGE).status == 202
        assert relay.post_webhook("shop", new_signing_secret(), MESSAGE).status == 401
        assert code(relay.post_webhook("other", secret, MESSAGE)) == (503, "not-stored")
    assert reads == ["shop"]


def test_the_signature_is_over_the_bytes_even_if_the_gateway_encodes_them(
    relay: Environment, simulator: Simulator
) -> None:
    secret = relay.put_webhook_secret("shop")
    text = json.dumps(MESSAGE, ensure_ascii=False, indent=3)
    signed = {name.title(): value for name, value in signed_headers(secret, text, "msg_1").items()}
    event = relay.endpoint.event(
        "POST",
        "/webhooks/shop",
        headers={"content-type": "application/json", **signed},
        body=base64.b64encode(text.encode()).decode(),
    ) | {"isBase64Encoded": True}
    assert relay.webhook.handler(event, Context())["statusCode"] == 202
    assert len(simulator.sent()) == 1
    for body in ("!", "AAAA", base64.b64encode(text.encode()).decode()[:-4]):
        assert relay.webhook.handler(event | {"body": body}, Context())["statusCode"] == 401
    assert relay.webhook.handler(event | {"isBase64Encoded": False}, Context())["statusCode"] == 401


def test_an_invalid_message_is_refused(relay: Environment) -> None:
    secret = relay.put_webhook_secret("shop")
    assert code(relay.post_webhook("shop", secret, "{")) == (400, "not-json")
    assert code(relay.post_webhook("shop", secret, {"to": []})) == (422, "invalid-request")
    answer = relay.post_webhook("shop", secret, MESSAGE, headers={"Content-Type": "text/plain"})
    assert code(answer) == (415, "wrong-content-type")


def test_each_client_has_its_own_limit_and_only_signed_webhooks_count(
    aws: None, simulator: Simulator
) -> None:
    _ = aws
    with (
        running(simulator.url, CLIENT_RECIPIENTS_PER_MINUTE="3") as relay,
        patch.object(api.parts().api._rate_limit, "_clock", lambda: 1_791_230_460.0),  # noqa: SLF001 - a fixed clock,
    ):
        secret, other = relay.put_webhook_secret("shop"), relay.put_webhook_secret("other")
        for _ in range(5):
            relay.post_webhook("shop", new_signing_secret(), MESSAGE)
        several = MESSAGE | {"to": [f"+1 212 555 010{n}" for n in range(4)]}
        two, four = several | {"to": several["to"][:2]}, several
        for _ in range(2):
            assert code(relay.post_webhook("shop", secret, two | {"text": " "}))[0] == 422
        first = relay.post_webhook("shop", secret, two, webhook_id="msg_1")
        assert first.status == 202
        repeated = relay.post_webhook("shop", secret, two, webhook_id="msg_1")
        assert (repeated.status, repeated.body) == (202, first.body), "the message was sent"
        answer = relay.post_webhook("shop", secret, two)
        assert code(answer) == (429, "over-limit")
        assert answer.headers["Retry-After"] == "60"
        assert relay.post_webhook("shop", secret, MESSAGE).status == 202, "the third recipient"
        assert code(relay.post_webhook("shop", secret, MESSAGE)) == (429, "over-limit")
        assert relay.post_webhook("other", other, MESSAGE).status == 202
        answer = relay.post_webhook("other", other, four)
        assert [error["code"] for error in answer.body["errors"]] == ["too-many-recipients"]
        assert len(simulator.sent()) == 3
        counted = [it for it in relay.items() if it["pk"]["S"].startswith("LIMIT#")]
        assert {it["deleteAt"]["N"] for it in counted} == {str(1_791_230_460 + 3_600)}


def test_repeated_requests_and_reused_keys_do_not_count(aws: None, simulator: Simulator) -> None:
    _ = aws
    with (
        running(simulator.url, CLIENT_RECIPIENTS_PER_MINUTE="4") as relay,
        patch.object(api.parts().api._rate_limit, "_clock", lambda: 1_791_230_460.0),  # noqa: SLF001 - a fixed clock,
    ):
        secret = relay.put_webhook_secret("shop")
        two = MESSAGE | {"to": ["+1 212 555 0100", "+1 212 555 0101"]}
        first, again = (
            relay.post_webhook("shop", secret, two, webhook_id="msg_1") for _ in range(2)
        )
        assert (again.status, again.body) == (202, first.body)
        reused = relay.post_webhook("shop", secret, two | {"text": "x"}, webhook_id="msg_1")
        assert code(reused) == (422, "idempotency-key-reused")
        assert relay.post_webhook("shop", secret, two).status == 202, "recipients three and four"
        assert code(relay.post_webhook("shop", secret, MESSAGE)) == (429, "over-limit")
        assert len(simulator.sent()) == 2


def test_a_principal_has_the_same_limit_and_a_key_has_its_usage_plan(
    aws: None, simulator: Simulator
) -> None:
    _ = aws
    with (
        running(simulator.url, CLIENT_RECIPIENTS_PER_MINUTE="1") as relay,
        patch.object(api.parts().api._rate_limit, "_clock", lambda: 1_791_230_460.0),  # noqa: SLF001 - a fixed clock,
    ):
        relay.allow("shop", "arn:aws:iam::123456789012:role/Shop")
        given: dict[str, Any] = {
            "headers": {"Content-Type": "application/json"},
            "body": json.dumps(MESSAGE),
            "client": "arn:aws:sts::123456789012:assumed-role/Shop/s",
        }
        answers = [relay.raw("POST", "/iam/messages", **given) for _ in range(2)]
        assert [answer["statusCode"] for answer in answers] == [202, 429]
        assert [relay.post(MESSAGE).status for _ in range(2)] == [202, 202]
        sends = [item for item in relay.items() if item["pk"]["S"].startswith("MSG#")]
        clients = [item["client"]["S"] for item in sends]
        assert clients.count("shop") == 1


def test_a_key_keeps_its_clients_messages_when_it_is_rotated(
    relay: Environment, simulator: Simulator
) -> None:
    relay.allow("shop", "key-1")
    relay.allow("shop", "key-2")
    headers = {"Idempotency-Key": "order-8812"}
    first = relay.post(MESSAGE, headers=headers, key_id="key-1")
    again = relay.post(MESSAGE, headers=headers, key_id="key-2")
    assert again.body == first.body
    assert again.headers["Idempotent-Replayed"] == "true"
    assert len(simulator.sent()) == 1
    assert relay.get(f"/messages/{first.body['id']}", key_id="key-2").status == 200


def test_while_the_client_of_a_key_is_unknown_nothing_is_sent(
    relay: Environment, simulator: Simulator
) -> None:
    relay.client("dynamodb").delete_table(TableName=relay.table)
    assert code(relay.post(MESSAGE)) == (503, "not-stored")
    assert code(relay.get("/messages/any")) == (503, "not-read")
    assert simulator.calls() == []


@pytest.fixture(scope="module")
def fuzzed(aws: None, session_simulator: Simulator) -> Iterator[Environment]:
    _ = aws
    session_simulator.reset()
    with running(session_simulator.url) as environment:
        yield environment


@given(
    headers=st.dictionaries(
        st.sampled_from(["webhook-id", "Webhook-Timestamp", "webhook-signature", "x"]), st.text()
    ),
    body=st.none() | st.text(),
    client=st.text(),
    encoded=st.booleans(),
)
@settings(max_examples=200, deadline=None, suppress_health_check=list(HealthCheck))
def test_every_unsigned_request_is_refused_without_an_exception(
    fuzzed: Environment, headers: dict[str, str], body: str | None, client: str, encoded: bool
) -> None:
    event = fuzzed.endpoint.event("POST", "/webhooks/shop", headers=headers, body=body)
    event |= {"pathParameters": {"client": client}, "isBase64Encoded": encoded}
    assert os.environ["WEBHOOK_SECRET_PREFIX"]
    assert fuzzed.webhook.handler(event, Context())["statusCode"] == 401


PAYLOAD = {"type": "order.shipped", "timestamp": "2030-01-15T21:01:00Z", "data": MESSAGE}


def test_the_data_of_a_standard_webhooks_payload_is_the_message(
    relay: Environment, simulator: Simulator
) -> None:
    secret = relay.put_webhook_secret("shop")
    answer = relay.post_webhook("shop", secret, PAYLOAD, webhook_id="msg_1")
    assert answer.status == 202
    [sent] = simulator.sent()
    assert sent["body"]["messageText"] == MESSAGE["text"]
    later = PAYLOAD | {"timestamp": "2030-01-15T21:02:00Z"}
    again = relay.post_webhook("shop", secret, later, webhook_id="msg_1")
    assert again.body == answer.body, "a later timestamp must not make it another message"
    assert len(simulator.sent()) == 1
    other = relay.post_webhook("shop", secret, PAYLOAD | {"data": OTHER}, webhook_id="msg_1")
    assert code(other) == (422, "idempotency-key-reused")


@pytest.mark.parametrize(
    ("body", "errors"),
    [
        (PAYLOAD | {"data": MESSAGE | {"to": []}}, [("/to", "no-recipients")]),
        (PAYLOAD | {"data": "text"}, [("", "wrong-type")]),
        (
            MESSAGE | {"type": "a", "data": 1},
            [("/type", "unknown-field"), ("/data", "unknown-field")],
        ),
    ],
)
def test_pointers_start_at_the_message(
    relay: Environment, body: dict[str, Any], errors: list[tuple[str, str]]
) -> None:
    refused = relay.post_webhook("shop", relay.put_webhook_secret("shop"), body)
    assert code(refused) == (422, "invalid-request")
    assert sorted((one["pointer"], one["code"]) for one in refused.body["errors"]) == sorted(errors)


def test_a_payload_with_two_messages_is_refused(relay: Environment) -> None:
    secret = relay.put_webhook_secret("shop")
    twice = json.dumps(PAYLOAD)[:-1] + f', "data": {json.dumps(OTHER)}}}'
    answer = relay.post_webhook("shop", secret, twice)
    assert [(it["pointer"], it["code"]) for it in answer.body["errors"]] == [
        ("/data", "duplicate-field")
    ]


def test_a_duplicate_member_in_the_data_is_refused_with_its_pointer(relay: Environment) -> None:
    body = json.dumps(PAYLOAD).replace('"text":', '"text": "a", "text":')
    refused = relay.post_webhook("shop", relay.put_webhook_secret("shop"), body)
    assert [(one["pointer"], one["code"]) for one in refused.body["errors"]] == [
        ("/text", "duplicate-field")
    ]


def test_only_a_webhook_is_unwrapped(relay: Environment) -> None:
    assert code(relay.post(PAYLOAD)) == (422, "invalid-request")


TICKET = {
    "ticket.id": "35436",
    "ticket.status": "Solved",
    "ticket.requester.phone": "+1 212 555 0100",
}
ISSUE = {
    "issue.key": "SP-53",
    "issue.key.asJsonString": '"SP-53"',
    "issue.status.name": "Done",
    "issue.summary.asJsonString": json.dumps('A "quoted" summary'),
    "issue.customfield_10042.asJsonString": '"+1 212 555 0100"',
}


@pytest.mark.parametrize(
    ("system", "values", "text"),
    [
        ("zendesk", TICKET, "Your ticket 35436 is now Solved."),
        ("jira", ISSUE, 'A "quoted" summary'),
    ],
)
def test_the_templates_for_other_systems_make_messages(
    relay: Environment, simulator: Simulator, system: str, values: dict[str, str], text: str
) -> None:
    page = (ROOT / "docs/webhooks.md").read_text()
    [template] = re.findall(rf"<!-- template: {system} -->\n```\n(.+?)```", page, re.DOTALL)
    body = re.sub(r"{{(.+?)}}", lambda name: values[name[1]], template)
    for _ in range(2):
        assert relay.post(body, client=system).status == 202
    [sent] = simulator.sent()
    assert sent["body"]["mobileNumbers"] == ["12125550100"]
    assert sent["body"]["messageText"] == text
