"""Tests the deployed stack against its own OpenAPI document."""

import itertools

import httpx
import pytest
from hypothesis import HealthCheck, settings

from tests.support import contract
from tools.local_stack.simulator_client import SimulatorControl
from tools.local_stack.stack import Stack

schema = contract.fuzzed()
# Only tests/integration/test_fuzzed_handler.py tries each limit of the schemas: it takes 10 seconds
# in each process to generate these requests.
schema.config.phases.coverage.enabled = False
EXAMPLES = 10
"""Random examples for each operation; few, for speed."""

fresh = itertools.count()


@schema.parametrize()  # type: ignore[untyped-decorator] # schemathesis has no types here
@settings(
    max_examples=EXAMPLES, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck)
)
def test_the_stack_conforms_to_the_document(
    case: contract.Checked, stack: Stack, upstream: SimulatorControl
) -> None:
    _ = upstream  # its teardown waits for the messages in the queue
    headers = {"x-api-key": stack.api_key}
    if case.meta.generation.mode.is_positive and case.operation.path == "/messages":
        headers["Idempotency-Key"] = f"fuzzed-{next(fresh)}"  # generated keys could be the same
    if case.path_parameters and case.path_parameters.get("client") == "shop":
        # Not `shop`, whose snippets other tests run: the function would cache for 10 s that it has
        # no webhook secret.
        case.path_parameters["client"] = "fuzzed"
    case.call_and_validate(
        base_url=stack.api_url,
        headers=headers,
        additional_checks=contract.CHECKS,
        excluded_checks=contract.EXCLUDED,
    )


@pytest.mark.parametrize("key", [{}, {"x-api-key": "not-a-key"}])
def test_the_documentation_needs_no_key(stack: Stack, key: dict[str, str]) -> None:
    with httpx.Client(base_url=stack.api_url, headers=key, trust_env=False) as client:
        served, page = client.get("/openapi.json"), client.get("/docs")
    assert (served.status_code, page.status_code) == (200, 200)
    assert served.content == contract.FILE.read_bytes()
    assert served.headers["Content-Type"] == "application/json"
    assert page.headers["Content-Type"] == "text/html; charset=utf-8"
    assert page.content == contract.FILE.with_name("docs.html").read_bytes()


def test_the_samples_of_the_document_are_accepted(
    api: httpx.Client, upstream: SimulatorControl
) -> None:
    body = contract.document()["paths"]["/messages"]["post"]["requestBody"]
    for example in body["content"]["application/json"]["examples"].values():
        key = {"Idempotency-Key": f"sample-{next(fresh)}"}
        answer = api.post("/messages", json=example["value"], headers=key)
        assert answer.status_code == 202, example
    assert upstream.sent()
