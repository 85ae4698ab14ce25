"""The third way in: webhooks, which show who sent them by a signature over their body."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from smsrelay.errors import InvalidSignatureError
from smsrelay.messages.client_names import is_client_name
from smsrelay.ports import Deadline, Metrics, SigningSecrets
from smsrelay.security.webhook_signature import verify_signature
from smsrelay.services.api import Api, Post
from smsrelay.services.client_rate_limit import ClientRateLimit
from smsrelay.services.http_response import Response


class Webhook(NamedTuple):
    """A request to `/webhooks/{client}`: header names in lower case, the very bytes of the body."""

    client: str
    headers: Mapping[str, str]
    body: bytes


class Webhooks:
    """From webhooks to answers. A `RelayError` that it raises has an answer, too."""

    def __init__(
        self, api: Api, secrets: SigningSecrets, rate_limit: ClientRateLimit, metrics: Metrics
    ) -> None:
        """`rate_limit` counts: only what is signed uses a client's limit up."""
        self._api = api
        self._secrets = secrets
        self._rate_limit = rate_limit
        self._metrics = metrics

    def post(self, webhook: Webhook, deadline: Deadline) -> Response:
        """The webhook's id is the idempotency key: a copy is answered again, not sent again."""
        if not self._is_signed(webhook):
            # Nobody learns whether the client, its secret or the signature is what's missing.
            self._metrics.count("WebhooksRefused")
            raise InvalidSignatureError
        self._rate_limit.check(webhook.client)
        key = webhook.headers["webhook-id"]
        post = Post(webhook.headers, webhook.body.decode(), webhook.client, key)
        return self._api.post_message(post, deadline)

    def _is_signed(self, webhook: Webhook) -> bool:
        secrets: Sequence[str] = ()
        if not is_client_name(webhook.client):
            return verify_signature(webhook.headers, webhook.body, secrets)
        secrets = self._secrets.current(webhook.client)
        if verify_signature(webhook.headers, webhook.body, secrets):
            return True
        refreshed = self._secrets.refresh(webhook.client)
        return refreshed != secrets and verify_signature(webhook.headers, webhook.body, refreshed)
