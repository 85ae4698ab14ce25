"""A send: one call of the upstream for one message, and how far it has come."""

from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple

from smsrelay.messages.segments import Segments
from smsrelay.sends.delivery_report import DeliveryCounts

NOT_POLLED = "not-polled"
"""The reason of an accepted send whose delivery could not be polled in time."""


class Status(StrEnum):
    """Where a send is in its life (docs/delivery-guarantees.md draws it)."""

    QUEUED = "queued"
    SENDING = "sending"
    ACCEPTED = "accepted"
    REJECTED = "rejected"
    UNKNOWN = "unknown"
    FAILED = "failed"
    CANCELLED = "cancelled"
    EXPIRED = "expired"
    # What the upstream reports of an accepted one, later.
    DELIVERED = "delivered"
    UNDELIVERED = "undelivered"
    PARTIALLY_DELIVERED = "partially_delivered"

    @property
    def metric(self) -> str:
        """The metric that counts sends with this status, such as `SendsPartiallyDelivered`."""
        return f"Sends{self.value.title().replace('_', '')}"


DELIVERY_STATUSES = frozenset({Status.DELIVERED, Status.UNDELIVERED, Status.PARTIALLY_DELIVERED})
"""The upstream has reported the delivery."""
ACCEPTED_STATUSES = DELIVERY_STATUSES | {Status.ACCEPTED}
"""The upstream has accepted the send."""
NOT_SENT_STATUSES = frozenset({Status.REJECTED, Status.FAILED, Status.CANCELLED, Status.EXPIRED})
"""The send was certainly not sent."""
UNFINISHED_STATUSES = frozenset({Status.QUEUED, Status.SENDING, Status.UNKNOWN})
"""The relay or an operator still has to act before the send ends."""


class OnUnknown(StrEnum):
    """What the caller wants when nobody can know whether a send went out."""

    HOLD = "hold"
    RESEND = "resend"


class SendKey(NamedTuple):
    """Which send: the id of its message, and its number from 1."""

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
    """The encoded message id of the upstream, which stands in the path of the call."""
    recipients: int
    status: Status
    on_unknown: OnUnknown
    fingerprint: str | None
    """Tells the bodies under one idempotency key apart (`ids.fingerprint`); None: it has no key."""
    created_at: float
    updated_at: float
    due_at: float
    """When it may be tried again (queued) or polled (`awaits_report`); else when it ended.

    While it is sending, the end of the lease is stored here: read `lease_until`.
    """
    written_by: str
    """Who wrote it last: a write that is repeated after a lost answer finds itself."""
    attempts: int = 0
    """All that there were: the number only grows, since a late result is known by it."""
    attempts_before: int = 0
    """Those before an operator's last resend; they no longer count towards the most."""
    attempts_put_off: int = 0
    """Those after it that were certainly not sent; they never count."""
    resent_at: float | None = None
    """When an operator last had it tried again; from then on its age counts anew."""
    may_have_been_sent: bool = False
    """Whether an attempt at it may have gone out, although another one followed."""
    body: str | None = None
    """The JSON to send; removed when the send ends, unless an operator may have it tried again."""
    token_id: str | None = None
    reason: str | None = None
    note: str | None = None
    """What the operator who resolved it wrote, redacted."""
    errors: tuple[str, ...] = ()
    reference: str | None = None
    correlation_id: str | None = None
    """Of the request that it comes from: `smsrelay.sends.ids`."""
    scheduled_for: float | None = None
    """When the upstream is to deliver it, if the request says so.

    While it awaits a report, the start of polling is stored here: read `poll_from`.
    """
    expires_at: float | None = None
    """When it must no longer be begun with, if the request says so."""
    poll_delivery: bool = True
    """Whether its delivery is to be polled once it is accepted: `deliveryPolling`."""
    awaits_report: bool = False
    """Whether its delivery is asked for, next when it is due."""
    polled: bool = False
    """Whether it has been asked for since it awaits a report."""
    delivery: DeliveryCounts | None = None
    segments: Segments | None = None
    """How many SMS its text becomes; None: the request has no text."""

    @property
    def lease_until(self) -> float | None:
        """When the lease of its sender ends; None: it is not sending."""
        return self.due_at if self.status is Status.SENDING else None

    @property
    def poll_from(self) -> float | None:
        """When its delivery began, as far as the relay knows; None: it awaits no report."""
        return self.scheduled_for if self.awaits_report else None

    @property
    def has_ended(self) -> bool:
        """Whether the relay does nothing more with it. A `failed` send has ended."""
        return self.status not in UNFINISHED_STATUSES and not self.awaits_report

    @property
    def can_be_redriven(self) -> bool:
        """Whether it ended without being sent, and an operator can have it tried again."""
        return self.status in NOT_SENT_STATUSES and self.body is not None

    @property
    def public_reason(self) -> str | None:
        """The reason that clients see; None: its status says all."""
        is_plain = self.status in {Status.ACCEPTED, Status.DELIVERED} and self.reason != NOT_POLLED
        return None if is_plain else self.reason

    @property
    def log_fields(self) -> dict[str, object]:
        """Fields of every log line about the send, so that one search finds all of them."""
        return {
            "message_id": self.key.message_id,
            "send": str(self.key),
            "client": self.client,
            "correlation_id": self.correlation_id or self.key.message_id,
        }


def reference_body(key: SendKey) -> str:
    """The body of a queue message that names a send of the ledger."""
    return f'{{"send":{{"id":"{key.message_id}","n":{key.number}}}}}'
