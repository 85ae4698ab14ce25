"""Tests the responses of gateways that are not the API's: each status with each body.

The expected results come from the tables of docs/delivery-guarantees.md. Each test judges what
clients, recipients and operators see.
"""

import json
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from itertools import batched, cycle, islice, product
from typing import Any, Final, NamedTuple

import pytest

from smsrelay.wiring import delivery_poller, token_renewer
from tests.conftest import WallClock
from tests.support.aws_calls import record
from tests.support.cloudwatch_metrics import metrics
from tests.support.environment import ACCESS_TOKEN, CLIENT, Environment, running
from tests.support.outcome_tables import ResponseTable, read_responses, read_table
from tools.mobileconnect_simulator import Simulator
from tools.mobileconnect_simulator.state import RouteName

Json = dict[str, Any]
MESSAGE_ID: Final = "MzA6Nzg6MA"
STATUSES: Final = (
    *(*range(200, 205), 206, 299),
    *range(300, 309),
    *(*range(400, 419), *range(421, 427), 428, 429, 431, 451, 499),
    *(*range(500, 509), 510, 511, *range(520, 531), 598),
)
"""The statuses in common use, and some that are not registered."""
WITHOUT_BODY: Final = {204, 304}
"""Statuses with which HTTP allows no body."""
AT_ONCE: Final = 150
"""Sends in the ledger at a time: moto's queries become slower with more items."""

ERRORS: Final = '{"errors": ["Invalid phone number"]}'
ERRORCODE: Final = '{"documentation": "https://…", "errorcode": 0, "message": "Not Authorized"}'
FOREIGN: Final = {
    "empty": "",
    "HTML": "<html><body><h1>Bad Gateway</h1></body></html>",
    "JSON of another shape": '{"message": "Endpoint request timed out", "status": "Error"}',
}
SEND_BODIES: Final = FOREIGN | {
    "`tokenId` readable": '{"tokenId": "of-a-gateway-%d"}',
    "`tokenId` not readable": '{"tokenId": null}',
    "`errors`": ERRORS,
    "`errorcode`": ERRORCODE,
}
RESPONSES: Final = read_responses(
    "responses", SEND_BODIES.keys() - FOREIGN, ("accepted", "not sent", "rejected", "unknown")
)


class Effect(NamedTuple):
    """The effect of an outcome on a send."""

    http: int
    status: str
    sent_again: bool
    letter: bool
    """Whether the worker writes a dead letter."""


FOLLOWS: Final = {
    "nothing": (False, False),
    "nothing, until a person acts": (False, False),
    "nothing, or a dead letter if the worker sent it": (False, True),
    "sent again": (True, False),
    "sent again, or `failed` with a dead letter once it is too old": (True, False),
}


def read_effects() -> dict[tuple[str, str], Effect]:
    effects = {}
    for outcome, on_unknown, http, status, follows in read_table("outcomes"):
        for choice in ("hold", "resend") if on_unknown == "any" else (on_unknown.strip("`"),):
            effects[outcome, choice] = Effect(int(http), status.strip("`"), *FOLLOWS[follows])
    return effects


EFFECTS: Final = read_effects()


class Case(NamedTuple):
    """A send whose first call gets this response; `accepted`: the API had accepted the call."""

    n: int
    status: int
    body: str
    accepted: bool
    way: str = "http"
    on_unknown: str = "hold"

    @property
    def outcome(self) -> tuple[str, str]:
        """The outcome, and its reason."""
        return documented(RESPONSES, self.status, self.body)

    @property
    def effect(self) -> Effect:
        return EFFECTS[self.outcome[0], self.on_unknown]

    @property
    def number(self) -> str:
        return f"1{200 + self.n // 100}55501{self.n % 100:02}"

    @property
    def key(self) -> str:
        return f"key-{self.n}"

    @property
    def request(self) -> Json:
        return {"message": MESSAGE_ID, "to": [f"+{self.number}"], "onUnknown": self.on_unknown}


def documented(table: ResponseTable, status: int, body: str) -> tuple[str, str]:
    """Return a response's documented result and reason."""
    row = table.row(status, "empty" if status in WITHOUT_BODY else body)
    return row.result, row.reason


def every_case() -> Iterator[Case]:
    """Yield each response twice: after and before the API accepted the call, once over each way.

    If the API had accepted the call, the choice is `hold`; otherwise `hold` and `resend` alternate.
    """
    for place, (status, body) in enumerate(product(STATUSES, SEND_BODIES)):
        # The number of bodies is odd, so each status and each body gets both.
        ways = ("http", "queue") if place % 2 else ("queue", "http")
        yield Case(2 * place, status, body, accepted=True, way=ways[0])
        choice = "resend" if place // 2 % 2 else "hold"
        yield Case(2 * place + 1, status, body, accepted=False, way=ways[1], on_unknown=choice)


class Seen(NamedTuple):
    """The parts of a send that clients, recipients and operators see."""

    first: object
    """HTTP status, status and reason; in the queue: whether the message comes back."""
    last: tuple[str, str | None]
    has_token: bool
    sms: int
    letters: Sequence[str]


def expected(case: Case) -> Seen:
    effect, (_, reason) = case.effect, case.outcome
    result = (effect.status, None if effect.status == "accepted" else reason)
    return Seen(
        first=(effect.http, *result) if case.way == "http" else effect.status == "queued",
        last=("accepted", None) if effect.sent_again else result,
        has_token=effect.sent_again or reason == "accepted",
        sms=case.accepted + effect.sent_again,
        letters=["rejected"] if effect.letter and case.way == "queue" else [],
    )


def test_each_status_of_the_tables_is_played() -> None:
    tables = (RESPONSES, TOKEN_RESPONSES, DELIVERY_RESPONSES)
    named = {word for table in tables for row in table.rows for word in row.statuses.split(", ")}
    assert {int(word) for word in named if word.isdecimal()} <= {*STATUSES}


def test_sends(wall_clock: WallClock, relay: Environment, simulator: Simulator) -> None:
    """Each response ends the send as documented, and with `hold` the send is not repeated.

    The exception is a gateway that responds as if the API had not received the call.
    """
    wrong = {}
    for cases in batched(every_case(), AT_ONCE, strict=False):
        first = play(relay, simulator, wall_clock, cases)
        let_time_pass(relay, wall_clock, 1_000.0)
        for case, seen in seen_at_last(relay, simulator, first).items():
            if seen != expected(case):
                wrong[case] = (seen, expected(case))
        relay.forget_messages()
        simulator.reset()
    assert wrong == {}


def test_a_send_that_gets_too_old_becomes_a_dead_letter(
    wall_clock: WallClock, relay: Environment, simulator: Simulator
) -> None:
    every = [
        Case(n, status, body, accepted=False)
        for n, (status, body) in enumerate(product(STATUSES, SEND_BODIES))
        if RESPONSES.row(status, body).result == "not sent"
    ]
    play(relay, simulator, wall_clock, every)
    let_time_pass(relay, wall_clock, 25 * 3_600.0)
    letters = dead_letters(relay)
    for case in every:
        message = found_by_key(relay, case)
        assert message["status"] == "failed", case
        assert letters.pop(message["id"]) == ["too-old"], case
    assert (letters, simulator.sent()) == ({}, [])


def respond(
    simulator: Simulator, route: RouteName, status: int, body: str, *, carried_out: bool
) -> None:
    """Give the next call of the route this response, after it was carried out or instead."""
    headers = {"Content-Type": "text/html" if body.startswith("<") else "application/json"}
    if status // 100 == 3:
        headers["Location"] = f"{simulator.url}/sms/v1/messageContact/{MESSAGE_ID}/send"
    response = {"status": status, "body": body, "headers": headers}
    simulator.fail(route, "ok" if carried_out else "500", response=response)


def play(
    relay: Environment, simulator: Simulator, wall_clock: WallClock, cases: Sequence[Case]
) -> dict[Case, tuple[object, str | None]]:
    """Make the first call of each send; return its result, and its id if a response has it."""
    messages = enqueue(relay, [case for case in cases if case.way == "queue"])
    seen: dict[Case, tuple[object, str | None]] = {}
    for case in cases:
        wall_clock.now += 1.0
        relay.end_pauses()
        text = SEND_BODIES[case.body].replace("%d", str(case.n))
        respond(simulator, "send", case.status, text, carried_out=case.accepted)
        if case.way == "http":
            answer = relay.post(case.request, headers={"Idempotency-Key": case.key})
            [send] = answer.body["sends"]
            reported = (answer.status, send["status"], send.get("reason"))
            seen[case] = (reported, answer.body["id"])
        else:
            seen[case] = (work(relay, messages[case.key]), None)
        assert simulator.faults() == [], case
    return seen


def enqueue(relay: Environment, cases: Sequence[Case]) -> dict[str, Json]:
    """Put a message for each case into the queue, receive them all, and return them by key."""
    for case in cases:
        relay.enqueue(case.request, {"Idempotency-Key": case.key, "client": CLIENT})
    messages = [record(message) for message in receive(relay, relay.queue_url)]
    return {it["messageAttributes"]["Idempotency-Key"]["stringValue"]: it for it in messages}


def receive(relay: Environment, url: str) -> Iterator[Json]:
    """Yield all visible messages of a queue; they stay hidden for ten minutes."""
    options = {"MaxNumberOfMessages": 10, "VisibilityTimeout": 600}
    names = {"MessageAttributeNames": ["All"], "MessageSystemAttributeNames": ["All"]}
    sqs = relay.client("sqs")
    while batch := sqs.receive_message(QueueUrl=url, **options, **names).get("Messages"):
        yield from batch


def work(relay: Environment, message: Json) -> bool:
    """Invoke the worker with one message; return whether the message comes back."""
    comes_back = bool(relay.hand_worker([message])["batchItemFailures"])
    if not comes_back:
        handle = message["receiptHandle"]
        relay.client("sqs").delete_message(QueueUrl=relay.queue_url, ReceiptHandle=handle)
    return comes_back


def let_time_pass(relay: Environment, wall_clock: WallClock, seconds: float) -> None:
    """Let time pass, and run worker and sweeper until nothing is left to do."""
    for _ in range(5):
        wall_clock.now += seconds
        relay.end_pauses()
        relay.show_all()
        for _batch in range(0, relay.waiting(), 10):
            relay.work()
        if not relay.sweep() and not relay.waiting():
            return
    raise AssertionError("worker or sweeper still has something to do")


def seen_at_last(
    relay: Environment, simulator: Simulator, first: Mapping[Case, tuple[object, str | None]]
) -> dict[Case, Seen]:
    """Return what is seen of each send, found by id and tokenId, or by key from the queue."""
    sms = Counter(json.loads(entry["raw"])["mobileNumbers"][0] for entry in simulator.sent())
    letters = dead_letters(relay)
    seen = {}
    for case, (reported, message_id) in first.items():
        if message_id is None:
            message = found_by_key(relay, case)
        else:
            message = relay.get(f"/messages/{message_id}").body
        [send] = message["sends"]
        token_id = send.get("tokenId")
        if token_id and message_id:
            assert relay.get(f"/tokens/{token_id}").body["id"] == message_id
        seen[case] = Seen(
            first=reported,
            last=(send["status"], send.get("reason")),
            has_token=token_id is not None,
            sms=sms.pop(case.number, 0),
            letters=letters.pop(message["id"], []),
        )
    assert (sms, letters) == ({}, {})
    return seen


def found_by_key(relay: Environment, case: Case) -> Json:
    [message] = relay.get(f"/messages?idempotencyKey={case.key}").body["messages"]
    found: Json = message
    return found


def dead_letters(relay: Environment) -> dict[str, list[str]]:
    """Return the reasons of each message's dead letters, by message id."""
    letters: dict[str, list[str]] = {}
    for message in receive(relay, relay.dead_letter_queue_url):
        attributes = message["MessageAttributes"]
        message_id = attributes["messageId"]["StringValue"]
        letters.setdefault(message_id, []).append(attributes["reason"]["StringValue"])
    return letters


CLIENT_SECRET: Final = "a-client-secret-that-nobody-logs"
NEW_TOKEN: Final = "an-access-token-of-a-gateway"
TOKEN_BODIES: Final = FOREIGN | {
    "an echo": json.dumps({"message": f"wrong: client_secret={CLIENT_SECRET}"}),
    "an empty token": '{"access_token": null, "expires_in": 1080}',
    "`errorcode`": ERRORCODE,
    "`access_token` readable": f'{{"access_token": "{NEW_TOKEN}", "expires_in": 1080}}',
    "`expires_in` not readable": f'{{"access_token": "{NEW_TOKEN}", "expires_in": "soon"}}',
    "`rest_instance_url` not allowed": (
        f'{{"access_token": "{NEW_TOKEN}", "rest_instance_url": "https://gateway.example"}}'
    ),
    "`invalid_client`": '{"error": "invalid_client", "error_description": "Invalid client."}',
}
TOKEN_RESPONSES: Final = read_responses(
    "token responses",
    [name for name in TOKEN_BODIES if name.startswith("`") and name != "`errorcode`"],
    ("renewed", "failed"),
)


def test_token_responses(
    wall_clock: WallClock,
    relay: Environment,
    simulator: Simulator,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """The stored token is good for 100 more seconds, and only a readable new token replaces it.

    For a third of the requests the endpoint issues a token that the gateway does not pass on.
    """
    monkeypatch.setattr(token_renewer, "time", wall_clock)
    relay.put_credentials(client_id="id", client_secret=CLIENT_SECRET, auth_base_url=simulator.url)
    expires_at = time.time() + 1_080  # by the clock of the secret
    wall_clock.now = expires_at - 100
    token = {"access_token": ACCESS_TOKEN, "expires_at": expires_at}
    old = json.dumps(token | {"rest_instance_url": simulator.url})
    relay.put_secret(old)
    wrong = {}
    for place, (status, body) in enumerate(product(STATUSES, TOKEN_BODIES)):
        respond(simulator, "token", status, TOKEN_BODIES[body], carried_out=place % 3 == 0)
        done = relay.renew()
        counted = metrics(capsys.readouterr().out)
        stored = stored_token(relay)
        result, reason = documented(TOKEN_RESPONSES, status, body)
        right: tuple[object, ...]
        if result == "renewed":
            right = ("renewed", "expiring", NEW_TOKEN, [1.0], None)
        else:
            right = (result, reason, old, None, [1.0])
        seen = (
            *(done["did"], done["reason"]),
            json.loads(stored)["access_token"] if stored != old else old,
            *(counted.get("TokensRenewed"), counted.get("TokenRenewalsFailed")),
        )
        if seen != right:
            wrong[status, body] = (seen, right)
        if stored != old:
            relay.put_secret(old)
    assert wrong == {}
    assert simulator.faults() == []
    assert CLIENT_SECRET not in str([vars(line) for line in caplog.records])
    message = Case(0, 0, "", accepted=False).request
    assert relay.post(message).body["status"] == "accepted"
    assert relay.renew() == {"did": "renewed", "reason": "expiring"}
    assert json.loads(stored_token(relay))["access_token"] != ACCESS_TOKEN
    wall_clock.now += 100
    assert relay.post(message).body["status"] == "accepted"


def stored_token(relay: Environment) -> str:
    secret: str = relay.client("secretsmanager").get_secret_value(SecretId=relay.secret)[
        "SecretString"
    ]
    return secret


REPORT: Final = json.dumps(
    {
        "message": "Hello",
        "count": 1,
        "createDate": "2026-09-21T09:13:20.000",
        "completeDate": "2026-09-21T09:14:20.000",
        "status": "Finished",
        "tracking": [{"mobileNumber": "12005550100", "standardStatusCode": "4000"}],
    }
)
WAIT: Final = "polled again; other polls wait"
DELIVERY_BODIES: Final = FOREIGN | {
    "`tokenId`": '{"tokenId": "of-a-gateway"}',
    "`errors`": ERRORS,
    "`errorcode`": ERRORCODE,
    "a report": REPORT,
}
DELIVERY_RESPONSES: Final = read_responses(
    "delivery responses", ["`errorcode`", "a report"], ("applied", "polled again", WAIT)
)


def test_delivery_responses(
    wall_clock: WallClock, aws: None, simulator: Simulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After each response without a report the send is polled again, and a report ends it."""
    _ = aws
    monkeypatch.setattr(delivery_poller, "time", wall_clock)
    responses = {result: list[tuple[int, str]]() for result in ("applied", "polled again", WAIT)}
    for status, body in product(STATUSES, DELIVERY_BODIES):
        responses[documented(DELIVERY_RESPONSES, status, body)[0]].append((status, body))
    settings = {"DELIVERY_POLLING": "all", "YEARLY_API_CALLS": "10000000"}
    with running(simulator.url, **settings) as relay:

        def poll(batch: Sequence[tuple[int, str]]) -> dict[str, tuple[int, str]]:
            """Run the poller; return the response of each poll, by tokenId."""
            for status, body in batch:
                respond(simulator, "deliveries", status, DELIVERY_BODIES[body], carried_out=True)
            before = len(simulator.calls())
            relay.follow()
            return {
                call["tokenId"] or "": (call["status"] or 0, call["answer"] or "")
                for call in simulator.calls()[before:]
            }

        posted = accepted(relay, wall_clock, 2)
        for response in responses[WAIT]:
            wall_clock.now += 61.0
            assert len(poll([response])) == 1, response
        posted |= accepted(relay, wall_clock, 75)
        before: dict[str, tuple[int, str]] = {}
        # The last run repeats some responses, so that each poll gets one.
        count = -(-len(responses["polled again"]) // len(posted)) * len(posted)
        repeated = islice(cycle(responses["polled again"]), count)
        for batch in batched(repeated, len(posted), strict=True):
            wall_clock.now += 7 * 3_600.0
            polled = poll(batch)
            assert [before.get(it) for it in posted if it not in polled] == [], "not polled again"
            before = polled
        assert simulator.faults() == []
        ended = statuses(relay, posted)
        assert {before[it]: ended[it] for it in posted if ended[it] != "accepted"} == {}
        wall_clock.now += 7 * 3_600.0
        poll(responses["applied"])
        assert {*statuses(relay, posted).values()} == {"delivered"}


def accepted(relay: Environment, wall_clock: WallClock, count: int) -> dict[str, str]:
    """Post messages, and return their ids by tokenId."""
    posted = {}
    for n in range(count):
        wall_clock.now += 1.0
        message = relay.post(Case(n, 0, "", accepted=False).request).body
        posted[message["sends"][0]["tokenId"]] = message["id"]
    return posted


def statuses(relay: Environment, posted: Mapping[str, str]) -> dict[str, str]:
    """Return the status of each message, by tokenId."""
    return {it: relay.get(f"/messages/{id_}").body["status"] for it, id_ in posted.items()}
