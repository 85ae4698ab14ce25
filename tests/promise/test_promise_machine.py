"""The state machine: random stories of posts, redeliveries, faults, deaths and operators.

Each number draws a story: a sequence of processes, with their actions and faults. Stories run like
the scenarios of test_promise.py, and the same invariants judge them.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import batched
from random import Random
from typing import Any

import pytest

from tests.promise.faults import (
    AWS_FAULTS,
    CLOCK_JUMPS,
    DIE,
    MEANWHILE,
    UPSTREAM_FAULTS,
    Checkpoint,
    Effect,
    Injection,
)
from tests.promise.harness import SLOTS, Harness, Phase, Result, Story
from tests.promise.scenarios import (
    ASYNC,
    CALL_BACK,
    CLIENT,
    EVENTS,
    EXPIRE,
    MONTHS_LATER,
    POLL,
    POLLER,
    PUBLISH,
    REDELIVER,
    RENEW,
    RENEWER,
    SWEEP,
    WEBHOOK,
    WORK,
    Message,
    catalogue,
    operate,
    post,
    webhook,
)

Json = dict[str, Any]

STORIES = 30
DAY = 86_400.0
WAITS = (0.0, 10.0, 40.0, 120.0, 301.0, 1_000.0, 20_000.0, DAY + 1, DAY + 1)
COMMANDS = (
    ["resend"],
    ["resend"],
    ["resolve", "--as", "accepted"],
    ["resolve", "--as", "rejected"],
)
DEPLOYMENTS = ({"DEFAULT_CLIENT": CLIENT}, {"MAX_ATTEMPTS": "2"}, {"RETENTION_DAYS": "29"})
RESUME = operate("resume")
MOVE: Json = {"do": "move"}
PARTS = (POLLER, EVENTS, RENEWER, WEBHOOK)
PART_SHARE = 0.3
"""The share of stories in which a part runs."""
PROGRESS = {POLLER: [WORK, POLL], EVENTS: [PUBLISH, CALL_BACK], RENEWER: [RENEW, WORK]}


class Author:
    """Draws a story; the same number always draws the same story."""

    def __init__(self, number: int) -> None:
        self._dice = Random(number)  # noqa: S311 - must be repeatable, not secret
        self._messages: list[Message] = []
        self._parts = frozenset(part for part in PARTS if self._dice.random() < PART_SHARE)
        self._afterwards = [RESUME]
        self._unused = [self._older_item, self._newer_item]
        """Actions that a story contains at most once."""

    def story(self) -> Story:
        phases = [self._phase() for _ in range(self._dice.randint(2, 5))]
        return Story(self._messages, phases, self._afterwards, parts=self._parts)

    def _phase(self) -> Phase:
        dice = self._dice
        script = [*self._progress(), *self._decision(), *self._arrival()]
        for _ in range(dice.randint(0, 4)):
            script += self._action()
        injections = [*self._upstream_fault()]
        for _ in range(dice.randint(0, 2)):
            injections += self._injection()
        return Phase(
            script,
            injections,
            meanwhile=dice.choice([self._action(), [REDELIVER, WORK]]),
            skew=dice.choice([0.0, 0.0, 0.0, 25.0, -25.0]),
            inner=self._injection() if dice.random() < 0.2 else (),
            redeployed=dice.choice(DEPLOYMENTS) if dice.random() < 0.1 else {},
        )

    def _action(self) -> list[Json]:
        actions = [self._arrival, self._repetition, self._progress, self._progress, self._decision]
        return self._dice.choice([*actions, self._cloud])()

    def _cloud(self) -> list[Json]:
        """Rare events: TTL deletes items, SQS moves messages, another version writes an item."""
        actions = [self._months, self._move, *self._unused]
        action = self._dice.choice(actions)
        if action in self._unused:
            self._unused.remove(action)
        return action()

    def _months(self) -> list[Json]:
        return [MONTHS_LATER, EXPIRE]

    def _move(self) -> list[Json]:
        self._afterwards = [RESUME, operate("redrive"), {"do": "settle"}]
        return [MOVE]

    def _older_item(self) -> list[Json]:
        message = self._message(None, is_valid=True, most=1)
        return [{"do": "put_older_item", "reference": message.reference}]

    def _newer_item(self) -> list[Json]:
        return [{"do": "put_newer_item"}]

    def _arrival(self) -> list[Json]:
        """Post or enqueue a new message."""
        key = f"key-{len(self._messages)}" if self._dice.random() < 0.5 else None
        return self._hand_in(self._message(key, is_valid=self._dice.random() < 0.9))

    def _repetition(self) -> list[Json]:
        """Post or enqueue a message with a used key: the same message, or another one."""
        keyed = [it for it in self._messages if it.key and it.is_valid]
        if not keyed:
            return []
        first = self._dice.choice(keyed)
        is_same = self._dice.random() < 0.7
        return self._hand_in(first if is_same else self._message(first.key, is_valid=True))

    def _message(self, key: str | None, *, is_valid: bool, most: int = 2) -> Message:
        number = len(self._messages)
        recipients = [f"1{area}55501{number:02d}" for area in ("212", "303")]
        message = Message(
            f"message-{number}",
            recipients[: self._dice.randint(1, most)],
            on_unknown=self._dice.choice(["hold", "hold", "resend"]),
            key=key,
            is_valid=is_valid,
        )
        self._messages.append(message)
        return message

    def _hand_in(self, message: Message) -> list[Json]:
        way = self._dice.choice(["http", "http", "http, later", "queue", "queue"])
        if way == "queue" or not message.is_valid:
            return [{"do": "enqueue", "reference": message.reference}]
        if WEBHOOK in self._parts and message.key:
            return [webhook(message.reference)]
        return [post(ASYNC if way == "http, later" else {}, message.reference)]

    def _progress(self) -> list[Json]:
        """Let time pass, then run some of the functions."""
        wait = {"do": "wait", "seconds": self._dice.choice(WAITS)}
        ways = [[WORK], [WORK, WORK], [SWEEP], [SWEEP, WORK]]
        ways += [PROGRESS[part] for part in sorted(self._parts) if part in PROGRESS]
        return [wait, *self._dice.choice(ways)]

    def _decision(self) -> list[Json]:
        """Let an operator run a command, or pause all sends for a while."""
        match self._dice.choice(["decide", "decide", "redrive", "pause", "catalogue", "none"]):
            case "decide":
                pick = self._dice.randrange(100)
                return [{"do": "decide", "pick": pick, "arguments": self._dice.choice(COMMANDS)}]
            case "redrive":
                return [operate("redrive")]
            case "pause":
                return [operate("pause"), *self._progress(), RESUME]
            case "catalogue":
                return [catalogue(welcome="OTk6OTk6MA")]
        return []

    def _injection(self) -> list[Injection]:
        match self._dice.choice(["upstream", "aws", "aws", "die", "meanwhile", "jump"]):
            case "upstream":
                return [*self._upstream_fault()]
            case "aws":
                service = self._dice.choice(["dynamodb", "sqs", "secrets-manager"])
                fault = self._dice.choice(AWS_FAULTS)
                return self._in_a_row(f"{service}.* before", self._dice.randint(1, 12), fault)
            case "die":
                return [Injection(Checkpoint("*", self._dice.randint(1, 25)), DIE)]
            case "meanwhile":
                return [Injection(Checkpoint("*", self._dice.randint(1, 25)), MEANWHILE)]
        jump = self._dice.choice(sorted(CLOCK_JUMPS)) if self._dice.random() < 0.3 else MEANWHILE
        return [Injection(Checkpoint("*", self._dice.randint(1, 25)), jump)]

    def _upstream_fault(self) -> Iterator[Injection]:
        effect = self._dice.choice([Effect.DOUBT, *Effect, None])
        names = [name for name, each in UPSTREAM_FAULTS.items() if each is effect]
        if names:
            fault = self._dice.choice(names)
            yield from self._in_a_row("upstream before", self._dice.choice([1, 1, 2]), fault)

    def _in_a_row(self, name: str, first: int, fault: str) -> list[Injection]:
        times = self._dice.randint(1, 4)
        return [Injection(Checkpoint(name, first + n), fault) for n in range(times)]


def _results(
    world: Harness, numbers: Iterable[int], mutation: str | None = None
) -> Iterator[tuple[int, Result]]:
    """Yield the results of the stories with these numbers; they run in parallel."""

    def run(number: int) -> tuple[int, Result]:
        return number, world.run(Author(number).story(), mutation)

    with ThreadPoolExecutor(SLOTS) as pool:
        for batch in batched(numbers, 2 * SLOTS, strict=False):
            yield from pool.map(run, batch)


def test_no_story_breaks_the_promise(world: Harness) -> None:
    seen = Counter[str]()
    broken = []
    for number, result in _results(world, range(STORIES)):
        broken += [f"story {number}: {violation}" for violation in result.violations]
        seen.update(send.status for send in result.end.sends)
        seen.update(result.history.commands)
        seen["deaths"] += result.deaths
        seen["replay"] += sum(it.is_replay for it in result.history.answers)

    assert not broken, "\n".join(broken)
    ends = ("accepted", "rejected", "unknown", "failed")
    commands = ("redrive: 0", "resend: 0", "resolve: 0", "pause: 0", "resume: 0")
    for event in (*ends, *commands, "deaths", "replay"):
        assert seen[event], f"no story has {event}: {seen}"


@pytest.mark.parametrize(
    ("mutation", "numbers", "words"),
    [
        # Few stories reveal the first mutation, because it needs faults in a certain order.
        ("broken_answer_is_not_sent", (0, 2, 8, 23, 27, 48), "left a doubt"),
        ("deleted_unread", (0, 1, 2), "is in no ledger"),
        ("forgotten_token", (0, 1, 2), "lost the tokenId"),
    ],
)
def test_the_stories_catch_a_relay_that_breaks_the_promise(
    world: Harness, mutation: str, numbers: Sequence[int], words: str
) -> None:
    assert any(
        words in violation
        for _, result in _results(world, numbers, mutation)
        for violation in result.violations
    )
