"""Puts the parts together: built once per execution environment, at the first use."""

import os
import random
import time
from collections.abc import Mapping
from functools import cache
from typing import NamedTuple

import boto3
import httpx
from aws_lambda_powertools import Logger, Metrics
from botocore.config import Config

from smsrelay.adapters.dynamodb import DynamoDbLedger
from smsrelay.adapters.keepalive import KeepAliveTransport
from smsrelay.adapters.metrics import MetricsCounter
from smsrelay.adapters.mobileconnect import MobileConnect
from smsrelay.adapters.secretsmanager import SecretTokenSource
from smsrelay.adapters.sqs import SqsDeadLetters, SqsRetryQueue
from smsrelay.http_api import HttpApi
from smsrelay.intake import Intake
from smsrelay.relay import Policy, Relay
from smsrelay.settings import Settings
from smsrelay.sweeper import Sweeper

# Two tries of 3 s at most: a store that hangs must leave time to log what could not be stored
# (relay.RESERVE). Queues and tables answer within milliseconds.
_AWS = Config(
    connect_timeout=1,
    read_timeout=2,
    retries={"mode": "standard", "total_max_attempts": 2},
    max_pool_connections=50,
)


class Parts(NamedTuple):
    """What the handlers use."""

    settings: Settings
    http_api: HttpApi
    intake: Intake
    sweeper: Sweeper
    queue: SqsRetryQueue
    counter: MetricsCounter
    logger: Logger
    http: httpx.Client

    def close(self) -> None:
        """Close the connections to the upstream."""
        self.http.close()


@cache
def parts() -> Parts:
    """The parts of this execution environment, set up by its environment variables."""
    return build(os.environ)


def build(environment: Mapping[str, str]) -> Parts:
    """Build everything anew.

    Raises:
        KeyError, ValueError: the environment variables are incomplete or wrong.
    """
    settings = Settings.from_environment(environment)
    # The logger of the whole package: modules log through the standard library to its children.
    logger, counter = Logger(service="smsrelay"), MetricsCounter(Metrics())
    session = boto3.Session()
    sqs = session.client("sqs", config=_AWS)
    queue = SqsRetryQueue(sqs, settings.queue_url)
    http = httpx.Client(
        transport=KeepAliveTransport(settings.concurrent_sends * 2, time.time),
        follow_redirects=False,
        trust_env=False,
    )
    ledger = DynamoDbLedger(
        session.client("dynamodb", config=_AWS), settings.table_name, settings.retention_days
    )
    relay = Relay(
        ledger=ledger,
        upstream=MobileConnect(
            http,
            SecretTokenSource(
                session.client("secretsmanager", config=_AWS),
                settings.token_secret_arn,
                settings.rest_base_url,
                time.time,
            ),
            time.time,
        ),
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
        ),
    )
    catalogue = settings.catalogue
    return Parts(
        settings,
        HttpApi(relay, catalogue=catalogue),
        Intake(relay, catalogue=catalogue, default_client=settings.default_client, clock=time.time),
        Sweeper(relay, ledger, clock=time.time),
        queue,
        counter,
        logger,
        http,
    )
