"""Checks that a cold start imports only what the function uses.

Imports take most of a cold start. The modules that are forbidden here were imported once, or would
come with one careless line. Each has its reason.
"""

import json
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from smsrelay.runtime import lambda_init
from tests.support.template import ROOT, properties, run_built, template
from tools.local_stack import build

REGION = "eu-central-1"

HTTP = {"ApiFunction", "IamFunction", "WebhookFunction"}
SENDING = {*HTTP, "QueueWorkerFunction", "SweeperFunction"}
ASKING = {*SENDING, "DeliveryPollerFunction"}

MODULES = {
    "ApiFunction": 496,
    "CallbackSenderFunction": 476,
    "EventPublisherFunction": 345,
    "IamFunction": 496,
    "DeliveryPollerFunction": 425,
    "SweeperFunction": 487,
    "TokenRenewerFunction": 416,
    "WebhookFunction": 501,
    "QueueWorkerFunction": 492,
}
"""How many modules a function may import in addition to those of Lambda's runtime: today's number,
and five for another release of Python or of a dependency."""

FORBIDDEN = {
    "boto3": "botocore has the same clients; boto3 adds 5 % to a cold start",
    "httpcore._sync.http2": "httpcore imports it if it can, and works without it",
    "aws_xray_sdk": "30 MB with its own botocore; Lambda traces without it",
    "aws_lambda_powertools.event_handler": "five routes need no router",
    "aws_lambda_powertools.utilities.batch": "a batch is one line of threads",
    "aws_lambda_powertools.utilities.idempotency": "the ledger is the lock",
    "aws_lambda_powertools.utilities.parameters": "the adapters read what they need",
    "aws_lambda_powertools.utilities.parser": "envelopes are decoded by hand, and later",
    "asyncio": "httpx needs it for asynchronous calls only",
    "anyio": "the same",
    "h2": "no call uses HTTP/2",
    "multiprocessing": "the relay uses threads only",
    "pydantic.deprecated": "no code was written for the old pydantic",
    "pydantic.networks": "the standard library parses URLs",
    "pydantic.v1": "the same",
    "requests": "httpx is the HTTP client",
    "tzdata": "zones are read only for quiet hours",
    "zoneinfo._zoneinfo": "the same; the C version is used",
}
"""What no function imports, and why."""

ONLY: Mapping[str, tuple[set[str], str]] = {
    "pydantic": (
        {*SENDING, "CallbackSenderFunction"},
        "for functions that read requests or names",
    ),
    "smsrelay.messages.request": ({*SENDING, "CallbackSenderFunction"}, "the same"),
    "smsrelay.services.sender": (SENDING, "for functions that send"),
    "smsrelay.services.api": (HTTP, "for functions that respond to requests"),
    "smsrelay.services.responses": (HTTP, "the same"),
    "smsrelay.services.problem_documents": (HTTP, "the same"),
    "smsrelay.services.api_clients": (HTTP, "the same"),
    "smsrelay.services.request_reader": (
        {*HTTP, "QueueWorkerFunction"},
        "for functions that accept messages",
    ),
    "smsrelay.services.client_rate_limit": ({*HTTP, "QueueWorkerFunction"}, "the same"),
    "smsrelay.adapters.dynamodb_api_clients": ({*HTTP, "QueueWorkerFunction"}, "the same"),
    "smsrelay.services.queue_worker": (
        {"QueueWorkerFunction"},
        "for the function that reads the queue",
    ),
    "smsrelay.sends.queue_envelopes": ({"QueueWorkerFunction"}, "the same"),
    "smsrelay.services.sweeper": ({"SweeperFunction"}, "its use case"),
    "smsrelay.services.webhook": ({"WebhookFunction"}, "its use case"),
    "smsrelay.services.delivery_poller": ({"DeliveryPollerFunction"}, "its use case"),
    "smsrelay.adapters.mobileconnect": (ASKING, "for functions that call the upstream"),
    "smsrelay.adapters.dynamodb_ledger": (
        {*ASKING, "EventPublisherFunction"},
        "for functions that read sends",
    ),
    "smsrelay.services.token_renewer": ({"TokenRenewerFunction"}, "only it fetches tokens"),
    "smsrelay.tokens.token_response": ({"TokenRenewerFunction"}, "the same"),
    "smsrelay.adapters.oauth_endpoint": ({"TokenRenewerFunction"}, "the same"),
    "smsrelay.adapters.token_store": ({"TokenRenewerFunction"}, "the same"),
    "smsrelay.adapters.dynamodb_renewal_report": ({"TokenRenewerFunction"}, "the same"),
    "smsrelay.services.event_publisher": ({"EventPublisherFunction"}, "its use case"),
    "smsrelay.services.callback_sender": ({"CallbackSenderFunction"}, "its use case"),
    "smsrelay.adapters.eventbridge": ({"EventPublisherFunction"}, "the same"),
    "smsrelay.adapters.callback_client": ({"CallbackSenderFunction"}, "only it calls clients"),
    "smsrelay.security.webhook_signature": (
        {"WebhookFunction", "CallbackSenderFunction"},
        "to sign",
    ),
    "smsrelay.adapters.signing_secrets": (
        {"WebhookFunction", "CallbackSenderFunction"},
        "the same",
    ),
    "smsrelay.messages.message_catalogue": (
        {"CallbackSenderFunction"},
        "an option; it has the clients' URLs",
    ),
    "smsrelay.adapters.ssm_message_catalogue": ({"CallbackSenderFunction"}, "the same"),
    "smsrelay.adapters.dynamodb_recipient_results": (set(), "an option"),
}
"""The only functions that import each of these modules, and why."""

CHOSEN = {
    "EventPublisherFunction": {"EventBus": "default"},
    "CallbackSenderFunction": {"Callbacks": "on", "Catalogue": "on"},
}
"""Parameters without which the function does not exist; the others have their defaults."""

INIT = """
import json, logging, sys, sysconfig
stdlib = sysconfig.get_path("stdlib")
sys.path = [*sys.argv[1:], stdlib, f"{stdlib}/lib-dynload"]
before = set(sys.modules)
import app
loaded = set(sys.modules) - before
built = [
    module.parts.cache_info().currsize
    for module in map(sys.modules.get, loaded)
    if module.__name__.startswith("smsrelay.wiring.") and hasattr(module, "parts")
]
assert built and all(built), "the init phase has built nothing"
print(json.dumps(sorted(loaded)))
"""


@pytest.fixture(scope="module")
def built() -> Path:
    build.artefacts(lambda _: None)
    return build.SAM_OUTPUT


@cache
def _loaded(function: str, built: Path) -> frozenset[str]:
    """Return the modules that a function has imported at the end of its init phase."""
    paths = (built / function, built / "Layer/python")
    environment = dict(_environment(function))
    return frozenset(json.loads(run_built(INIT, *paths, environment=environment)))


def _environment(function: str) -> Iterator[tuple[str, str]]:
    """Yield the environment variables that Lambda and the template set for a function."""
    yield lambda_init.INITIALIZATION_TYPE, "on-demand"
    yield "AWS_LAMBDA_FUNCTION_NAME", function
    yield "AWS_EXECUTION_ENV", "AWS_Lambda_python3.13"
    yield "AWS_REGION", REGION
    yield "AWS_DEFAULT_REGION", REGION
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"):
        yield name, "testing"
    parameters = {
        name: str(parameter.get("Default", ""))
        for name, parameter in template()["Parameters"].items()
    }
    parameters |= CHOSEN.get(function, {})
    own = properties(function).get("Environment", {}).get("Variables", {})
    everywhere = template()["Globals"]["Function"]["Environment"]["Variables"]
    for name, value in (everywhere | own).items():
        yield name, _resolved(value, parameters)


def _resolved(value: Any, parameters: Mapping[str, str]) -> str:
    """Resolve a value of the template; resources resolve to their names in the template."""
    match value:
        case {"Ref": name}:
            return parameters.get(name, name)
        case {"Fn::Sub": text}:
            return str(text)
        case {"Fn::FindInMap": [table, key, place]}:
            return str(template()["Mappings"][table][_resolved(key, parameters)][place])
        case {"Fn::If": [condition, yes, no]}:
            [one, other] = template()["Conditions"][condition]["Fn::Equals"]
            chosen = _resolved(one, parameters) == _resolved(other, parameters)
            return _resolved(yes if chosen else no, parameters)
    return str(value)


def _is_in(name: str, loaded: frozenset[str]) -> bool:
    return any(module == name or module.startswith(f"{name}.") for module in loaded)


@pytest.mark.parametrize("function", MODULES)
def test_a_function_imports_no_forbidden_module(built: Path, function: str) -> None:
    loaded = _loaded(function, built)
    assert not {name: why for name, why in FORBIDDEN.items() if _is_in(name, loaded)}


@pytest.mark.parametrize("function", MODULES)
def test_a_function_imports_only_its_own_parts(built: Path, function: str) -> None:
    loaded = _loaded(function, built)
    wrong = {
        name: why for name, (who, why) in ONLY.items() if _is_in(name, loaded) != (function in who)
    }
    assert not wrong


@pytest.mark.parametrize("function", MODULES)
def test_a_function_imports_not_more_modules_than_allowed(built: Path, function: str) -> None:
    loaded = _loaded(function, built)
    assert len(loaded) <= MODULES[function], sorted(loaded)


def test_the_budget_has_all_functions_and_only_existing_modules() -> None:
    resources = template()["Resources"].items()
    assert MODULES.keys() == {
        name for name, resource in resources if resource["Type"] == "AWS::Serverless::Function"
    }
    for name in ONLY.keys() - {"pydantic"}:
        assert (ROOT / "layers/smsrelay" / f"{name.replace('.', '/')}.py").exists(), name
