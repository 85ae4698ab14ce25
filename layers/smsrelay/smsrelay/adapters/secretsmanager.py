"""The access token in Secrets Manager: JSON, or the bare token."""

import json
import re
import threading
from collections.abc import Mapping
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from botocore.exceptions import BotoCoreError, ClientError

from smsrelay.errors import TokenUnavailableError
from smsrelay.ports import Clock, Credentials

if TYPE_CHECKING:
    from mypy_boto3_secretsmanager import SecretsManagerClient

MARGIN: Final = 60.0
"""Seconds before `expires_at` from which on the secret is read again."""
UNDATED_LIFE: Final = 300.0
"""Seconds that a token without `expires_at` is kept."""
LEAST_LIFE: Final = 5.0
"""Seconds that any token is kept: a stale secret must not cost a read per send."""

# What may stand in an HTTP header (RFC 6750): a token with a line break must not reach it.
_TOKEN = re.compile(r"[\x21-\x7e]+")


class SecretTokenSource:
    """The `TokenSource` port: the secret's value, cached until shortly before it expires."""

    def __init__(
        self, client: "SecretsManagerClient", secret: str, base_url: str, clock: Clock
    ) -> None:
        """`secret` is a name or ARN; `base_url`, if not empty, outranks the secret's."""
        self._client = client
        self._secret = secret
        self._base_url = base_url
        self._clock = clock
        self._lock = threading.Lock()
        self._credentials: Credentials | None = None
        self._read_again_at = 0.0
        self._failed: TokenUnavailableError | None = None

    def current(self) -> Credentials:
        """The credentials, from the cache while they last."""
        with self._lock:  # a batch of sends that all need the token reads it once
            if self._credentials is None or self._clock() >= self._read_again_at:
                self._read()
            return self._known()

    def renewed(self, refused: Credentials) -> Credentials:
        """The credentials after one more read, unless another thread has read new ones already."""
        with self._lock:
            if self._credentials is None or self._credentials == refused:
                self._read()
            return self._known()

    def _known(self) -> Credentials:
        if self._credentials is None:
            raise TokenUnavailableError("the secret was never read")
        return self._credentials

    def _read(self) -> None:
        """Read the secret; a failure stands for a moment, so that a batch waits for it once."""
        if self._failed and self._clock() < self._read_again_at:
            raise self._failed
        try:
            self._fetch()
            self._failed = None
        except TokenUnavailableError as error:
            self._failed = error
            self._read_again_at = self._clock() + LEAST_LIFE
            raise

    def _fetch(self) -> None:
        try:
            value = self._client.get_secret_value(SecretId=self._secret)["SecretString"]
        except (BotoCoreError, ClientError, KeyError) as error:
            raise TokenUnavailableError(
                f"the token secret can't be read: {type(error).__name__}"
            ) from error
        token = token_of(value)
        now = self._clock()
        good_until = now + UNDATED_LIFE if token.expires_at is None else token.expires_at - MARGIN
        self._credentials = Credentials(
            token.access_token, base_url_of(self._base_url or token.base_url)
        )
        self._read_again_at = max(good_until, now + LEAST_LIFE)


class Token(NamedTuple):
    """What the secret says: `expires_at` in seconds since the epoch, if it says when."""

    access_token: str
    expires_at: float | None
    base_url: str


def token_of(secret: str) -> Token:
    """The token in a secret's value.

    The value is `{"access_token", "expires_at", "rest_instance_url"}`, or the bare token.
    `expires_at` may be a number of seconds since the epoch, or an ISO 8601 time.

    Raises:
        TokenUnavailableError: there is no usable token in it.
    """
    fields = _fields(secret)
    access_token = fields.get("access_token")
    if not isinstance(access_token, str) or not _TOKEN.fullmatch(access_token):
        raise TokenUnavailableError("the token secret holds no usable access_token")
    url = fields.get("rest_instance_url")
    return Token(
        access_token, _expiry(fields.get("expires_at")), url if isinstance(url, str) else ""
    )


def base_url_of(given: str) -> str:
    """A base URL, given with or without scheme and slash, as `https://host`.

    Raises:
        TokenUnavailableError: nothing was given.
    """
    url = given.strip().rstrip("/")
    if not url:
        raise TokenUnavailableError(
            "no base URL: neither RestBaseUrl nor the secret's rest_instance_url is set"
        )
    return url if "://" in url else f"https://{url}"


def _fields(secret: str) -> Mapping[str, Any]:
    try:
        fields = json.loads(secret)
    except ValueError:
        return {"access_token": secret.strip()}
    return fields if isinstance(fields, dict) else {"access_token": fields}


def _expiry(given: object) -> float | None:
    if isinstance(given, bool) or given is None:
        return None
    try:
        return float(given)  # type: ignore[arg-type] # whatever it is, float says if it can't
    except (TypeError, ValueError):
        pass
    try:
        return datetime.fromisoformat(str(given)).timestamp()
    except ValueError:
        return None
