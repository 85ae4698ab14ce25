"""Caches values of clients that the ledger's table stores."""

from collections.abc import Callable

from smsrelay.ports import Clock

CACHE_SECONDS, CACHE_SIZE = 300.0, 10_000
"""The seconds that a value is cached, and the most cached values."""


class ClientCache[Value]:
    """Caches values by client or credential."""

    def __init__(self, load: Callable[[str], Value], clock: Clock) -> None:
        self._load = load
        self._clock = clock
        self._values: dict[str, tuple[Value, float]] = {}

    def get(self, name: str) -> Value:
        """Return the cached value, or load it. Errors of `load` are not cached."""
        now = self._clock()
        value, until = self._values.get(name, (None, 0.0))
        if value is not None and now < until:
            return value
        value = self._load(name)
        if len(self._values) >= CACHE_SIZE:
            self._values.clear()
        self._values[name] = value, now + CACHE_SECONDS
        return value
