"""The scenarios: messages, and the actions of the process into which faults are injected."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any

from tests.promise.faults import RECEIVER_HOST
from tests.promise.observation import Content

Json = dict[str, Any]

TEMPLATE = "MzA6Nzg6MA"
CLIENT = "shop"
CATALOGUE: Json = {
    "messages": {"welcome": TEMPLATE},
    "clients": {CLIENT: {"callback": f"https://{RECEIVER_HOST}/sms"}},
}
ASYNC = {"Prefer": "respond-async"}

POLLER = "delivery poller"
EVENTS = "event publisher and callback sender"
RENEWER = "token renewer"
WEBHOOK = "webhook"


@dataclass(frozen=True)
class Message:
    """A message that a caller wants to send. No two messages of a run share a recipient."""

    reference: str
    recipients: Sequence[str]
    """One for each send, without the plus, as the upstream gets it. The second one has a key."""
    on_unknown: str = "hold"
    key: str | None = None
    """Its idempotency key."""
    message: str = TEMPLATE
    client: str | None = CLIENT
    """The client that a queue message names."""
    is_valid: bool = True
    expires_after: float | None = None
    """Seconds from the start of the story to its `expiresAt`."""
    expires_at: float | None = None
    """Its `expiresAt`, set when the story starts."""

    @property
    def text(self) -> str:
        return f"The text of {self.reference}"

    @property
    def body(self) -> str:
        to: list[object] = [f"+{number}" for number in self.recipients[:1]]
        # The relay never puts a plain number and a subscriber into the same call.
        to += [{"mobile": f"+{number}", "key": f"K-{number}"} for number in self.recipients[1:]]
        document: Json = {
            "message": self.message,
            "to": to if self.is_valid else [],
            "text": self.text,
            "reference": self.reference,
            "onUnknown": self.on_unknown,
        }
        if self.expires_at is not None:
            document["expiresAt"] = datetime.fromtimestamp(self.expires_at, UTC).isoformat()
        return json.dumps(document)

    @property
    def holds(self) -> bool:
        return self.on_unknown == "hold"

    @property
    def contents(self) -> list[Content]:
        """The content of each send."""
        return [Content(recipient, self.text) for recipient in self.recipients]


ONE = Message("one", ["12125550100"])
KEYED = replace(ONE, key="order-8812")
TWO = replace(ONE, recipients=["12125550100", "12125550101"])
NAMED = replace(ONE, message="welcome", client=None)
REFUSED = replace(ONE, is_valid=False)

ENQUEUE: Json = {"do": "enqueue", "reference": ONE.reference}
WORK: Json = {"do": "work"}
POLL: Json = {"do": "poll"}
PUBLISH: Json = {"do": "publish"}
CALL_BACK: Json = {"do": "call_back"}
RENEW: Json = {"do": "renew"}
SWEEP: Json = {"do": "sweep"}
CANCEL: Json = {"do": "cancel", "reference": ONE.reference}
REDELIVER: Json = {"do": "redeliver"}
EXPIRE: Json = {"do": "expire"}
SOON: Json = {"do": "wait", "seconds": 10.0}
"""Shorter than the upstream's Retry-After."""
LATER: Json = {"do": "wait", "seconds": 1_000.0}
"""Longer than any wait between attempts, any lease, and the sweeper's delay."""
EXPIRES_AFTER = 600.0
"""Seconds: longer than the first retry's wait, and shorter than LATER."""

MONTHS_LATER: Json = {"do": "wait", "seconds": 91 * 86_400.0}
"""Longer than RETENTION_DAYS."""
BATCH = [Message(f"other-{n}", [f"1303555010{n}"]) for n in range(3)]


def operate(*arguments: str) -> Json:
    return {"do": "operate", "arguments": arguments}


def catalogue(**messages: str) -> Json:
    return {"do": "put_catalogue", "catalogue": CATALOGUE | {"messages": messages}}


def post(headers: dict[str, str] | None = None, reference: str = ONE.reference) -> Json:
    return {"do": "post", "reference": reference, "headers": headers or {}}


def webhook(reference: str = ONE.reference) -> Json:
    return {"do": "webhook", "reference": reference}


@dataclass(frozen=True)
class Scenario:
    """A process's script for a message, and the actions around it."""

    name: str
    script: list[Json]
    """The actions of the process that gets the faults."""
    message: Message = ONE
    others: Sequence[Message] = ()
    """Further messages."""
    parts: frozenset[str] = frozenset()
    """The functions that run in addition: POLLER, EVENTS, RENEWER, WEBHOOK."""
    redeployed: Mapping[str, str] = field(default_factory=dict)
    """Variables that a deployment changes during the first process."""
    faults: list[tuple[str, int]] = field(default_factory=list)
    """The upstream's faults, and how often each happens."""
    renews: bool = True
    """Whether another token is stored as soon as the upstream responds 401."""
    prepare: list[Json] = field(default_factory=list)
    """The actions of an earlier process, which dies at its first point `prepare_until`."""
    prepare_until: str | None = None
    afterwards: list[Json] = field(default_factory=list)
    """What the caller does after the process has ended, and again at the end."""

    meanwhile: list[Json] = field(default_factory=lambda: [REDELIVER, SWEEP, WORK])
    """The actions of another process, which runs at a MEANWHILE injection."""

    def with_choice(self, on_unknown: str) -> "Scenario":
        chosen = [replace(it, on_unknown=on_unknown) for it in (self.message, *self.others)]
        return replace(self, message=chosen[0], others=chosen[1:])


SCENARIOS = {
    scenario.name: scenario
    for scenario in (
        Scenario("api", [post()]),
        Scenario(
            "api-key-repeated",
            [post()],
            message=KEYED,
            afterwards=[post()],
            meanwhile=[post(), REDELIVER, SWEEP, WORK],
        ),
        Scenario(
            "api-named-repeated",
            [post()],
            message=replace(KEYED, message="welcome"),
            afterwards=[catalogue(other=TEMPLATE), post()],
            meanwhile=[catalogue(other=TEMPLATE), post()],
        ),
        Scenario("api-item-lost", [post()], meanwhile=[{"do": "lose"}]),
        Scenario("api-two-sends", [post()], message=TWO),
        Scenario("api-async", [post(ASYNC), WORK]),
        Scenario(
            "api-cancelled",
            [post(ASYNC), CANCEL, WORK],
            afterwards=[CANCEL],
            meanwhile=[WORK, REDELIVER, SWEEP],
        ),
        Scenario(
            "api-polled",
            [post(), LATER, POLL],
            parts=frozenset({POLLER}),
            meanwhile=[POLL, CANCEL],
        ),
        Scenario(
            "api-events",
            [post(ASYNC), WORK, PUBLISH, CALL_BACK],
            parts=frozenset({EVENTS}),
            meanwhile=[PUBLISH, REDELIVER, CALL_BACK],
        ),
        # The stored token has ended, and the token renewer renews it when a sender invokes it.
        Scenario(
            "api-token-function",
            [post(), RENEW, LATER, WORK],
            parts=frozenset({RENEWER}),
            renews=False,
            meanwhile=[RENEW, REDELIVER, WORK],
        ),
        Scenario(
            "webhook",
            [webhook()],
            message=KEYED,
            parts=frozenset({WEBHOOK}),
            afterwards=[webhook()],
            meanwhile=[webhook(), REDELIVER, SWEEP, WORK],
        ),
        Scenario("api-throttled", [post(), LATER, WORK], faults=[("429-50100", 1)]),
        Scenario("api-token-renewed", [post()], faults=[("401", 1)]),
        # No other token is stored, so the API invokes the token renewer and queues the send.
        Scenario("api-token-refused", [post(), LATER, WORK], faults=[("401", 1)], renews=False),
        Scenario("worker", [ENQUEUE, WORK]),
        Scenario("worker-cancelled", [post(ASYNC), WORK], meanwhile=[CANCEL, REDELIVER, WORK]),
        Scenario("worker-named", [ENQUEUE, WORK], message=NAMED),
        Scenario("worker-two-sends", [ENQUEUE, WORK, WORK], message=TWO),
        Scenario("worker-refused", [ENQUEUE, WORK], message=REFUSED),
        Scenario(
            "worker-throttled",
            [ENQUEUE, WORK, SOON, WORK, *[LATER, WORK] * 2],
            faults=[("429-50100", 2)],
        ),
        Scenario(
            "worker-answer-lost", [ENQUEUE, WORK, LATER, WORK], faults=[("reset-after-accept", 1)]
        ),
        Scenario(
            "worker-given-up",
            [ENQUEUE, WORK, {"do": "wait", "seconds": 90_000.0}, WORK],  # over MAX_AGE_HOURS
            faults=[("503-50300", -1)],
        ),
        Scenario(
            "worker-expiring",
            [ENQUEUE, WORK, LATER, WORK],
            message=replace(ONE, expires_after=EXPIRES_AFTER),
            faults=[("429-50100", 1)],
        ),
        Scenario(
            "worker-moved",
            [ENQUEUE, WORK],
            afterwards=[{"do": "move"}, operate("redrive")],
        ),
        Scenario(
            "worker-batch",
            [ENQUEUE, *({"do": "enqueue", "reference": it.reference} for it in BATCH), WORK],
            others=BATCH,
        ),
        Scenario(
            "worker-outage",
            [ENQUEUE, WORK, {"do": "enqueue", "reference": BATCH[0].reference}, WORK],
            others=BATCH[:1],
            faults=[("502-html", 1)],
        ),
        Scenario(
            "worker-redeployed",
            [ENQUEUE, WORK],
            message=NAMED,
            redeployed={"DEFAULT_CLIENT": CLIENT, "MAX_ATTEMPTS": "2", "RETENTION_DAYS": "29"},
            afterwards=[catalogue(welcome="OTk6OTk6MA")],
            meanwhile=[catalogue(welcome="OTk6OTk6MA"), REDELIVER, SWEEP, WORK],
        ),
        Scenario(
            "worker-paused",
            [ENQUEUE, operate("pause"), LATER, WORK, LATER, WORK, operate("resume"), LATER, WORK],
            afterwards=[operate("resume")],
            meanwhile=[operate("pause"), REDELIVER, SWEEP, WORK],
        ),
        Scenario(
            "api-expired",
            [post(), MONTHS_LATER, EXPIRE, SWEEP, WORK],
            afterwards=[MONTHS_LATER, EXPIRE],
        ),
        Scenario(
            "sweeper-queued",
            [LATER, SWEEP, WORK],
            prepare=[post(ASYNC)],
            prepare_until="sqs.SendMessageBatch before",
        ),
        Scenario(
            "sweeper-older-item",
            [{"do": "put_older_item", "reference": ONE.reference}, LATER, SWEEP, WORK],
        ),
        Scenario(
            "sweeper-newer-item",
            [{"do": "put_newer_item"}, post(ASYNC), LATER, SWEEP, WORK],
        ),
        Scenario(
            "sweeper-lapsed",
            [LATER, SWEEP, WORK],
            prepare=[post()],
            prepare_until="upstream before",
        ),
    )
}
