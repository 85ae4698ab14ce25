"""The client secrets: they expire, and a staged one is valid beside the active one."""

import secrets
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Final, TypedDict

from tools.mobileconnect_simulator.clock import Clock, stamp

LIFETIME: Final = timedelta(days=180)
"""Lifetime of a secret from its generation, as Salesforce documents it."""


class Change(StrEnum):
    """A change that a person makes in Marketing Cloud's setup."""

    STAGE = "stage"  # generate a staged secret
    ACTIVATE = "activate"  # the staged secret becomes the active one; the old one ends at once
    REVOKE = "revoke"  # Salesforce revokes all secrets, for instance after a leak


class SecretsState(TypedDict):
    """The secrets as Marketing Cloud's setup shows them; `expires` is the newest secret's."""

    active: str | None
    staged: str | None
    expires: str | None


class ClientSecrets:
    """The client secrets that the token endpoint accepts."""

    def __init__(self, clock: Clock, active: str | None) -> None:
        """`active` None: any secret is accepted until one is activated or all are revoked."""
        self._clock = clock
        self._active = active
        self._staged: str | None = None
        self._expires: dict[str, datetime] = {}

    def accepts(self, secret: str) -> bool:
        if self._active is not None and secret not in {self._active, self._staged}:
            return False
        expires = self._expires.get(secret)
        return expires is None or self._clock.now() < expires

    def change(self, change: Change) -> SecretsState:
        """Carry out a change.

        Raises:
            ValueError: there is no staged secret to activate.
        """
        match change:
            case Change.STAGE:
                self._staged = secrets.token_urlsafe(24)
                self._expires[self._staged] = self._clock.now() + LIFETIME
            case Change.ACTIVATE:
                if self._staged is None:
                    raise ValueError("There is no staged secret.")
                self._active, self._staged = self._staged, None
            case Change.REVOKE:
                self._active, self._staged = "", None  # no request has an empty secret
        expires = self._expires.get(self._staged or self._active or "")
        return SecretsState(
            active=self._active,
            staged=self._staged,
            expires=None if expires is None else stamp(expires),
        )
