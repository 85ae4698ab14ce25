"""Checks that the client library, the relay and the OpenAPI document agree."""

import json
import subprocess
import sys

import pytest
from pydantic import ValidationError

from smsrelay.client import (
    AcceptedMessage,
    Event,
    PreviewedMessage,
    Problem,
    RequestRefusedError,
    StoredMessage,
    TokenOwner,
    answer_of,
    body_of,
    parse_request,
)
from tests.support import contract
from tests.support.template import ROOT
from tools.openapi import response_schemas
from tools.openapi.error_codes import CODES

IMPORT = """
import sys

class Blocked:
    def find_spec(self, name, *_):
        if name.partition(".")[0] in {"boto3", "botocore", "aws_lambda_powertools", "httpx"}:
            raise ImportError(name)

sys.meta_path.insert(0, Blocked())
import smsrelay.client, smsrelay.messages.message_catalogue
ours = sorted(name for name in sys.modules if name.startswith("smsrelay."))
assert not [name for name in ours if "adapters" in name or "bootstrap" in name], ours
"""


def test_the_library_imports_neither_aws_nor_http_packages() -> None:
    command = [sys.executable, "-c", IMPORT]
    environment = {"PYTHONPATH": str(ROOT / "layers/smsrelay")}
    subprocess.run(command, check=True, env=environment, timeout=60)  # noqa: S603 - the running Python


def test_written_requests_conform_to_the_document() -> None:
    schema = contract.validator("/components/schemas/MessageRequest")
    samples = (ROOT / "events/messages").glob("*.json")
    for path in [it for it in samples if not it.stem.startswith("refused-")]:
        schema.validate(json.loads(body_of(parse_request(path.read_text()))))


@pytest.mark.parametrize(
    ("code", "example"),
    [(code, it.example) for code, it in CODES.items() if it.example and not it.is_of_catalogue],
)
def test_every_documented_code_is_in_the_error_of_its_example(code: str, example: str) -> None:
    with pytest.raises(RequestRefusedError) as caught:
        parse_request(example)
    assert code in {refusal.code for refusal in caught.value.refusals}


def test_every_documented_response_to_a_post_is_read() -> None:
    [post] = [contract.document()["paths"]["/messages"]["post"]]
    for status, response in post["responses"].items():
        [content] = response["content"].values()
        for example in content["examples"].values():
            body = json.dumps(example["value"])
            found = answer_of(int(status), body)
            assert isinstance(found, AcceptedMessage if status == "202" else Problem)
            dumped = found.model_dump(mode="json", by_alias=True, exclude_unset=True)
            assert dumped == example["value"], "a member was lost"


def test_members_that_a_newer_relay_adds_are_ignored() -> None:
    body = dict(response_schemas.POSTED["accepted"].body) | {"more": 1}
    assert isinstance(answer_of(202, json.dumps(body)), AcceptedMessage)
    with pytest.raises(ValidationError):
        answer_of(502, '{"message": "Internal server error"}')


def test_members_that_a_newer_relay_adds_to_an_event_are_ignored() -> None:
    sent = {"id": response_schemas.MESSAGE_ID, "n": 1, "client": "shop", "status": "delivered"}
    data = sent | {"final": True, "recipients": 1, "attempts": 1}
    body = {
        "type": "smsrelay.send.delivered",
        "timestamp": "2027-01-15T08:00:00.250+00:00",
        "data": data | {"more": 1},
        "more": 1,
    }
    event = Event.model_validate_json(json.dumps(body))
    assert event.data.model_dump(by_alias=True, exclude_unset=True) == data


def test_a_warning_that_a_newer_relay_adds_is_accepted() -> None:
    body = {
        "requests": [{"method": "POST", "path": "/sms", "body": {}, "recipients": 1}],
        "recipients": 1,
        "warnings": [{"code": "expensive", "detail": "It costs more."}],
    }
    [warning] = PreviewedMessage.model_validate_json(json.dumps(body)).warnings
    assert warning.code == "expensive"


def test_a_status_that_a_newer_relay_adds_is_accepted() -> None:
    body = json.dumps(response_schemas.STORED["accepted"].body).replace('"accepted"', '"postponed"')
    stored = StoredMessage.model_validate_json(body)
    assert stored.status == stored.sends[0].status == "postponed"
    body = json.dumps(response_schemas.POSTED["accepted"].body).replace('"accepted"', '"postponed"')
    assert answer_of(202, body).status == "postponed"


def test_stored_messages_and_tokens_are_read() -> None:
    for answer in response_schemas.STORED.values():
        assert (
            StoredMessage.model_validate_json(json.dumps(answer.body)).id
            == response_schemas.MESSAGE_ID
        )
    for answer in response_schemas.FOUND.values():
        assert TokenOwner.model_validate(answer.body).n == 1
