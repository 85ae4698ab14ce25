"""The function `api`: requests over HTTP."""

from functools import cache
from typing import NamedTuple

from aws_lambda_powertools.logging import Logger

from smsrelay.adapters.dynamodb_api_clients import DynamoDbApiClients
from smsrelay.adapters.metrics import PowertoolsMetrics
from smsrelay.services.api import Api
from smsrelay.services.api_clients import ClientRegistry
from smsrelay.services.client_rate_limit import ClientRateLimit
from smsrelay.wiring import sending


class Parts(NamedTuple):
    api: Api
    client_registry: ClientRegistry
    metrics: PowertoolsMetrics
    logger: Logger


@cache
def parts() -> Parts:
    shared = sending.parts()
    clients = DynamoDbApiClients(shared.dynamodb, shared.settings.table_name)
    registry = ClientRegistry(clients, default=shared.settings.default_client, clock=shared.clock)
    rate_limit = ClientRateLimit(
        clients, per_minute=shared.settings.client_recipients_per_minute, clock=shared.clock
    )
    api = Api(
        shared.sender,
        shared.request_reader,
        rate_limit=rate_limit,
        metrics=shared.metrics,
        clock=shared.clock,
        recipient_results=shared.recipient_results,
    )
    return Parts(api, registry, shared.metrics, shared.logger)
