"""The function that posts callbacks."""

import os
import time
from functools import cache
from typing import NamedTuple

import httpx
from aws_lambda_powertools.logging import Logger
from aws_lambda_powertools.metrics import Metrics

from smsrelay.adapters.boto_clients import Aws
from smsrelay.adapters.callback_client import HttpPoster
from smsrelay.adapters.logger import package_logger
from smsrelay.adapters.metrics import MetricsCounter
from smsrelay.adapters.sqs import SqsRetryQueue
from smsrelay.adapters.trust_store import trusted
from smsrelay.adapters.webhook_secrets import StoredWebhookSecrets
from smsrelay.services.event_publisher import Caller
from smsrelay.settings import Settings
from smsrelay.wiring import options
from smsrelay.wiring.timeouts import STORING


class Parts(NamedTuple):
    """What that function uses."""

    caller: Caller
    queue: SqsRetryQueue
    counter: MetricsCounter
    logger: Logger
    http: httpx.Client

    def close(self) -> None:
        """Close the connections to the clients."""
        self.http.close()


@cache
def parts() -> Parts:
    """The parts of this execution environment, set up by its environment variables.

    Raises:
        ValueError: there is no catalogue that would say whom to call.
    """
    settings, aws = Settings.from_environment(os.environ), Aws()
    logger, counter = package_logger(), MetricsCounter(Metrics())
    catalogue = options.catalogue(aws, settings, counter, time.time)
    if catalogue is None:
        raise ValueError("callbacks need the catalogue")
    http = httpx.Client(follow_redirects=False, trust_env=False, verify=trusted())
    secrets = aws.client("secretsmanager", config=STORING)
    caller = Caller(
        catalogue=catalogue,
        secrets=StoredWebhookSecrets(secrets, settings.callback_secrets, time.time),
        poster=HttpPoster(http),
        counter=counter,
        clock=time.time,
    )
    queue = SqsRetryQueue(aws.client("sqs", config=STORING), settings.callback_queue_url)
    return Parts(caller, queue, counter, logger, http)
