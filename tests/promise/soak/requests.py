"""Draws the requests of a soak and the upstream's faults from a seed."""

from collections.abc import Iterator
from dataclasses import dataclass
from random import Random
from typing import Any, Final

from tests.promise.faults import UPSTREAM_FAULTS
from tests.promise.scenarios import Message
from tools.local_stack.samples import Way
from tools.mobileconnect_simulator.faults import Then

SHARE_OF_FAULTS: Final = 0.1
RESENT: Final = 0.2
"""The share of requests that choose `resend`."""
DEFERRED: Final = 0.1
"""The share of requests over HTTP with `Prefer: respond-async`."""
TWO_SENDS: Final = 0.25
REPEATED: Final = 0.05
"""The share of requests that are posted again with the same key, by the other way."""

FAULTS: Final = [fault for fault in UPSTREAM_FAULTS if fault in set(Then)]
"""The faults that the simulator can play."""
LONGEST_RETRY_AFTER: Final = 1
SLOWEST_MS: Final = 250
"""The longest delay of the upstream: killed workers must have calls under way."""


@dataclass(frozen=True)
class Request:
    """A message, and how it is posted."""

    message: Message
    way: Way
    deferred: bool
    repeated: bool


def requests(seed: int, count: int, client: str = "") -> list[Request]:
    """Return the requests of a soak in the order of posting, half of them for each way."""
    dice = Random(f"requests {seed}")  # noqa: S311 - must be repeatable, not secret
    ways = [Way.API if n % 2 else Way.QUEUE for n in range(count)]
    dice.shuffle(ways)
    return [_request(dice, f"soak-{seed}-{n:05d}", way, client) for n, way in enumerate(ways)]


def _request(dice: Random, reference: str, way: Way, client: str) -> Request:
    # Reserved numbers, which no phone has, outside the area codes of the simulator's magic numbers.
    area, line = dice.randrange(201, 800), dice.randrange(100)
    recipients = [f"1{area}55501{line:02d}", f"1{area}55501{(line + 1) % 100:02d}"]
    return Request(
        Message(
            reference,
            recipients if dice.random() < TWO_SENDS else recipients[:1],
            on_unknown="resend" if dice.random() < RESENT else "hold",
            key=f"key-{reference}",
            client=client,
        ),
        way=way,
        deferred=way is Way.API and dice.random() < DEFERRED,
        repeated=dice.random() < REPEATED,
    )


def upstream_faults(seed: int, count: int) -> list[dict[str, Any]]:
    """Return faults for `count` calls of the send route: one in ten, all kinds equally often."""
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


def _in_turn(dice: Random) -> Iterator[str]:
    while True:
        yield from dice.sample(FAULTS, len(FAULTS))
