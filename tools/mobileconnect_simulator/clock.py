"""The simulator's time: the machine's, or one that a test injects, and it can be put forward."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta

type TimeSource = Callable[[], datetime]


def utc_now() -> datetime:
    return datetime.now(UTC)


def stamp(moment: datetime) -> str:
    """ISO 8601 in UTC, to the millisecond: `2026-10-05T20:01:00.000Z`."""
    return moment.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


class Clock:
    def __init__(self, source: TimeSource = utc_now) -> None:
        self._source = source
        self._ahead = timedelta()

    def now(self) -> datetime:
        return self._source() + self._ahead

    @property
    def ahead(self) -> timedelta:
        """How far it was put forward."""
        return self._ahead

    def advance(self, by: timedelta) -> None:
        self._ahead += by

    def reset(self) -> None:
        self._ahead = timedelta()
