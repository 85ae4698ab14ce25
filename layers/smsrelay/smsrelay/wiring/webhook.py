"""The function `webhook`: signed webhooks over HTTP."""

from functools import cache
from typing import NamedTuple

from aws_lambda_powertools.logging import Logger

from smsrelay.adapters.metrics import PowertoolsMetrics
from smsrelay.adapters.signing_secrets import StoredSigningSecrets
from smsrelay.services.webhook import Webhooks
from smsrelay.wiring import api, sending
from smsrelay.wiring.aws_timeouts import AWS_CONFIG


class Parts(NamedTuple):
    webhooks: Webhooks
    metrics: PowertoolsMetrics
    logger: Logger


@cache
def parts() -> Parts:
    shared, http = sending.parts(), api.parts()
    client = shared.aws.client("secretsmanager", config=AWS_CONFIG)
    secrets = StoredSigningSecrets(client, shared.settings.webhook_secret_prefix, shared.clock)
    webhooks = Webhooks(http.api, secrets, shared.metrics)
    return Parts(webhooks, shared.metrics, shared.logger)
