"""Builds the bodies of the upstream calls of a request."""

from datetime import datetime
from typing import Any, NamedTuple

from pydantic_core import to_json

from smsrelay.messages import times
from smsrelay.messages.refusals import Refusal, RequestRefusedError
from smsrelay.messages.request import RECIPIENTS_PER_SEND, MessageRequest, QuietHours, Subscriber

MAX_BODY_BYTES = 350_000
"""The largest body of one send: the send must fit into one DynamoDB item (400 KB)."""
MAX_TOTAL_BYTES = 3_500_000
"""The largest total of a request's bodies: one transaction (4 MB) stores them."""


class UpstreamCall(NamedTuple):
    """One call of `POST /sms/v1/messageContact/{id}/send`; `body` is JSON."""

    body: str
    recipients: int


def build_calls(request: MessageRequest, now: datetime) -> tuple[UpstreamCall, ...]:
    """Build the calls of a request: numbers first, at most 250 different recipients in each call.

    A call contains either numbers or subscribers, and its numbers have no `+`. The offset of a time
    zone is that at `now` if the request has no `sendAt`. Raises `RequestRefusedError` if the bodies
    are too large to be stored.
    """
    common = _common(request, now)
    # The request is valid, so entries with the same number are identical.
    named = {entry.mobile: entry for entry in request.to if isinstance(entry, Subscriber)}
    numbers = list(dict.fromkeys([entry[1:] for entry in request.to if isinstance(entry, str)]))
    subscribers = [_subscriber(entry) for entry in named.values()]
    calls = tuple(
        UpstreamCall(to_json({field: batch, **common}).decode(), len(batch))
        for field, entries in (("mobileNumbers", numbers), ("Subscribers", subscribers))
        for start in range(0, len(entries), RECIPIENTS_PER_SEND)
        for batch in [entries[start : start + RECIPIENTS_PER_SEND]]
    )
    sizes = [len(call.body.encode()) for call in calls]
    if max(sizes) > MAX_BODY_BYTES or sum(sizes) > MAX_TOTAL_BYTES:
        detail = (
            f"A call of the upstream can have at most {MAX_BODY_BYTES} bytes, and all calls of a "
            f"request at most {MAX_TOTAL_BYTES}. Post fewer recipients or shorter values."
        )
        raise RequestRefusedError([Refusal("", "too-large", detail)])
    return calls


def _common(request: MessageRequest, now: datetime) -> dict[str, Any]:
    """Return the fields that all calls share, in the casing of the reference's examples."""
    fields: dict[str, Any] = {
        "Subscribe": request.subscribe,
        "Resubscribe": request.resubscribe,
        "keyword": request.keyword,
        "Override": True if request.text else None,
        "messageText": request.text,
        "ContentURL": request.media_url,
        "blackoutWindow": _window(request.quiet_hours, request.send_at or now),
        "SendTime": times.to_send_time(request.send_at) if request.send_at else None,
    }
    return {name: value for name, value in fields.items() if value is not None}


def _window(quiet_hours: QuietHours | None, moment: datetime) -> dict[str, str] | None:
    if quiet_hours is None:
        return None
    if quiet_hours.timezone is not None:
        offset = times.offset_at(quiet_hours.timezone, moment)
    else:
        offset = times.without_colon(quiet_hours.utc_offset or "")
    return {
        "UtcOffset": offset,
        "WindowStart": times.without_colon(quiet_hours.start),
        "WindowEnd": times.without_colon(quiet_hours.end),
    }


def _subscriber(subscriber: Subscriber) -> dict[str, Any]:
    entry: dict[str, Any] = {"MobileNumber": subscriber.mobile[1:], "SubscriberKey": subscriber.key}
    if subscriber.attributes:
        entry["Attributes"] = subscriber.attributes
    return entry
