"""What a soak posts, and what goes wrong meanwhile: all of it follows from one seed."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from random import Random
from typing import Any, Final

from tools.local_stack.samples import Way
from tools.mobileconnect_simulator.faults import Then

TEMPLATE: Final = "MzA6Nzg6MA"
SHARE_OF_FAULTS: Final = 0.1
RESENT: Final = 0.2
"""The share of requests that choose to be sent again when nobody knows."""
DEFERRED: Final = 0.1
"""The share of requests over HTTP that ask for an answer at once."""
TWO_SENDS: Final = 0.25
REPEATED: Final = 0.05
"""The share of requests that come once more with the same key, by the other way."""

UPSTREAM_FAULTS: Final = tuple(then for then in Then if then is not Then.OK)
LONGEST_RETRY_AFTER: Final = 1
SLOWEST_MS: Final = 250
"""A real upstream takes its time, too: a worker that is killed has calls under way."""


class Part(StrEnum):
    """The kind of recipients of one send."""

    NUMBERS = "numbers"
    SUBSCRIBERS = "subscribers"


@dataclass(frozen=True)
class Request:
    """A request, and what it stands for."""

    marker: str
    """Stands in the text, and in no other request's."""
    way: Way
    key: str
    """Its idempotency key."""
    body: str
    parts: tuple[Part, ...]
    """Its sends, in their order: plain numbers come first."""
    hold: bool
    """Whether it must not be sent again when nobody knows (`onUnknown`)."""
    deferred: bool
    repeated: bool


def requests(seed: int, count: int) -> list[Request]:
    """The requests of a soak, half of them for each way, in the order in which they are posted."""
    dice = Random(f"requests {seed}")  # noqa: S311 - to be repeated, not to be secret
    ways = [Way.API if n % 2 else Way.QUEUE for n in range(count)]
    dice.shuffle(ways)
    return [_request(dice, f"soak-{seed}-{n:05d}", way) for n, way in enumerate(ways)]


def _request(dice: Random, marker: str, way: Way) -> Request:
    if dice.random() < TWO_SENDS:
        parts: tuple[Part, ...] = (Part.NUMBERS, Part.SUBSCRIBERS)
    else:
        parts = (dice.choice(list(Part)),)
    hold = dice.random() >= RESENT
    body: dict[str, Any] = {
        "message": TEMPLATE,
        "to": [_recipient(dice, part, marker) for part in parts],
        "text": f"Soak {marker}",
        "reference": marker,
    }
    if not hold:
        body["onUnknown"] = "resend"
    return Request(
        marker=marker,
        way=way,
        key=f"key-{marker}",
        body=json.dumps(body),
        parts=parts,
        hold=hold,
        deferred=way is Way.API and dice.random() < DEFERRED,
        repeated=dice.random() < REPEATED,
    )


def _recipient(dice: Random, part: Part, marker: str) -> str | dict[str, str]:
    # Reserved numbers, which nobody has; no area code of the simulator's magic numbers.
    number = f"+1{dice.randrange(201, 800)}55501{dice.randrange(100):02d}"
    return number if part is Part.NUMBERS else {"mobile": number, "key": marker}


def part_of(body: Mapping[str, Any]) -> Part:
    """What kind of send a call of the upstream made."""
    return Part.SUBSCRIBERS if "Subscribers" in body else Part.NUMBERS


def upstream_faults(seed: int, count: int) -> list[dict[str, Any]]:
    """What `count` calls of the send route meet: one in ten a fault, all kinds equally often."""
    dice = Random(f"upstream {seed}")  # noqa: S311 - the same
    kinds = _in_turn(dice)
    faulty = set(dice.sample(range(count), round(count * SHARE_OF_FAULTS)))
    return [
        {
            "route": "send",
            "then": next(kinds) if n in faulty else Then.OK,
            "delayMs": dice.randrange(SLOWEST_MS),
            "retryAfter": dice.randrange(LONGEST_RETRY_AFTER + 1),
        }
        for n in range(count)
    ]


def _in_turn(dice: Random) -> Iterator[Then]:
    while True:
        yield from dice.sample(UPSTREAM_FAULTS, len(UPSTREAM_FAULTS))
