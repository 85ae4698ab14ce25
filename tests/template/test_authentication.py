"""Tests each way in: its parameter, its authentication, and its limits."""

from fnmatch import fnmatchcase
from typing import Any

import pytest
from samtranslator.yaml_helper import yaml_parse

from smsrelay.messages.client_names import PATTERN
from tests.support.template import ROOT, properties, template
from tools.local_stack import build

WAYS = {
    "IamAccess": ("IsIamAccessOn", {"IamFunction"}),
    "Webhooks": ("AreWebhooksOn", {"WebhookFunction", "WebhookRole"}),
}


@pytest.mark.parametrize("parameter", WAYS)
def test_a_way_that_is_off_has_no_resources(parameter: str) -> None:
    condition, expected = WAYS[parameter]
    assert template()["Conditions"][condition] == {"Fn::Equals": [{"Ref": parameter}, "on"]}
    resources = template()["Resources"]
    assert expected == {
        name for name, resource in resources.items() if resource.get("Condition") == condition
    }


def test_by_default_only_api_keys_have_access() -> None:
    defaults = {way: template()["Parameters"][way]["Default"] for way in WAYS}
    assert defaults == {"IamAccess": "off", "Webhooks": "off"}


@pytest.fixture(scope="module")
def resources() -> Any:
    source = yaml_parse((ROOT / "template.yaml").read_text())
    for resource in source["Resources"].values():
        for code in build.CODE_PROPERTIES:
            if code in resource.get("Properties", {}):
                resource["Properties"][code] = "s3://bucket/key"
    return build.transform(source)["Resources"]


@pytest.fixture(scope="module")
def transformed(resources: Any) -> Any:
    return resources["Api"]["Properties"]["Body"]


def test_only_the_command_creates_api_keys_and_usage_plans(resources: Any) -> None:
    made = {resource["Type"] for resource in resources.values()}
    assert not {kind for kind in made if "ApiKey" in kind or "UsagePlan" in kind}
    parameters = {"ApiKeys", "RateLimit", "BurstLimit", "DailyQuota"}
    assert not parameters & template()["Parameters"].keys()


@pytest.mark.parametrize(
    ("path", "verb", "condition", "security"),
    [
        ("/messages", "post", None, [{"api_key": []}]),
        ("/messages/preview", "post", None, [{"api_key": []}]),
        ("/messages", "get", None, [{"api_key": []}]),
        ("/messages/{id}", "get", None, [{"api_key": []}]),
        ("/messages/{id}", "delete", None, [{"api_key": []}]),
        ("/tokens/{tokenId}", "get", None, [{"api_key": []}]),
        ("/iam/messages", "post", "IsIamAccessOn", [{"AWS_IAM": []}]),
        ("/iam/messages/preview", "post", "IsIamAccessOn", [{"AWS_IAM": []}]),
        ("/iam/messages", "get", "IsIamAccessOn", [{"AWS_IAM": []}]),
        ("/iam/messages/{id}", "get", "IsIamAccessOn", [{"AWS_IAM": []}]),
        ("/iam/messages/{id}", "delete", "IsIamAccessOn", [{"AWS_IAM": []}]),
        ("/iam/tokens/{tokenId}", "get", "IsIamAccessOn", [{"AWS_IAM": []}]),
        ("/webhooks/{client}", "post", "AreWebhooksOn", []),
    ],
)
def test_the_gateway_requires_the_authentication_of_each_way(
    transformed: Any, path: str, verb: str, condition: str | None, security: list[Any]
) -> None:
    item = transformed["paths"][path]
    if condition:
        assert item["Fn::If"][0] == condition
        item = item["Fn::If"][1]
        item = {verb: item[verb]["Fn::If"][1]}
    operation = item[verb]
    assert operation["security"] == security
    # The function is invoked with the gateway's permission, not with the caller's.
    assert "credentials" not in operation["x-amazon-apigateway-integration"]


def test_only_the_api_of_the_stack_may_invoke_a_function(resources: Any) -> None:
    permissions = [
        resource["Properties"]
        for resource in resources.values()
        if resource["Type"] == "AWS::Lambda::Permission"
    ]
    assert permissions
    for permission in permissions:
        assert permission["Action"] == "lambda:InvokeFunction"
        assert permission["Principal"] == "apigateway.amazonaws.com"
        source, names = permission["SourceArn"]["Fn::Sub"]
        assert ":${AWS::AccountId}:${__ApiId__}/" in source
        assert names["__ApiId__"] == {"Ref": "Api"}


def test_no_resource_policy_allows_iam_principals() -> None:
    """With an Allow for everybody, a principal would need no policy of its own."""
    [allow] = [
        statement
        for statement in properties("Api")["Policy"]["Statement"]
        if statement.get("Effect") == "Allow"
    ]
    for event in properties("IamFunction")["Events"].values():
        invoked = "execute-api:/prod/{Method}{Path}".format_map(event["Properties"])
        assert not [allowed for allowed in allow["Resource"] if fnmatchcase(invoked, allowed)]
    routes = {
        "execute-api:/*/{Method}{Path}".format_map(event["Properties"])
        for function in template()["Resources"].values()
        for event in function["Properties"].get("Events", {}).values()
        if event["Type"] == "Api" and not event["Properties"]["Path"].startswith("/iam/")
    }
    assert {route.partition("{")[0] + "*" if "{" in route else route for route in routes} == set(
        allow["Resource"]
    )


def test_callers_without_a_usage_plan_have_other_limits() -> None:
    for name in ("IamFunction", "WebhookFunction"):
        variables = properties(name)["Environment"]["Variables"]
        assert variables["CLIENT_RECIPIENTS_PER_MINUTE"] == {"Ref": "ClientRecipientsPerMinute"}
    assert template()["Parameters"]["ClientRecipientsPerMinute"]["Default"] > 0
    throttled = [
        entry["Fn::If"][1]
        for entry in properties("Api")["MethodSettings"]
        if entry.get("Fn::If", [None])[0] == "AreWebhooksOn"
    ]
    assert throttled == [
        {
            "HttpMethod": "POST",
            "ResourcePath": "/~1webhooks~1{client}",
            "ThrottlingRateLimit": 50,
            "ThrottlingBurstLimit": 100,
        }
    ]


def test_a_route_without_authentication_is_limited() -> None:
    """The function checks the signature, so the gateway lets all requests through."""
    open_routes = {
        (event["Properties"]["Method"], f"/{event['Properties']['Path'].replace('/', '~1')}")
        for resource in template()["Resources"].values()
        for event in resource["Properties"].get("Events", {}).values()
        if event["Properties"].get("Auth") == {"ApiKeyRequired": False}
    }
    entries = (
        entry["Fn::If"][1] if "Fn::If" in entry else entry
        for entry in properties("Api")["MethodSettings"]
    )
    limited = {
        (entry["HttpMethod"], entry["ResourcePath"])
        for entry in entries
        if entry["ThrottlingRateLimit"] and entry["ThrottlingBurstLimit"]
    }
    searches = {("GET", "/~1messages"), ("GET", "/~1iam~1messages")}
    assert limited == open_routes | searches


def test_the_routes_under_iam_are_those_that_need_an_api_key() -> None:
    with_key, under_iam = (
        {
            (event["Properties"]["Method"], event["Properties"]["Path"])
            for event in properties(function)["Events"].values()
            if event["Properties"].get("Auth") != {"ApiKeyRequired": False}
        }
        for function in ("ApiFunction", "IamFunction")
    )
    assert under_iam == {(method, f"/iam{path}") for method, path in with_key}
    assert ("GET", "/messages") in with_key


def test_a_search_is_limited_as_soon_as_its_route_exists() -> None:
    limits = {"ThrottlingRateLimit": 50, "ThrottlingBurstLimit": 100}
    settings = properties("Api")["MethodSettings"]
    assert {"HttpMethod": "GET", "ResourcePath": "/~1messages", **limits} in settings
    under_iam = {"HttpMethod": "GET", "ResourcePath": "/~1iam~1messages", **limits}
    assert {"Fn::If": ["IsIamAccessOn", under_iam, {"Ref": "AWS::NoValue"}]} in settings


def test_only_the_function_for_webhooks_reads_their_secrets() -> None:
    readers = {
        name
        for name, resource in template()["Resources"].items()
        if resource["Type"] == "AWS::IAM::Role" and "/webhooks/" in str(resource)
    }
    assert readers == {"WebhookRole"}
    prefix = properties("WebhookFunction")["Environment"]["Variables"]["WEBHOOK_SECRET_PREFIX"]
    assert prefix == {"Fn::Sub": "${AWS::StackName}/webhooks/"}


def test_the_default_client_has_the_same_rule_for_names() -> None:
    assert template()["Parameters"]["DefaultClient"]["AllowedPattern"] == PATTERN
