"""Decides when the access token is renewed. Pure."""

import re
from enum import StrEnum
from hashlib import sha256
from typing import Final, NamedTuple

RENEW_BELOW: Final = 180.0
"""A token is renewed when it has fewer seconds left. A run comes every 60 seconds, and senders read
the next token REFRESH_AHEAD seconds before the end.

With more, a token of 1,080 seconds would be replaced more often than every 15 minutes.
"""
REFRESH_AHEAD: Final = 60.0
"""Seconds before the end of a token at which senders read the next one."""
MIN_REPLACEMENT_INTERVAL: Final = 1200.0
"""Seconds in which refused tokens are replaced at most twice.

The upstream's soft limit is about one token in 20 minutes. Secrets Manager keeps about 100 versions
of a secret and removes none that is younger than a day: if the upstream refuses every token, the
renewals must not exceed these limits.
"""

# The characters of an HTTP header (RFC 6750): a token with a line break must not get into one.
TOKEN: Final = re.compile(r"[\x21-\x7e]+")


class RenewalReason(StrEnum):
    MISSING = "missing"  # no usable token is stored
    UNDATED = "undated"  # its end is not known
    EXPIRING = "expiring"
    REFUSED = "refused"  # the upstream responded with a 401


class StoredToken(NamedTuple):
    """The token in the secret; times in seconds since the epoch."""

    access_token: str
    expires_at: float | None
    """None: not known."""
    since: float
    """When it was stored."""
    base_url: str = ""
    """The base URL of the tenant's REST API in the secret."""

    @property
    def lifetime(self) -> float | None:
        """The seconds from its storage to its end; None: not known."""
        return None if self.expires_at is None else max(0.0, self.expires_at - self.since)


def renewal_reason(token: StoredToken | None, now: float, *, refused: bool) -> RenewalReason | None:
    """Return why the token must be renewed now, or None; `refused`: the upstream refused it.

    A token expires soon if less than 3 minutes or a third of its lifetime (the shorter) are left.
    """
    if token is None:
        return RenewalReason.MISSING
    if token.expires_at is None:
        return RenewalReason.UNDATED
    if token.expires_at - now <= _share(token, RENEW_BELOW, 3):
        return RenewalReason.EXPIRING
    return RenewalReason.REFUSED if refused else None


def may_replace_refused(token: StoredToken, before: StoredToken | None, now: float) -> bool:
    """Whether a refused token is replaced: at most twice in MIN_REPLACEMENT_INTERVAL."""
    if before is None:
        return True
    return now - before.since >= _share(token, MIN_REPLACEMENT_INTERVAL, 0.5)


def refresh_ahead(token: StoredToken) -> float:
    """Return the seconds before the end of a token at which senders read the next one."""
    return _share(token, REFRESH_AHEAD, 4)


def fingerprint(access_token: str) -> str:
    """Return an id of a token for events and logs, from which the token can't be computed."""
    return sha256(access_token.encode()).hexdigest()[:16]


def _share(token: StoredToken, most: float, part: float) -> float:
    """Return the token's lifetime divided by `part`, at most `most` seconds."""
    return most if token.lifetime is None else min(most, token.lifetime / part)
