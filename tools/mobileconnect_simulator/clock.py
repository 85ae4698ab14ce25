"""The simulator's clock: the machine's or a test's time, which can be advanced."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta

type TimeSource = Callable[[], datetime]


def utc_now() -> datetime:
    return datetime.now(UTC)


def stamp(moment: datetime) -> str:
    """Format a time as ISO 8601 in UTC with milliseconds: `2026-10-05T20:01:00.000Z`."""
    return moment.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


class Clock:
    def __init__(self, source: TimeSource = utc_now) -> None:
        self._source = source
        self._ahead = timedelta()

    def now(self) -> datetime:
        return self._source() + self._ahead

    @property
    def ahead(self) -> timedelta:
        """How far the clock was advanced."""
        return self._ahead

    def advance(self, by: timedelta) -> None:
        self._ahead += by

    def reset(self) -> None:
        self._ahead = timedelta()
