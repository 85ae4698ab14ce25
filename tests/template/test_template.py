"""Rules of template.yaml that no linter has."""

import json
from dataclasses import fields
from typing import Any

import pytest

from smsrelay.decoding import decode
from smsrelay.envelopes import Delivery, Letter, open_envelope
from smsrelay.errors import RelayError
from smsrelay.relay import RESERVE
from smsrelay.request import parse
from smsrelay.settings import Settings
from tests.support.template import ROOT, properties, template

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


def statements() -> list[dict[str, Any]]:
    found = [
        statement
        for function in functions().values()
        for policy in function["Policies"]
        for statement in policy["Statement"]
    ]
    return [*found, *properties("QueuePolicy")["PolicyDocument"]["Statement"]]


def test_environment_variables_are_the_settings_both_ways() -> None:
    ours = {name for name in variables() if not name.startswith("POWERTOOLS_")}
    assert ours == {field.name.upper() for field in fields(Settings)}
    assert not any("Environment" in function for function in functions().values())


def test_every_setting_is_read_from_its_variable() -> None:
    environment = {field.name.upper(): "7" for field in fields(Settings)}
    assert Settings.from_environment(environment) == Settings(
        table_name="7",
        queue_url="7",
        dead_letter_queue_url="7",
        token_secret_arn="7",
        rest_base_url="7",
        default_client="7",
        message_catalogue="7",
        retention_days=7,
        max_attempts=7,
        max_age_hours=7.0,
        upstream_timeout_seconds=7.0,
        concurrent_sends=7,
    )
    for name in environment:
        with pytest.raises(KeyError, match=name):
            Settings.from_environment({k: v for k, v in environment.items() if k != name})


@pytest.mark.parametrize("catalogue", ["[]", '{"a": 1}', "{", '"a"'])
def test_a_catalogue_that_is_none_stops_the_start(catalogue: str) -> None:
    environment = {field.name.upper(): "7" for field in fields(Settings)}
    settings = Settings.from_environment(environment | {"MESSAGE_CATALOGUE": catalogue})
    with pytest.raises(ValueError, match=r"MESSAGE_CATALOGUE|Expecting"):
        _ = settings.catalogue


def test_visibility_is_at_least_six_times_the_workers_timeout() -> None:
    assert properties("Queue")["VisibilityTimeout"] >= 6 * functions()["WorkerFunction"]["Timeout"]


def test_the_api_answers_before_the_gateway_gives_up() -> None:
    assert functions()["ApiFunction"]["Timeout"] < 29


def test_the_worker_has_time_to_store_what_the_upstream_answered() -> None:
    longest = template()["Parameters"]["UpstreamTimeoutSeconds"]["MaxValue"]
    assert longest + RESERVE <= functions()["WorkerFunction"]["Timeout"]


def test_the_queue_outlasts_the_relays_own_attempts() -> None:
    most = template()["Parameters"]["MaxAttempts"]["MaxValue"]
    assert properties("Queue")["RedrivePolicy"]["maxReceiveCount"] > most


@pytest.mark.parametrize("statement", statements(), ids=lambda statement: statement["Sid"])
def test_no_policy_names_everything(statement: dict[str, Any]) -> None:
    assert statement["Resource"] != "*"
    assert "*" not in json.dumps(statement["Action"])
    resources = statement["Resource"]
    assert "*" not in (resources if isinstance(resources, list) else [resources])


def test_failures_are_reported_one_by_one() -> None:
    event = functions()["WorkerFunction"]["Events"]["Queue"]["Properties"]
    assert event["FunctionResponseTypes"] == ["ReportBatchItemFailures"]


def test_every_route_needs_a_key() -> None:
    assert properties("Api")["Auth"]["ApiKeyRequired"] is True
    events = functions()["ApiFunction"]["Events"].values()
    assert all("Auth" not in event["Properties"] for event in events)


@pytest.mark.parametrize("name", ["Ledger", "TokenSecret"])
def test_what_must_not_be_lost_outlives_the_stack(name: str) -> None:
    assert template()["Resources"][name]["DeletionPolicy"] == "Retain"


def test_the_gateways_own_refusals_are_problem_documents() -> None:
    responses = properties("Api")["GatewayResponses"]
    for name, response in responses.items():
        content_type = response["ResponseParameters"]["Headers"]["Content-Type"]
        assert content_type == "'application/problem+json'", name
        body = json.loads(response["ResponseTemplates"]["application/json"])
        assert body["type"] == f"urn:smsrelay:problem:{body['code']}", name
        assert body["status"] == response.get("StatusCode", 500), name


@pytest.mark.parametrize("path", MESSAGES, ids=lambda path: path.stem)
def test_samples_are_good_or_refused_as_their_names_say(path: Any) -> None:
    document = decode(path.read_text())
    if path.stem.startswith("refused-"):
        with pytest.raises(RelayError):
            parse(document)
    else:
        parse(document)


@pytest.mark.parametrize("path", ENVELOPES, ids=lambda path: path.stem)
def test_sample_envelopes_hold_good_messages(path: Any) -> None:
    letter = open_envelope(Delivery(path.read_text(), "id", {}), "internal")
    assert isinstance(letter, Letter)
    parse(letter.document)


def test_the_sample_events_hold_what_their_services_send() -> None:
    event = json.loads((ROOT / "events/api-post-message.json").read_text())
    parse(decode(event["body"]))
    batch = json.loads((ROOT / "events/sqs-batch.json").read_text())
    assert len({record["messageId"] for record in batch["Records"]}) == len(batch["Records"])


def test_the_env_file_names_every_variable() -> None:
    given = json.loads((ROOT / "events/env.json").read_text())["Parameters"]
    assert {field.name.upper() for field in fields(Settings)} <= set(given)
