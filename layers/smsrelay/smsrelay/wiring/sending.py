"""The shared parts of the functions that send: api, webhook, queue_worker and sweeper."""

import os
import random
import time
from functools import cache, partial
from typing import TYPE_CHECKING, NamedTuple

from aws_lambda_powertools.logging import Logger
from aws_lambda_powertools.metrics import Metrics

from smsrelay.adapters.boto_clients import BotoClients
from smsrelay.adapters.dynamodb_ledger import DynamoDbLedger, report_unreadable
from smsrelay.adapters.dynamodb_operator_pauses import (
    CachedOperatorPauses,
    DynamoDbOperatorPauses,
)
from smsrelay.adapters.http_transport import KeepAliveTransport
from smsrelay.adapters.logger import package_logger
from smsrelay.adapters.metrics import PowertoolsMetrics
from smsrelay.adapters.sqs import SqsDeadLetterQueue, SqsRetryQueue
from smsrelay.ports import Clock, OperatorPauses, RecipientResults
from smsrelay.services.sender import Policy, Sender
from smsrelay.settings import Settings
from smsrelay.wiring import options
from smsrelay.wiring.aws_timeouts import AWS_CONFIG
from smsrelay.wiring.upstream import mobileconnect

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient

    from smsrelay.services.request_reader import RequestReader


class Parts(NamedTuple):
    settings: Settings
    sender: Sender
    ledger: DynamoDbLedger
    pauses: OperatorPauses
    queue: SqsRetryQueue
    recipient_results: RecipientResults | None
    metrics: PowertoolsMetrics
    logger: Logger
    connections: KeepAliveTransport
    aws: BotoClients
    dynamodb: "DynamoDBClient"
    clock: Clock

    @property
    def request_reader(self) -> "RequestReader":
        """A new `RequestReader`; a property, because the sweeper doesn't need one."""
        from smsrelay.adapters.dynamodb_api_clients import DynamoDbApiClients
        from smsrelay.services.client_rate_limit import RequestLimits
        from smsrelay.services.request_reader import RequestReader

        catalogue = options.catalogue(self.aws, self.settings, self.metrics, self.clock)
        codes = self.settings.country_codes
        clients = DynamoDbApiClients(self.dynamodb, self.settings.table_name)
        limits = RequestLimits(clients, self.clock)
        return RequestReader(catalogue, codes.split(",") if codes else (), limits)


@cache
def parts() -> Parts:
    settings = Settings.from_environment(os.environ)
    clock = time.time
    logger, metrics = package_logger(), PowertoolsMetrics(Metrics())
    aws = BotoClients()
    sqs = aws.client("sqs", config=AWS_CONFIG)
    queue = SqsRetryQueue(sqs, settings.queue_url)
    connections = KeepAliveTransport(settings.concurrent_sends * 2, clock)
    dynamodb = aws.client("dynamodb", config=AWS_CONFIG)
    report = partial(report_unreadable, metrics)
    ledger = DynamoDbLedger(dynamodb, settings.table_name, settings.retention_days, report)
    stored_pauses = DynamoDbOperatorPauses(dynamodb, settings.table_name)
    pauses = CachedOperatorPauses(stored_pauses, clock, report)
    secrets = aws.client("secretsmanager", config=AWS_CONFIG)
    sender = Sender(
        ledger=ledger,
        upstream=mobileconnect(connections, settings, aws, secrets, clock),
        queue=queue,
        dead_letters=SqsDeadLetterQueue(sqs, settings.dead_letter_queue_url),
        pauses=pauses,
        metrics=metrics,
        clock=clock,
        random=random.random,
        policy=Policy(
            max_attempts=settings.max_attempts,
            max_age=settings.max_age_hours * 3600,
            upstream_timeout=settings.upstream_timeout_seconds,
            concurrent_sends=settings.concurrent_sends,
            polls_delivery=settings.delivery_polling == "all",
        ),
    )
    return Parts(
        settings=settings,
        sender=sender,
        ledger=ledger,
        pauses=pauses,
        queue=queue,
        recipient_results=options.recipient_results(settings, dynamodb, secrets),
        metrics=metrics,
        logger=logger,
        connections=connections,
        aws=aws,
        dynamodb=dynamodb,
        clock=clock,
    )
