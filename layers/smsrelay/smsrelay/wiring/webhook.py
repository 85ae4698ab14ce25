"""What only the function for webhooks needs, beside the parts of all functions that send."""

import time
from functools import cache

from smsrelay.adapters.webhook_secrets import StoredWebhookSecrets
from smsrelay.services.webhook import Webhooks
from smsrelay.wiring import sending
from smsrelay.wiring.timeouts import STORING


@cache
def webhooks() -> Webhooks:
    """The webhooks of this execution environment."""
    parts = sending.parts()
    secrets = parts.aws.client("secretsmanager", config=STORING)
    stored = StoredWebhookSecrets(secrets, parts.settings.webhook_secrets, time.time)
    return Webhooks(parts.http_api, stored, parts.callers, parts.counter)
