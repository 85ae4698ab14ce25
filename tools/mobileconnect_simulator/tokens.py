"""The access tokens that the simulator has issued, with their lifetimes and scopes."""

import secrets
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from tools.mobileconnect_simulator.clock import Clock

SCOPES: Final = frozenset({"sms_read", "sms_send"})
DEFAULT_SECONDS: Final = 1080
# 384 random bytes become 512 characters, the documented maximum.
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
        """Issue a token, and return it with its lifetime in seconds."""
        self._forget_expired()
        token = secrets.token_urlsafe(_TOKEN_BYTES)
        life = self._seconds if seconds is None else seconds
        self._grants[token] = Grant(scopes, self._clock.now() + timedelta(seconds=life))
        return token, life

    def scopes(self, token: str) -> frozenset[str] | None:
        """Return the scopes of a token, or None if it is unknown or expired."""
        grant = self._grants.get(token)
        if grant is None or (grant.expires is not None and grant.expires <= self._clock.now()):
            return None
        return grant.scopes

    def expire_issued(self) -> None:
        """Expire all issued tokens, but not those that were passed at the start."""
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
