"""Publishes status events to an EventBridge bus."""

import json
from collections.abc import Mapping, Sequence
from itertools import batched
from typing import TYPE_CHECKING, Any, Final

from smsrelay.adapters.aws_errors import aws_errors
from smsrelay.errors import PublishError
from smsrelay.sends.status_events import SOURCE, event_id

if TYPE_CHECKING:
    from mypy_boto3_events import EventBridgeClient

BATCH: Final = 10
"""The most events of one call."""


class EventBridgeBus:
    """The `EventBus` port."""

    def __init__(self, client: "EventBridgeClient", bus: str) -> None:
        self._client = client
        self._bus = bus

    def put(self, events: Sequence[Mapping[str, Any]]) -> None:
        for batch in batched(events, BATCH, strict=False):
            with aws_errors(PublishError, "the bus is unavailable"):
                answer = self._client.put_events(
                    Entries=[
                        {
                            "Source": SOURCE,
                            "DetailType": event["type"],
                            "Time": event["timestamp"],
                            "Detail": json.dumps(
                                event["data"] | {"eventId": event_id(event)}, separators=(",", ":")
                            ),
                            "EventBusName": self._bus,
                        }
                        for event in batch
                    ]
                )
                refused = answer["FailedEntryCount"]
            if refused:
                entries = answer.get("Entries", [])
                codes = sorted({entry["ErrorCode"] for entry in entries if "ErrorCode" in entry})
                raise PublishError(f"the bus refused {refused} events: {', '.join(codes)}")
