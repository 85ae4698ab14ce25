"""The function that polls deliveries."""

import os
import time
from functools import cache, partial
from typing import NamedTuple

from aws_lambda_powertools.logging import Logger
from aws_lambda_powertools.metrics import Metrics

from smsrelay.adapters.boto_clients import BotoClients
from smsrelay.adapters.dynamodb_call_budget import DynamoDbCallBudget
from smsrelay.adapters.dynamodb_ledger import DynamoDbLedger, report_unreadable
from smsrelay.adapters.http_transport import KeepAliveTransport
from smsrelay.adapters.logger import package_logger
from smsrelay.adapters.metrics import PowertoolsMetrics
from smsrelay.sends.call_budget import daily_share
from smsrelay.services.delivery_poller import MAX_PARALLEL_CALLS, DeliveryPoller
from smsrelay.settings import Settings
from smsrelay.wiring import options
from smsrelay.wiring.aws_timeouts import AWS_CONFIG
from smsrelay.wiring.upstream import mobileconnect


class Parts(NamedTuple):
    delivery_poller: DeliveryPoller
    metrics: PowertoolsMetrics
    logger: Logger
    connections: KeepAliveTransport


@cache
def parts() -> Parts:
    settings = Settings.from_environment(os.environ)
    logger, metrics = package_logger(), PowertoolsMetrics(Metrics())
    aws = BotoClients()
    connections = KeepAliveTransport(MAX_PARALLEL_CALLS, time.time)
    dynamodb = aws.client("dynamodb", config=AWS_CONFIG)
    secrets = aws.client("secretsmanager", config=AWS_CONFIG)
    delivery_poller = DeliveryPoller(
        ledger=DynamoDbLedger(
            dynamodb,
            settings.table_name,
            settings.retention_days,
            partial(report_unreadable, metrics),
        ),
        reports=mobileconnect(connections, settings, aws, secrets, time.time),
        metrics=metrics,
        clock=time.time,
        api_calls=DynamoDbCallBudget(
            dynamodb, settings.table_name, daily_share(settings.yearly_api_calls)
        ),
        recipient_results=options.recipient_results(settings, dynamodb, secrets),
    )
    return Parts(delivery_poller, metrics, logger, connections)
