"""Changes of a send's status, and the events that tell of them (docs/events.md). Pure.

An event holds what `GET /messages/{id}` tells of one send: no number, no text.
"""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, NamedTuple

from smsrelay.messages.segments import Segments
from smsrelay.sends.send import DELIVERY_STATUSES, NOT_SENT_STATUSES, Send, Status

SOURCE = "smsrelay"


class StatusChange(NamedTuple):
    """A send before and after a write of the ledger; `before` is None for a new one."""

    before: Send | None
    after: Send

    @property
    def is_event(self) -> bool:
        """Whether its status is another one, or its delivery will be no better known."""
        return (
            self.before is None
            or self.before.status is not self.after.status
            or (is_final(self.after) and not is_final(self.before))
        )


def is_final(send: Send) -> bool:
    """Whether nothing more happens to a send automatically."""
    ends = DELIVERY_STATUSES | NOT_SENT_STATUSES | {Status.UNKNOWN}
    return send.status in ends or (send.status is Status.ACCEPTED and not send.awaits_report)


def event_of(change: StatusChange) -> Mapping[str, Any]:
    """The event: `type`, `timestamp` and `data`, as Standard Webhooks has them."""
    send = change.after
    data = {
        "id": send.key.message_id,
        "n": send.key.number,
        "client": send.client,
        "status": send.status.value,
        "final": is_final(send),
        "recipients": send.recipients,
        **segments_of(send.segments),
        "attempts": send.attempts,
        "previousStatus": change.before and change.before.status.value,
        "tokenId": send.token_id,
        "reference": send.reference,
        "reason": send.public_reason,
        "note": send.note,
        "delivery": send.delivery and send.delivery.as_json(),
    }
    return {
        "type": f"{SOURCE}.send.{send.status.value}",
        "timestamp": iso_time(send.updated_at),
        "data": {name: value for name, value in data.items() if value is not None},
    }


def segments_of(size: Segments | None) -> dict[str, Any]:
    """What a response and an event say of the text's size; without text, all is None."""
    return {
        "segments": size and size.number,
        "segmentsAtLeast": (size and size.at_least) or None,
        "encoding": size and size.encoding,
    }


def iso_time(seconds: float) -> str:
    """A time in ISO 8601, in UTC with milliseconds: rounded, as the ledger stores it."""
    return datetime.fromtimestamp(round(seconds, 3), UTC).isoformat(timespec="milliseconds")


def event_id(event: Mapping[str, Any]) -> str:
    """What stays the same however often it is told: who gets it twice knows it again."""
    data = event["data"]
    # A resent send comes to the same status with more attempts.
    parts = (data["id"], data["n"], data["status"], data["attempts"], int(data["final"]))
    return "evt_" + "_".join(map(str, parts))
