"""The function `queue_worker`: messages from the queue."""

import time
from functools import cache
from typing import NamedTuple

from aws_lambda_powertools.logging import Logger

from smsrelay.adapters.metrics import PowertoolsMetrics
from smsrelay.adapters.sqs import SqsRetryQueue
from smsrelay.services.queue_worker import QueueWorker
from smsrelay.wiring import sending


class Parts(NamedTuple):
    queue_worker: QueueWorker
    queue: SqsRetryQueue
    threads: int
    """The messages of a batch that are processed concurrently."""
    metrics: PowertoolsMetrics
    logger: Logger


@cache
def parts() -> Parts:
    shared = sending.parts()
    queue_worker = QueueWorker(
        shared.sender,
        shared.request_reader,
        default_client=shared.settings.default_client,
        sender_arns=[arn for arn in shared.settings.queue_sender_arns.split(",") if arn],
        metrics=shared.metrics,
        clock=shared.clock,
        sleep=_sleep,
    )
    threads = shared.settings.concurrent_sends
    return Parts(queue_worker, shared.queue, threads, shared.metrics, shared.logger)


def _sleep(seconds: float) -> None:
    time.sleep(seconds)
