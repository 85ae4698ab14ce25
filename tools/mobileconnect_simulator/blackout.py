"""When a message goes out: SendTime and the blackout window, without any waiting."""

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
    """No delivery from `start` until `end`; over midnight when `end` is the earlier one."""

    offset: timedelta
    start: time
    end: time

    def reopens(self, moment: datetime) -> datetime | None:
        """When the window that holds `moment` ends; None when no window holds it."""
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
    """When a message leaves, and what keeps it until then."""

    leaves: datetime
    scheduled_for: datetime | None = None
    quiet_until: datetime | None = None


def departure(
    now: datetime, send_time: datetime | None = None, blackout: Blackout | None = None
) -> Departure:
    """At once when SendTime is past, after the blackout if inside of it."""
    scheduled_for = send_time if send_time is not None and send_time > now else None
    leaves = now if scheduled_for is None else scheduled_for
    reopens = blackout.reopens(leaves) if blackout is not None else None
    if reopens is not None:
        leaves = reopens + timedelta(seconds=1)
    return Departure(leaves, scheduled_for, reopens)


def read_send_time(text: str) -> datetime | None:
    """`yyyy-MM-dd HH:mm`, UTC; None when it is anything else."""
    if not SEND_TIME.fullmatch(text):
        return None
    try:
        return datetime.strptime(text, "%Y-%m-%d %H:%M").replace(tzinfo=UTC)
    except ValueError:
        return None


def read_offset(text: str) -> timedelta | None:
    """`-0500`; None when it is anything else."""
    match = _OFFSET.fullmatch(text)
    if match is None:
        return None
    sign, hours, minutes = match[1], int(match[2]), int(match[3])
    total = (hours * _HOUR + minutes) * (-1 if sign == "-" else 1)
    if minutes >= _HOUR or not _WESTMOST <= total <= _EASTMOST:
        return None
    return timedelta(minutes=total)


def read_time_of_day(text: str) -> time | None:
    """`2100`; None when it is anything else."""
    match = _TIME_OF_DAY.fullmatch(text)
    if match is None:
        return None
    try:
        return time(int(match[1]), int(match[2]))
    except ValueError:
        return None


def _at(day: datetime, clock: time) -> datetime:
    return day.replace(hour=clock.hour, minute=clock.minute)
