"""The function `sweeper`: recovers stalled sends."""

from functools import cache
from typing import NamedTuple

from aws_lambda_powertools.logging import Logger

from smsrelay.adapters.metrics import PowertoolsMetrics
from smsrelay.services.sweeper import Sweeper
from smsrelay.wiring import sending


class Parts(NamedTuple):
    sweeper: Sweeper
    metrics: PowertoolsMetrics
    logger: Logger


@cache
def parts() -> Parts:
    shared = sending.parts()
    sweeper = Sweeper(shared.sender, shared.ledger, shared.pauses, shared.metrics, shared.clock)
    return Parts(sweeper, shared.metrics, shared.logger)
