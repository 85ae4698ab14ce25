"""Access tokens: which the simulator issued, until when they count, and what they may do."""

import secrets
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from tools.mobileconnect_simulator.clock import Clock

SCOPES: Final = frozenset({"sms_read", "sms_send"})
DEFAULT_SECONDS: Final = 1080
# 384 random bytes print as 512 characters: the longest that the upstream may hand out.
_TOKEN_BYTES: Final = 384


@dataclass(frozen=True, slots=True)
class Grant:
    scopes: frozenset[str]
    expires: datetime | None


class TokenStore:
    def __init__(self, clock: Clock, seconds: int, known: Iterable[str] = ()) -> None:
        self._clock = clock
        self._seconds = seconds
        self._grants = {token: Grant(SCOPES, None) for token in known}
        self.fetches = 0

    def issue(self, scopes: frozenset[str] = SCOPES, seconds: int | None = None) -> tuple[str, int]:
        """A new token and its life in seconds."""
        self._forget_expired()
        token = secrets.token_urlsafe(_TOKEN_BYTES)
        life = self._seconds if seconds is None else seconds
        self._grants[token] = Grant(scopes, self._clock.now() + timedelta(seconds=life))
        return token, life

    def scopes(self, token: str) -> frozenset[str] | None:
        """What the token may do; None when it is unknown or has expired."""
        grant = self._grants.get(token)
        if grant is None or (grant.expires is not None and grant.expires <= self._clock.now()):
            return None
        return grant.scopes

    def expire_issued(self) -> None:
        """End every issued token; those given at start go on."""
        self._grants = {
            token: grant for token, grant in self._grants.items() if grant.expires is None
        }

    def _forget_expired(self) -> None:
        now = self._clock.now()
        self._grants = {
            token: grant
            for token, grant in self._grants.items()
            if grant.expires is None or grant.expires > now
        }
