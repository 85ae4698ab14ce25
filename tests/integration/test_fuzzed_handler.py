"""Tests the handler with valid and invalid requests generated from the OpenAPI document."""

import io
import itertools
import os
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

import pytest
from hypothesis import HealthCheck, settings
from requests import PreparedRequest, Response, Session
from requests.adapters import HTTPAdapter
from urllib3 import HTTPResponse

from tests.support import contract
from tests.support.environment import Environment, running
from tools.mobileconnect_simulator import Simulator

schema = contract.fuzzed()
BASE = "http://relay"
EXAMPLES = int(os.environ.get("FUZZ_EXAMPLES", "30"))
"""Random examples for each operation, besides those for its schema's limits; `make fuzz`: 2,000."""


def _text(value: str | bytes) -> str:
    return value.decode(errors="replace") if isinstance(value, bytes) else value


class Handler(HTTPAdapter):
    """Sends the requests of a session to the API function in this process."""

    def __init__(self, relay: Environment) -> None:
        super().__init__()
        self._relay = relay
        self._clients = itertools.count()

    def send(self, request: PreparedRequest, *_: Any, **__: Any) -> Response:
        body, url = request.body, urlsplit(request.url or "")
        answer = self._relay.raw(
            request.method or "",
            f"{url.path}?{url.query}" if url.query else url.path,
            headers={name: _text(value) for name, value in request.headers.items()},
            body=_text(body) if isinstance(body, str | bytes) else None,
            client=f"client-{next(self._clients)}",  # each client needs its own idempotency keys
        )
        headers = {name: values[0] for name, values in answer["multiValueHeaders"].items()}
        content = io.BytesIO(answer["body"].encode())
        return self.build_response(
            request,
            HTTPResponse(content, headers, status=answer["statusCode"], preload_content=False),
        )


@pytest.fixture
def session(aws: None, session_simulator: Simulator) -> Iterator[Session]:
    _ = aws
    session_simulator.reset()
    with running(session_simulator.url) as environment, Session() as client:
        client.mount(BASE, Handler(environment))
        yield client


@schema.parametrize()  # type: ignore[untyped-decorator] # schemathesis has no types here
@settings(
    max_examples=EXAMPLES, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck)
)
def test_the_handler_conforms_to_the_document(case: contract.Checked, session: Session) -> None:
    case.call_and_validate(
        base_url=BASE,
        session=session,
        additional_checks=contract.CHECKS,
        excluded_checks=contract.EXCLUDED,
    )
