"""The access token and the client credentials in Secrets Manager, for the token function."""

import json
from typing import TYPE_CHECKING

from botocore.exceptions import BotoCoreError, ClientError

from smsrelay.adapters.cached_token import has_no_value, name_of, since, token_of
from smsrelay.errors import SecretUnavailableError, TokenUnavailableError
from smsrelay.security.allowed_hosts import AllowedHosts
from smsrelay.tokens.renewal_timing import StoredToken
from smsrelay.tokens.token_response import ClientCredentials, Grant, credentials_of

if TYPE_CHECKING:
    from mypy_boto3_secretsmanager import SecretsManagerClient
    from mypy_boto3_secretsmanager.type_defs import GetSecretValueResponseTypeDef


class SecretTokenStore:
    """The `TokenStore` port: the same secret, as the token function reads and writes it."""

    def __init__(self, client: "SecretsManagerClient", secret: str) -> None:
        """`secret` is a name or ARN."""
        self._client = client
        self._secret = secret

    def read(self) -> StoredToken | None:
        """The current version; what is no token counts as none."""
        return self._version("AWSCURRENT")

    def before(self) -> StoredToken | None:
        """The previous version, the same way."""
        return self._version("AWSPREVIOUS")

    def write(self, grant: Grant) -> None:
        """Store a new version; in the same step it becomes the current one."""
        value = {
            "access_token": grant.access_token,
            "expires_at": int(grant.expires_at),
            "rest_instance_url": grant.rest_instance_url,
            "scope": grant.scope,
        }
        try:
            self._client.put_secret_value(SecretId=self._secret, SecretString=json.dumps(value))
        except (BotoCoreError, ClientError) as error:
            raise SecretUnavailableError(
                f"the token secret can't be written: {name_of(error)}"
            ) from error

    def _version(self, stage: str) -> StoredToken | None:
        response = _value(self._client, self._secret, stage)
        if response is None:
            return None
        try:
            token = token_of(response.get("SecretString", ""))
        except TokenUnavailableError:
            return None
        return StoredToken(token.access_token, token.expires_at, since(response))


class SecretCredentials:
    """The `CredentialsSource` port: read at each need, so that new ones count at once."""

    def __init__(self, client: "SecretsManagerClient", secret: str, hosts: AllowedHosts) -> None:
        """`secret` is a name or ARN."""
        self._client = client
        self._secret = secret
        self._hosts = hosts

    def read(self) -> ClientCredentials:
        """The current version."""
        response = _value(self._client, self._secret, "AWSCURRENT")
        return credentials_of("" if response is None else response["SecretString"], self._hosts)


def _value(
    client: "SecretsManagerClient", secret: str, stage: str
) -> "GetSecretValueResponseTypeDef | None":
    try:
        return client.get_secret_value(SecretId=secret, VersionStage=stage)
    except (BotoCoreError, ClientError) as error:
        if has_no_value(error):
            return None
        raise SecretUnavailableError(f"a secret can't be read: {name_of(error)}") from error
