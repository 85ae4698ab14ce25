"""Calculates when a message is sent, from SendTime and the blackout window."""

import re
from dataclasses import dataclass
from datetime import UTC, datetime, time, timedelta

SEND_TIME = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2} [0-9]{2}:[0-9]{2}", re.ASCII)
_OFFSET = re.compile(r"([+-])([0-9]{2})([0-9]{2})", re.ASCII)
_TIME_OF_DAY = re.compile(r"([0-9]{2})([0-9]{2})", re.ASCII)
_HOUR = 60
_WESTMOST, _EASTMOST = -12 * _HOUR, 14 * _HOUR


@dataclass(frozen=True, slots=True)
class Blackout:
    """No delivery from `start` to `end`, which is on the next day if it is earlier than `start`."""

    offset: timedelta
    start: time
    end: time

    def reopens(self, moment: datetime) -> datetime | None:
        """Return the end of the window that contains `moment`, or None if none does."""
        local = moment + self.offset
        today = local.replace(hour=0, minute=0, second=0, microsecond=0)
        for day in (today - timedelta(days=1), today):
            opens = _at(day, self.start)
            closes = _at(day, self.end)
            if closes < opens:
                closes += timedelta(days=1)
            if opens <= local < closes:
                return closes - self.offset
        return None


@dataclass(frozen=True, slots=True)
class Departure:
    """When a message is sent, and what delays it."""

    leaves: datetime
    scheduled_for: datetime | None = None
    quiet_until: datetime | None = None


def departure(
    now: datetime, send_time: datetime | None = None, blackout: Blackout | None = None
) -> Departure:
    """Return now if SendTime is past, and the end of the blackout window if that is active then."""
    scheduled_for = send_time if send_time is not None and send_time > now else None
    leaves = now if scheduled_for is None else scheduled_for
    reopens = blackout.reopens(leaves) if blackout is not None else None
    if reopens is not None:
        leaves = reopens + timedelta(seconds=1)
    return Departure(leaves, scheduled_for, reopens)


def read_send_time(text: str) -> datetime | None:
    """Parse `yyyy-MM-dd HH:mm` in UTC; return None for any other text."""
    if not SEND_TIME.fullmatch(text):
        return None
    try:
        return datetime.strptime(text, "%Y-%m-%d %H:%M").replace(tzinfo=UTC)
    except ValueError:
        return None


def read_offset(text: str) -> timedelta | None:
    """Parse an offset such as `-0500`; return None for any other text."""
    match = _OFFSET.fullmatch(text)
    if match is None:
        return None
    sign, hours, minutes = match[1], int(match[2]), int(match[3])
    total = (hours * _HOUR + minutes) * (-1 if sign == "-" else 1)
    if minutes >= _HOUR or not _WESTMOST <= total <= _EASTMOST:
        return None
    return timedelta(minutes=total)


def read_time_of_day(text: str) -> time | None:
    """Parse a time such as `2100`; return None for any other text."""
    match = _TIME_OF_DAY.fullmatch(text)
    if match is None:
        return None
    try:
        return time(int(match[1]), int(match[2]))
    except ValueError:
        return None


def _at(day: datetime, clock: time) -> datetime:
    return day.replace(hour=clock.hour, minute=clock.minute)
