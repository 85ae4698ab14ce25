"""Checks template.yaml for the options and policies that docs/security.md promises."""

import json
import re
from pathlib import Path
from typing import Any

import pytest

from tests.support.template import ROOT, monitoring, properties, template
from tools.local_stack.servers import emulator_settings

PAGE = (ROOT / "docs/security.md").read_text()
KEY = {"Fn::GetAtt": ["Key", "Arn"]}
NOTHING = {"Ref": "AWS::NoValue"}
WITH_KEY = {"Fn::If": ["HasKey", KEY, NOTHING]}
TOPIC = "arn:aws:sns:us-east-1:123456789012:orders"
RULE = "arn:aws:events:us-east-1:123456789012:rule/reminders"
# ArnEquals allows no wildcards: the list has whole ARNs.
LISTED_SENDERS = {"ArnEquals": {"aws:SourceArn": {"Fn::Split": [",", {"Ref": "QueueSenderArns"}]}}}
# The property of the key in each kind of resource with data.
KEPT_IN = {
    "AWS::DynamoDB::Table": "SSESpecification",
    "AWS::Logs::LogGroup": "KmsKeyId",
    "AWS::SecretsManager::Secret": "KmsKeyId",
    "AWS::SQS::Queue": "KmsMasterKeyId",
}
# The fields of the access log: none identifies a caller, an address or a message.
LOGGED = {
    "requestId",
    "requestTimeEpoch",
    "httpMethod",
    "resourcePath",
    "status",
    "responseLatency",
    "integration.integrationStatus",
    "integration.latency",
    "identity.apiKeyId",
    "error.responseType",
    "tlsVersion",
}


def resources(kind: str) -> dict[str, dict[str, Any]]:
    return {
        name: resource["Properties"]
        for name, resource in template()["Resources"].items()
        if resource["Type"] == kind
    }


def of_sid(document: dict[str, Any], *, senders: bool = True) -> dict[str, dict[str, Any]]:
    """Return the statements of a policy, with or without an ARN in QueueSenderArns."""
    found = {}
    for statement in document["Statement"]:
        condition, listed, nothing = statement.get("Fn::If", ("HasQueueSenders", {}, NOTHING))
        assert (condition, nothing) == ("HasQueueSenders", NOTHING)
        if senders or not listed:
            found[(listed or statement)["Sid"]] = listed or statement
    return found


@pytest.mark.parametrize("kind", KEPT_IN)
def test_stored_data_is_encrypted_with_the_customers_key_if_there_is_one(kind: str) -> None:
    found = resources(kind)
    assert found
    for name, resource in found.items():
        key = resource[KEPT_IN[kind]]
        if kind == "AWS::DynamoDB::Table":
            condition, encryption, nothing = key["Fn::If"]
            assert encryption["SSEEnabled"] is True
            key = {"Fn::If": [condition, encryption["KMSMasterKeyId"], nothing]}
        assert key == WITH_KEY, name


def test_every_kind_of_resource_with_data_is_known() -> None:
    both = (*template()["Resources"].values(), *monitoring()["Resources"].values())
    kinds = {resource["Type"] for resource in both}
    stores = ("DynamoDB", "Logs::LogGroup", "SecretsManager", "SQS::Queue", "SNS", "S3", "Kinesis")
    keeping = {kind for kind in kinds if kind.startswith(tuple(f"AWS::{it}" for it in stores))}
    assert keeping - {"AWS::SQS::QueuePolicy"} == KEPT_IN.keys()


def test_a_key_that_is_disabled_stops_the_queues_within_five_minutes() -> None:
    for queue in resources("AWS::SQS::Queue").values():
        assert queue["KmsDataKeyReusePeriodSeconds"] == {"Fn::If": ["HasKey", 300, NOTHING]}


def test_the_key_rotates_and_allows_the_services_that_need_it() -> None:
    key = template()["Resources"]["Key"]
    assert key["Condition"] == "HasKey"
    assert key["Properties"]["EnableKeyRotation"] is True
    policy = of_sid(key["Properties"]["KeyPolicy"])
    assert policy.keys() == {"Account", "LogGroups", "Topics", "Rules"}
    account = {"AWS": {"Fn::Sub": "arn:${AWS::Partition}:iam::${AWS::AccountId}:root"}}
    assert policy["Account"]["Principal"] == account
    logs, topics, rules = policy["LogGroups"], policy["Topics"], policy["Rules"]
    assert logs["Principal"] == {"Service": {"Fn::Sub": "logs.${AWS::Region}.amazonaws.com"}}
    [context] = logs["Condition"]["ArnLike"].items()
    assert context[0] == "kms:EncryptionContext:aws:logs:arn"
    assert context[1]["Fn::Sub"].endswith(":log-group:${AWS::StackName}-*")
    for publishers in (topics, rules):
        assert publishers["Action"] == ["kms:GenerateDataKey", "kms:Decrypt"]
    assert topics["Condition"] == LISTED_SENDERS
    # AWS's guides show no condition for EventBridge with an encrypted queue (docs/unverified.md).
    assert "Condition" not in rules
    assert "*" not in json.dumps(logs["Action"])


def test_log_groups_are_named_by_the_stack() -> None:
    # The key's policy relies on these names.
    assert not [
        name for name, it in resources("AWS::Logs::LogGroup").items() if "LogGroupName" in it
    ]


@pytest.mark.parametrize("queue", sorted(resources("AWS::SQS::Queue")))
def test_a_queue_refuses_calls_without_tls(queue: str) -> None:
    [policy] = [
        it for it in resources("AWS::SQS::QueuePolicy").values() if it["Queues"] == [{"Ref": queue}]
    ]
    denied = of_sid(policy["PolicyDocument"])["DenyInsecureTransport"]
    assert (denied["Effect"], denied["Principal"], denied["Action"]) == ("Deny", "*", "sqs:*")
    assert denied["Resource"] == {"Fn::GetAtt": [queue, "Arn"]}
    assert denied["Condition"] == {"Bool": {"aws:SecureTransport": "false"}}


def test_the_queues_policy_and_the_key_admit_only_topics_and_rules_that_are_listed() -> None:
    queue = properties("QueuePolicy")["PolicyDocument"]
    key = properties("Key")["KeyPolicy"]
    assert of_sid(queue, senders=False).keys() == {"DenyInsecureTransport"}
    assert of_sid(key, senders=False).keys() == {"Account", "LogGroups"}
    listed = of_sid(queue)
    assert listed.keys() == {"Topics", "Rules", "DenyInsecureTransport"}
    for sid, service in (("Topics", "sns.amazonaws.com"), ("Rules", "events.amazonaws.com")):
        assert listed[sid]["Effect"] == "Allow"
        assert listed[sid]["Action"] == "sqs:SendMessage"
        assert listed[sid]["Resource"] == {"Fn::GetAtt": ["Queue", "Arn"]}
        assert listed[sid]["Condition"] == LISTED_SENDERS
        assert listed[sid]["Principal"] == of_sid(key)[sid]["Principal"] == {"Service": service}
    condition = template()["Conditions"]["HasQueueSenders"]
    assert condition == {"Fn::Not": [{"Fn::Equals": [{"Ref": "QueueSenderArns"}, ""]}]}


@pytest.mark.parametrize(
    ("value", "is_taken"),
    [
        ("", True),
        (TOPIC, True),
        (f"{TOPIC}.fifo,{RULE},{RULE}s/bus/name", True),
        ("arn:aws-cn:sns:cn-north-1:123456789012:orders", True),
        (f"{TOPIC}, {RULE}", False),
        (f"{TOPIC},", False),
        ("arn:aws:sns:*:123456789012:orders", False),
        ("arn:aws:s3:::orders", False),
        ("orders", False),
    ],
)
def test_queue_senders_are_whole_arns_of_topics_and_rules(value: str, *, is_taken: bool) -> None:
    parameter = template()["Parameters"]["QueueSenderArns"]
    assert (re.fullmatch(parameter["AllowedPattern"], value) is not None) == is_taken
    assert parameter["Default"] == ""


def test_the_api_takes_tls_1_2_at_least() -> None:
    api = properties("Api")
    assert api["SecurityPolicy"].startswith("SecurityPolicy_TLS13_1_2_")
    assert api["EndpointAccessMode"] == "STRICT"


def test_the_access_log_has_no_personal_data() -> None:
    condition, setting, nothing = properties("Api")["AccessLogSetting"]["Fn::If"]
    assert (condition, nothing) == ("IsAccessLogOn", NOTHING)
    assert set(re.findall(r"\$context\.([\w.]+)", setting["Format"])) == LOGGED
    line = json.loads(re.sub(r"\$context\.[\w.]+", "x", setting["Format"]))
    assert set(line.values()) == {"x"}, "the line must be JSON with these fields only"
    assert template()["Parameters"]["AccessLog"]["Default"] == "off"


def test_other_sources_are_denied_on_every_route_and_at_the_next_deployment() -> None:
    api = properties("Api")
    [(condition, denied, nothing)] = [
        statement["Fn::If"] for statement in api["Policy"]["Statement"] if "Fn::If" in statement
    ]
    assert (condition, nothing) == ("AreSourcesLimited", NOTHING)
    assert (denied["Effect"], denied["Resource"]) == ("Deny", "execute-api:/*")
    ranges = {"Fn::Split": [",", {"Ref": "AllowedSourceRanges"}]}
    assert denied["Condition"] == {"NotIpAddress": {"aws:SourceIp": ranges}}
    assert api["AlwaysDeploy"] is True


def test_the_sources_policy_allows_every_route_without_iam() -> None:
    """A policy is always set, because a removed one would stay in force."""
    [routes] = [
        it for it in properties("Api")["Policy"]["Statement"] if it.get("Effect") == "Allow"
    ]
    assert "Condition" not in routes
    allowed = routes["Resource"]
    patterns = [re.compile(it.removeprefix("execute-api:/").replace("*", ".*")) for it in allowed]
    for function in resources("AWS::Serverless::Function").values():
        for event in function.get("Events", {}).values():
            if event["Type"] == "Api":
                route = event["Properties"]
                request = f"prod/{route['Method']}{re.sub(r'{[^}]*}', 'x', route['Path'])}"
                by_iam = "Authorizer" in route.get("Auth", {})
                is_allowed = any(pattern.fullmatch(request) for pattern in patterns)
                assert is_allowed == (not by_iam), request


@pytest.mark.parametrize(
    ("value", "is_taken"),
    [
        ("", True),
        ("192.0.2.0/24", True),
        ("192.0.2.0/24,2001:db8::/32", True),
        ("192.0.2.1", False),
        ("192.0.2.0/24, 198.51.100.0/24", False),
        ("everywhere", False),
    ],
)
def test_source_ranges_are_cidr_blocks(value: str, is_taken: bool) -> None:
    pattern = template()["Parameters"]["AllowedSourceRanges"]["AllowedPattern"]
    assert (re.fullmatch(pattern, value) is not None) == is_taken


def test_the_gateway_refuses_nothing_that_the_relay_explains() -> None:
    assert properties("Api")["Models"] == {"Message": {"type": "object"}}
    for function in resources("AWS::Serverless::Function").values():
        for event in function.get("Events", {}).values():
            if event["Type"] == "Api" and event["Properties"]["Method"] == "POST":
                model = event["Properties"]["RequestModel"]
                assert model == {"Model": "Message", "Required": True, "ValidateBody": True}


@pytest.mark.parametrize(
    ("name", "status", "code"),
    [
        ("ACCESS_DENIED", 403, "not-allowed"),
        ("WAF_FILTERED", 403, "not-allowed"),
        ("BAD_REQUEST_BODY", 400, "not-json"),
        ("REQUEST_TOO_LARGE", 413, "too-large"),
    ],
)
def test_the_gateways_responses_to_refused_requests(name: str, status: int, code: str) -> None:
    response = properties("Api")["GatewayResponses"][name]
    body = json.loads(response["ResponseTemplates"]["application/json"])
    assert (response["StatusCode"], body["code"]) == (status, code)


def test_logs_stay_30_days_messages_14_and_the_ledger_can_be_restored() -> None:
    logs, queues = resources("AWS::Logs::LogGroup"), resources("AWS::SQS::Queue")
    assert {it["RetentionInDays"] for it in logs.values()} == {30}
    assert {it["MessageRetentionPeriod"] for it in queues.values()} == {14 * 86_400}
    restore = properties("Ledger")["PointInTimeRecoverySpecification"]
    assert restore == {"PointInTimeRecoveryEnabled": True}


def test_no_function_is_in_a_vpc_and_only_the_token_function_reserves_concurrency() -> None:
    functions = resources("AWS::Serverless::Function")
    assert not [name for name, it in functions.items() if "VpcConfig" in it]
    assert "VpcConfig" not in template()["Globals"]["Function"]
    reserving = {name for name, it in functions.items() if "ReservedConcurrentExecutions" in it}
    assert reserving == {"TokenRenewerFunction"}


def test_no_route_of_the_webhook_function_reads() -> None:
    [route] = properties("WebhookFunction")["Events"].values()
    assert route["Properties"]["Method"] == "POST"


def test_the_local_stack_listens_on_this_machine_only_and_enforces_policies() -> None:
    settings = emulator_settings(4566, Path("/data"), "marker")
    assert settings["BIND_HOST"] == "127.0.0.1"
    assert settings["AUTH"] == "true"


def test_nothing_secret_is_an_environment_variable_or_an_output() -> None:
    functions = resources("AWS::Serverless::Function").values()
    shown = [template()["Globals"], template()["Outputs"], *functions]
    assert "resolve:secretsmanager" not in json.dumps(shown)


def test_the_security_page_lists_every_kind_of_item_in_the_ledger() -> None:
    folders = ("layers/smsrelay/smsrelay/adapters", "cli/smsrelay_cli")
    code = "".join(file.read_text() for it in folders for file in (ROOT / it).glob("*.py"))
    written = re.findall(r'(?m)"pk": \{"S": f?"([A-Z]+)|^PK, SK = "([A-Z]+)"', code)
    kinds = {name for names in written for name in names if name}
    listed = re.findall(r"(?m)^\| ledger, `([A-Z]+)", PAGE)
    assert kinds == set(listed)
    assert kinds >= {"MSG", "CLIENT", "TOKEN"}


@pytest.mark.parametrize("name", re.findall(r"\]\(\.\./([\w./]+)\)", PAGE))
def test_the_files_that_the_security_page_names_exist(name: str) -> None:
    assert (ROOT / name).exists()
