"""Reads the secrets of webhooks or callbacks from Secrets Manager, one for each client."""

import logging
from collections.abc import Sequence
from typing import TYPE_CHECKING, Final, NamedTuple

from botocore.exceptions import ClientError

from smsrelay.adapters.aws_errors import aws_errors, error_name
from smsrelay.errors import SecretUnavailableError
from smsrelay.ports import Clock
from smsrelay.security.webhook_signature import parse_secrets

if TYPE_CHECKING:
    from mypy_boto3_secretsmanager import SecretsManagerClient

logger = logging.getLogger(__name__)

CACHE_SECONDS: Final = 300.0
"""Seconds that a secret is cached."""
MIN_REFRESH_INTERVAL: Final = 10.0
"""The shortest time in seconds between two reads for a client, even after bad signatures."""
CACHE_SIZE: Final = 1_000
"""The most cached clients, including those that don't exist."""
NO_SECRET = {"ResourceNotFoundException", "InvalidRequestException"}
"""Errors of Secrets Manager: the secret does not exist, or is marked for deletion."""


class _CachedSecrets(NamedTuple):
    secrets: Sequence[str]
    read_at: float


class StoredSigningSecrets:
    """The `SigningSecrets` port."""

    def __init__(self, client: "SecretsManagerClient", prefix: str, clock: Clock) -> None:
        """The name of a client's secret is `{prefix}{client}`."""
        self._client = client
        self._prefix = prefix
        self._clock = clock
        self._cache: dict[str, _CachedSecrets] = {}

    def current(self, client: str) -> Sequence[str]:
        return self._cached_for(CACHE_SECONDS, client)

    def refresh(self, client: str) -> Sequence[str]:
        """Read the secrets again, unless they were just read: they may have been rotated."""
        try:
            return self._cached_for(MIN_REFRESH_INTERVAL, client)
        except SecretUnavailableError:
            return ()

    def _cached_for(self, seconds: float, client: str) -> Sequence[str]:
        now, cached = self._clock(), self._cache.get(client)
        if cached and now < cached.read_at + seconds:
            return cached.secrets
        try:
            secrets = self._read(client)
        except SecretUnavailableError:
            if cached is None:
                raise
            return cached.secrets
        self._cache.pop(client, None)
        if len(self._cache) >= CACHE_SIZE:
            del self._cache[next(iter(self._cache))]  # the oldest
        self._cache[client] = _CachedSecrets(secrets, now)
        return secrets

    def _read(self, client: str) -> Sequence[str]:
        with aws_errors(SecretUnavailableError, f"the signing secret of {client} can't be read"):
            try:
                response = self._client.get_secret_value(SecretId=f"{self._prefix}{client}")
            except ClientError as error:
                if error_name(error) in NO_SECRET:
                    return ()
                raise
            secrets = parse_secrets(response["SecretString"])
        if not secrets:
            logger.error(
                "a signing secret contains no whsec_… of 24 bytes or more", extra={"client": client}
            )
        return secrets
