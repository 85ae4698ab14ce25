"""The function that follows deliveries up."""

import os
import time
from collections.abc import Mapping
from functools import cache
from typing import NamedTuple

from aws_lambda_powertools.logging import Logger
from aws_lambda_powertools.metrics import Metrics

from smsrelay.adapters.boto_clients import Aws
from smsrelay.adapters.dynamodb_ledger import DynamoDbLedger
from smsrelay.adapters.http_transport import KeepAliveTransport
from smsrelay.adapters.logger import package_logger
from smsrelay.adapters.metrics import MetricsCounter
from smsrelay.services.delivery_poller import SIDE_BY_SIDE, Follower
from smsrelay.settings import Settings
from smsrelay.wiring import options
from smsrelay.wiring.timeouts import STORING
from smsrelay.wiring.upstream import mobileconnect


class Parts(NamedTuple):
    """What that function uses."""

    follower: Follower
    counter: MetricsCounter
    logger: Logger
    connections: KeepAliveTransport

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
    logger, counter = package_logger(), MetricsCounter(Metrics())
    aws = Aws()
    connections = KeepAliveTransport(SIDE_BY_SIDE, time.time)
    dynamodb = aws.client("dynamodb", config=STORING)
    secrets = aws.client("secretsmanager", config=STORING)
    follower = Follower(
        ledger=DynamoDbLedger(dynamodb, settings.table_name, settings.retention_days),
        reports=mobileconnect(connections, settings, aws, secrets, time.time),
        counter=counter,
        clock=time.time,
        budget=settings.delivery_calls_per_minute,
        rows=options.recipients(settings, dynamodb, secrets),
    )
    return Parts(follower, counter, logger, connections)
