"""What a Python application builds and reads is what the relay takes and says."""

import json
import subprocess
import sys
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from smsrelay.client import (
    AcceptedMessage,
    MessageRequest,
    Problem,
    QuietHours,
    RequestRefusedError,
    StoredMessage,
    Subscriber,
    TokenOwner,
    answer_of,
    body_of,
)
from smsrelay.messages.strict_json import decode
from smsrelay.messages.validation import parse_request
from tests.support import contract
from tests.support.template import ROOT
from tools.openapi import response_schemas

SAMPLES = sorted(
    path
    for path in (ROOT / "events/messages").glob("*.json")
    if not path.stem.startswith("refused-")
)
ID, NUMBER = "MzA6Nzg6MA", "+1 212 555 0100"

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


def test_it_is_imported_without_aws_and_without_http() -> None:
    command = [sys.executable, "-c", IMPORT]
    environment = {"PYTHONPATH": str(ROOT / "layers/smsrelay")}
    subprocess.run(command, check=True, env=environment, timeout=60)  # noqa: S603 - this very Python


@pytest.mark.parametrize("path", SAMPLES, ids=lambda path: path.stem)
def test_what_is_written_is_the_same_request(path: Path) -> None:
    request = parse_request(decode(path.read_text()))
    again = parse_request(decode(body_of(request)))
    assert again == request
    for text in (
        request.model_dump_json(by_alias=True, exclude_none=True),
        request.model_dump_json(by_alias=True, exclude_defaults=True),
    ):
        assert parse_request(decode(text)) == request


def test_a_request_is_built_by_the_names_of_python() -> None:
    request = MessageRequest(
        message=ID,
        to=[NUMBER, Subscriber(mobile="+12125550101", key="k", attributes={"Share": 0.5, "N": 7})],  # type: ignore[dict-item] # they become strings
        subscribe=True,
        keyword="JOINSMS",
        send_at=datetime(2027, 1, 15, 16, 1, tzinfo=timezone(timedelta(hours=-5))),
        quiet_hours=QuietHours(start="21:00", end="08:00", utc_offset="-05:00"),
        media_url="https://images.example.com/welcome.jpg",
        on_unknown="resend",
        idempotency_key="order-8812",
    )
    body = json.loads(body_of(request))
    assert body == {
        "message": ID,
        "to": [
            "+12125550100",
            {"mobile": "+12125550101", "key": "k", "attributes": {"Share": "0.5", "N": "7"}},
        ],
        "subscribe": True,
        "keyword": "JOINSMS",
        "sendAt": "2027-01-15T21:01:00Z",
        "quietHours": {"start": "21:00", "end": "08:00", "utcOffset": "-05:00"},
        "mediaUrl": "https://images.example.com/welcome.jpg",
        "onUnknown": "resend",
        "idempotencyKey": "order-8812",
    }
    contract.validator("/components/schemas/MessageRequest").validate(body)


@pytest.mark.parametrize(
    ("fields", "code"),
    [
        ({"to": ["212-555-CALL"]}, "invalid-number"),
        ({"send_at": datetime(2027, 1, 15, 16, 1)}, "time-without-offset"),  # noqa: DTZ001 - that is it
        ({"send_at": datetime(1999, 1, 1, tzinfo=UTC)}, "invalid-time"),
        ({"text": " "}, "blank-text"),
    ],
)
def test_a_field_that_is_wrong_by_itself_is_refused_where_it_is_set(
    fields: dict[str, Any], code: str
) -> None:
    with pytest.raises(ValidationError) as caught:
        MessageRequest(**({"message": ID, "to": [NUMBER]} | fields))
    assert [error["type"] for error in caught.value.errors()] == [code]


@pytest.mark.parametrize("share", [float("nan"), float("inf"), 1e99])
def test_an_attribute_is_a_number_that_can_be_written(share: float) -> None:
    with pytest.raises(ValidationError):
        Subscriber(mobile=NUMBER, key="k", attributes={"Share": share})  # type: ignore[dict-item] # that is it


def test_the_rules_between_fields_are_checked_before_it_is_posted() -> None:
    quiet = QuietHours(start="21:00", end="21:00")
    request = MessageRequest(message=ID, to=[NUMBER], subscribe=True, quiet_hours=quiet)
    with pytest.raises(RequestRefusedError) as caught:
        body_of(request)
    codes = {refusal.code for refusal in caught.value.refusals}
    assert codes == {"keyword-missing", "zone-missing", "empty-window"}


def test_the_names_of_python_are_none_in_json() -> None:
    text = '{"message": "m", "to": ["+12125550100"], "media_url": "https://a.example/b.jpg"}'
    with pytest.raises(RequestRefusedError, match="unknown-field"):
        parse_request(decode(text))


# The answers of the document, as the models read them.


def test_every_documented_answer_to_a_posted_message_is_read() -> None:
    [post] = [contract.document()["paths"]["/messages"]["post"]]
    for status, response in post["responses"].items():
        [content] = response["content"].values()
        for example in content["examples"].values():
            body = json.dumps(example["value"])
            found = answer_of(int(status), body)
            assert isinstance(found, AcceptedMessage if status == "202" else Problem)
            told = found.model_dump(mode="json", by_alias=True, exclude_unset=True)
            assert told == example["value"], "nothing is lost"


def test_members_that_a_newer_relay_adds_are_ignored() -> None:
    body = dict(response_schemas.POSTED["accepted"].body) | {"more": 1}
    assert isinstance(answer_of(202, json.dumps(body)), AcceptedMessage)
    with pytest.raises(ValidationError):
        answer_of(502, '{"message": "Internal server error"}')


def test_stored_messages_and_tokens_are_read() -> None:
    for answer in response_schemas.STORED.values():
        assert (
            StoredMessage.model_validate_json(json.dumps(answer.body)).id
            == response_schemas.MESSAGE_ID
        )
    for answer in response_schemas.FOUND.values():
        assert TokenOwner.model_validate(answer.body).n == 1
