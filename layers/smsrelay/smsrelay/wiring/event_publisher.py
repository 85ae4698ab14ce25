"""The function that reads the ledger's stream."""

import os
import time
from collections.abc import Callable, Mapping
from functools import cache, partial
from typing import Any, NamedTuple

from aws_lambda_powertools.logging import Logger
from aws_lambda_powertools.metrics import Metrics

from smsrelay.adapters.boto_clients import BotoClients
from smsrelay.adapters.dynamodb_ledger import change_of
from smsrelay.adapters.eventbridge import EventBridgeBus
from smsrelay.adapters.logger import package_logger
from smsrelay.adapters.metrics import PowertoolsMetrics
from smsrelay.adapters.sqs import SqsCallbacks
from smsrelay.sends.status_events import StatusChange
from smsrelay.services.event_publisher import EventPublisher
from smsrelay.settings import Settings
from smsrelay.wiring import options
from smsrelay.wiring.aws_timeouts import AWS_CONFIG


class Parts(NamedTuple):
    event_publisher: EventPublisher
    change_of: Callable[[Mapping[str, Any]], StatusChange | None]
    """Parses a record of the stream."""
    metrics: PowertoolsMetrics
    logger: Logger


@cache
def parts() -> Parts:
    settings, aws = Settings.from_environment(os.environ), BotoClients()
    logger, metrics = package_logger(), PowertoolsMetrics(Metrics())
    bus, queue = settings.event_bus, settings.callback_queue_url
    event_publisher = EventPublisher(
        bus=EventBridgeBus(aws.client("events", config=AWS_CONFIG), bus) if bus else None,
        callbacks=SqsCallbacks(aws.client("sqs", config=AWS_CONFIG), queue) if queue else None,
        catalogue=options.catalogue(aws, settings, metrics, time.time),
    )
    return Parts(event_publisher, partial(change_of, metrics), metrics, logger)
