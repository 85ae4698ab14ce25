"""Accepts webhooks, whose senders are authenticated by a signature of the body."""

from collections.abc import Mapping

from smsrelay.errors import InvalidSignatureError
from smsrelay.messages.client_names import is_client_name
from smsrelay.ports import Deadline, Metrics, SigningSecrets
from smsrelay.security.webhook_signature import verify_signature
from smsrelay.services.api import Api, Post
from smsrelay.services.http_response import Response


class Webhooks:
    def __init__(self, api: Api, secrets: SigningSecrets, metrics: Metrics) -> None:
        self._api = api
        self._secrets = secrets
        self._metrics = metrics

    def post(
        self, client: str, headers: Mapping[str, str], body: str, deadline: Deadline
    ) -> Response:
        """Respond to `POST /webhooks/{client}`; the names of `headers` are in lower case.

        The webhook's id is the idempotency key, so a repeated webhook is not sent again. Only
        signed webhooks count towards the client's limit.
        """
        if not self._is_signed(client, headers, body):
            # The response doesn't tell whether the client, its secret or the signature is missing.
            self._metrics.count("WebhooksRefused")
            raise InvalidSignatureError
        post = Post(headers, body, client, is_webhook=True)
        return self._api.post_message(post, deadline)

    def _is_signed(self, client: str, headers: Mapping[str, str], body: str) -> bool:
        if not is_client_name(client):
            return verify_signature(headers, body, ())
        secrets = self._secrets.current(client)
        if verify_signature(headers, body, secrets):
            return True
        refreshed = self._secrets.refresh(client)
        return refreshed != secrets and verify_signature(headers, body, refreshed)
