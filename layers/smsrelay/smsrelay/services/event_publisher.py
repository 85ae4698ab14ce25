"""Publishes status changes: all of them to an event bus, final ones to the callback queue."""

import json
from collections.abc import Sequence

from smsrelay.ports import Callbacks, CatalogueSource, EventBus
from smsrelay.sends.status_events import StatusChange, event_of


class EventPublisher:
    """From changes of the ledger to those who want to know."""

    def __init__(
        self,
        *,
        bus: EventBus | None,
        callbacks: Callbacks | None,
        catalogue: CatalogueSource | None,
    ) -> None:
        """Without a bus, or without callbacks, there are none; `catalogue` says who wants them."""
        self._bus = bus
        self._callbacks = callbacks
        self._catalogue = catalogue

    def publish(self, changes: Sequence[StatusChange]) -> None:
        """Tell of changes, in their order. After a `RelayError`, tell of all of them again."""
        status_changes = [change for change in changes if change.is_event]
        if self._bus:
            self._bus.put([event_of(change) for change in status_changes])
        if self._callbacks and self._catalogue:
            catalogue = self._catalogue.current()
            callback_events = [
                event_of(change)
                for change in status_changes
                if change.is_final and catalogue.callback_of(change.after.client)
            ]
            self._callbacks.put(
                [json.dumps(event, separators=(",", ":")) for event in callback_events]
            )
