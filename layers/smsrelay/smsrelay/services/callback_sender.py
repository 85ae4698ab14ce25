"""Posts callbacks to clients, and decides when to retry a failed one."""

import json
import logging
from dataclasses import dataclass
from http import HTTPStatus

from smsrelay.errors import LedgerUnavailableError, SecretUnavailableError
from smsrelay.ports import CallbackClient, CatalogueSource, Clock, Metrics, SigningSecrets
from smsrelay.security.webhook_signature import signature_headers
from smsrelay.sends.status_events import event_id

logger = logging.getLogger(__name__)

RETRY_SCHEDULE = (5, 300, 1_800, 7_200, 18_000, 36_000, 36_000)
"""Seconds between the attempts of a callback, from the Standard Webhooks specification."""
_DONE = {*range(200, 300), HTTPStatus.GONE}
"""The client accepted the callback, or (410) wants no more callbacks."""


@dataclass(kw_only=True)
class CallbackSender:
    catalogue: CatalogueSource
    secrets: SigningSecrets
    """The secrets of callbacks, not those of webhooks."""
    client: CallbackClient
    metrics: Metrics
    clock: Clock

    def send(self, body: str, attempt: int) -> float | None:
        """Post an event, signed as Standard Webhooks specify.

        `attempt` is the number of this attempt, from 1. Returns the seconds until the next, None
        if the callback is done. After the last, SQS moves the callback to the dead-letter queue.
        """
        event = json.loads(body)
        client = event["data"]["client"]
        fields = {"client": client, "event": event_id(event)}
        try:
            url = self.catalogue.current().callback_of(client)
            status = self._post(url, client, fields["event"], body) if url else "no URL"
        except (LedgerUnavailableError, SecretUnavailableError) as error:
            status = str(error)
        if status in _DONE:
            self.metrics.count("CallbacksDone")
            return None
        self.metrics.count("CallbacksFailed")
        logger.warning("callback failed", extra=fields | {"status": status, "try": attempt})
        return 0.0 if attempt > len(RETRY_SCHEDULE) else float(RETRY_SCHEDULE[attempt - 1])

    def _post(self, url: str, client: str, name: str, body: str) -> int | str:
        secrets = self.secrets.current(client)
        if not secrets:
            logger.error("callback not signed: the client has no secret", extra={"client": client})
            return "no secret"
        headers = signature_headers(secrets, name, int(self.clock()), body.encode())
        return self.client.post(url, body, {"Content-Type": "application/json", **headers})
