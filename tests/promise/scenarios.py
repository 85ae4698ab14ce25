"""What is played with a strike at every step of it."""

from dataclasses import dataclass, field, replace
from typing import Any

Json = dict[str, Any]

ONE: Json = {"message": "MzA6Nzg6MA", "to": ["+12125550100"], "text": "Hello"}
# A plain number and a subscriber never share a call of the upstream.
TWO: Json = ONE | {"to": ["+12125550100", {"mobile": "+12125550101", "key": "k"}]}
NAMED: Json = ONE | {"message": "welcome"}
CATALOGUE: Json = {"messages": {"welcome": ONE["message"]}}
REFUSED: Json = {"message": "MzA6Nzg6MA", "to": []}
ASYNC = {"Prefer": "respond-async"}
KEY = {"Idempotency-Key": "order-8812"}

WORK: Json = {"do": "work"}
SWEEP: Json = {"do": "sweep"}
REDELIVER: Json = {"do": "redeliver"}
LATER: Json = {"do": "wait", "seconds": 1_000.0}
"""Longer than any wait between attempts, than a lease, and than the sweeper's patience."""


def post(body: Json, headers: dict[str, str] | None = None) -> Json:
    return {"do": "post", "body": body, "headers": headers or {}}


@dataclass(frozen=True)
class Scenario:
    """One request, on one way in."""

    name: str
    script: list[Json]
    """What the process does that dies."""
    message: Json = field(default_factory=lambda: ONE)
    enqueued: bool = False
    """Whether the message comes by the queue."""
    faults: list[tuple[str, int]] = field(default_factory=list)
    """The upstream's faults: which, and how often."""
    renews: bool = True
    """Whether another token is there as soon as the upstream answers 401."""
    prepare: list[Json] = field(default_factory=list)
    """What happened before, in a process that died at the first point `prepare_until`, if any."""
    prepare_until: str | None = None
    afterwards: list[Json] = field(default_factory=list)
    """What the caller does as soon as the process is dead, and once more at the end."""

    meanwhile: list[Json] = field(default_factory=lambda: [REDELIVER, SWEEP, WORK])
    """What another process does in the middle of it."""

    @property
    def numbers(self) -> list[str]:
        """As the upstream gets them: without the plus."""
        entries = self.message["to"]
        written = [entry if isinstance(entry, str) else entry["mobile"] for entry in entries]
        return [number.removeprefix("+") for number in written]

    @property
    def holds(self) -> bool:
        return bool(self.message["onUnknown"] == "hold")

    def with_choice(self, choice: str) -> "Scenario":
        """The same with `onUnknown` in every message of it."""
        message = self.message | {"onUnknown": choice}

        def chosen(script: list[Json]) -> list[Json]:
            return [action | {"body": message} if "body" in action else action for action in script]

        return replace(
            self,
            message=message,
            script=chosen(self.script),
            prepare=chosen(self.prepare),
            afterwards=chosen(self.afterwards),
            meanwhile=chosen(self.meanwhile),
        )


SCENARIOS = {
    scenario.name: scenario
    for scenario in (
        Scenario("api", [post(ONE)]),
        Scenario(
            "api-key-repeated",
            [post(ONE, KEY)],
            afterwards=[post(ONE, KEY)],
            meanwhile=[post(ONE, KEY), REDELIVER, SWEEP, WORK],
        ),
        Scenario("api-two-sends", [post(TWO)], message=TWO),
        Scenario("api-async", [post(ONE, ASYNC), WORK]),
        Scenario("api-throttled", [post(ONE), LATER, WORK], faults=[("429-50100", 1)]),
        Scenario("api-token-renewed", [post(ONE)], faults=[("401", 1)]),
        # The same token is still there: the token function is asked, and the queue takes the send.
        Scenario("api-token-refused", [post(ONE), LATER, WORK], faults=[("401", 1)], renews=False),
        Scenario("worker", [WORK], enqueued=True),
        Scenario("worker-named", [WORK], message=NAMED, enqueued=True),
        Scenario("worker-two-sends", [WORK, WORK], message=TWO, enqueued=True),
        Scenario("worker-refused", [WORK], message=REFUSED, enqueued=True),
        Scenario("worker-throttled", [WORK, LATER, WORK], enqueued=True, faults=[("429-50100", 1)]),
        Scenario(
            "worker-answer-lost",
            [WORK, LATER, WORK],
            enqueued=True,
            faults=[("reset-after-accept", 1)],
        ),
        Scenario(
            "worker-given-up",
            [WORK, {"do": "wait", "seconds": 90_000.0}, WORK],  # longer than MAX_AGE_HOURS
            enqueued=True,
            faults=[("503-50300", -1)],
        ),
        Scenario(
            "sweeper-queued",
            [LATER, SWEEP, WORK],
            prepare=[post(ONE, ASYNC)],
            prepare_until="sqs.SendMessageBatch before",
        ),
        Scenario(
            "sweeper-lapsed",
            [LATER, SWEEP, WORK],
            prepare=[post(ONE)],
            prepare_until="upstream before",
        ),
    )
}
