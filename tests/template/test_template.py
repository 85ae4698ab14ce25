"""Checks rules for template.yaml that linters lack."""

import inspect
import json
import re
import tomllib
from dataclasses import MISSING, fields
from typing import Any

import pytest
import yaml

from smsrelay import __version__
from smsrelay.errors import RelayError
from smsrelay.messages.strict_json import decode
from smsrelay.messages.validation import parse_request
from smsrelay.security.allowed_hosts import AllowedHosts
from smsrelay.sends.backoff import MAX_SQS_DELAY
from smsrelay.sends.queue_envelopes import QueueMessage, QueueRequest, open_envelope
from smsrelay.services import token_renewer
from smsrelay.services.queue_worker import outage_delay
from smsrelay.services.sender import RESERVED_SECONDS
from smsrelay.settings import Settings
from smsrelay.tokens.renewal_timing import REFRESH_AHEAD, RENEW_BELOW
from tests.support import permissions
from tests.support.template import ROOT, alarm, monitoring, properties, template

MESSAGES = sorted((ROOT / "events/messages").glob("*.json"))
ENVELOPES = sorted((ROOT / "events/envelopes").glob("*.json"))


def variables() -> dict[str, Any]:
    found: dict[str, Any] = template()["Globals"]["Function"]["Environment"]["Variables"]
    return found


def functions() -> dict[str, dict[str, Any]]:
    return {
        name: resource["Properties"]
        for name, resource in template()["Resources"].items()
        if resource["Type"] == "AWS::Serverless::Function"
    }


def test_environment_variables_and_settings_are_the_same() -> None:
    ours = {name for name in variables() if not name.startswith(("POWERTOOLS_", "PYDANTIC_"))}
    everywhere = {field.name.upper() for field in fields(Settings) if field.default is MISSING}
    assert ours == everywhere
    own = {
        name
        for function in functions().values()
        for name in function.get("Environment", {}).get("Variables", {})
    }
    local = {"LOOPBACK_CALLBACKS"}
    assert own == {field.name.upper() for field in fields(Settings)} - everywhere - local


def test_no_template_sets_the_variable_that_allows_callbacks_to_loopback() -> None:
    """Only the local stack sets it (tools/local_stack/ministack_patches.py)."""
    assert {field.name for field in fields(Settings)} >= {"loopback_callbacks"}
    for text in (json.dumps(template()), json.dumps(monitoring())):
        assert "LOOPBACK_CALLBACKS" not in text


def test_every_setting_is_read_from_its_variable() -> None:
    environment = {field.name.upper(): "7" for field in fields(Settings)}
    assert Settings.from_environment(environment) == Settings(
        table_name="7",
        queue_url="7",
        dead_letter_queue_url="7",
        token_secret_arn="7",
        rest_base_url="7",
        default_client="7",
        retention_days=7,
        max_attempts=7,
        max_age_hours=7.0,
        upstream_timeout_seconds=7.0,
        concurrent_sends=7,
        delivery_polling="7",
        country_codes="7",
        recipient_results="7",
        upstream_hosts="7",
        token_function="7",
        credentials_secret_arn="7",
        webhook_secret_prefix="7",
        yearly_api_calls=7,
        client_recipients_per_minute=7,
        queue_sender_arns="7",
        catalogue_parameter="7",
        recipient_key_secret="7",
        event_bus="7",
        callback_queue_url="7",
        callback_secret_prefix="7",
        loopback_callbacks="7",
    )
    sparse = {field.name.upper() for field in fields(Settings) if field.default is not MISSING}
    for name in environment.keys() - sparse:
        with pytest.raises(KeyError, match=name):
            Settings.from_environment({k: v for k, v in environment.items() if k != name})


def test_without_a_token_function_no_renewal_is_requested() -> None:
    environment = {field.name.upper(): "7" for field in fields(Settings)}
    del environment["TOKEN_FUNCTION"]
    assert not Settings.from_environment(environment).token_function


def test_only_functions_that_need_the_catalogue_may_read_it() -> None:
    named = {
        name
        for name, function in functions().items()
        if "CATALOGUE_PARAMETER" in function.get("Environment", {}).get("Variables", {})
    }
    takers = {"ApiFunction", "IamFunction", "WebhookFunction", "QueueWorkerFunction"}
    assert named == takers | {"EventPublisherFunction", "CallbackSenderFunction"}
    readers = {
        name: (statement["Action"], permissions.resource_name(statement["Resource"]))
        for name in functions()
        for statement in permissions.statements(name)
        if "ssm:" in json.dumps(statement["Action"])
    }
    assert readers == dict.fromkeys(named, ("ssm:GetParameter", "Catalogue"))


def test_no_deployment_overwrites_the_catalogue() -> None:
    types = {resource["Type"] for resource in template()["Resources"].values()}
    assert "AWS::SSM::Parameter" not in types


def test_every_parameter_is_described_labelled_and_in_one_group() -> None:
    interface = template()["Metadata"]["AWS::CloudFormation::Interface"]
    groups = interface["ParameterGroups"]
    parameters = list(template()["Parameters"])
    assert [name for group in groups for name in group["Parameters"]] == parameters, "in this order"
    assert list(interface["ParameterLabels"]) == parameters
    names = [named["Label"] for named in groups] + list(interface["ParameterLabels"].values())
    labels = [name["default"] for name in names]
    assert all(labels)
    assert len(labels) == len(set(labels))
    undescribed = [
        name for name, it in template()["Parameters"].items() if not it.get("Description")
    ]
    assert undescribed == []


@pytest.mark.parametrize("name", ["template.yaml", "monitoring.yaml"])
def test_an_anchor_is_used_only_in_the_resource_that_defines_it(name: str) -> None:
    text = (ROOT / name).read_text()
    blocks = re.split(r"^(?=  ?\w|\w)", text, flags=re.MULTILINE)
    for block in blocks:
        tokens = list(yaml.scan(block))
        defined = {token.value for token in tokens if isinstance(token, yaml.AnchorToken)}
        used = {token.value for token in tokens if isinstance(token, yaml.AliasToken)}
        assert used == defined, block.partition("\n")[0]


def test_there_are_at_most_27_parameters() -> None:
    """A new option must replace another one, or be a constant."""
    assert len(template()["Parameters"]) <= 27


def test_visibility_is_at_least_six_times_the_workers_timeout() -> None:
    assert (
        properties("Queue")["VisibilityTimeout"]
        >= 6 * functions()["QueueWorkerFunction"]["Timeout"]
    )


def test_the_api_responds_before_the_gateways_time_out() -> None:
    assert functions()["ApiFunction"]["Timeout"] < 29


def test_the_worker_has_time_to_store_the_upstreams_response() -> None:
    longest = template()["Parameters"]["UpstreamTimeoutSeconds"]["MaxValue"]
    assert longest + RESERVED_SECONDS <= functions()["QueueWorkerFunction"]["Timeout"]


def test_the_queue_outlasts_the_relays_own_attempts() -> None:
    most = variables()["MAX_ATTEMPTS"]
    assert properties("Queue")["RedrivePolicy"]["maxReceiveCount"] > most


@pytest.mark.parametrize(
    ("name", "dead_letters", "suffix"),
    [
        ("Queue", "DeadLetterQueue", "queue"),
        ("CallbackQueue", "CallbackDeadLetterQueue", "callbacks"),
    ],
)
def test_a_dead_letter_queue_takes_messages_of_its_own_queue_only(
    name: str, dead_letters: str, suffix: str
) -> None:
    own = properties(name)
    assert own["RedrivePolicy"]["deadLetterTargetArn"] == {"Fn::GetAtt": [dead_letters, "Arn"]}
    assert own["QueueName"] == {"Fn::Sub": f"${{AWS::StackName}}-{suffix}"}
    arn = "arn:${AWS::Partition}:sqs:${AWS::Region}:${AWS::AccountId}:${AWS::StackName}-" + suffix
    assert properties(dead_letters)["RedriveAllowPolicy"] == {
        "redrivePermission": "byQueue",
        "sourceQueueArns": [{"Fn::Sub": arn}],
    }


def test_no_queue_moves_messages_to_the_queue_of_unpublished_changes() -> None:
    allowed = properties("EventDeadLetterQueue")["RedriveAllowPolicy"]
    assert allowed == {"redrivePermission": "denyAll"}


def test_sqs_can_not_move_dead_letters_back_under_new_ids() -> None:
    statements = properties("DeadLetterQueuePolicy")["PolicyDocument"]["Statement"]
    [denied] = [it for it in statements if it["Action"] == "sqs:StartMessageMoveTask"]
    assert (denied["Effect"], denied["Principal"]) == ("Deny", "*")
    assert denied["Resource"] == {"Fn::GetAtt": ["DeadLetterQueue", "Arn"]}
    assert "Condition" not in denied


def test_an_outage_of_days_does_not_use_up_the_receives_of_a_message() -> None:
    most = properties("Queue")["RedrivePolicy"]["maxReceiveCount"]
    seconds = sum(outage_delay(receives) for receives in range(1, most))
    assert seconds > 10 * 86_400


@pytest.mark.parametrize("name", ["SweeperFunction", "DeliveryPollerFunction"])
def test_a_scheduled_run_is_neither_repeated_nor_kept_for_later(name: str) -> None:
    function = properties(name)
    [event] = function["Events"].values()
    assert event["Type"] == "ScheduleV2"
    assert event["Properties"]["ScheduleExpression"] == "rate(1 minute)"
    assert event["Properties"]["RetryPolicy"] == {"MaximumRetryAttempts": 0}
    once = {"MaximumRetryAttempts": 0, "MaximumEventAgeInSeconds": 60}
    assert function["EventInvokeConfig"] == once
    assert function["Timeout"] < 60


@pytest.mark.parametrize("name", ["Queue", "DeadLetterQueue"])
def test_a_queue_keeps_what_it_has_for_as_long_as_sqs_can(name: str) -> None:
    days = properties(name)["MessageRetentionPeriod"] / 86_400
    assert days == 14


def test_a_queued_send_fails_before_the_queue_deletes_its_message() -> None:
    oldest = template()["Parameters"]["MaxAgeHours"]["MaxValue"] * 3_600
    assert oldest + MAX_SQS_DELAY < properties("Queue")["MessageRetentionPeriod"]


def test_an_attempt_over_http_is_never_the_last() -> None:
    """Only the worker is invoked again until a failed send has its dead letter."""
    assert variables()["MAX_ATTEMPTS"] > 1


def test_failures_are_reported_one_by_one() -> None:
    event = functions()["QueueWorkerFunction"]["Events"]["Queue"]["Properties"]
    assert event["FunctionResponseTypes"] == ["ReportBatchItemFailures"]


def test_every_route_needs_a_key_a_principal_or_a_signature() -> None:
    assert properties("Api")["Auth"] == {"ApiKeyRequired": True}
    shown = {
        event["Properties"]["Path"]: event["Properties"].get("Auth", {"ApiKeyRequired": True})
        for function in functions().values()
        for event in function.get("Events", {}).values()
        if event["Type"] == "Api"
    }
    # Without InvokeRole: NONE, SAM would invoke the function with the caller's permissions.
    principal = {"Authorizer": "AWS_IAM", "InvokeRole": "NONE", "ApiKeyRequired": False}
    assert shown == {
        "/messages": {"ApiKeyRequired": True},
        "/messages/preview": {"ApiKeyRequired": True},
        "/messages/{id}": {"ApiKeyRequired": True},
        "/tokens/{tokenId}": {"ApiKeyRequired": True},
        "/iam/messages": principal,
        "/iam/messages/preview": principal,
        "/iam/messages/{id}": principal,
        "/iam/tokens/{tokenId}": principal,
        "/webhooks/{client}": {"ApiKeyRequired": False},  # its function checks the signature
        "/openapi.json": {"ApiKeyRequired": False},
        "/docs": {"ApiKeyRequired": False},
    }


DATA = ["Ledger", "TokenSecret", "CredentialsSecret", "RecipientKey", "Key"]


@pytest.mark.parametrize("name", DATA)
def test_data_outlives_the_stack_but_not_a_failed_creation(name: str) -> None:
    resource = template()["Resources"][name]
    assert resource["DeletionPolicy"] == "RetainExceptOnCreate"
    assert resource["UpdateReplacePolicy"] == "Retain"


def test_only_the_token_function_reads_the_client_credentials() -> None:
    readers = {
        name
        for name, function in functions().items()
        if "CredentialsSecret" in json.dumps(function)
    }
    assert readers == {"TokenRenewerFunction"}


def test_the_token_function_may_touch_two_secrets_and_its_report_and_nothing_else() -> None:
    allowed = {
        statement["Sid"]: (statement["Action"], statement["Resource"])
        for statement in permissions.statements("TokenRenewerFunction")
        if statement["Sid"] not in {"Log", "Traces", "Decrypt", "EncryptToken"}
    }
    read, write = "secretsmanager:GetSecretValue", "secretsmanager:PutSecretValue"
    assert allowed == {
        "Token": ([read, write], {"Ref": "TokenSecret"}),
        "Credentials": (read, {"Ref": "CredentialsSecret"}),
        "Report": ("dynamodb:UpdateItem", {"Fn::GetAtt": ["Ledger", "Arn"]}),
    }


def test_only_functions_that_call_the_upstream_may_invoke_the_token_function() -> None:
    askers = {}
    for name in functions():
        for statement in permissions.statements(name):
            if "lambda:InvokeFunction" in statement["Action"]:
                askers[name] = statement["Resource"]
    its_arn = {"Fn::GetAtt": ["TokenRenewerFunction", "Arn"]}
    senders = (
        "ApiFunction",
        "IamFunction",
        "DeliveryPollerFunction",
        "WebhookFunction",
        "QueueWorkerFunction",
    )
    assert askers == dict.fromkeys(senders, its_arn)
    for name in askers:
        asked = functions()[name]["Environment"]["Variables"]["TOKEN_FUNCTION"]
        assert asked == {"Fn::If": ["IsTokenRenewalOn", {"Ref": "TokenRenewerFunction"}, ""]}


def test_without_renewal_its_resources_do_not_exist() -> None:
    resources = template()["Resources"]
    conditional = {
        name
        for name, resource in resources.items()
        if resource.get("Condition") == "IsTokenRenewalOn"
    }
    assert conditional == {
        "TokenRenewerFunction",
        "TokenRenewerRole",
        "TokenRenewerLogs",
    }
    alarms = {
        "TokenNotRenewedAlarm",
        "AccessTokenMissingAlarm",
        "ClientSecretExpiresAlarm",
        "ClientSecretExpiresSoonAlarm",
        "StagedSecretInUseAlarm",
    }
    for name, resource in monitoring()["Resources"].items():
        assert (resource.get("Condition") == "IsTokenRenewalOn") == (name in alarms), name
    for name, resource in (template()["Resources"] | template()["Outputs"]).items():
        if resource.get("Condition") != "IsTokenRenewalOn":
            outside = json.dumps(without_conditions(resource))
            assert not [it for it in conditional if re.search(f'"{it}"(?!:)', outside)], name


def without_conditions(node: Any) -> Any:
    if isinstance(node, dict):
        return {key: without_conditions(value) for key, value in node.items() if key != "Fn::If"}
    return [without_conditions(entry) for entry in node] if isinstance(node, list) else node


def test_the_token_function_runs_one_at_a_time_and_is_not_repeated() -> None:
    function = properties("TokenRenewerFunction")
    one_at_a_time = ["IsTokenConcurrencyReserved", 1, {"Ref": "AWS::NoValue"}]
    assert function["ReservedConcurrentExecutions"] == {"Fn::If": one_at_a_time}
    assert function["EventInvokeConfig"]["MaximumRetryAttempts"] == 0
    schedule = function["Events"]["EveryMinute"]["Properties"]
    assert schedule["RetryPolicy"]["MaximumRetryAttempts"] == 0


def test_the_token_is_checked_every_minute_without_gap_or_overlap() -> None:
    function = properties("TokenRenewerFunction")
    schedule = function["Events"]["EveryMinute"]["Properties"]
    assert schedule["ScheduleExpression"] == "rate(1 minute)"
    assert RENEW_BELOW >= 60 + REFRESH_AHEAD
    assert function["Timeout"] < 60
    assert function["EventInvokeConfig"]["MaximumEventAgeInSeconds"] <= 60


def test_the_alarms_use_the_metrics_of_the_token_function() -> None:
    counted = set(re.findall(r'count\("(\w+)"\)', inspect.getsource(token_renewer)))
    for name in ("TokenNotRenewedAlarm", "AccessTokenMissingAlarm"):
        metrics = alarm(name).get("Metrics", [])
        in_math = [it["MetricStat"]["Metric"] for it in metrics if "MetricStat" in it]
        [watched] = in_math or [alarm(name)]
        assert watched["MetricName"] in counted
        assert watched["Namespace"] == variables()["POWERTOOLS_METRICS_NAMESPACE"]
        assert watched["Dimensions"] == [{"Name": "service", "Value": {"Ref": "StackName"}}]
    passed = properties("Monitoring")["Parameters"]["StackName"]
    assert passed == variables()["POWERTOOLS_SERVICE_NAME"]
    assert alarm("AccessTokenMissingAlarm")["TreatMissingData"] == "breaching"


def test_the_default_hosts_are_the_upstreams() -> None:
    hosts = AllowedHosts(template()["Parameters"]["UpstreamHosts"]["Default"])
    hosts.base_url("https://SUBDOMAIN.auth.marketingcloudapis.com/")
    hosts.base_url("https://SUBDOMAIN.rest.marketingcloudapis.com/")
    for other in ("http://127.0.0.1", "https://example.com"):
        with pytest.raises(ValueError, match="may not be called"):
            hosts.base_url(other)


def test_the_gateways_own_refusals_are_problem_documents() -> None:
    responses = properties("Api")["GatewayResponses"]
    for name, response in responses.items():
        content_type = response["ResponseParameters"]["Headers"]["Content-Type"]
        assert content_type == "'application/problem+json'", name
        body = json.loads(response["ResponseTemplates"]["application/json"])
        assert body["type"] == f"urn:smsrelay:problem:{body['code']}", name
        assert body["status"] == response.get("StatusCode", 500), name


@pytest.mark.parametrize("path", MESSAGES, ids=lambda path: path.stem)
def test_only_samples_named_refused_are_refused(path: Any) -> None:
    document = decode(path.read_text())
    if path.stem.startswith("refused-"):
        with pytest.raises(RelayError):
            parse_request(document)
    else:
        parse_request(document)


@pytest.mark.parametrize("path", ENVELOPES, ids=lambda path: path.stem)
def test_sample_envelopes_contain_valid_messages(path: Any) -> None:
    letter = open_envelope(QueueMessage(path.read_text(), "id", {}))
    assert isinstance(letter, QueueRequest)
    parse_request(letter.document)


def test_the_sample_events_have_their_services_format() -> None:
    event = json.loads((ROOT / "events/api-post-message.json").read_text())
    parse_request(decode(event["body"]))
    batch = json.loads((ROOT / "events/sqs-batch.json").read_text())
    assert len({record["messageId"] for record in batch["Records"]}) == len(batch["Records"])


def test_the_env_file_names_every_variable() -> None:
    names = {*json.loads((ROOT / "events/env.json").read_text())["Parameters"]}
    assert {field.name.upper() for field in fields(Settings)} - names == {"LOOPBACK_CALLBACKS"}


def test_the_parallel_sends_are_those_of_all_workers_together() -> None:
    parameter, mapping = template()["Parameters"]["MaxConcurrentSends"], template()["Mappings"]
    chosen = mapping["MaxConcurrentSends"]
    assert [str(value) for value in parameter["AllowedValues"]] == list(chosen)
    assert parameter["Default"] in parameter["AllowedValues"]
    for together, parts in chosen.items():
        assert int(together) == parts["Workers"] * parts["Each"]
        assert parts["Workers"] >= 2, "the minimum of SQS"
        assert parts["Each"] <= 10, "the maximum of a batch without a window"
    event = functions()["QueueWorkerFunction"]["Events"]["Queue"]["Properties"]

    def found(name: str) -> dict[str, Any]:
        return {"Fn::FindInMap": ["MaxConcurrentSends", {"Ref": "MaxConcurrentSends"}, name]}

    assert event["ScalingConfig"] == {"MaximumConcurrency": found("Workers")}
    assert event["BatchSize"] == variables()["CONCURRENT_SENDS"] == found("Each")


def test_one_version_is_in_the_package_the_project_the_stacks_output_and_the_changelog() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert project["version"] == template()["Outputs"]["Version"]["Value"] == __version__
    [latest, *_] = re.findall(r"(?m)^## \[(\d.*)\]", (ROOT / "CHANGELOG.md").read_text())
    assert latest == __version__
