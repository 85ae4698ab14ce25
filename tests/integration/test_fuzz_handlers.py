"""Fuzzes the handlers: every request and queue message has a documented result."""

import base64
import json
import os
from typing import Any

from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from moto.core.models import DEFAULT_ACCOUNT_ID
from moto.sqs.models import sqs_backends

from tests.support import contract
from tests.support.environment import CLIENT, REGION, Context, Environment
from tests.support.template import SAMPLE_TOPIC_ARN
from tools.mobileconnect_simulator import Simulator

THOROUGH = os.environ.get("SMSRELAY_THOROUGH") == "1"
MESSAGE: dict[str, Any] = {"message": "MzA6Nzg6MA", "to": ["+1 212 555 0100"], "text": "Hello"}
WHOLE: dict[str, Any] = {
    **MESSAGE,
    "to": ["+12125550100", {"mobile": "+12125550101", "key": "k", "attributes": {"Name": "Zoë"}}],
    "subscribe": True,
    "keyword": "JOIN",
    "sendAt": "2099-10-05T16:01:00-04:00",
    "quietHours": {"start": "21:00", "end": "08:00", "timezone": "America/Chicago"},
    "mediaUrl": "https://media.example/x.jpg",
    "reference": "order-8812",
    "onUnknown": "resend",
    "idempotencyKey": "k-1",
}
STATUSES = {202, 400, 409, 413, 415, 422, 503, 504}


def bounded(examples: int) -> settings:
    return settings(
        max_examples=examples * (25 if THOROUGH else 1),
        # The same examples in every run.
        derandomize=True,
        database=None,
        deadline=None,
        suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
    )


TEXTS = st.text(st.characters(), max_size=30)
JSON = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), TEXTS),
    lambda inside: st.one_of(
        st.lists(inside, max_size=4),
        st.dictionaries(st.one_of(TEXTS, st.sampled_from(sorted(WHOLE))), inside, max_size=4),
    ),
    max_leaves=12,
)
# Valid requests with some fields removed or made invalid.
SPOILED = st.builds(
    lambda gone, more: {k: v for k, v in WHOLE.items() if k not in gone} | more,
    st.sets(st.sampled_from(sorted(WHOLE)), max_size=4),
    st.dictionaries(st.one_of(st.sampled_from(sorted(WHOLE)), TEXTS), JSON, max_size=2),
)
GOOD = json.dumps(WHOLE)


@st.composite
def mutated(draw: st.DrawFn) -> str:
    """Return the text of a valid request, with parts removed, doubled or replaced."""
    text = GOOD
    for _ in range(draw(st.integers(1, 3))):
        start = draw(st.integers(0, len(text)))
        end = min(len(text), start + draw(st.integers(0, 12)))
        piece = draw(st.one_of(st.just(text[start:end] * 2), st.just(""), TEXTS))
        text = text[:start] + piece + text[end:]
    return text


BODIES = st.one_of(
    TEXTS, mutated(), JSON.map(json.dumps), SPOILED.map(json.dumps), st.just(GOOD), st.none()
)
HEADERS = st.fixed_dictionaries(
    {
        "Content-Type": st.one_of(
            st.just("application/json"), st.sampled_from(["text/json", "", ";", "APPLICATION/JSON"])
        )
    },
    optional={
        "Idempotency-Key": st.one_of(st.sampled_from(["k-1", '"k-1"', '"', ""]), TEXTS),
        "Prefer": st.one_of(st.sampled_from(["respond-async", "wait=5, respond-async;x"]), TEXTS),
        "Content-Encoding": st.sampled_from(["identity", "gzip"]),
        "X-Other": TEXTS,
    },
)


@bounded(120)
@given(body=BODIES, headers=HEADERS, remaining=st.sampled_from([28.0, 28.0, 5.0, 0.0]))
@example(body=GOOD, headers={"Content-Type": "application/json"}, remaining=28.0)
def test_every_post_has_a_documented_response(
    relay: Environment, body: str | None, headers: dict[str, str], remaining: float
) -> None:
    # `post` checks each response against the OpenAPI document.
    answer = relay.post(body, headers=headers, remaining=remaining)
    assert answer.status in STATUSES
    is_problem = answer.status >= 400
    expected = "application/problem+json" if is_problem else "application/json"
    assert answer.headers["Content-Type"] == expected
    if is_problem:
        assert answer.body["status"] == answer.status
        assert {"type", "title", "code", "detail"} <= set(answer.body)
    else:
        assert relay.get(relay.endpoint.route_of(answer.headers["Location"])).status == 200


def posted(relay: Environment, body: str | None, *, is_base64: bool) -> dict[str, Any]:
    headers = {"Content-Type": "application/json", "Idempotency-Key": "order-8812-shipped"}
    identity = {"apiKeyId": relay.key_of(CLIENT)}
    event = relay.endpoint.event("POST", "/messages", headers=headers, body=body, identity=identity)
    return event | {"isBase64Encoded": is_base64}


@bounded(60)
@given(
    body=st.one_of(
        st.binary(max_size=200).map(lambda raw: base64.b64encode(raw).decode()),
        mutated().map(lambda text: base64.b64encode(text.encode("utf-8", "replace")).decode()),
        st.text("ABCabc019+/=-_ \n", max_size=60),
        st.none(),
    )
)
@example(body=base64.b64encode(GOOD.encode()).decode())
@example(body=base64.b64encode(GOOD.encode("utf-16")).decode())
def test_every_body_of_bytes_has_a_documented_response(
    relay: Environment, body: str | None
) -> None:
    answer = relay.api.handler(posted(relay, body, is_base64=True), Context())
    assert answer["statusCode"] in STATUSES
    headers = {name: values[0] for name, values in answer["multiValueHeaders"].items()}
    contract.assert_conforms(
        "POST", "/messages", answer["statusCode"], headers, json.loads(answer["body"])
    )


@bounded(60)
@given(
    name=st.one_of(
        st.text(min_size=1, max_size=30), st.text("%0123456789abcdef/.~ ", min_size=1, max_size=40)
    )
)
def test_every_read_has_a_response(relay: Environment, name: str) -> None:
    identity = {"apiKeyId": relay.key_of(CLIENT)}
    for route, parameter in (("/messages/x", "id"), ("/tokens/x", "tokenId")):
        event = relay.endpoint.event("GET", route, identity=identity)
        answer = relay.api.handler(event | {"pathParameters": {parameter: name}}, Context())
        assert answer["statusCode"] == 404
        assert json.loads(answer["body"])["code"] == "not-found"


VALUES = st.one_of(
    TEXTS, st.sampled_from(["k", '"k"', "1800000000.25-403QDVK492SX83H9VMGX2PC8JT", "order-8812"])
)


@bounded(60)
@given(
    query=st.dictionaries(
        st.one_of(st.sampled_from(["idempotencyKey", "reference", "next"]), TEXTS),
        st.lists(VALUES, min_size=1, max_size=2),
        max_size=3,
    )
)
def test_every_search_has_a_documented_response(
    relay: Environment, query: dict[str, list[str]]
) -> None:
    event = posted(relay, None, is_base64=False)
    event |= {"httpMethod": "GET", "multiValueQueryStringParameters": query}
    answer = relay.api.handler(event, Context())
    assert answer["statusCode"] in {200, 422}
    headers = {name: values[0] for name, values in answer["multiValueHeaders"].items()}
    contract.assert_conforms(
        "GET", "/messages", answer["statusCode"], headers, json.loads(answer["body"])
    )


# SQS accepts the characters of XML.
SQS_TEXTS = st.text(
    st.characters(
        exclude_categories=["Cs"],
        exclude_characters=[
            *(chr(n) for n in range(0x20) if n not in {0x9, 0xA, 0xD}),
            *("\ufffe", "\uffff"),
        ],
    ),
    min_size=1,
    max_size=40,
)
NOTIFICATION = {"Type": "Notification", "TopicArn": SAMPLE_TOPIC_ARN}
INSIDE = st.one_of(SPOILED, st.just(MESSAGE), JSON)
ENVELOPES = st.one_of(
    st.builds(
        lambda inside, more: NOTIFICATION | {"Message": json.dumps(inside)} | more,
        INSIDE,
        st.fixed_dictionaries(
            {},
            optional=dict.fromkeys(("MessageId", "MessageAttributes", "Message", "TopicArn"), JSON),
        ),
    ),
    st.builds(
        lambda inside, more: {"detail-type": "x", "detail": inside} | more,
        INSIDE,
        st.fixed_dictionaries({}, optional={"id": JSON, "detail-type": JSON}),
    ),
    st.builds(
        lambda reference: {"send": reference},
        st.one_of(
            JSON,
            st.fixed_dictionaries(
                {
                    "id": st.one_of(TEXTS, st.just("01ARZ3NDEKTSV4RRFFQ69G5FAV")),
                    "n": st.one_of(st.integers(), st.booleans(), st.just(1)),
                }
            ),
        ),
    ),
)
MESSAGES = st.one_of(
    SQS_TEXTS,
    # Escaped, as senders to SQS must do.
    st.one_of(ENVELOPES, INSIDE).map(json.dumps),
)
ATTRIBUTES = st.dictionaries(
    st.sampled_from(["client", "Idempotency-Key", "reason", "messageId", "other"]),
    SQS_TEXTS,
    max_size=3,
)


@bounded(50)
@given(body=MESSAGES, attributes=ATTRIBUTES)
@example(body='{"send": {"id": "\\ud800", "n": 1}}', attributes={})
@example(body=json.dumps({"send": {"id": "x" * 3_000, "n": 1}}), attributes={})
@example(
    body='{"send": {"id": "01ARZ3NDEKTSV4RRFFQ69G5FAV", "n": ' + "9" * 4_000 + "}}", attributes={}
)
@example(body=json.dumps(MESSAGE | {"to": []}), attributes={"Idempotency-Key": "\u00fc"})
def test_every_queue_message_ends_without_affecting_another_one(
    relay: Environment, simulator: Simulator, body: str, attributes: dict[str, str]
) -> None:
    simulator.reset()
    _empty(relay)
    hostile = relay.enqueue(body, attributes)
    relay.enqueue(MESSAGE | {"text": "The good one"})

    stay = relay.work()

    texts = [sent["body"].get("messageText") for sent in simulator.sent()]
    assert texts.count("The good one") == 1
    is_sent = len(texts) > 1
    letters = [letter["body"] for letter in relay.dead_letters()]
    is_queued = relay.waiting() > len(stay)  # a message with several sends
    assert set(stay) <= {hostile}
    assert is_sent or is_queued or stay or letters == [body]
    assert not (letters and stay), "a message with a dead letter must not come back"
    # A message that can never be processed must not come back.
    assert letters or is_sent or is_queued or _is_known(relay), body


def _is_known(relay: Environment) -> bool:
    """Return whether the ledger has a send of another message than the valid one."""
    return sum("status" in item for item in relay.items()) > 1


def _empty(relay: Environment) -> None:
    queues = sqs_backends[DEFAULT_ACCOUNT_ID][REGION].queues
    for url in (relay.queue_url, relay.dead_letter_queue_url):
        # SQS would allow only one purge a minute.
        queues[url.rpartition("/")[2]]._messages.clear()  # noqa: SLF001
    for item in relay.items():
        relay.client("dynamodb").delete_item(
            TableName=relay.table, Key={"pk": item["pk"], "sk": item["sk"]}
        )


def test_mutations_are_accepted_and_refused(relay: Environment) -> None:
    """Some mutations must be accepted: otherwise the other tests would cover only refusals."""
    seen: set[int] = set()

    @bounded(60)
    @given(body=st.one_of(mutated(), SPOILED.map(json.dumps)))
    def post(body: str) -> None:
        seen.add(relay.post(body).status)

    post()
    assert {202, 400, 422} <= seen
