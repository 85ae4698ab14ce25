"""What an environment remembers of the clients that the ledger's table has."""

from collections.abc import Callable

from smsrelay.ports import Clock

CACHE_SECONDS, CACHE_SIZE = 300.0, 10_000
"""Seconds that a value is remembered, and how many are."""


class ClientCache[Value]:
    """Values by the client or the credential that they are stored for."""

    def __init__(self, load: Callable[[str], Value], clock: Clock) -> None:
        self._load = load
        self._clock = clock
        self._values: dict[str, tuple[Value, float]] = {}

    def get(self, name: str) -> Value:
        """The remembered value, or else what `load` returns. What it raises is not remembered."""
        now = self._clock()
        value, until = self._values.get(name, (None, 0.0))
        if value is not None and now < until:
            return value
        value = self._load(name)
        if len(self._values) >= CACHE_SIZE:
            self._values.clear()
        self._values[name] = value, now + CACHE_SECONDS
        return value
