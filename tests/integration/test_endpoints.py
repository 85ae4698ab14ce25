"""Tests routes, Location and Link at the default endpoint and at custom domains."""

import json
from typing import Any
from urllib.parse import quote, urlsplit

import pytest

from tests.support.environment import CLIENT, Context, Environment
from tests.support.gateway_events import ENDPOINTS, RECORDED, Endpoint
from tests.support.template import ROOT
from tools.mobileconnect_simulator import Simulator

MESSAGE = {"message": "MzA6Nzg6MA", "to": ["+12125550100"], "text": "Hello", "reference": "r"}
CALLER = "arn:aws:iam::123456789012:user/shop-server"
EVENTS = json.loads(RECORDED.read_text())


@pytest.mark.parametrize("recorded", EVENTS, ids=lambda it: it["url"])
def test_the_tests_build_events_as_aws_does(recorded: dict[str, Any]) -> None:
    url, expected = urlsplit(recorded["url"]), dict(recorded["event"])
    endpoint = Endpoint(url.netloc, recorded["base"])
    route = url.path.removeprefix(endpoint.base)
    event = endpoint.event("GET", route, resource=expected["resource"])
    context = event["requestContext"]
    expected_context = expected.pop("requestContext", {})
    for name in ("sourceIp", "userAgent"):
        del context["identity"][name]
    signer = expected_context.get("identity", {})
    context["identity"] = {name: signer.get(name) for name in context["identity"]}
    assert {name: event[name] for name in expected} == expected
    assert {name: context[name] for name in expected_context} == expected_context


@pytest.fixture(params=ENDPOINTS.values(), ids=list(ENDPOINTS))
def reached(request: pytest.FixtureRequest, relay: Environment) -> Environment:
    """The relay at one of the endpoints."""
    relay.endpoint = request.param
    return relay


@pytest.mark.parametrize(("prefix", "client"), [("", CLIENT), ("/iam", CALLER)])
def test_location_and_link_lead_to_the_message(
    reached: Environment, prefix: str, client: str
) -> None:
    reached.allow(CLIENT, CALLER)
    route, headers = f"{prefix}/messages", {"Content-Type": "application/json"}
    posted = reached.raw("POST", route, headers=headers, body=json.dumps(MESSAGE), client=client)
    [location], body = posted["multiValueHeaders"]["Location"], json.loads(posted["body"])
    message_id, token_id = body["id"], body["sends"][0]["tokenId"]
    address = f"{reached.endpoint.base}{prefix}/messages/{message_id}"
    assert location == address
    message = reached.get(reached.endpoint.route_of(location), client=client)
    assert (message.status, message.body["id"]) == (200, message_id)
    token = reached.get(f"{prefix}/tokens/{token_id}", client=client)
    assert token.headers["Link"] == f'<{address}>; rel="item"'
    [found] = reached.get(f"{prefix}/messages?reference=r", client=client).body["messages"]
    assert found["id"] == message_id


def test_a_webhooks_location_leads_its_client_to_the_message(reached: Environment) -> None:
    """No route accepts a signature to read a message, so it is the route for API keys."""
    secret = reached.put_webhook_secret(CLIENT)
    posted = reached.post_webhook(CLIENT, secret, MESSAGE)
    route = reached.endpoint.route_of(posted.headers["Location"])
    assert reached.get(route).body["id"] == posted.body["id"]


def test_problems_about_a_message_have_its_location(
    reached: Environment, simulator: Simulator
) -> None:
    simulator.fail("send", "400")
    posted = reached.post(MESSAGE)
    assert posted.status == 422
    route = reached.endpoint.route_of(posted.headers["Location"])
    assert reached.get(route).body["id"] == posted.body["id"]


def test_ids_are_decoded_once(reached: Environment) -> None:
    """API Gateway passes path parameters on without decoding them."""
    posted = reached.post(MESSAGE)
    token_id = "a/b+c=%2F ü"
    reached.change(tokenId=token_id)
    assert reached.get(f"/tokens/{quote(token_id, safe='')}").body["id"] == posted.body["id"]


@pytest.mark.parametrize("file", ["openapi.json", "docs"])
def test_the_documentation_is_served(reached: Environment, file: str) -> None:
    answer = reached.raw("GET", f"/{file}", headers={})
    assert answer["statusCode"] == 200
    [page] = (ROOT / "functions/api").glob(f"{file.partition('.')[0]}.*")
    assert answer["body"] == page.read_text()


@pytest.mark.parametrize(("ahead", "after"), [("", "/"), ("/", ""), ("/", "//")])
def test_extra_slashes_do_not_change_links(relay: Environment, ahead: str, after: str) -> None:
    """In a Location, `//messages/…` would mean the host `messages`."""
    relay.endpoint = ENDPOINTS["custom domain"]
    posted = relay.post(MESSAGE)
    event = relay.endpoint.event("GET", f"/tokens/{posted.body['sends'][0]['tokenId']}")
    event["requestContext"]["identity"]["apiKeyId"] = relay.key_of(CLIENT)
    event["requestContext"]["path"] = f"{ahead}{event['requestContext']['path']}{after}"
    answer = relay.api.handler(event, Context())
    assert answer["multiValueHeaders"]["Link"] == [f'<{posted.headers["Location"]}>; rel="item"']
