"""Publishes status changes: all of them to an event bus, final ones to the callback queue."""

import json
from collections.abc import Sequence
from dataclasses import dataclass

from smsrelay.ports import Callbacks, CatalogueSource, EventBus
from smsrelay.sends.status_events import StatusChange, event_of, is_final


@dataclass(kw_only=True)
class EventPublisher:
    bus: EventBus | None
    callbacks: Callbacks | None
    catalogue: CatalogueSource | None
    """Has the callback URLs of clients."""

    def publish(self, changes: Sequence[StatusChange]) -> None:
        """Publish changes in their order. After a `RelayError`, publish all of them again."""
        status_changes = [change for change in changes if change.is_event]
        final = [change for change in status_changes if is_final(change.after)]
        bodies: list[str] = []
        if self.callbacks and self.catalogue and final:
            # Read it first: if it can't be read, the bus would get the events with each repetition.
            catalogue = self.catalogue.current()
            bodies = [
                json.dumps(event_of(change), separators=(",", ":"))
                for change in final
                if catalogue.callback_of(change.after.client)
            ]
        if self.bus:
            self.bus.put([event_of(change) for change in status_changes])
        if self.callbacks:
            self.callbacks.put(bodies)
