"""The function that renews the access token."""

import os
import time
from functools import cache
from typing import NamedTuple

import httpx
from aws_lambda_powertools.logging import Logger
from aws_lambda_powertools.metrics import Metrics

from smsrelay.adapters.boto_clients import BotoClients
from smsrelay.adapters.dynamodb_renewal_report import DynamoDbRenewalReport
from smsrelay.adapters.http_transport import http_client
from smsrelay.adapters.logger import package_logger
from smsrelay.adapters.metrics import PowertoolsMetrics
from smsrelay.adapters.oauth_endpoint import OAuthEndpoint
from smsrelay.adapters.token_store import SecretCredentials, SecretTokenStore
from smsrelay.security.allowed_hosts import AllowedHosts
from smsrelay.services.token_renewer import TokenRenewer
from smsrelay.settings import Settings
from smsrelay.wiring.aws_timeouts import AWS_CONFIG, INVOKE_CONFIG


class Parts(NamedTuple):
    token_renewer: TokenRenewer
    metrics: PowertoolsMetrics
    logger: Logger
    connections: httpx.Client


@cache
def parts() -> Parts:
    settings = Settings.from_environment(os.environ)
    logger, metrics = package_logger(), PowertoolsMetrics(Metrics())
    hosts = AllowedHosts(settings.upstream_hosts)
    aws = BotoClients()
    secrets = aws.client("secretsmanager", config=AWS_CONFIG)
    dynamodb = aws.client("dynamodb", config=INVOKE_CONFIG)
    http = http_client(1, time.time)
    token_renewer = TokenRenewer(
        store=SecretTokenStore(secrets, settings.token_secret_arn),
        credentials=SecretCredentials(secrets, settings.credentials_secret_arn, hosts),
        issuer=OAuthEndpoint(http, hosts, time.time),
        report=DynamoDbRenewalReport(dynamodb, settings.table_name),
        metrics=metrics,
        clock=time.time,
    )
    return Parts(token_renewer, metrics, logger, http)
