"""Time that passes without waiting."""

import time


class ShiftedTime:
    """Stands in for the module `time` where the parts and botocore look at it."""

    def __init__(self, offset: float = 0.0) -> None:
        """Begin `offset` seconds away from this machine's time: as a skewed clock does."""
        self._offset = offset
        self._passed = 0.0

    def advance(self, seconds: float) -> None:
        """Let time pass."""
        self._passed += seconds

    def time(self) -> float:
        return time.time() + self._offset + self._passed

    def monotonic(self) -> float:
        return time.monotonic() + self._passed

    def sleep(self, seconds: float) -> None:
        self.advance(seconds)
