"""Reads the access token from Secrets Manager, for the functions that call the upstream."""

import json
import logging
import threading
from collections.abc import Mapping
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final

from botocore.exceptions import ClientError

from smsrelay.adapters.aws_errors import AWS_ERRORS, error_name
from smsrelay.errors import TokenUnavailableError
from smsrelay.messages.strict_json import finite_number
from smsrelay.ports import Clock, Credentials, TokenRenewal
from smsrelay.security.allowed_hosts import AllowedHosts
from smsrelay.tokens.renewal_timing import (
    TOKEN,
    RenewalReason,
    StoredToken,
    fingerprint,
    refresh_ahead,
)

if TYPE_CHECKING:
    from mypy_boto3_secretsmanager import SecretsManagerClient

logger = logging.getLogger(__name__)

UNDATED_CACHE_SECONDS: Final = 300.0
"""Seconds that a token without `expires_at` is cached."""
MIN_CACHE_SECONDS: Final = 5.0
"""Seconds that any token is cached: an expired secret must not cost a read for each send."""
ASK_AGAIN: Final = 300.0
"""Seconds until the same renewal is requested again; a scheduled one comes in the meantime."""


class CachedTokenSource:
    """The `TokenSource` port: the secret's value, cached until shortly before it expires."""

    def __init__(  # noqa: PLR0913, PLR0917 - one argument for each dependency
        self,
        client: "SecretsManagerClient",
        secret: str,
        base_url: str,
        hosts: AllowedHosts,
        renewal: TokenRenewal,
        clock: Clock,
    ) -> None:
        """`secret` is a name or ARN; `base_url`, if not empty, overrides the secret's."""
        self._client = client
        self._secret = secret
        self._base_url = base_url
        self._hosts = hosts
        self._renewal = renewal
        self._clock = clock
        self._lock = threading.Lock()
        self._credentials: Credentials | None = None
        self._read_again_at = 0.0
        self._failed: TokenUnavailableError | None = None
        self._asked: dict[tuple[RenewalReason, str], float] = {}

    def current(self) -> Credentials:
        with self._lock:  # the sends of a batch read the token once
            if self._credentials is None or self._clock() >= self._read_again_at:
                return self._read()
            return self._credentials

    def renewed(self, refused: Credentials) -> Credentials:
        """Read the credentials again, unless another thread has already read new ones.

        If the secret still has the refused token, a renewal is requested: this send is queued, and
        its next attempt uses the new token.
        """
        with self._lock:
            if self._credentials is not None and self._credentials != refused:
                return self._credentials
            credentials = self._read()
            if credentials == refused:
                self._ask(RenewalReason.REFUSED, fingerprint(refused.access_token))
            return credentials

    def _read(self) -> Credentials:
        """Read the secret; a failure is cached shortly, so that a batch waits for it only once."""
        if self._failed and self._clock() < self._read_again_at:
            raise self._failed
        try:
            self._credentials = self._fetch()
        except TokenUnavailableError as error:
            logger.error("no access token", extra={"cause": str(error)})  # noqa: TRY400
            self._failed = error
            self._read_again_at = self._clock() + MIN_CACHE_SECONDS
            raise
        self._failed = None
        return self._credentials

    def _fetch(self) -> Credentials:
        try:
            response = self._client.get_secret_value(SecretId=self._secret)
            stored_at = response["CreatedDate"].timestamp()
            token = parse_stored_token(response["SecretString"], stored_at)
        except AWS_ERRORS as error:
            if has_no_value(error):
                self._ask(RenewalReason.MISSING, "")
            detail = f"the token secret can't be read: {error_name(error)}"
            raise TokenUnavailableError(detail) from error
        except TokenUnavailableError:
            self._ask(RenewalReason.MISSING, "")
            raise
        try:
            base_url = self._hosts.base_url(self._base_url or token.base_url)
        except ValueError as error:
            detail = f"RestBaseUrl, else the token secret's rest_instance_url, is {error}"
            raise TokenUnavailableError(detail) from None
        self._read_again_at = max(self._good_until(token), self._clock() + MIN_CACHE_SECONDS)
        return Credentials(token.access_token, base_url)

    def _good_until(self, token: StoredToken) -> float:
        """Return when to read again; request a renewal if the token expires soon."""
        now = self._clock()
        if token.expires_at is None:
            return now + UNDATED_CACHE_SECONDS
        good_until = token.expires_at - refresh_ahead(token)
        if good_until <= now:
            self._ask(RenewalReason.EXPIRING, fingerprint(token.access_token))
        return good_until

    def _ask(self, reason: RenewalReason, token: str) -> None:
        """Request a new token, at most once in `ASK_AGAIN` seconds for each reason and token."""
        now = self._clock()
        if now < self._asked.get((reason, token), now):
            return
        self._asked = {key: until for key, until in self._asked.items() if now < until}
        self._asked[reason, token] = now + ASK_AGAIN
        self._renewal.ask(reason, token)


def has_no_value(error: Exception) -> bool:
    """Whether the secret has no value, or does not exist."""
    return isinstance(error, ClientError) and error_name(error) == "ResourceNotFoundException"


def parse_stored_token(secret: str, since: float) -> StoredToken:
    """Parse a secret's value that was stored at `since`. Raises `TokenUnavailableError`.

    The value is `{"access_token", "expires_at", "rest_instance_url"}`, or the bare token.
    `expires_at` may be a number of seconds since the epoch, or an ISO 8601 time.
    """
    fields = _fields(secret)
    access_token = fields.get("access_token")
    if not isinstance(access_token, str) or not TOKEN.fullmatch(access_token):
        raise TokenUnavailableError("the token secret holds no usable access_token")
    expires_at, url = _expiry(fields.get("expires_at")), fields.get("rest_instance_url")
    return StoredToken(access_token, expires_at, since, url if isinstance(url, str) else "")


def _fields(secret: str) -> Mapping[str, Any]:
    try:
        fields = json.loads(secret)
    except ValueError:
        return {"access_token": secret.strip()}
    except RecursionError:
        return {}
    return fields if isinstance(fields, dict) else {"access_token": fields}


def _expiry(value: object) -> float | None:
    seconds = finite_number(value)
    if seconds is not None:
        return seconds
    try:
        return datetime.fromisoformat(str(value)).timestamp()
    except ValueError:
        return None
