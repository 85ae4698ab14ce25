"""What a cold start may import: each function what it uses, and no more.

Imports are most of a cold start. What is forbidden here was imported once, or would come with one
careless line; each has its reason.
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
"""How many modules may be imported beside those that Lambda's runtime has by then: as many as are
now, and five for another release of Python or of a dependency."""

NOBODY = {
    "boto3": "botocore makes the same clients; boto3 adds 5 % to a cold start",
    "httpcore._sync.http2": "tried at import where it is there, and goes without",
    "aws_xray_sdk": "30 MB and a botocore of its own; Lambda traces without it",
    "aws_lambda_powertools.event_handler": "five routes need no router",
    "aws_lambda_powertools.utilities.batch": "a batch is one line of threads",
    "aws_lambda_powertools.utilities.idempotency": "the ledger is the lock",
    "aws_lambda_powertools.utilities.parameters": "the adapters read what they need",
    "aws_lambda_powertools.utilities.parser": "envelopes are decoded by hand, and later",
    "asyncio": "httpx's other half; nothing here is asynchronous",
    "anyio": "the same",
    "h2": "no upstream is spoken to in HTTP/2",
    "multiprocessing": "there are threads only",
    "pydantic.deprecated": "nobody moves on from the old pydantic here",
    "pydantic.networks": "URLs are looked at with the standard library",
    "pydantic.v1": "the same",
    "requests": "there is one HTTP client",
    "tzdata": "zones are read when quiet hours name one",
    "zoneinfo._zoneinfo": "the same, and in C",
}
"""What no function imports, and why."""

ONLY: Mapping[str, tuple[set[str], str]] = {
    "pydantic": (
        {*SENDING, "CallbackSenderFunction"},
        "models are for who reads requests, or names",
    ),
    "smsrelay.messages.request": ({*SENDING, "CallbackSenderFunction"}, "the same"),
    "smsrelay.services.sender": (SENDING, "the use case of who sends"),
    "smsrelay.services.api": (HTTP, "for who answers requests"),
    "smsrelay.services.responses": (HTTP, "the same"),
    "smsrelay.services.problem_documents": (HTTP, "the same"),
    "smsrelay.services.api_clients": (HTTP, "the same"),
    "smsrelay.services.request_reader": ({*HTTP, "QueueWorkerFunction"}, "for who takes messages"),
    "smsrelay.services.client_rate_limit": ({*HTTP, "QueueWorkerFunction"}, "the same"),
    "smsrelay.adapters.dynamodb_api_clients": ({*HTTP, "QueueWorkerFunction"}, "the same"),
    "smsrelay.services.queue_worker": (
        {"QueueWorkerFunction"},
        "for who takes messages off the queue",
    ),
    "smsrelay.sends.queue_envelopes": ({"QueueWorkerFunction"}, "the same"),
    "smsrelay.services.sweeper": ({"SweeperFunction"}, "its use case"),
    "smsrelay.services.webhook": ({"WebhookFunction"}, "its use case"),
    "smsrelay.services.delivery_poller": ({"DeliveryPollerFunction"}, "its use case"),
    "smsrelay.adapters.mobileconnect": (ASKING, "for who calls the upstream"),
    "smsrelay.adapters.dynamodb_ledger": (
        {*ASKING, "EventPublisherFunction"},
        "for who has to do with sends",
    ),
    "smsrelay.services.token_renewer": ({"TokenRenewerFunction"}, "nobody else fetches tokens"),
    "smsrelay.tokens.token_response": ({"TokenRenewerFunction"}, "the same"),
    "smsrelay.adapters.oauth_endpoint": ({"TokenRenewerFunction"}, "the same"),
    "smsrelay.adapters.token_store": ({"TokenRenewerFunction"}, "the same"),
    "smsrelay.adapters.dynamodb_renewal_report": ({"TokenRenewerFunction"}, "the same"),
    "smsrelay.services.event_publisher": ({"EventPublisherFunction"}, "its use case"),
    "smsrelay.services.callback_sender": ({"CallbackSenderFunction"}, "its use case"),
    "smsrelay.adapters.eventbridge": ({"EventPublisherFunction"}, "the same"),
    "smsrelay.adapters.callback_client": ({"CallbackSenderFunction"}, "nobody else calls clients"),
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
        "an option; it says where clients are called",
    ),
    "smsrelay.adapters.ssm_message_catalogue": ({"CallbackSenderFunction"}, "the same"),
    "smsrelay.adapters.dynamodb_recipient_results": (set(), "an option"),
}
"""Who imports what not all do, and why nobody else."""

CHOSEN = {
    "EventPublisherFunction": {"EventBus": "default"},
    "CallbackSenderFunction": {"Callbacks": "on", "Catalogue": "on"},
}
"""Parameters without which there is no such function; all others are the template's defaults."""

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
    """The modules that a function has imported when its init phase has ended."""
    paths = (built / function, built / "Layer/python")
    environment = dict(_environment(function))
    return frozenset(json.loads(run_built(INIT, *paths, environment=environment)))


def _environment(function: str) -> Iterator[tuple[str, str]]:
    """What Lambda and the template give a function."""
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
        yield name, _given(value, parameters)


def _given(value: Any, parameters: Mapping[str, str]) -> str:
    """A value of the template, where what is deployed is called by its name in the template."""
    match value:
        case {"Ref": name}:
            return parameters.get(name, name)
        case {"Fn::Sub": text}:
            return str(text)
        case {"Fn::FindInMap": [table, key, place]}:
            return str(template()["Mappings"][table][_given(key, parameters)][place])
        case {"Fn::If": [condition, yes, no]}:
            [one, other] = template()["Conditions"][condition]["Fn::Equals"]
            chosen = _given(one, parameters) == _given(other, parameters)
            return _given(yes if chosen else no, parameters)
    return str(value)


def _is_in(name: str, loaded: frozenset[str]) -> bool:
    return any(module == name or module.startswith(f"{name}.") for module in loaded)


@pytest.mark.parametrize("function", MODULES)
def test_a_function_imports_nothing_that_nobody_uses(built: Path, function: str) -> None:
    loaded = _loaded(function, built)
    assert not {name: why for name, why in NOBODY.items() if _is_in(name, loaded)}


@pytest.mark.parametrize("function", MODULES)
def test_a_function_imports_what_is_its_own_and_nothing_of_the_others(
    built: Path, function: str
) -> None:
    loaded = _loaded(function, built)
    wrong = {
        name: why for name, (who, why) in ONLY.items() if _is_in(name, loaded) != (function in who)
    }
    assert not wrong


@pytest.mark.parametrize("function", MODULES)
def test_a_function_imports_no_more_modules_than_now(built: Path, function: str) -> None:
    loaded = _loaded(function, built)
    assert len(loaded) <= MODULES[function], sorted(loaded)


def test_the_budget_names_all_functions_and_modules_that_there_are() -> None:
    resources = template()["Resources"].items()
    assert MODULES.keys() == {
        name for name, resource in resources if resource["Type"] == "AWS::Serverless::Function"
    }
    for name in ONLY.keys() - {"pydantic"}:
        assert (ROOT / "layers/smsrelay" / f"{name.replace('.', '/')}.py").exists(), name
