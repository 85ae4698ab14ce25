"""Judges a soak in which nothing moves any more, from outside. Pure."""

from collections.abc import Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from enum import StrEnum

UNFINISHED = {"queued", "sending"}
NOT_SENT = {"rejected", "failed"}

type Key = tuple[str, int]
"""A send: its message's id, and its number."""


class Broken(StrEnum):
    """The ways in which the promise can be broken."""

    LOST = "lost"
    TWICE = "twice"
    STUCK = "stuck"
    UNTRUE = "untrue"
    TOKEN = "token"  # noqa: S105 - no secret # nosec B105
    STRAY = "stray"


@dataclass(frozen=True)
class Promise:
    """A send that a request stands for."""

    key: Key
    hold: bool
    taken: bool
    """Whether somebody was told that it will be made: 2xx, or the queue took its message."""


@dataclass(frozen=True)
class Stored:
    """A send in the ledger."""

    status: str
    token_id: str | None
    attempts: int


@dataclass(frozen=True)
class Arrival:
    """A send that went out."""

    token_id: str
    told: bool
    """Whether the answer held the tokenId, and got out of the upstream."""


@dataclass(frozen=True)
class Seen:
    """All that can be seen of a soak's end."""

    promises: Sequence[Promise]
    stored: Mapping[Key, Stored]
    arrived: Mapping[Key, Sequence[Arrival]]
    letters: AbstractSet[Key] = frozenset()
    """Failed sends that lie in the dead-letter queue."""
    log: str = ""
    refused: Mapping[str, str] = field(default_factory=dict)
    """Reasons of dead letters that name no send, by message id."""


@dataclass(frozen=True)
class Violation:
    """A send for which the promise is broken."""

    how: Broken
    key: Key
    text: str

    def __str__(self) -> str:
        message, n = self.key
        return f"{self.how}: {message}/{n} {self.text}"


def violations(seen: Seen) -> list[Violation]:
    """Each way in which the promise is broken."""
    known = {promise.key for promise in seen.promises}
    strays = sorted((seen.stored.keys() | seen.arrived.keys()) - known)
    return [
        *(violation for promise in seen.promises for violation in _judged(promise, seen)),
        *(Violation(Broken.STRAY, key, "was asked for by nobody") for key in strays),
        *(
            Violation(Broken.LOST, (message, 0), f"is a dead letter: {reason}")
            for message, reason in seen.refused.items()
        ),
    ]


def _judged(promise: Promise, seen: Seen) -> Iterator[Violation]:
    key, stored = promise.key, seen.stored.get(promise.key)
    arrived = seen.arrived.get(key, ())
    if promise.hold and len(arrived) > 1:
        yield Violation(Broken.TWICE, key, f"arrived {len(arrived)} times")
    if stored is not None:
        if fate := _fate(stored, arrived=bool(arrived), has_letter=key in seen.letters):
            yield Violation(fate[0], key, fate[1])
        yield from _tokens(promise, stored, arrived, seen.log)
    elif promise.taken:
        text = f"is not in the ledger, and arrived {len(arrived)} times"
        yield Violation(Broken.LOST, key, text)
    elif arrived:
        yield Violation(Broken.UNTRUE, key, "arrived, and the ledger does not know it")


def _fate(stored: Stored, *, arrived: bool, has_letter: bool) -> tuple[Broken, str] | None:
    """What is wrong with the status of a send, if anything is."""
    if stored.status in UNFINISHED:
        return Broken.STUCK, f"is still {stored.status}"
    if stored.status == "accepted" and not arrived:
        return Broken.LOST, "is accepted, and never arrived"
    if stored.status in NOT_SENT and arrived:
        return Broken.UNTRUE, f"is {stored.status}, and arrived"
    if stored.status == "failed" and not has_letter:
        return Broken.LOST, "has failed, and is not in the dead-letter queue"
    return None


def _tokens(
    promise: Promise, stored: Stored, arrived: Sequence[Arrival], log: str
) -> Iterator[Violation]:
    """The tokenIds that can't be found again, and the one that was never given."""
    given = {arrival.token_id for arrival in arrived}
    if stored.token_id is not None and stored.token_id not in given:
        text = f"has the tokenId {stored.token_id}, which it was never given"
        yield Violation(Broken.TOKEN, promise.key, text)
    for arrival in arrived:
        if arrival.told and not _is_found(arrival.token_id, promise, stored, log):
            text = f"was given the tokenId {arrival.token_id}, which is lost"
            yield Violation(Broken.TOKEN, promise.key, text)


def _is_found(token_id: str, promise: Promise, stored: Stored, log: str) -> bool:
    """Whether a tokenId can be found again, or its send says that nobody can know.

    With `resend` a further attempt says it: the first one's answer was not heard.
    """
    if token_id == stored.token_id or token_id in log or stored.status == "unknown":
        return True
    return not promise.hold and stored.attempts > 1


@dataclass(frozen=True)
class Totals:
    """The numbers of the last line."""

    requests: int
    sends: int
    lost: int
    twice: int
    unknown: int

    def __str__(self) -> str:
        return (
            f"soak: {self.requests} requests, {self.sends} sends, {self.lost} lost, "
            f"{self.twice} twice, {self.unknown} unknown"
        )


def totals(requests: int, seen: Seen, found: Sequence[Violation]) -> Totals:
    """Count: sends are those in the ledger, twice are those that had to be held."""
    return Totals(
        requests=requests,
        sends=len(seen.stored),
        lost=sum(violation.how is Broken.LOST for violation in found),
        twice=sum(violation.how is Broken.TWICE for violation in found),
        unknown=sum(stored.status == "unknown" for stored in seen.stored.values()),
    )
