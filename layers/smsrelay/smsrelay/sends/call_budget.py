"""The daily budget of API calls, which keeps the calls within the yearly limit. Pure.

Days are UTC, counted since the epoch.
"""

from collections.abc import Mapping
from typing import Final, NamedTuple

TOKEN_CALLS: Final = 120
"""Calls a day for access tokens (one in 20 minutes), and for polls repeated with a new token."""
SECONDS_PER_DAY: Final = 86_400
SAVING_DAYS: Final = 7
UNLIMITED: Final = 10**9
"""The daily share if there is no limit: more calls than a day's runs can make."""


class DayCalls(NamedTuple):
    used: int = 0
    """Calls made on the day."""
    taken: int = 0
    """Calls taken from the day's share, on the day itself or on a later one."""


class Reservation(NamedTuple):
    """The calls of a run; `shares` has the calls taken from the share of each day."""

    day: int
    shares: dict[int, int]

    @property
    def calls(self) -> int:
        return sum(self.shares.values())


class CallBudget(NamedTuple):
    """The calls of the last days."""

    first_day: int
    """The first day with a share."""
    days: Mapping[int, DayCalls]

    def saved(self, share: int, today: int) -> int:
        """Return the calls left from the shares of the last seven days."""
        return sum(self._free(day, share) for day in self._saving_days(today))

    def left(self, share: int, today: int) -> int:
        """Return the calls that may still be made today."""
        return self._free(today, share) + self.saved(share, today)

    def reserve(self, share: int, today: int, calls: int) -> Reservation:
        """Reserve at most `calls` calls: first from today's share, then from the oldest day's."""
        shares: dict[int, int] = {}
        for day in (today, *self._saving_days(today)):
            taken = min(self._free(day, share), calls - sum(shares.values()))
            if taken:
                shares[day] = taken
        return Reservation(today, shares)

    def after(self, reservation: Reservation) -> "CallBudget":
        """Return the budget without the reserved calls; negative calls are given back."""
        first = reservation.day - SAVING_DAYS
        days = {day: calls for day, calls in self.days.items() if day >= first}
        for day, taken in {reservation.day: 0, **reservation.shares}.items():
            calls = days.get(day, DayCalls())
            days[day] = calls._replace(taken=calls.taken + taken)
        today = days[reservation.day]
        days[reservation.day] = today._replace(used=today.used + reservation.calls)
        return CallBudget(self.first_day, days)

    def _saving_days(self, today: int) -> range:
        return range(max(self.first_day, today - SAVING_DAYS), today)

    def _free(self, day: int, share: int) -> int:
        return max(0, share - self.days.get(day, DayCalls()).taken)


def day_of(now: float) -> int:
    return int(now // SECONDS_PER_DAY)


def daily_share(yearly: int) -> int:
    """Return a day's calls for deliveries; `yearly` is the limit of all calls, 0 for unlimited."""
    return max(0, yearly // 365 - TOKEN_CALLS) if yearly else UNLIMITED


def returned(reservation: Reservation, unused: int) -> Reservation:
    """Return a reservation that gives unused calls back, first to the shares of earlier days."""
    shares: dict[int, int] = {}
    for day, taken in reversed(reservation.shares.items()):
        shares[day] = -min(taken, unused + sum(shares.values()))
    return Reservation(reservation.day, shares)
