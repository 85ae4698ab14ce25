"""What only the function for webhooks needs, beside the parts of all functions that send."""

import time
from functools import cache

from smsrelay.adapters.signing_secrets import StoredSigningSecrets
from smsrelay.services.webhook import Webhooks
from smsrelay.wiring import sending
from smsrelay.wiring.timeouts import AWS_CONFIG


@cache
def webhooks() -> Webhooks:
    """The webhooks of this execution environment."""
    parts = sending.parts()
    secrets = parts.aws.client("secretsmanager", config=AWS_CONFIG)
    stored = StoredSigningSecrets(secrets, parts.settings.webhook_secret_prefix, time.time)
    return Webhooks(parts.api, stored, parts.client_registry, parts.metrics)
