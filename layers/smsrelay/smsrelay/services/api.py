"""The first way in: HTTP requests, whatever carries them."""

import logging
from collections.abc import Mapping
from typing import NamedTuple

from pydantic_core import PydanticCustomError

from smsrelay.errors import (
    InvalidHeaderError,
    NotFoundError,
    QueueUnavailableError,
    RequestInProgressError,
    UnsupportedMediaTypeError,
)
from smsrelay.messages.refusals import RequestRefusedError
from smsrelay.messages.request import validate_key
from smsrelay.messages.strict_json import decode
from smsrelay.ports import Clock, Deadline, Metrics, RecipientResults
from smsrelay.sends import ids
from smsrelay.sends.send import Status
from smsrelay.services import responses
from smsrelay.services.http_response import Response
from smsrelay.services.request_reader import RequestReader, key_in
from smsrelay.services.sender import MessageState, Sender, Timing

logger = logging.getLogger(__name__)

LONGEST_NAME = 2_000
"""The bytes of an id or tokenId that can be looked up: a key of DynamoDB has at most 2,048."""


class Post(NamedTuple):
    """A posted message: header names in lower case, the body as text."""

    headers: Mapping[str, str]
    body: str
    client: str
    key: str | None = None
    """An idempotency key that stands for the header's: a webhook's id, which is signed."""


class Api:
    """From requests to answers. A `RelayError` that it raises has an answer, too."""

    def __init__(
        self,
        relay: Sender,
        reader: RequestReader,
        *,
        metrics: Metrics,
        clock: Clock,
        recipient_results: RecipientResults | None = None,
    ) -> None:
        self._relay = relay
        self._reader = reader
        self._metrics = metrics
        self._clock = clock
        self._recipient_results = recipient_results

    def get_message(self, message_id: str, client: str) -> Response:
        _check_name(message_id)
        message = self._relay.load(message_id, client)
        results = self._recipient_results.load(message_id) if self._recipient_results else {}
        return responses.of_stored(message, message_id, results)

    def get_token(self, token_id: str, client: str) -> Response:
        _check_name(token_id)
        return responses.of_token(token_id, self._relay.find_by_token_id(token_id, client))

    def post_message(self, post: Post, deadline: Deadline) -> Response:
        _check_content(post.headers)
        began = self._clock()
        document = decode(post.body)
        key = post.key or _key(post.headers) or key_in(document.value)
        identity = ids.identify(post.client, key, document) if key else None
        deferred = _prefers_async(post.headers)
        try:
            submission = self._reader.read(
                document,
                client=post.client,
                identity=identity,
                arrived_at=began,
                trace=post.headers.get("x-amzn-trace-id"),
            )
            message = self._relay.submit(
                submission, deadline, Timing.DEFERRED if deferred else Timing.NOW
            )
        except RequestRefusedError as refused:
            message = self._relay.replay(identity, refused)
        if any(send.status is Status.SENDING for send in message.sends):
            raise RequestInProgressError(message.id)
        self._enqueue(message)
        if message.upstream_seconds is not None:
            spent = self._clock() - began
            self._metrics.time("OverheadLatency", max(0.0, spent - message.upstream_seconds))
        return responses.of_message(message, deferred=deferred)

    def _enqueue(self, message: MessageState) -> None:
        """Enqueue what is queued, after a replay too: a send that is claimed doesn't mind."""
        try:
            self._relay.enqueue(message.sends)
        except QueueUnavailableError:
            # They are stored, so the answer stays true: the sweeper hands them over.
            logger.exception("sends not in the queue", extra={"message_id": message.id})


def _check_name(name: str) -> None:
    if len(name.encode()) > LONGEST_NAME:
        raise NotFoundError(name)


def _check_content(headers: Mapping[str, str]) -> None:
    media_type, *parameters = headers.get("content-type", "").lower().split(";")
    if media_type.strip() != "application/json":
        raise UnsupportedMediaTypeError("Send the header Content-Type: application/json.")
    for name, _, value in (parameter.partition("=") for parameter in parameters):
        if name.strip() == "charset" and value.strip().strip('"') not in {"utf-8", "utf8"}:
            raise UnsupportedMediaTypeError("Send the body in UTF-8.")
    if headers.get("content-encoding", "identity").strip().lower() != "identity":
        raise UnsupportedMediaTypeError("Send the body without a content encoding.")


def _key(headers: Mapping[str, str]) -> str | None:
    """The key in the header Idempotency-Key, quoted or not. Raises `InvalidHeaderError`."""
    value = headers.get("idempotency-key")
    if value is None:
        return None
    try:
        return validate_key(value.strip())
    except PydanticCustomError as error:
        raise InvalidHeaderError(f"Idempotency-Key: {error.message()}") from None


def _prefers_async(headers: Mapping[str, str]) -> bool:
    """Whether `Prefer` holds respond-async (RFC 7240), among whatever else."""
    preferences = headers.get("prefer", "").split(",")
    return "respond-async" in {entry.partition(";")[0].strip().lower() for entry in preferences}
