"""Parses events and callbacks of the relay for the phone page."""

from collections.abc import Mapping

from standardwebhooks import Webhook, WebhookVerificationError

from tools.mobileconnect_simulator.call_log import ReceivedEntry
from tools.mobileconnect_simulator.validation import NotJsonError, read_json


class NotReceivedError(ValueError):
    """The request is not an event or callback of the relay; the message says why."""


def read_event(raw: bytes) -> ReceivedEntry:
    """Parse an event that EventBridge posts to an API destination.

    Raises:
        NotReceivedError: it is not an event of the relay.
    """
    event = _object(raw)
    data = dict(_fields(event.get("detail")))
    return _entry("event", data.pop("eventId", None), event.get("time"), data, raw)


def read_callback(raw: bytes, headers: Mapping[str, str], secret: str | None) -> ReceivedEntry:
    """Parse a callback; header names are in lower case.

    Raises:
        NotReceivedError: its signature is wrong, or it is not a callback of the relay.
    """
    if not secret:
        raise NotReceivedError("No callbacks are expected: their secret is not set.")
    try:
        Webhook(secret).verify(raw, dict(headers))
    except (WebhookVerificationError, ValueError) as error:
        raise NotReceivedError("The callback has no valid signature.") from error
    event = _object(raw)
    data = _fields(event.get("data"))
    return _entry("callback", headers.get("webhook-id"), event.get("timestamp"), data, raw)


def _entry(
    way: str, event_id: object, timestamp: object, data: Mapping[str, object], raw: bytes
) -> ReceivedEntry:
    words = (event_id, timestamp, data.get("id"), data.get("status"))
    if not all(isinstance(word, str) for word in words):
        raise NotReceivedError("An event has an id, a time, and data with id and status.")
    return ReceivedEntry(
        n=0,
        at="",
        way=way,
        eventId=str(event_id),
        timestamp=str(timestamp),
        data=dict(data),
        raw=raw.decode(),
    )


def _object(raw: bytes) -> Mapping[str, object]:
    try:
        return _fields(read_json(raw))
    except NotJsonError as error:
        raise NotReceivedError(f"The body is not valid JSON: {error}.") from error


def _fields(value: object) -> Mapping[str, object]:
    return value if isinstance(value, dict) else {}
