"""Builds the events for changes of a send's status (docs/events.md). Pure.

An event has the fields of a send in `GET /messages/{id}`: no phone number, no text.
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
        """Whether the status has changed, or the send has become final."""
        return (
            self.before is None
            or self.before.status is not self.after.status
            or (is_final(self.after) and not is_final(self.before))
        )


def is_final(send: Send) -> bool:
    """Whether the status of a send no longer changes automatically."""
    ends = DELIVERY_STATUSES | NOT_SENT_STATUSES | {Status.UNKNOWN}
    return send.status in ends or (send.status is Status.ACCEPTED and not send.awaits_report)


def event_of(change: StatusChange) -> Mapping[str, Any]:
    """Return the event in the format of Standard Webhooks: `type`, `timestamp` and `data`."""
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
    """Return the fields for the text's size in responses and events; all None without a text."""
    return {
        "segments": size and size.number,
        "segmentsAtLeast": (size and size.at_least) or None,
        "encoding": size and size.encoding,
    }


def iso_time(seconds: float) -> str:
    """Format a time in ISO 8601, in UTC, rounded to milliseconds as the ledger stores it."""
    return datetime.fromtimestamp(round(seconds, 3), UTC).isoformat(timespec="milliseconds")


def event_id(event: Mapping[str, Any]) -> str:
    """Return an id that is the same each time the event is sent, so receivers can drop copies."""
    data = event["data"]
    # A resent send can reach the same status again, even without another attempt.
    time = "".join(filter(str.isdigit, event["timestamp"][: -len("+00:00")]))
    parts = (data["id"], data["n"], data["status"], data["attempts"], int(data["final"]), time)
    return "evt_" + "_".join(map(str, parts))
