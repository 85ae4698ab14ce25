"""The facts of a run: posts, calls, responses and operators, for the invariants to judge by."""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from tests.promise.faults import CLOCK_JUMPS, SIMULATED, UPSTREAM_FAULTS, Effect
from tests.promise.injection import CALL_ID
from tests.promise.observation import Content, content_of
from tests.promise.scenarios import Message

Json = Mapping[str, Any]

FIRST_PROBE = 5.0
"""Seconds without a call after a doubtful response (docs/delivery-guarantees.md)."""
MAX_CLOCK_SKEW = 30.0
"""Seconds by which clocks may differ (docs/delivery-guarantees.md)."""
HEALED = 1
"""How many faults of the ledger a process recovers from by trying again."""


@dataclass(frozen=True)
class Attempt:
    """A call to the upstream for a send."""

    content: Content
    at: float
    effect: Effect
    """What the call means for its send, judged by its fault."""
    token_id: str | None = None
    """The upstream's tokenId, even if the relay did not receive it."""
    response: str | None = None
    """The body that the process read."""
    delay: float = 1.0
    """The documented minimum time until the next attempt, in seconds."""

    died: bool = False
    """Whether its process died, during the call or later."""
    body: str = ""
    """The body of the call."""

    @property
    def is_token_known(self) -> bool:
        return self.token_id is not None and self.token_id in (self.response or "")


@dataclass(frozen=True)
class Answer:
    """The API's response to a post."""

    reference: str
    status: int
    body: Json
    is_replay: bool = False
    is_to_webhook: bool = False


@dataclass
class History:
    """Everything that happened in a run of the matrix, the state machine or the soak."""

    messages: Mapping[str, Message]
    """By reference."""
    answers: list[Answer] = field(default_factory=list)
    enqueued: dict[str, str] = field(default_factory=dict)
    """References by SQS message id."""
    posted: Counter[str] = field(default_factory=Counter)
    """How often each message was posted over HTTP, by reference."""
    attempts: list[Attempt] = field(default_factory=list)
    abandoned: Counter[str] = field(default_factory=Counter)
    """By send, how often a process claimed it and did not store a result."""
    resent: Counter[str] = field(default_factory=Counter)
    """By send, how often an operator resent it although it may have been sent."""
    resolved: dict[str, str] = field(default_factory=dict)
    """The statuses that operators gave to sends."""
    expired: dict[tuple[str, int], str] = field(default_factory=dict)
    """The statuses of sends that DynamoDB deleted, by the message's reference and the number."""
    pauses: list[tuple[float, float]] = field(default_factory=list)
    """The beginning and end of each operator's pause."""
    paused_since: float | None = None
    decided: set[str] = field(default_factory=set)
    """The sends that operators changed."""
    commands: list[str] = field(default_factory=list)
    """The operators' commands with their exit codes."""
    found: list[Json] = field(default_factory=list)
    """The API's responses to requests for messages."""
    published: list[Json] = field(default_factory=list)
    """The events that were put on the bus."""
    called_back: list[Json] = field(default_factory=list)
    """The events that a client's receiver accepted."""
    has_newer_item: bool = False
    """Whether a newer version wrote an item."""
    parts: frozenset[str] = frozenset()
    """The functions that ran in addition to the sending ones."""
    problems: list[str] = field(default_factory=list)
    """What is wrong whatever the sends' results are."""
    clock_error: float = 0.0
    """The largest error of a process's clock, in seconds."""
    max_attempts: int = 4
    max_age: float = 86_400.0

    def add(  # noqa: C901, PLR0912, PLR0915 - a case for each kind of event
        self, events: Iterable[Sequence[Any]], calls: Sequence[Any], *, died: bool
    ) -> None:
        """Add what a process reported; `calls` is the upstream's list of calls."""
        entries = {entry["headers"].get(CALL_ID): entry for entry in calls}
        made, responses = list[Json](), dict[str, Json]()
        running, ended = list[str](), dict[str, float]()
        claims, decisions = Counter[str](), Counter[tuple[str, str]]()
        before: Mapping[str, str] = {}
        is_operator, ledger_faults = False, 0
        for kind, value in events:
            match kind:
                case "answer":
                    self.answers.append(Answer(**value))
                case "posts":
                    self.posted[value] += 1
                case "enqueued":
                    self.enqueued |= value
                case "found":
                    self.found.append(value)
                case "published":
                    self.published += value
                case "called back":
                    self.called_back.append(value["data"])
                case "died" if value == "out of time" and self._has_one_send:
                    self.problems.append("a process ran out of time")
                case "call":
                    made.append(value)
                case "response" | "call failed":
                    running.append(value["id"])
                    if kind == "response":
                        responses[value["id"]] = value
                case "invoked":
                    ended |= dict.fromkeys(running, value)
                    running.clear()
                case "injected":
                    is_of_ledger = value["checkpoint"]["name"].startswith("dynamodb")
                    self.add_clock_error(CLOCK_JUMPS.get(value["fault"], 0.0))
                    ledger_faults += is_of_ledger * (HEALED + 1 if value["lasting"] else 1)
                case "operates":
                    is_operator, before = True, before | value
                case "expired":
                    self.expired[value["reference"], value["number"]] = value["status"]
                case "newer item":
                    self.has_newer_item = True
                case "operated":
                    is_operator = False
                    self._add_pause(**value)
                    self.commands.append(f"{value['command']}: {value['code']}")
                case "wrote" | "refused write" if is_operator:
                    change = 1 if kind == "wrote" else -1
                    decisions.update({(it["send"], it["status"]): change for it in value})
                case "wrote" | "refused write" | "stored":
                    for it in value:
                        if it["status"] != "sending" and kind != "wrote" and not it["is_new"]:
                            claims.pop(it["send"], None)
                        elif it["status"] == "sending" and kind != "stored":
                            claims[it["send"]] += 1 if kind == "wrote" else -1
        attempts = [
            _attempt(it, responses.get(it["id"]), entries.get(it["id"], {}), died=died)
            for it in made
        ]
        self.attempts += attempts
        if self.clock_error <= MAX_CLOCK_SKEW:
            self.problems += _hasty_calls(
                [(it, ended.get(call["id"])) for it, call in zip(attempts, made, strict=True)]
            )
        self._add_decisions(decisions, before)
        for send in +claims:
            self.abandoned[send] += 1
            if not died and ledger_faults <= HEALED:
                self.problems.append(f"{send} was left in sending by a process that lives")

    def add_clock_error(self, seconds: float) -> None:
        """Record that a process's clock was wrong by so many seconds."""
        self.clock_error = max(self.clock_error, abs(seconds))

    @property
    def _has_one_send(self) -> bool:
        """Whether no calls run in parallel: they share a clock, so a hanging one delays all."""
        return sum(len(it.recipients) for it in self.messages.values()) == 1

    def _add_pause(self, command: str, code: int, at: float) -> None:
        if command == "pause" and code == 0 and not self.paused_since:
            self.paused_since = at
        elif command == "resume" and self.paused_since:
            self.pauses.append((self.paused_since, at))
            self.paused_since = None

    def _add_decisions(
        self, decisions: Counter[tuple[str, str]], before: Mapping[str, str]
    ) -> None:
        for send, status in +decisions:
            self.decided.add(send)
            if status != "queued":
                self.resolved[send] = status
            else:
                self.resolved.pop(send, None)
                self.resent[send] += before[send] in {"unknown", "sending"}


def _hasty_calls(calls: Sequence[tuple[Attempt, float | None]]) -> Iterator[str]:
    """Yield the calls that a process made in the pause after an invocation with a doubt.

    Each call comes with the time when its invocation ended. Calls of one invocation run in
    parallel, and a call that the API responds to ends the pause.
    """
    answered = {end for it, end in calls if it.effect is not Effect.DOUBT}
    doubts = {end for _, end in calls if end} - answered
    for attempt, _ in calls:
        for doubt in doubts:
            if 0 < attempt.at - doubt < FIRST_PROBE:
                yield f"a call followed {attempt.at - doubt:.1f} s after a doubtful one"


def _attempt(call: Json, response: Json | None, entry: Json, *, died: bool) -> Attempt:
    """Return a process's call as an attempt; `entry` is the upstream's record of it."""
    faults = [entry.get("fault", "")]
    # The simulator may have played an earlier order instead of this call's fault.
    if not (entry and call["fault"] in SIMULATED):
        faults.append(call["fault"])
    effects = [UPSTREAM_FAULTS[fault] for fault in faults if fault in UPSTREAM_FAULTS]
    # A call without a fault and without an entry may be under way.
    effects = effects or [Effect.ACCEPTED if entry else Effect.DOUBT]
    if call["fault"] == "slow" and response is None:
        effects = [Effect.DOUBT]  # it took more time than was left
    return Attempt(
        content_of(call["body"]),
        at=call["at"],
        effect=Effect.DOUBT if Effect.DOUBT in effects else effects[0],
        token_id=entry.get("tokenId"),
        response=response["body"] if response else None,
        delay=_delay(response),
        died=died,
        body=call["body"],
    )


def _delay(response: Json | None) -> float:
    """Return the seconds that must pass after a response before the next attempt."""
    if response is None:
        return 1.0
    if response["retryAfter"] is not None:
        return float(response["retryAfter"])
    if response["status"] == 401:
        return 0.0  # the relay tries again at once with another token
    return 300.0 if "50200" in response["body"] else 1.0
