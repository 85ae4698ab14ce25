"""The upstream, for who sends and for who asks what became of it."""

from functools import cache
from typing import TYPE_CHECKING

from smsrelay.adapters.aws import Aws
from smsrelay.adapters.keepalive import KeepAliveTransport
from smsrelay.adapters.lambda_function import LambdaTokenRenewal
from smsrelay.adapters.mobileconnect import MobileConnect
from smsrelay.adapters.secretsmanager import SecretTokenSource
from smsrelay.bootstrap.patience import ASKING
from smsrelay.hosts import AllowedHosts
from smsrelay.ports import Clock
from smsrelay.settings import Settings

if TYPE_CHECKING:
    from mypy_boto3_secretsmanager import SecretsManagerClient


def mobileconnect(
    connections: KeepAliveTransport,
    settings: Settings,
    aws: Aws,
    secrets: "SecretsManagerClient",
    clock: Clock,
) -> MobileConnect:
    """MobileConnect, with the access token of the secret."""
    renewal = LambdaTokenRenewal(
        cache(lambda: aws.client("lambda", config=ASKING)), settings.token_function
    )
    hosts = AllowedHosts.parse(settings.upstream_hosts)
    tokens = SecretTokenSource(
        secrets, settings.token_secret_arn, settings.rest_base_url, hosts, renewal, clock
    )
    return MobileConnect(connections, tokens, clock)
