"""Parses times of requests, and formats them for the upstream (UTC, offsets, HHMM)."""

import re
from datetime import UTC, datetime, timedelta, tzinfo
from zoneinfo import ZoneInfo

from smsrelay.messages import refusals

TIME_OF_DAY = re.compile(r"(?:[01][0-9]|2[0-3]):[0-5][0-9]")
_OFFSET = re.compile(r"([+-])([01][0-9]):([0-5][0-9])")
_MOMENT = re.compile(
    r"[0-9]{4}-[0-9]{2}-[0-9]{2}[Tt][0-9]{2}:[0-9]{2}(?::[0-9]{2}(?:\.[0-9]{1,9})?)?"
    r"(?:[Zz]|[+-][0-9]{2}:[0-5][0-9])?"
)
FIRST_YEAR, LAST_YEAR = 2000, 2100
MAX_LATENESS = 3_600
"""A send time up to so many seconds before the request's arrival is valid, and means "now"."""
ZONE = re.compile(r"[A-Za-z][A-Za-z0-9_+-]*(?:/[A-Za-z0-9_+-]+)*")
_LEAST, _MOST = timedelta(hours=-12), timedelta(hours=14)  # the offsets of all time zones


def parse_instant(written: str) -> datetime:
    """Convert an ISO 8601 date and time with an offset to UTC."""
    match = _MOMENT.fullmatch(written)
    try:
        moment = datetime.fromisoformat(written.upper()) if match else None
    except ValueError:
        moment = None
    if moment is None or not FIRST_YEAR <= moment.year <= LAST_YEAR:
        raise refusals.invalid("invalid-time", refusals.TIME)
    offset = moment.utcoffset()
    if offset is None:
        raise refusals.invalid("time-without-offset", refusals.OFFSET_MISSING)
    if not _LEAST <= offset <= _MOST:
        raise refusals.invalid("invalid-time", refusals.TIME)
    return moment.astimezone(UTC)


def validate_time_of_day(written: str) -> str:
    """Return the text if it is `HH:MM` from 00:00 to 23:59."""
    if not TIME_OF_DAY.fullmatch(written):
        raise refusals.invalid("invalid-time-of-day", refusals.WINDOW_TIME)
    return written


def validate_utc_offset(written: str) -> str:
    """Return the text if it is `+HH:MM` or `-HH:MM`, from -12:00 to +14:00."""
    match = _OFFSET.fullmatch(written)
    if match:
        distance = timedelta(hours=int(match[2]), minutes=int(match[3]))
        if _LEAST <= (distance if match[1] == "+" else -distance) <= _MOST:
            return written
    raise refusals.invalid("invalid-offset", refusals.UTC_OFFSET)


def validate_timezone(written: str) -> str:
    """Return the name if it is in the IANA time zone database."""
    try:
        if ZONE.fullmatch(written):
            ZoneInfo(written)
            return written
    except (LookupError, ValueError, OSError):  # OSError: "America" is a folder of the database
        pass
    raise refusals.invalid("unknown-timezone", refusals.TIMEZONE)


def to_send_time(moment: datetime) -> str:
    """Format a time as `SendTime`: UTC, `yyyy-MM-dd HH:mm`, without the seconds."""
    return moment.astimezone(UTC).isoformat(" ", "minutes")[: len("yyyy-MM-dd HH:mm")]


def zone_of(timezone: str | None, utc_offset: str | None) -> tzinfo | None:
    """Return the zone of a valid name, or of a valid offset such as `-05:00`."""
    return ZoneInfo(timezone) if timezone else datetime.strptime(utc_offset or "", "%z").tzinfo


def offset_at(zone_name: str, moment: datetime) -> str:
    """Return a zone's `UtcOffset` at a moment, daylight saving time included: `-0500`."""
    return f"{moment.astimezone(ZoneInfo(zone_name)):%z}"[:5]


def without_colon(written: str) -> str:
    """Format `-05:00` as `-0500`, and `21:00` as `2100`, as the upstream has them."""
    return written.replace(":", "")
