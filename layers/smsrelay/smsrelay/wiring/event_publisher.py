"""The function that reads the ledger's stream."""

import os
import time
from collections.abc import Callable, Mapping
from functools import cache
from typing import Any, NamedTuple

from aws_lambda_powertools.logging import Logger
from aws_lambda_powertools.metrics import Metrics

from smsrelay.adapters.boto_clients import Aws
from smsrelay.adapters.dynamodb_ledger import change_of
from smsrelay.adapters.eventbridge import EventBridgeBus
from smsrelay.adapters.logger import package_logger
from smsrelay.adapters.metrics import MetricsCounter
from smsrelay.adapters.sqs import SqsCallbacks
from smsrelay.sends.status_events import Change
from smsrelay.services.event_publisher import Teller
from smsrelay.settings import Settings
from smsrelay.wiring import options
from smsrelay.wiring.timeouts import STORING


class Parts(NamedTuple):
    """What that function uses."""

    teller: Teller
    change_of: Callable[[Mapping[str, Any]], Change | None]
    """What a record of the stream tells of."""
    counter: MetricsCounter
    logger: Logger


@cache
def parts() -> Parts:
    """The parts of this execution environment, set up by its environment variables."""
    settings, aws = Settings.from_environment(os.environ), Aws()
    logger, counter = package_logger(), MetricsCounter(Metrics())
    bus, queue = settings.event_bus, settings.callback_queue_url
    teller = Teller(
        bus=EventBridgeBus(aws.client("events", config=STORING), bus) if bus else None,
        callbacks=SqsCallbacks(aws.client("sqs", config=STORING), queue) if queue else None,
        catalogue=options.catalogue(aws, settings, counter, time.time),
    )
    return Parts(teller, change_of, counter, logger)
