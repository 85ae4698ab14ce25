"""Signs webhooks as a client does, with a library that the relay does not use."""

import time
from datetime import UTC, datetime

from standardwebhooks import Webhook


def signed_headers(
    secret: str, body: str, webhook_id: str, at: float | None = None
) -> dict[str, str]:
    """Return the three headers of the Standard Webhooks specification."""
    seconds = int(time.time() if at is None else at)
    moment = datetime.fromtimestamp(seconds, UTC)
    return {
        "webhook-id": webhook_id,
        "webhook-timestamp": str(seconds),
        "webhook-signature": Webhook(secret).sign(webhook_id, moment, body),
    }
