"""OAuth client credentials, and the responses of `POST /v2/token`."""

from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from http import HTTPStatus
from typing import Final, NamedTuple

from smsrelay.errors import CredentialsUnusableError
from smsrelay.messages.strict_json import finite_number, json_object
from smsrelay.security.allowed_hosts import AllowedHosts
from smsrelay.security.redaction import without
from smsrelay.sends.call_outcome import error_messages_of
from smsrelay.tokens.renewal_timing import TOKEN

DEFAULT_LIFETIME: Final = 1080.0
"""The documented lifetime of a token in seconds, for responses that don't contain it."""
MAX_LIFETIME: Final = 86_400.0
"""The longest accepted lifetime in seconds: a token is renewed at least once a day."""
MAX_TOKEN_LENGTH: Final = 4_096
"""In characters; the upstream's tokens have at most 512."""
CREDENTIALS_REFUSED: Final = "credentials-refused"
"""The reason if the client id or the client secret is not accepted."""


@dataclass(frozen=True, slots=True)
class ClientCredentials:
    client_id: str = field(repr=False)
    client_secret: str = field(repr=False)
    auth_base_url: str
    account_id: str | None = None
    """The business unit (MID); None: that of the package."""
    scope: str | None = None
    """None: all scopes; an empty text would request no scope."""
    expires_at: datetime | None = None
    """When the client secret expires; None: not known."""
    staged: "ClientCredentials | None" = None
    """The same credentials with the staged client secret, if there is one."""

    def days_left(self, now: float) -> int:
        """Return the whole days until the client secret expires.

        Without a date this is 30, so that the alarm asks for the date: a secret lasts 180 days, and
        the time of its creation is not known.
        """
        if self.expires_at is None:
            return 30
        return days_until(self.expires_at, now)

    def request(self) -> dict[str, str]:
        body = {
            "grant_type": "client_credentials",
            "client_id": self.client_id,
            "client_secret": self.client_secret,
            "account_id": self.account_id,
            "scope": self.scope,
        }
        return {name: value for name, value in body.items() if value is not None}


class AccessToken(NamedTuple):
    access_token: str
    expires_at: float
    """Seconds since the epoch."""
    rest_instance_url: str
    scope: str


class TokenError(NamedTuple):
    """Why no token was issued: a stable code, and the upstream's error messages, redacted."""

    reason: str
    status: int | None = None
    errors: tuple[str, ...] = ()


def parse_credentials(secret: str, hosts: AllowedHosts) -> ClientCredentials:
    """Parse the client credentials in a secret's value.

    The value is `{"client_id", "client_secret", "auth_base_url", "account_id", "scope",
    "expires_at", "staged_client_secret", "staged_expires_at"}`; all but the first three may be left
    out, be empty or null. The two dates are ISO 8601, in UTC if they have no offset. Raises
    `CredentialsUnusableError`.
    """
    fields = json_object(secret)
    for name in ("client_id", "client_secret", "auth_base_url"):
        value = fields.get(name)
        if not isinstance(value, str) or not value.strip():
            raise CredentialsUnusableError(f"{name} is missing in the client credentials")
    try:
        auth_base_url = hosts.base_url(fields["auth_base_url"])
    except ValueError as error:
        raise CredentialsUnusableError(f"auth_base_url: {error}") from None
    active = ClientCredentials(
        fields["client_id"],
        fields["client_secret"],
        auth_base_url,
        account_id=_word(fields.get("account_id")),
        scope=_word(fields.get("scope")),
        expires_at=parse_date(fields.get("expires_at")),
    )
    staged = fields.get("staged_client_secret")
    if not isinstance(staged, str) or not staged.strip():
        return active
    expires_at = parse_date(fields.get("staged_expires_at"))
    return replace(active, staged=replace(active, client_secret=staged, expires_at=expires_at))


def parse_token_response(
    status: int,
    body: bytes,
    *,
    asked_at: float,
    credentials: ClientCredentials,
    hosts: AllowedHosts,
) -> AccessToken | TokenError:
    """Parse a response: return the token, or the error with the credentials redacted.

    The token's lifetime counts from `asked_at` (seconds since the epoch), without a margin: senders
    and the token renewer have their own margins.
    """
    if HTTPStatus.OK <= status < HTTPStatus.MULTIPLE_CHOICES:
        return _parse_access_token(status, body, asked_at, hosts)
    secrets = (credentials.client_secret, credentials.client_id)
    # RFC 6749, 5.2: the status of invalid_client is 400 or 401.
    refused = json_object(body.decode("utf-8", "replace")).get("error") == "invalid_client"
    reason = CREDENTIALS_REFUSED if refused else _reason(status)
    return TokenError(reason, status, without(error_messages_of(body), secrets))


def _parse_access_token(
    status: int, body: bytes, asked_at: float, hosts: AllowedHosts
) -> AccessToken | TokenError:
    """Return the token, or an error without texts of the response, which may contain a token."""
    fields = json_object(body.decode("utf-8", "replace"))
    access_token = fields.get("access_token")
    if (
        not isinstance(access_token, str)
        or not TOKEN.fullmatch(access_token)
        or len(access_token) > MAX_TOKEN_LENGTH
    ):
        return TokenError("no-token-in-answer", status)
    lifetime = finite_number(fields.get("expires_in", DEFAULT_LIFETIME))
    if lifetime is None or lifetime <= 0:
        return TokenError("absurd-expiry", status)
    url, scope = fields.get("rest_instance_url"), fields.get("scope")
    if url:
        try:
            url = hosts.base_url(str(url))
        except ValueError:
            return TokenError("rest-url-not-allowed", status)
    expires_at = asked_at + min(lifetime, MAX_LIFETIME)
    return AccessToken(access_token, expires_at, url or "", scope if isinstance(scope, str) else "")


def _reason(status: int) -> str:
    if status == HTTPStatus.UNAUTHORIZED:
        return CREDENTIALS_REFUSED
    if status == HTTPStatus.TOO_MANY_REQUESTS:
        return "throttled"
    if HTTPStatus.BAD_REQUEST <= status < HTTPStatus.INTERNAL_SERVER_ERROR:
        return "request-refused"
    if status >= HTTPStatus.INTERNAL_SERVER_ERROR:
        return "server-error"
    return "unexpected-status"  # such as a redirect; following it would leak the secret


def parse_date(value: object) -> datetime | None:
    """Parse a date or time in ISO 8601, in UTC if it has no offset; None if it is invalid."""
    try:
        moment = datetime.fromisoformat(str(value))
    except ValueError:
        return None
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def days_until(moment: datetime, now: float) -> int:
    """Return the whole days; negative if the moment has passed."""
    return int((moment.timestamp() - now) // 86_400)


def _word(value: object) -> str | None:
    """Read an optional field: a number becomes text, and an empty value None."""
    if value is None or isinstance(value, bool | dict | list):
        return None
    return str(value).strip() or None
