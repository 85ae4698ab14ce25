"""Puts the parts together: built once per execution environment, at the first use."""

import os
import random
import time
from collections.abc import Callable, Mapping
from functools import cache
from typing import TYPE_CHECKING, Any, NamedTuple

import httpx
from aws_lambda_powertools.logging import Logger
from aws_lambda_powertools.metrics import Metrics
from botocore.config import Config

from smsrelay.adapters.aws import Aws
from smsrelay.adapters.catalogue import StoredCatalogue
from smsrelay.adapters.clients import DynamoDbClients
from smsrelay.adapters.dynamodb import DynamoDbLedger, change_of
from smsrelay.adapters.eventbridge import EventBridgeBus
from smsrelay.adapters.keepalive import KeepAliveTransport
from smsrelay.adapters.lambda_function import LambdaTokenRenewal
from smsrelay.adapters.logs import package_logger
from smsrelay.adapters.metrics import MetricsCounter
from smsrelay.adapters.mobileconnect import MobileConnect
from smsrelay.adapters.oauth import OAuthEndpoint
from smsrelay.adapters.poster import HttpPoster
from smsrelay.adapters.recipients import StoredRecipients
from smsrelay.adapters.secretsmanager import SecretCredentials, SecretTokenSource, SecretTokenStore
from smsrelay.adapters.sqs import SqsCallbacks, SqsDeadLetters, SqsRetryQueue
from smsrelay.adapters.webhook_secrets import StoredWebhookSecrets
from smsrelay.callers import Callers
from smsrelay.changes import Change
from smsrelay.follower import SIDE_BY_SIDE, Follower
from smsrelay.hosts import AllowedHosts
from smsrelay.http_api import HttpApi
from smsrelay.intake import Intake
from smsrelay.reading import Reader
from smsrelay.relay import Policy, Relay
from smsrelay.renewer import Renewer
from smsrelay.settings import Settings
from smsrelay.sweeper import Sweeper
from smsrelay.telling import Caller, Teller
from smsrelay.webhooks import Webhooks

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient
    from mypy_boto3_secretsmanager import SecretsManagerClient

# Two tries of 3 s at most: a store that hangs must leave time to log what could not be stored
# (relay.RESERVE). Queues and tables answer within milliseconds.
_AWS = Config(
    connect_timeout=1,
    read_timeout=2,
    retries={"mode": "standard", "total_max_attempts": 2},
    max_pool_connections=50,
    parameter_validation=False,  # AWS refuses the same, and nothing here is made up by callers
    user_agent="smsrelay",  # botocore's own is put together anew for each call
)
# A send waits for this call, and nothing depends on it: one short try.
_ASKING = Config(
    connect_timeout=1,
    read_timeout=1,
    retries={"total_max_attempts": 1},
    parameter_validation=False,
    user_agent="smsrelay",
)


class Parts(NamedTuple):
    """What the handlers use."""

    settings: Settings
    callers: Callers
    http_api: HttpApi
    intake: Intake
    sweeper: Sweeper
    queue: SqsRetryQueue
    counter: MetricsCounter
    logger: Logger
    connections: KeepAliveTransport
    aws: Aws

    def close(self) -> None:
        """Close the connections to the upstream."""
        self.connections.close()


@cache
def parts() -> Parts:
    """The parts of this execution environment, set up by its environment variables."""
    return build(os.environ)


def disconnect() -> None:
    """Close all connections of `parts`, which makes new ones when it needs them."""
    parts().connections.close()
    parts().aws.disconnect()


def build(environment: Mapping[str, str]) -> Parts:
    """Build everything anew.

    Raises:
        KeyError, ValueError: the environment variables are incomplete or wrong.
    """
    settings = Settings.from_environment(environment)
    logger, counter = package_logger(), MetricsCounter(Metrics())
    aws = Aws()
    sqs = aws.client("sqs", config=_AWS)
    queue = SqsRetryQueue(sqs, settings.queue_url)
    connections = KeepAliveTransport(settings.concurrent_sends * 2, time.time)
    dynamodb = aws.client("dynamodb", config=_AWS)
    ledger = DynamoDbLedger(dynamodb, settings.table_name, settings.retention_days)
    clients = DynamoDbClients(dynamodb, settings.table_name)
    secrets = aws.client("secretsmanager", config=_AWS)
    relay = Relay(
        ledger=ledger,
        upstream=_mobileconnect(connections, settings, aws, secrets),
        queue=queue,
        dead_letters=SqsDeadLetters(sqs, settings.dead_letter_queue_url),
        counter=counter,
        clock=time.time,
        random=random.random,
        policy=Policy(
            max_attempts=settings.max_attempts,
            max_age=settings.max_age_hours * 3600,
            upstream_timeout=settings.upstream_timeout_seconds,
            concurrent_sends=settings.concurrent_sends,
            follows=settings.delivery_calls_per_minute > 0,
        ),
    )
    reader = Reader(_catalogue(aws, settings, counter))
    return Parts(
        settings,
        Callers(
            clients,
            clients,
            default=settings.default_client,
            per_minute=settings.client_per_minute,
            clock=time.time,
        ),
        HttpApi(
            relay,
            reader,
            counter=counter,
            clock=time.time,
            rows=_recipients(settings, dynamodb, secrets),
        ),
        Intake(
            relay,
            reader,
            default_client=settings.default_client,
            clock=time.time,
            sleep=_sleep,
        ),
        Sweeper(relay, ledger, counter=counter, clock=time.time),
        queue,
        counter,
        logger,
        connections,
        aws,
    )


def _sleep(seconds: float) -> None:
    time.sleep(seconds)


def _mobileconnect(
    connections: KeepAliveTransport,
    settings: Settings,
    aws: Aws,
    secrets: "SecretsManagerClient",
) -> MobileConnect:
    renewal = LambdaTokenRenewal(
        cache(lambda: aws.client("lambda", config=_ASKING)), settings.token_function
    )
    hosts = AllowedHosts.parse(settings.upstream_hosts)
    tokens = SecretTokenSource(
        secrets, settings.token_secret_arn, settings.rest_base_url, hosts, renewal, time.time
    )
    return MobileConnect(connections, tokens, time.time)


def _recipients(
    settings: Settings, dynamodb: "DynamoDBClient", secrets: "SecretsManagerClient"
) -> StoredRecipients | None:
    if settings.recipient_rows != "on":
        return None
    return StoredRecipients(
        dynamodb,
        settings.table_name,
        settings.retention_days,
        secrets,
        settings.recipient_key_secret,
    )


def _catalogue(aws: Aws, settings: Settings, counter: MetricsCounter) -> StoredCatalogue | None:
    """The message catalogue, if there is one; it is read at the first name that is posted."""
    if not settings.catalogue_parameter:
        return None
    ssm = cache(lambda: aws.client("ssm", config=_AWS))
    return StoredCatalogue(ssm, settings.catalogue_parameter, counter, time.time)


@cache
def webhooks() -> Webhooks:
    """What only the function for webhooks needs, beside the other parts."""
    settings, secrets = parts().settings, parts().aws.client("secretsmanager", config=_AWS)
    stored = StoredWebhookSecrets(secrets, settings.webhook_secrets, time.time)
    return Webhooks(parts().http_api, stored, parts().callers, parts().counter)


class RenewalParts(NamedTuple):
    """What the token function uses: it has nothing to do with sends."""

    renewer: Renewer
    counter: MetricsCounter
    logger: Logger
    http: httpx.Client

    def close(self) -> None:
        """Close the connections to the upstream."""
        self.http.close()


@cache
def renewal_parts() -> RenewalParts:
    """The parts of this execution environment, set up by its environment variables."""
    return build_renewal(os.environ)


def build_renewal(environment: Mapping[str, str]) -> RenewalParts:
    """Build everything anew.

    Raises:
        KeyError, ValueError: the environment variables are incomplete or wrong.
    """
    settings = Settings.from_environment(environment)
    logger, counter = package_logger(), MetricsCounter(Metrics())
    hosts = AllowedHosts.parse(settings.upstream_hosts)
    secrets = Aws().client("secretsmanager", config=_AWS)
    # No connection is kept: the next call is minutes away.
    http = httpx.Client(
        follow_redirects=False,
        trust_env=False,
        limits=httpx.Limits(max_connections=1, max_keepalive_connections=0),
    )
    renewer = Renewer(
        store=SecretTokenStore(secrets, settings.token_secret_arn),
        credentials=SecretCredentials(secrets, settings.credentials_secret_arn, hosts),
        issuer=OAuthEndpoint(http, hosts, time.time),
        counter=counter,
        clock=time.time,
    )
    return RenewalParts(renewer, counter, logger, http)


class StatusParts(NamedTuple):
    """What the function uses that follows deliveries up."""

    follower: Follower
    counter: MetricsCounter
    logger: Logger
    connections: KeepAliveTransport

    def close(self) -> None:
        """Close the connections to the upstream."""
        self.connections.close()


@cache
def status_parts() -> StatusParts:
    """The parts of this execution environment, set up by its environment variables."""
    return build_status(os.environ)


def build_status(environment: Mapping[str, str]) -> StatusParts:
    """Build everything anew.

    Raises:
        KeyError, ValueError: the environment variables are incomplete or wrong.
    """
    settings = Settings.from_environment(environment)
    logger, counter = package_logger(), MetricsCounter(Metrics())
    aws = Aws()
    connections = KeepAliveTransport(SIDE_BY_SIDE, time.time)
    dynamodb = aws.client("dynamodb", config=_AWS)
    secrets = aws.client("secretsmanager", config=_AWS)
    follower = Follower(
        ledger=DynamoDbLedger(dynamodb, settings.table_name, settings.retention_days),
        reports=_mobileconnect(connections, settings, aws, secrets),
        counter=counter,
        clock=time.time,
        budget=settings.delivery_calls_per_minute,
        rows=_recipients(settings, dynamodb, secrets),
    )
    return StatusParts(follower, counter, logger, connections)


class TellingParts(NamedTuple):
    """What the function uses that reads the ledger's stream."""

    teller: Teller
    change_of: Callable[[Mapping[str, Any]], Change | None]
    """What a record of the stream tells of."""
    counter: MetricsCounter
    logger: Logger


@cache
def telling_parts() -> TellingParts:
    """The parts of this execution environment, set up by its environment variables."""
    settings, aws = Settings.from_environment(os.environ), Aws()
    logger, counter = package_logger(), MetricsCounter(Metrics())
    bus, queue = settings.event_bus, settings.callback_queue_url
    teller = Teller(
        bus=EventBridgeBus(aws.client("events", config=_AWS), bus) if bus else None,
        callbacks=SqsCallbacks(aws.client("sqs", config=_AWS), queue) if queue else None,
        catalogue=_catalogue(aws, settings, counter),
    )
    return TellingParts(teller, change_of, counter, logger)


class CallingParts(NamedTuple):
    """What the function uses that posts callbacks."""

    caller: Caller
    queue: SqsRetryQueue
    counter: MetricsCounter
    logger: Logger
    http: httpx.Client

    def close(self) -> None:
        """Close the connections to the clients."""
        self.http.close()


@cache
def calling_parts() -> CallingParts:
    """The parts of this execution environment, set up by its environment variables.

    Raises:
        ValueError: there is no catalogue that would say whom to call.
    """
    settings, aws = Settings.from_environment(os.environ), Aws()
    logger, counter = package_logger(), MetricsCounter(Metrics())
    catalogue = _catalogue(aws, settings, counter)
    if catalogue is None:
        raise ValueError("callbacks need the catalogue")
    http = httpx.Client(follow_redirects=False, trust_env=False)
    secrets = aws.client("secretsmanager", config=_AWS)
    caller = Caller(
        catalogue=catalogue,
        secrets=StoredWebhookSecrets(secrets, settings.callback_secrets, time.time),
        poster=HttpPoster(http),
        counter=counter,
        clock=time.time,
    )
    queue = SqsRetryQueue(aws.client("sqs", config=_AWS), settings.callback_queue_url)
    return CallingParts(caller, queue, counter, logger, http)
