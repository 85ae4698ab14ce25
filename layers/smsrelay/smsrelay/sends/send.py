"""The send, which is the recipients of one upstream call, and its state; and the message."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple

from smsrelay.messages.segments import Segments
from smsrelay.sends.delivery_report import DeliveryCounts

NOT_POLLED = "not-polled"
"""The reason of an accepted send whose delivery could not be polled in time."""


class Status(StrEnum):
    """The statuses of a send (docs/api.md has a diagram)."""

    QUEUED = "queued"
    SENDING = "sending"
    ACCEPTED = "accepted"
    REJECTED = "rejected"
    UNKNOWN = "unknown"
    FAILED = "failed"
    CANCELLED = "cancelled"
    EXPIRED = "expired"
    # Statuses of an accepted send after the upstream has reported its delivery.
    DELIVERED = "delivered"
    UNDELIVERED = "undelivered"
    PARTIALLY_DELIVERED = "partially_delivered"

    @property
    def metric(self) -> str:
        """The metric of this status, such as `SendsPartiallyDelivered`."""
        return f"Sends{self.value.title().replace('_', '')}"


DELIVERY_STATUSES = frozenset({Status.DELIVERED, Status.UNDELIVERED, Status.PARTIALLY_DELIVERED})
ACCEPTED_STATUSES = DELIVERY_STATUSES | {Status.ACCEPTED}
NOT_SENT_STATUSES = frozenset({Status.REJECTED, Status.FAILED, Status.CANCELLED, Status.EXPIRED})
"""The send was certainly not sent."""
UNFINISHED_STATUSES = frozenset({Status.QUEUED, Status.SENDING, Status.UNKNOWN})
"""The relay or an operator still has to act before the send ends."""


class OnUnknown(StrEnum):
    """What the relay does when it is not known whether a send went out."""

    HOLD = "hold"
    RESEND = "resend"


class SendKey(NamedTuple):
    """The id of a send's message, and the send's number in it, from 1."""

    message_id: str
    number: int

    def __str__(self) -> str:
        return f"{self.message_id}/{self.number}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Send:
    """One item of the ledger. Times are seconds since the epoch."""

    key: SendKey
    client: str
    upstream_message_id: str
    """The upstream's encoded message id, a part of the call's path (stored as `template`)."""
    recipients: int
    status: Status
    on_unknown: OnUnknown
    fingerprint: str | None
    """The fingerprint of the posted body (`ids.fingerprint`); None: no idempotency key."""
    created_at: float
    updated_at: float
    due_at: float
    """When it may be tried (queued) or polled (`awaits_report`); else when it ended.

    While it is sending, this is the end of the lease: read `lease_until`.
    """
    written_by: str
    """The id of the last create, claim or later write; an attempt's result keeps its claim's id.

    It shows whether a write with a lost response was stored. The stored attribute is `owner`.
    """
    attempts: int = 0
    """All attempts. It never decreases, because it shows which attempt a result belongs to."""
    attempts_before: int = 0
    """Attempts before an operator's last resend; they don't count towards the limit."""
    attempts_put_off: int = 0
    """Attempts since then that were certainly not sent; they don't count either."""
    resent_at: float | None = None
    """When an operator last resent it; its age counts from then on."""
    may_have_been_sent: bool = False
    """Whether any attempt so far may have gone out (stored as `inDoubt`)."""
    body: str | None = None
    """The JSON to send; removed when the send ends, unless an operator can resend it."""
    token_id: str | None = None
    reason: str | None = None
    note: str | None = None
    """The note of the operator who resolved it, redacted."""
    errors: tuple[str, ...] = ()
    reference: str | None = None
    correlation_id: str | None = None
    """The id of its request: `ids.correlation_id`."""
    scheduled_for: float | None = None
    """The request's `sendAt`.

    While it awaits a report, this is the start of polling: read `poll_from`.
    """
    expires_at: float | None = None
    """The request's `expiresAt`: no attempt begins after it."""
    poll_delivery: bool = True
    """Whether the relay polls its delivery after acceptance: `deliveryPolling`."""
    awaits_report: bool = False
    """Whether the relay polls its delivery; the next poll is at `due_at`."""
    polled: bool = False
    """Whether its delivery has been polled."""
    delivery: DeliveryCounts | None = None
    segments: Segments | None = None
    """The size of its text in SMS; None: the request has no text."""

    @property
    def lease_until(self) -> float | None:
        """When the lease of the sending process ends; None: it is not sending."""
        return self.due_at if self.status is Status.SENDING else None

    @property
    def poll_from(self) -> float | None:
        """When polling began; None: it doesn't await a report."""
        return self.scheduled_for if self.awaits_report else None

    @property
    def has_ended(self) -> bool:
        """Whether the relay has finished with it. A `failed` send has ended."""
        return self.status not in UNFINISHED_STATUSES and not self.awaits_report

    def is_past_expiry(self, now: float) -> bool:
        """Whether the time is `expiresAt` or later, whatever the status is."""
        return self.expires_at is not None and self.expires_at <= now

    @property
    def can_be_redriven(self) -> bool:
        """Whether it ended without being sent, and an operator can send it again."""
        return self.status in NOT_SENT_STATUSES and self.body is not None

    @property
    def public_reason(self) -> str | None:
        """The reason that clients see; None: the status is enough."""
        is_plain = self.status in {Status.ACCEPTED, Status.DELIVERED} and self.reason != NOT_POLLED
        return None if is_plain else self.reason

    @property
    def log_fields(self) -> dict[str, object]:
        """The fields of every log line about the send, so that one search finds all lines."""
        return {
            "message_id": self.key.message_id,
            "send": str(self.key),
            "client": self.client,
            "correlation_id": self.correlation_id or self.key.message_id,
        }


class MessageState(NamedTuple):
    """The current sends of a message; `replayed` if an earlier request created it."""

    id: str
    sends: Sequence[Send]
    replayed: bool = False
    upstream_seconds: float | None = None
    """The time of the upstream call, if the message has one send and it was called at once."""


def reference_body(key: SendKey) -> str:
    """Return the body of a queue message that refers to a send in the ledger."""
    return f'{{"send":{{"id":"{key.message_id}","n":{key.number}}}}}'
