"""The access token, and when it has to be renewed: pure functions of the token and the time."""

import math
import re
from enum import StrEnum
from hashlib import sha256
from typing import Final, NamedTuple

RENEW_BELOW: Final = 180.0
"""Seconds left below which a token is renewed: a run comes every 60; senders want REFRESH_AHEAD.

With more, a token of 1,080 seconds would be replaced more often than every 15 minutes.
"""
REFRESH_AHEAD: Final = 60.0
"""Seconds before its end from which on senders look for the next token."""
MIN_REPLACEMENT_INTERVAL: Final = 1200.0
"""Seconds in which refusals bring at most two new tokens.

The upstream's soft limit is about one in 20 minutes, and Secrets Manager keeps about 100 versions
of a secret, none of them younger than a day removed: a refusal of every token, whatever its cause,
must not use these up.
"""

# What may stand in an HTTP header (RFC 6750): a token with a line break must not reach it.
TOKEN: Final = re.compile(r"[\x21-\x7e]+")


class RenewalReason(StrEnum):
    MISSING = "missing"  # there is none that could be used
    UNDATED = "undated"  # nobody knows when it ends
    EXPIRING = "expiring"
    REFUSED = "refused"  # the upstream answered 401 to it


class StoredToken(NamedTuple):
    """The token in the secret; times in seconds since the epoch."""

    access_token: str
    expires_at: float | None
    """None: nobody knows."""
    since: float
    """When it was stored."""
    base_url: str = ""
    """Of the tenant's REST API, as the secret has it."""

    @property
    def lifetime(self) -> float | None:
        """Seconds that it is good for, if that is known."""
        return None if self.expires_at is None else max(0.0, self.expires_at - self.since)


def renewal_reason(token: StoredToken | None, now: float, *, refused: bool) -> RenewalReason | None:
    """Why the token has to be renewed now, if it has to; `refused`: the upstream took it no more.

    Less than 3 minutes left are too few, or a third of a life that is shorter than 9.
    """
    if token is None:
        return RenewalReason.MISSING
    if token.expires_at is None:
        return RenewalReason.UNDATED
    if token.expires_at - now <= _share(token, RENEW_BELOW, 3):
        return RenewalReason.EXPIRING
    return RenewalReason.REFUSED if refused else None


def may_replace_refused(token: StoredToken, before: StoredToken | None, now: float) -> bool:
    """Whether a refused token is replaced: no third one comes within MIN_REPLACEMENT_INTERVAL."""
    if before is None:
        return True
    return now - before.since >= _share(token, MIN_REPLACEMENT_INTERVAL, 0.5)


def refresh_ahead(token: StoredToken) -> float:
    """Seconds before its end from which on senders look for the next one."""
    return _share(token, REFRESH_AHEAD, 4)


def finite_number(value: object) -> float | None:
    """A number of a JSON document, which may be written as a string."""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    try:
        number = float(value)
    except (ValueError, OverflowError):
        return None
    return number if math.isfinite(number) else None


def fingerprint(access_token: str) -> str:
    """What names a token without being one: in events and logs."""
    return sha256(access_token.encode()).hexdigest()[:16]


def _share(token: StoredToken, most: float, part: float) -> float:
    """The token's lifetime divided by `part`, at most so many seconds."""
    return most if token.lifetime is None else min(most, token.lifetime / part)
