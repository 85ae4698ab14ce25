"""The third way in: webhooks, which show who sent them by a signature over their body."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from smsrelay.errors import (
    NothingStoredError,
    NotSignedError,
    RelayError,
    SecretUnavailableError,
)
from smsrelay.messages.client_names import is_client_name
from smsrelay.ports import Counter, Deadline, WebhookSecrets
from smsrelay.security.webhook_signature import is_signed
from smsrelay.services import responses
from smsrelay.services.api import HttpApi, Post
from smsrelay.services.api_clients import Callers
from smsrelay.services.responses import Answer


class Webhook(NamedTuple):
    """A request to `/webhooks/{client}`: header names in lower case, the very bytes of the body."""

    client: str
    headers: Mapping[str, str]
    body: bytes


class Webhooks:
    """From webhooks to answers. It raises nothing that has an answer."""

    def __init__(
        self, http_api: HttpApi, secrets: WebhookSecrets, callers: Callers, counter: Counter
    ) -> None:
        """`callers` counts: only what is signed uses a client's limit up."""
        self._http_api = http_api
        self._secrets = secrets
        self._callers = callers
        self._counter = counter

    def post(self, webhook: Webhook, deadline: Deadline) -> Answer:
        """`POST /webhooks/{client}`: the webhook's id is the idempotency key.

        So a copy of a webhook is answered again, and not sent again.
        """
        try:
            self._check(webhook)
            self._callers.admit(webhook.client)
        except SecretUnavailableError:
            return responses.of_error(NothingStoredError())
        except RelayError as error:
            return responses.of_error(error)
        key = webhook.headers["webhook-id"]
        post = Post(webhook.headers, webhook.body.decode(), webhook.client, key)
        return self._http_api.post_message(post, deadline)

    def _check(self, webhook: Webhook) -> None:
        """Nobody learns whether the client, its secret or the signature is what's missing.

        Raises:
            NotSignedError: it is.
            SecretUnavailableError: nobody knows.
        """
        if self._is_signed(webhook):
            return
        self._counter.count("WebhooksRefused")
        raise NotSignedError

    def _is_signed(self, webhook: Webhook) -> bool:
        known: Sequence[str] = ()
        if not is_client_name(webhook.client):
            return is_signed(webhook.headers, webhook.body, known)
        known = self._secrets.current(webhook.client)
        if is_signed(webhook.headers, webhook.body, known):
            return True
        newer = self._secrets.newer(webhook.client)
        return newer != known and is_signed(webhook.headers, webhook.body, newer)
