"""Warnings about a request that is previewed. Pure."""

from collections.abc import Iterator
from datetime import datetime
from typing import NamedTuple

from smsrelay.messages import times
from smsrelay.messages.request import MessageRequest, QuietHours


class PreviewWarning(NamedTuple):
    """`code` is stable and for programs, `detail` is for people."""

    code: str
    detail: str


QUIET_HOURS = PreviewWarning(
    "quiet-hours", "The send time is in the quiet hours, so MobileConnect delivers at their end."
)
RESUBSCRIBE = PreviewWarning(
    "resubscribe",
    "Recipients who have opted out are subscribed again.",
)


def warnings_of(request: MessageRequest, now: datetime) -> Iterator[PreviewWarning]:
    """Yield the warnings for a request that would be posted at `now`."""
    if request.quiet_hours and _is_in(request.quiet_hours, max(request.send_at or now, now)):
        yield QUIET_HOURS
    if request.resubscribe:
        yield RESUBSCRIBE


def _is_in(quiet_hours: QuietHours, moment: datetime) -> bool:
    local = moment.astimezone(times.zone_of(quiet_hours.timezone, quiet_hours.utc_offset))
    start, time, end = quiet_hours.start, f"{local:%H:%M}", quiet_hours.end
    return start <= time < end if start < end else not end <= time < start
