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
        events = [(change.after, event_of(change)) for change in changes if change.is_event]
        final = [(send, event) for send, event in events if is_final(send)]
        bodies: list[str] = []
        if self.callbacks and self.catalogue and final:
            # Read it first: if it can't be read, the bus would get the events with each repetition.
            catalogue = self.catalogue.current()
            bodies = [
                json.dumps(event, separators=(",", ":"))
                for send, event in final
                if catalogue.callback_of(send.client)
            ]
        if self.bus:
            self.bus.put([event for _, event in events])
        if self.callbacks:
            self.callbacks.put(bodies)
