"""OAuth client credentials (`POST /v2/token`): what is asked, and what an answer says."""

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any, Final, NamedTuple

from smsrelay.errors import CredentialsUnusableError
from smsrelay.security.allowed_hosts import AllowedHosts
from smsrelay.security.redaction import without
from smsrelay.sends.call_outcome import words_of
from smsrelay.tokens.renewal_timing import TOKEN

USUAL_LIFE: Final = 1080.0
"""Seconds that a token is good for by the documentation, where an answer does not say."""
LONGEST_LIFE: Final = 86_400.0
"""Seconds that are believed: a token is renewed once a day, whatever its answer says."""
LONGEST_TOKEN: Final = 4_096
"""Characters; the upstream's have 512 at most."""


@dataclass(frozen=True, slots=True)
class ClientCredentials:
    """What a token is asked for with."""

    client_id: str = field(repr=False)
    client_secret: str = field(repr=False)
    auth_base_url: str
    account_id: str | None = None
    """The business unit (MID); None: the package's own."""
    scope: str | None = None
    """None: all; an empty one would give none."""

    def request(self) -> dict[str, str]:
        """The JSON body of the token request."""
        body = {
            "grant_type": "client_credentials",
            "client_id": self.client_id,
            "client_secret": self.client_secret,
        }
        if self.account_id is not None:
            body["account_id"] = self.account_id
        if self.scope is not None:
            body["scope"] = self.scope
        return body


class Grant(NamedTuple):
    """A new token."""

    access_token: str
    expires_at: float
    """Seconds since the epoch."""
    rest_instance_url: str
    scope: str


class NotGranted(NamedTuple):
    """Why there is none: a stable code, and the upstream's own words without any secret."""

    reason: str
    status: int | None = None
    errors: tuple[str, ...] = ()


def credentials_of(secret: str, hosts: AllowedHosts) -> ClientCredentials:
    """The client credentials in a secret's value.

    The value is `{"client_id", "client_secret", "auth_base_url", "account_id", "scope"}`; the last
    two may be left out, be empty or null.

    Raises:
        CredentialsUnusableError: something is missing, or the URL may not be called.
    """
    fields = _object(secret)
    wanted = {}
    for name in ("client_id", "client_secret", "auth_base_url"):
        value = fields.get(name)
        if not isinstance(value, str) or not value.strip():
            raise CredentialsUnusableError(f"{name} is missing in the client credentials")
        wanted[name] = value
    try:
        wanted["auth_base_url"] = hosts.base_url(wanted["auth_base_url"])
    except ValueError as error:
        raise CredentialsUnusableError(f"auth_base_url: {error}") from None
    return ClientCredentials(
        **wanted, account_id=_word(fields.get("account_id")), scope=_word(fields.get("scope"))
    )


def grant_of(
    status: int,
    body: bytes,
    *,
    asked_at: float,
    credentials: ClientCredentials,
    hosts: AllowedHosts,
) -> Grant | NotGranted:
    """What an answer says.

    Args:
        status: HTTP status.
        body: As much of it as was read.
        asked_at: Seconds since the epoch; the token's life counts from here, and nothing is taken
            off it: senders and this function have their own margins.
        credentials: What was sent; taken out of the upstream's words.
        hosts: Where its REST URL may lead.
    """
    if HTTPStatus.OK <= status < HTTPStatus.MULTIPLE_CHOICES:
        return _grant(body, asked_at, hosts)
    secrets = (credentials.client_secret, credentials.client_id)
    return NotGranted(_reason(status), status, without(words_of(body), secrets))


def _grant(body: bytes, asked_at: float, hosts: AllowedHosts) -> Grant | NotGranted:
    """Of an answer that ought to hold a token: none of its words is repeated."""
    fields = _object(body.decode("utf-8", "replace"))
    access_token = fields.get("access_token")
    if (
        not isinstance(access_token, str)
        or not TOKEN.fullmatch(access_token)
        or len(access_token) > LONGEST_TOKEN
    ):
        return NotGranted("no-token-in-answer", HTTPStatus.OK)
    life = _life(fields.get("expires_in", USUAL_LIFE))
    if life is None:
        return NotGranted("absurd-expiry", HTTPStatus.OK)
    url, scope = fields.get("rest_instance_url"), fields.get("scope")
    if url:
        try:
            url = hosts.base_url(str(url))
        except ValueError:
            return NotGranted("rest-url-not-allowed", HTTPStatus.OK)
    return Grant(access_token, asked_at + life, url or "", scope if isinstance(scope, str) else "")


def _reason(status: int) -> str:
    if status == HTTPStatus.UNAUTHORIZED:
        return "credentials-refused"
    if status == HTTPStatus.TOO_MANY_REQUESTS:
        return "throttled"
    if HTTPStatus.BAD_REQUEST <= status < HTTPStatus.INTERNAL_SERVER_ERROR:
        return "request-refused"
    if status >= HTTPStatus.INTERNAL_SERVER_ERROR:
        return "server-error"
    return "unexpected-status"  # a redirect, say: following it would give the secret away


def _life(given: object) -> float | None:
    if isinstance(given, bool) or not isinstance(given, int | float | str):
        return None
    try:
        life = float(given)
    except (ValueError, OverflowError):
        return None
    if not math.isfinite(life) or life <= 0:
        return None
    return min(life, LONGEST_LIFE)


def _word(given: object) -> str | None:
    """An optional field: an empty one is left out, a number is written as one."""
    if given is None or isinstance(given, bool | dict | list):
        return None
    return str(given).strip() or None


def _object(text: str) -> Mapping[str, Any]:
    try:
        document = json.loads(text)
    except (ValueError, RecursionError):
        return {}
    return document if isinstance(document, dict) else {}
