"""Reads and writes the access token and the client credentials, for the token renewer."""

import json
from typing import TYPE_CHECKING

from smsrelay.adapters.aws_errors import AWS_ERRORS, aws_errors, error_name
from smsrelay.adapters.cached_token import has_no_value, parse_stored_token
from smsrelay.errors import SecretUnavailableError, TokenUnavailableError
from smsrelay.security.allowed_hosts import AllowedHosts
from smsrelay.tokens.renewal_timing import StoredToken
from smsrelay.tokens.token_response import AccessToken, ClientCredentials, parse_credentials

if TYPE_CHECKING:
    from mypy_boto3_secretsmanager import SecretsManagerClient


class SecretTokenStore:
    """The `TokenStore` port."""

    def __init__(self, client: "SecretsManagerClient", secret: str) -> None:
        self._client = client
        self._secret = secret

    def load(self, *, previous: bool = False) -> StoredToken | None:
        stage = "AWSPREVIOUS" if previous else "AWSCURRENT"
        value, stored_at = _read(self._client, self._secret, stage)
        try:
            return parse_stored_token(value, stored_at)
        except TokenUnavailableError:
            return None

    def write(self, token: AccessToken) -> None:
        """Store a new version, which immediately becomes the current one."""
        value = {
            "access_token": token.access_token,
            "expires_at": int(token.expires_at),
            "rest_instance_url": token.rest_instance_url,
            "scope": token.scope,
        }
        with aws_errors(SecretUnavailableError, "the token secret can't be written"):
            self._client.put_secret_value(SecretId=self._secret, SecretString=json.dumps(value))


class SecretCredentials:
    """The `CredentialsSource` port, without a cache: new credentials apply immediately."""

    def __init__(self, client: "SecretsManagerClient", secret: str, hosts: AllowedHosts) -> None:
        self._client = client
        self._secret = secret
        self._hosts = hosts

    def load(self) -> ClientCredentials:
        value, _ = _read(self._client, self._secret, "AWSCURRENT")
        return parse_credentials(value, self._hosts)


def _read(client: "SecretsManagerClient", secret: str, stage: str) -> tuple[str, float]:
    """Return a secret's text, empty if it has none, and when it was stored."""
    try:
        response = client.get_secret_value(SecretId=secret, VersionStage=stage)
        return response.get("SecretString", ""), response["CreatedDate"].timestamp()
    except AWS_ERRORS as error:
        if has_no_value(error):
            return "", 0.0
        raise SecretUnavailableError(f"a secret can't be read: {error_name(error)}") from error
