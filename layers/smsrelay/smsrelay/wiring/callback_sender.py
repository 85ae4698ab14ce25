"""The function that posts callbacks."""

import os
import time
from functools import cache
from typing import NamedTuple

import httpx
from aws_lambda_powertools.logging import Logger
from aws_lambda_powertools.metrics import Metrics

from smsrelay.adapters.boto_clients import BotoClients
from smsrelay.adapters.callback_client import HttpCallbackClient
from smsrelay.adapters.http_transport import http_client
from smsrelay.adapters.logger import package_logger
from smsrelay.adapters.metrics import PowertoolsMetrics
from smsrelay.adapters.signing_secrets import StoredSigningSecrets
from smsrelay.adapters.sqs import SqsRetryQueue
from smsrelay.services.callback_sender import CallbackSender
from smsrelay.settings import Settings
from smsrelay.wiring import options
from smsrelay.wiring.aws_timeouts import AWS_CONFIG


class Parts(NamedTuple):
    callback_sender: CallbackSender
    queue: SqsRetryQueue
    metrics: PowertoolsMetrics
    logger: Logger
    connections: httpx.Client


@cache
def parts() -> Parts:
    settings, aws = Settings.from_environment(os.environ), BotoClients()
    logger, metrics = package_logger(), PowertoolsMetrics(Metrics())
    catalogue = options.catalogue(aws, settings, metrics, time.time)
    if catalogue is None:
        raise ValueError("callbacks need the catalogue")
    # More connections than callbacks in a batch: a callback that hangs keeps its connection.
    http = http_client(100, time.time)
    secrets = aws.client("secretsmanager", config=AWS_CONFIG)
    callback_sender = CallbackSender(
        catalogue=catalogue,
        secrets=StoredSigningSecrets(secrets, settings.callback_secret_prefix, time.time),
        client=HttpCallbackClient(http),
        metrics=metrics,
        clock=time.time,
    )
    queue = SqsRetryQueue(aws.client("sqs", config=AWS_CONFIG), settings.callback_queue_url)
    return Parts(callback_sender, queue, metrics, logger, http)
