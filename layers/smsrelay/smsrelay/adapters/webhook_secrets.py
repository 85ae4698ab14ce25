"""The secrets that webhooks are signed with: one in Secrets Manager for each client."""

import logging
from collections.abc import Sequence
from typing import TYPE_CHECKING, Final, NamedTuple

from botocore.exceptions import BotoCoreError, ClientError

from smsrelay.errors import SecretUnavailableError
from smsrelay.ports import Clock
from smsrelay.security.webhook_signature import secrets_of

if TYPE_CHECKING:
    from mypy_boto3_secretsmanager import SecretsManagerClient

logger = logging.getLogger(__name__)

KEPT: Final = 300.0
"""Seconds that a secret is kept."""
AT_MOST_EVERY: Final = 10.0
"""Seconds between two reads for the same client, however many bad signatures come."""
MOST: Final = 1_000
"""Clients that are kept, those that don't exist too."""
_NONE = {"ResourceNotFoundException", "InvalidRequestException"}
"""There is no such secret, or it is marked for deletion."""


class _Kept(NamedTuple):
    secrets: Sequence[str]
    read_at: float


class StoredWebhookSecrets:
    """The `WebhookSecrets` port."""

    def __init__(self, client: "SecretsManagerClient", prefix: str, clock: Clock) -> None:
        """A client's secret is called `{prefix}{client}`."""
        self._client = client
        self._prefix = prefix
        self._clock = clock
        self._kept: dict[str, _Kept] = {}

    def current(self, client: str) -> Sequence[str]:
        """From the cache while it is fresh; a store out of reach makes it last longer."""
        kept = self._kept.get(client)
        if kept and self._clock() < kept.read_at + KEPT:
            return kept.secrets
        try:
            return self._read(client)
        except SecretUnavailableError:
            if kept is None:
                raise
            return kept.secrets

    def newer(self, client: str) -> Sequence[str]:
        """As the store has them, unless they were just read: so a rotation counts at once."""
        kept = self._kept.get(client)
        if kept and self._clock() < kept.read_at + AT_MOST_EVERY:
            return kept.secrets
        try:
            return self._read(client)
        except SecretUnavailableError:
            return kept.secrets if kept else ()

    def _read(self, client: str) -> Sequence[str]:
        now = self._clock()
        secrets = self._fetched(client)
        self._kept.pop(client, None)
        if len(self._kept) >= MOST:
            del self._kept[next(iter(self._kept))]  # the one that was read first
        self._kept[client] = _Kept(secrets, now)
        return secrets

    def _fetched(self, client: str) -> Sequence[str]:
        try:
            response = self._client.get_secret_value(SecretId=f"{self._prefix}{client}")
            secrets = secrets_of(response["SecretString"])
        except ClientError as error:
            code = error.response["Error"]["Code"]
            if code in _NONE:
                return ()
            raise SecretUnavailableError(f"a webhook secret can't be read: {code}") from error
        except (BotoCoreError, KeyError) as error:
            name = type(error).__name__
            raise SecretUnavailableError(f"a webhook secret can't be read: {name}") from error
        if not secrets:
            logger.error("a webhook secret holds no whsec_… of 24 bytes or more")
        return secrets
