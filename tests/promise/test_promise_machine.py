"""The promise, whatever comes: posts, redeliveries, faults, deaths, operators, in any order.

Hypothesis chooses what happens. The model knows what an outsider can see, and what is promised.
"""

import json
import os
import sys
from collections import Counter
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import cache, partial
from typing import Any, NamedTuple
from unittest.mock import patch

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from smsrelay.adapters.boto_clients import BotoClients
from smsrelay.adapters.mobileconnect import MobileConnect
from smsrelay.sends import call_outcome, ids
from smsrelay.sends.call_outcome import Failure, Outcome
from smsrelay.sends.send import SendKey, reference_body
from smsrelay.services.queue_worker import QueueWorker
from smsrelay.services.sender import STALLED_AFTER
from tests.promise.relay_in_process import (
    NO_CONNECTION,
    RETENTION,
    START,
    AwsFault,
    Order,
    Row,
    Trouble,
)
from tests.support.environment import CLIENT, HttpAnswer
from tools.mobileconnect_simulator import Simulator
from tools.mobileconnect_simulator.faults import Then

Json = dict[str, Any]

THOROUGH = os.environ.get("SMSRELAY_THOROUGH") == "1"
EXAMPLES, STEPS = (1_000, 40) if THOROUGH else (30, 20)
AREAS = ("202", "212", "303", "312", "404", "415", "503", "512", "617", "713")
DAY = 86_400.0
ROUNDS, ROUND_SECONDS = 12, 1_000.0
"""When nothing goes wrong any more: each round is longer than every lease and every wait, and all
of them together are shorter than the age at which a send is given up."""
LATEST = START + RETENTION / 2
"""After a time the queue forgets what nobody takes; here somebody does."""

CLEAR = (
    *(Then.UNAUTHORIZED, Then.FORBIDDEN, Then.NOT_FOUND),
    *(Then.RATE_LIMITED, Then.BLOCKED, Then.UNAVAILABLE, NO_CONNECTION),
    *(Then.BAD_REQUEST, Then.NO_TOKEN, Then.TRAILING_COMMA),
)
"""What the upstream may do and leave no doubt whether the SMS went out."""
DOUBTFUL = tuple(then for then in Then if then not in {*CLEAR, Then.OK})


@dataclass(frozen=True)
class UpstreamFails:
    """The next calls of the upstream."""

    then: str
    times: int


@dataclass(frozen=True)
class AwsFails:
    """The next calls of a service of AWS."""

    service: str
    fault: AwsFault
    times: int


@dataclass(frozen=True)
class Dies:
    """A process, at a point of its I/O."""

    points: int


@dataclass(frozen=True)
class IsSlow:
    """A process, at a point of its I/O; others go on meanwhile."""

    points: int
    seconds: float
    meanwhile: str
    pick: int


class TokenIsRenewed(NamedTuple):
    """The old one is refused from now on."""


type Mishap = UpstreamFails | AwsFails | Dies | IsSlow | TokenIsRenewed | None

picks = st.integers(0, 1_000)
points = st.integers(1, 10)
mishaps: st.SearchStrategy[Mishap] = st.one_of(
    st.none(),
    st.builds(UpstreamFails, st.sampled_from(CLEAR), st.integers(1, 5)),
    st.builds(UpstreamFails, st.sampled_from(DOUBTFUL), st.integers(1, 3)),
    st.builds(
        AwsFails,
        st.sampled_from(["dynamodb", "sqs", "secretsmanager"]),
        st.sampled_from(AwsFault),
        st.integers(1, 4),
    ),
    st.builds(Dies, points),
    st.builds(
        IsSlow,
        points,
        st.sampled_from([0.0, 10.0, 25.0]),
        st.sampled_from(
            ["work", "redeliver", "sweep", "again", "resend", "resend, work", "resolve"]
        ),
        picks,
    ),
    st.builds(TokenIsRenewed),
)
ways = st.sampled_from(["http", "http", "http, later", "queue"])


@dataclass
class Message:
    """What somebody wanted to be sent, and what was said to that."""

    name: str
    document: Json
    numbers: list[str]
    """By send."""
    client: str
    key: str | None
    answers: list[HttpAnswer] = field(default_factory=list)
    deliveries: set[str] = field(default_factory=set)
    """Ids of the queue's messages that hold it."""

    @property
    def holds(self) -> bool:
        return bool(self.document["onUnknown"] == "hold")


class PromiseMachine(RuleBasedStateMachine):
    """A relay, and everything that may happen to it; each step may meet a mishap on its way."""

    def __init__(
        self, simulator: Simulator, aws_client: Callable[..., Any], seen: Counter[str]
    ) -> None:
        super().__init__()
        simulator.reset()
        self._seen = seen
        self._all: list[Message] = []
        self._refused: list[tuple[str, str]] = []
        self._read = 0
        self._stack = ExitStack()
        self.trouble = Trouble(simulator, aws_client)
        self._stack.enter_context(self.trouble.open())
        self._renew_token()

    @rule(
        kind=st.sampled_from(["one send", "two sends", "one send", "two sends", "refused"]),
        on_unknown=st.sampled_from(["hold", "resend"]),
        has_key=st.sampled_from([True, True, False]),
        way=ways,
        mishap=mishaps,
    )
    def arrive(self, kind: str, on_unknown: str, has_key: bool, way: str, mishap: Mishap) -> None:
        """A message, by whichever way; or one in the queue that nobody can send."""
        self._befall(mishap)
        key = f"key-{len(self._all)}" if has_key and kind != "refused" else None
        message = self._message(kind == "two sends", on_unknown, key)
        if kind == "refused":
            body = json.dumps(message.document | {"nonsense": True})
            self._refused.append((self.trouble.environment.enqueue(body), body))
        else:
            self._hand_in(message, way)

    @precondition(lambda self: self._keyed())
    @rule(pick=picks, is_same=st.sampled_from([True, True, False]), way=ways, mishap=mishaps)
    def arrive_again(self, pick: int, is_same: bool, way: str, mishap: Mishap) -> None:
        """A message under a key that was used before: the same one, or another one."""
        self._befall(mishap)
        first = self._keyed()[pick % len(self._keyed())]
        self._hand_in(first if is_same else self._message(False, "hold", first.key), way)

    @rule(
        seconds=st.sampled_from(
            [0.0, 10.0, 40.0, 120.0, STALLED_AFTER + 1, 1_000.0, 20_000.0, *[DAY + 1] * 3]
        ),
        what=st.sampled_from(["work", "sweep", "sweep and work", "redeliver"]),
        pick=picks,
        mishap=mishaps,
    )
    def go_on(self, seconds: float, what: str, pick: int, mishap: Mishap) -> None:
        """Time passes, and the cloud does what it does."""
        if self.trouble.now < LATEST:
            self.trouble.wait(seconds)
        self._befall(mishap)
        if "sweep" in what:
            self.trouble.sweep()
        if "work" in what:
            self.trouble.work()
        if what == "redeliver":
            self._redeliver(pick)

    @precondition(lambda self: self._undecided() or self.trouble.dead_letters())
    @rule(
        command=st.sampled_from(
            [
                ["resend"],
                ["resend", "--send", "1"],
                ["resend", "--queued"],
                ["resolve", "--as", "accepted"],
                ["resolve", "--as", "rejected"],
                ["redrive"],
            ]
        ),
        pick=picks,
        mishap=mishaps,
    )
    def decide(self, command: list[str], pick: int, mishap: Mishap) -> None:
        """An operator, about what the relay can't decide by itself."""
        self._befall(mishap)
        self._operate(pick, *command)

    # What must hold at any time.

    @invariant()
    def the_promise_holds(self) -> None:
        trouble = self.trouble
        if trouble.failures:
            raise trouble.failures[0]
        rows, arrived = trouble.rows(), trouble.arrived()
        assert sum(arrived.values()) == sum(call.token_id is not None for call in trouble.calls)
        for message in self._all:
            own = _own(message, rows)
            assert len(own) in {0, len(message.numbers)}, f"{message.name} is stored in part"
            if any(_names_a_send(answer) for answer in message.answers):
                assert own, f"{message.name} was answered for, and is in no ledger"
            for n, number in enumerate(message.numbers):
                if own:
                    self._check_send(message, own[n], number, arrived[number])
                else:
                    assert not arrived[number], f"{number} got an SMS, and is in no ledger"
        self._check_log()

    def teardown(self) -> None:
        with self._stack:
            # What has failed, or was given up by Hypothesis, need not come to an end.
            if sys.exception() is None:
                self._settle()
                self._check_ends()

    # How the rules do it.

    def _message(self, two: bool, on_unknown: str, key: str | None) -> Message:
        name = f"message-{len(self._all)}"
        area, last = AREAS[len(self._all) // 50], len(self._all) % 50 * 2
        numbers = [f"1{area}55501{last + n:02d}" for n in range(1 + two)]
        document = {
            "message": "MzA6Nzg6MA",
            "to": [
                f"+{numbers[0]}",
                *({"mobile": f"+{number}", "key": f"K-{name}"} for number in numbers[1:]),
            ],
            "text": f"The text of {name}, which nobody else may read",
            "reference": name,
            "onUnknown": on_unknown,
        }
        message = Message(name, document, numbers, CLIENT, key)
        self._all.append(message)
        return message

    def _hand_in(self, message: Message, way: str) -> None:
        if way == "queue":
            self._enqueue(message)
        else:
            self._post(message, later="later" in way)

    def _post(self, message: Message, *, later: bool) -> None:
        headers = {"Idempotency-Key": message.key} if message.key else {}
        if later:
            headers["Prefer"] = "respond-async"
        is_replay = bool(message.key and _own(message, self.trouble.rows()))
        ended = self.trouble.post(message.document, headers, message.client)
        if ended is None:
            return
        answer, calls = ended
        message.answers.append(answer)
        code = answer.body.get("code")
        self._seen[f"{answer.status} {code or answer.body['status']}"] += 1
        assert answer.status in {202, 409, 422, 502, 503, 504}, answer
        if is_replay:
            self._seen["replay"] += 1
            assert not calls, "a replay has called the upstream"
            assert code in {"still-running", "not-stored"} or (
                answer.headers.get("Idempotent-Replayed") == "true"
            )
        if code in {"not-stored", "still-running", "idempotency-key-reused"}:
            assert not calls, f"{code}, and yet it has called the upstream"
        self._check_answer(message, answer)

    def _check_answer(self, message: Message, answer: HttpAnswer) -> None:
        """Whether it is true, and fits what was said before."""
        if "id" not in answer.body:
            return
        rows = [row for row in self.trouble.rows() if row.key.message_id == answer.body["id"]]
        assert rows, "an answer names what is in no ledger"
        if answer.body.get("code") == "idempotency-key-reused":
            assert rows[0].item["reference"] != message.name
            return
        assert rows[0].item["reference"] == message.name
        for before in filter(_names_a_send, message.answers):
            assert before.body["id"] == answer.body["id"]
            for was, is_now in zip(
                before.body.get("sends", []), answer.body.get("sends", []), strict=False
            ):
                is_redriven = SendKey(before.body["id"], was["n"]) in self.trouble.redriven
                if was["status"] == "accepted" or (was["status"] == "rejected" and not is_redriven):
                    assert is_now["status"] == was["status"]
                    assert is_now.get("tokenId") == was.get("tokenId")

    def _enqueue(self, message: Message) -> None:
        attributes = {"client": message.client}
        if message.key:
            attributes["Idempotency-Key"] = message.key
        message.deliveries.add(self.trouble.environment.enqueue(message.document, attributes))

    def _keyed(self) -> list[Message]:
        return [message for message in self._all if message.key]

    def _befall(self, mishap: Mishap) -> None:
        trouble = self.trouble
        match mishap:
            case UpstreamFails():
                trouble.upstream_faults.extend([mishap.then] * mishap.times)
            case AwsFails():
                trouble.aws_faults[mishap.service].extend([mishap.fault] * mishap.times)
            case Dies():
                trouble.order = Order(mishap.points, None)
            case IsSlow():
                trouble.order = Order(mishap.points, lambda: self._meanwhile(mishap))
            case TokenIsRenewed():
                self._renew_token()

    def _meanwhile(self, slow: IsSlow) -> None:
        self._seen[f"meanwhile {slow.meanwhile}"] += 1
        self.trouble.wait(slow.seconds)
        match slow.meanwhile:
            case "work":
                self.trouble.work()
            case "redeliver":
                self._redeliver(slow.pick)
            case "sweep":
                self.trouble.sweep()
            case "again" if keyed := self._keyed():
                self._post(keyed[slow.pick % len(keyed)], later=False)
            case "resend":
                self._operate(slow.pick, "resend")
            case "resend, work":
                self._operate(slow.pick, "resend")
                self.trouble.work()
            case "resolve":
                self._operate(slow.pick, "resolve", "--as", "rejected")

    def _redeliver(self, pick: int) -> None:
        if records := self.trouble.records:
            self.trouble.deliver([records[pick % len(records)]])

    def _renew_token(self) -> None:
        simulator = self.trouble.simulator
        simulator.expire_tokens()
        token = {"access_token": simulator.issue_token(), "rest_instance_url": simulator.url}
        self.trouble.environment.put_secret(json.dumps(token))

    def _undecided(self) -> list[Row]:
        """What an operator may have to decide about."""
        rows = self.trouble.rows()
        return [row for row in rows if row.status in {"unknown", "failed", "sending"}]

    def _operate(self, pick: int, command: str, *options: str) -> None:
        if command == "redrive":
            self._run_command(command, "--yes")
        elif undecided := self._undecided():
            row = undecided[pick % len(undecided)]
            token = self._lost_token(row) if "accepted" in options else None
            if token:
                options = (*options, "--send", str(row.key.number), "--token-id", token)
            self._run_command(command, row.key.message_id, *options, "--yes")

    def _lost_token(self, row: Row) -> str | None:
        """What an operator may find in the upstream's reports."""
        body = row.body or ""
        for call in self.trouble.calls:
            if call.token_id and not call.heard_token and call.raw == body:
                return call.token_id
        return None

    def _run_command(self, *arguments: str) -> None:
        code = self.trouble.operate(*arguments)
        self._seen[f"{arguments[0]}: {code}"] += 1
        assert code in {0, 1, None}

    # What is looked at.

    def _check_send(self, message: Message, row: Row, number: str, arrived: int) -> None:
        trouble = self.trouble
        assert arrived <= row.attempts, f"{number} got {arrived} SMS in {row.attempts} attempts"
        repeats = trouble.repeats[row.key]
        if message.holds:
            assert arrived <= 1 + repeats, f"{number} got {arrived} SMS, {repeats} by operators"
        if row.status != "rejected":  # over HTTP without its body; in the worker with it
            has_body = row.body is not None
            assert has_body == (row.status != "accepted"), f"{row.key}, {row.status}: {has_body=}"
        calls = [call for call in trouble.calls if number in call.numbers]
        if row.status == "unknown":
            is_doubtful = row.key in trouble.in_doubt or not all(call.is_certain for call in calls)
            assert is_doubtful, f"{row.key} is unknown, and nothing was ever in doubt"
        stays = message.holds and not repeats and row.key not in trouble.resolved
        if stays and not all(call.is_certain for call in calls):
            assert row.status in {"sending", "unknown"}, (
                f"in doubt, and yet {row.key} is {row.status}"
            )
        for call in calls:
            if call.heard_token and call.token_id != row.token_id:
                assert any(str(call.token_id) in line for line in trouble.log), "a tokenId is lost"
        was_resolved = trouble.resolved.get(row.key, row.status)
        assert row.status == was_resolved, f"{row.key} was {was_resolved} by an operator"

    def _check_log(self) -> None:
        new = "\n".join(self.trouble.log[self._read :])
        self._read = len(self.trouble.log)
        for message in self._all:
            for secret in (message.document["text"], *message.numbers):
                assert secret not in new, f"the log holds {secret}"

    def _settle(self) -> None:
        """Nothing goes wrong any more, and time passes."""
        trouble = self.trouble
        trouble.aws_faults.clear()
        trouble.upstream_faults.clear()
        trouble.order = None
        self._renew_token()
        for _ in range(ROUNDS):
            trouble.wait(ROUND_SECONDS)
            trouble.sweep()
            while trouble.work():
                pass
            self.the_promise_holds()
            moving = [row.key for row in trouble.rows() if row.status in {"queued", "sending"}]
            if not moving and not trouble.waiting():
                return
        raise AssertionError(f"it comes to no end: {moving}, {trouble.waiting()} in the queue")

    def _check_ends(self) -> None:
        """Each message has come to an end that somebody can see."""
        trouble = self.trouble
        rows, arrived, letters = trouble.rows(), trouble.arrived(), trouble.dead_letters()
        self._seen["deaths"] += trouble.deaths
        for message in self._all:
            own = _own(message, rows)
            if message.deliveries & trouble.done:
                assert own or any(message.name in letter for letter in letters), (
                    f"{message.name} is gone from the queue, and was lost"
                )
            for n, number in enumerate(message.numbers if own else []):
                self._check_end(own[n], arrived[number], letters)
            if own:
                self._check_found(message, own)
        refused = trouble.refusals()
        for key, body in self._refused:
            assert body in letters, "a message was refused, and lies nowhere"
            assert ids.message_id("", key) in refused

    def _check_end(self, row: Row, arrived: int, letters: list[str]) -> None:
        self._seen[row.status] += 1
        is_resolved = row.key in self.trouble.resolved
        match row.status:
            case "accepted":
                assert arrived or is_resolved, f"{row.key} is accepted, and nothing arrived"
            case "rejected":
                assert not arrived or is_resolved, f"{row.key} is rejected, and yet arrived"
                is_lost = row.body is not None and reference_body(row.key) not in letters
                assert not is_lost, f"{row.key} has no dead letter"
            case "failed":
                assert not arrived, f"{row.key} is failed, and yet arrived"
                assert reference_body(row.key) in letters, f"{row.key} has no dead letter"
            case _:
                assert row.status == "unknown"

    def _check_found(self, message: Message, own: list[Row]) -> None:
        message_id = own[0].key.message_id
        found = self.trouble.get(f"/messages/{message_id}", message.client)
        assert found.status == 200
        assert [send["status"] for send in found.body["sends"]] == [row.status for row in own]
        for row in own:
            if row.token_id:
                found = self.trouble.get(f"/tokens/{row.token_id}", message.client)
                assert found.body["id"] == message_id


def _own(message: Message, rows: list[Row]) -> list[Row]:
    """The sends of a message, by number."""
    own = [row for row in rows if row.item["reference"] == message.name]
    return sorted(own, key=lambda row: row.key.number)


def _names_a_send(answer: HttpAnswer) -> bool:
    """Whether it says of the message itself, not of another one, that it is known."""
    return "id" in answer.body and answer.body.get("code") != "idempotency-key-reused"


type Play = Callable[..., Counter[str]]


@pytest.fixture
def play(aws: None, simulator: Simulator) -> Play:
    """Let Hypothesis play so many lives of a relay; what it has come across."""
    _ = aws
    aws_client: Any = cache(BotoClients().client)

    def run(examples: int, *, shrink: bool = True) -> Counter[str]:
        seen: Counter[str] = Counter()
        run_state_machine_as_test(
            # Not a lambda: Hypothesis's choices would depend on its source.
            partial(PromiseMachine, simulator, aws_client, seen),  # type: ignore[arg-type] # typed as a class
            settings=settings(
                max_examples=examples,
                stateful_step_count=STEPS,
                phases=[Phase.generate, *([Phase.shrink] if shrink else [])],
                derandomize=True,  # the same in every run
                database=None,
                deadline=None,
                suppress_health_check=list(HealthCheck),  # a life takes its time
                report_multiple_bugs=False,
            ),
        )
        return seen

    return run


def test_the_promise_holds_whatever_comes(play: Play) -> None:
    seen = play(EXAMPLES)

    ends = ("accepted", "rejected", "unknown", "failed")
    for what in (*ends, "deaths", "replay", "redrive: 0", "resend: 0", "resolve: 0"):
        assert seen[what], f"it never came to {what}: {seen}"


def _takes_a_broken_answer_for_not_sent() -> Any:
    return patch.object(call_outcome, "_BEFORE_THE_REQUEST", set(Failure))


def _deletes_what_it_has_not_read() -> Any:
    return patch.object(QueueWorker, "_process", lambda *_: None)


def _forgets_the_token() -> Any:
    call = MobileConnect.send

    def forget(upstream: MobileConnect, template: str, body: str, timeout: float) -> Outcome:
        return call(upstream, template, body, timeout)._replace(token_id=None)

    return patch.object(MobileConnect, "send", forget)


@pytest.mark.parametrize(
    ("mutation", "found"),
    [
        (_takes_a_broken_answer_for_not_sent, "in doubt, and yet|and yet arrived|got 2 SMS"),
        (_deletes_what_it_has_not_read, "lies nowhere|was lost|comes to no end"),
        (_forgets_the_token, "a tokenId is lost"),
    ],
)
def test_a_relay_that_breaks_the_promise_is_found_out(
    mutation: Callable[[], Any], found: str, play: Play
) -> None:
    with mutation(), pytest.raises(AssertionError, match=found):
        play(EXAMPLES, shrink=False)
