"""The functions that send: api, webhook, worker and sweeper."""

import os
import random
import time
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache, cached_property
from typing import TYPE_CHECKING

from aws_lambda_powertools.logging import Logger
from aws_lambda_powertools.metrics import Metrics

from smsrelay.adapters.boto_clients import Aws
from smsrelay.adapters.dynamodb_ledger import DynamoDbLedger
from smsrelay.adapters.http_transport import KeepAliveTransport
from smsrelay.adapters.logger import package_logger
from smsrelay.adapters.metrics import MetricsCounter
from smsrelay.adapters.sqs import SqsDeadLetters, SqsRetryQueue
from smsrelay.ports import Clock, RecipientRows
from smsrelay.services.sender import Policy, Relay
from smsrelay.settings import Settings
from smsrelay.wiring import options
from smsrelay.wiring.timeouts import STORING
from smsrelay.wiring.upstream import mobileconnect

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient

    from smsrelay.services.api import HttpApi
    from smsrelay.services.api_clients import Callers
    from smsrelay.services.queue_worker import Intake
    from smsrelay.services.request_reader import Reader
    from smsrelay.services.sweeper import Sweeper


@dataclass(frozen=True)
class Parts:
    """What the handlers use. What not all of them do is built when one asks for it."""

    settings: Settings
    relay: Relay
    ledger: DynamoDbLedger
    queue: SqsRetryQueue
    rows: RecipientRows | None
    counter: MetricsCounter
    logger: Logger
    connections: KeepAliveTransport
    aws: Aws
    dynamodb: "DynamoDBClient"
    clock: Clock

    @cached_property
    def callers(self) -> "Callers":
        """For who answers requests."""
        from smsrelay.adapters.dynamodb_api_clients import DynamoDbClients
        from smsrelay.services.api_clients import Callers

        clients = DynamoDbClients(self.dynamodb, self.settings.table_name)
        return Callers(
            clients,
            clients,
            default=self.settings.default_client,
            per_minute=self.settings.client_per_minute,
            clock=self.clock,
        )

    @cached_property
    def http_api(self) -> "HttpApi":
        """For who answers requests."""
        from smsrelay.services.api import HttpApi

        return HttpApi(
            self.relay, self._reader, counter=self.counter, clock=self.clock, rows=self.rows
        )

    @cached_property
    def intake(self) -> "Intake":
        """For the worker."""
        from smsrelay.services.queue_worker import Intake

        return Intake(
            self.relay,
            self._reader,
            default_client=self.settings.default_client,
            clock=self.clock,
            sleep=_sleep,
        )

    @cached_property
    def sweeper(self) -> "Sweeper":
        """For the sweeper."""
        from smsrelay.services.sweeper import Sweeper

        return Sweeper(self.relay, self.ledger, counter=self.counter, clock=self.clock)

    @cached_property
    def _reader(self) -> "Reader":
        from smsrelay.services.request_reader import Reader

        catalogue = options.catalogue(self.aws, self.settings, self.counter, self.clock)
        return Reader(catalogue)

    def close(self) -> None:
        """Close the connections to the upstream."""
        self.connections.close()


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
    clock = time.time
    logger, counter = package_logger(), MetricsCounter(Metrics())
    aws = Aws()
    sqs = aws.client("sqs", config=STORING)
    queue = SqsRetryQueue(sqs, settings.queue_url)
    connections = KeepAliveTransport(settings.concurrent_sends * 2, clock)
    dynamodb = aws.client("dynamodb", config=STORING)
    ledger = DynamoDbLedger(dynamodb, settings.table_name, settings.retention_days)
    secrets = aws.client("secretsmanager", config=STORING)
    relay = Relay(
        ledger=ledger,
        upstream=mobileconnect(connections, settings, aws, secrets, clock),
        queue=queue,
        dead_letters=SqsDeadLetters(sqs, settings.dead_letter_queue_url),
        counter=counter,
        clock=clock,
        random=random.random,
        policy=Policy(
            max_attempts=settings.max_attempts,
            max_age=settings.max_age_hours * 3600,
            upstream_timeout=settings.upstream_timeout_seconds,
            concurrent_sends=settings.concurrent_sends,
            follows=settings.delivery_calls_per_minute > 0,
        ),
    )
    return Parts(
        settings=settings,
        relay=relay,
        ledger=ledger,
        queue=queue,
        rows=options.recipients(settings, dynamodb, secrets),
        counter=counter,
        logger=logger,
        connections=connections,
        aws=aws,
        dynamodb=dynamodb,
        clock=clock,
    )


def _sleep(seconds: float) -> None:
    time.sleep(seconds)
