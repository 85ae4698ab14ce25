"""Builds the upstream's client, for the functions that send and the delivery poller."""

from functools import cache
from typing import TYPE_CHECKING

from smsrelay.adapters.boto_clients import BotoClients
from smsrelay.adapters.cached_token import CachedTokenSource
from smsrelay.adapters.http_transport import KeepAliveTransport
from smsrelay.adapters.lambda_token_renewal import LambdaTokenRenewal
from smsrelay.adapters.mobileconnect import MobileConnect
from smsrelay.ports import Clock
from smsrelay.security.allowed_hosts import AllowedHosts
from smsrelay.settings import Settings
from smsrelay.wiring.aws_timeouts import INVOKE_CONFIG

if TYPE_CHECKING:
    from mypy_boto3_secretsmanager import SecretsManagerClient


def mobileconnect(
    connections: KeepAliveTransport,
    settings: Settings,
    aws: BotoClients,
    secrets: "SecretsManagerClient",
    clock: Clock,
) -> MobileConnect:
    renewal = LambdaTokenRenewal(
        cache(lambda: aws.client("lambda", config=INVOKE_CONFIG)), settings.token_function
    )
    hosts = AllowedHosts(settings.upstream_hosts)
    tokens = CachedTokenSource(
        secrets, settings.token_secret_arn, settings.rest_base_url, hosts, renewal, clock
    )
    return MobileConnect(connections, tokens, clock)
