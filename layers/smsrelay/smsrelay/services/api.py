"""Handles requests over HTTP, independently of API Gateway."""

import logging
import re
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from typing import NamedTuple

from pydantic_core import PydanticCustomError

from smsrelay.errors import (
    InvalidHeaderError,
    InvalidQueryError,
    NotFoundError,
    QueueUnavailableError,
    RateLimitedError,
    RequestInProgressError,
    UnreadableItemError,
    UnsupportedMediaTypeError,
)
from smsrelay.messages.preview import warnings_of
from smsrelay.messages.refusals import RequestRefusedError
from smsrelay.messages.request import MAX_REFERENCE, MAX_SENDS, validate_key, validate_reference
from smsrelay.messages.strict_json import decode, utf8_safe
from smsrelay.messages.upstream_calls import build_calls
from smsrelay.ports import Clock, Deadline, MessagePosition, Metrics, RecipientResults
from smsrelay.sends import ids
from smsrelay.sends.send import MessageState, Status
from smsrelay.services import responses
from smsrelay.services.client_rate_limit import ClientRateLimit
from smsrelay.services.http_response import Response
from smsrelay.services.request_reader import RequestReader, key_in
from smsrelay.services.sender import Sender, Timing

logger = logging.getLogger(__name__)

LONGEST_NAME = 2_000
"""The most bytes of an id or tokenId to look up: a DynamoDB key has at most 2,048."""
PAGE_SIZE = 20
"""The most messages of a page; it ends earlier when its messages have `MAX_SENDS` sends."""
_CURSOR = re.compile("([0-9]{1,12}(?:[.][0-9]{1,3})?)-([0-9A-Z]{26})")


class Post(NamedTuple):
    """A posted message. The names of `headers` are in lower case."""

    headers: Mapping[str, str]
    body: str
    client: str
    is_webhook: bool = False
    """Whether it is a signed webhook, whose header `webhook-id` has the idempotency key."""
    is_rate_limited: bool = True
    """Whether the relay limits the client's recipients; usage plans limit clients with API keys."""


class Api:
    """Responds to requests. `problem_documents.of_error` maps the `RelayError`s that it raises."""

    def __init__(  # noqa: PLR0913 - one argument for each of its parts
        self,
        sender: Sender,
        reader: RequestReader,
        *,
        rate_limit: ClientRateLimit,
        metrics: Metrics,
        clock: Clock,
        recipient_results: RecipientResults | None = None,
    ) -> None:
        self._sender = sender
        self._reader = reader
        self._rate_limit = rate_limit
        self._metrics = metrics
        self._clock = clock
        self._recipient_results = recipient_results

    def get_message(self, message_id: str, client: str) -> Response:
        _check_name(message_id)
        message = self._sender.load(message_id, client)
        results = self._recipient_results.load(message_id) if self._recipient_results else {}
        return responses.of_stored(message, message_id, results)

    def cancel_message(self, message_id: str, client: str) -> Response:
        """Cancel the sends that are still queued; a repeated request has the same response."""
        _check_name(message_id)
        return responses.of_stored(self._sender.cancel(message_id, client), message_id)

    def find_messages(self, query: Mapping[str, Sequence[str]], client: str) -> Response:
        """Find the client's messages by idempotency key, or a page of them by reference."""
        match sorted(query.items()):
            case [("idempotencyKey", [key])]:
                return self._find_by_key(_valid("idempotencyKey", key, validate_key), client)
            case [("reference", [reference])]:
                after = None
            case [("next", [cursor]), ("reference", [reference])]:
                after = _position(cursor)
            case _:
                raise InvalidQueryError(
                    "Use exactly one of the parameters idempotencyKey and reference, once; next "
                    "only with reference."
                )
        reference = _valid("reference", utf8_safe(reference), validate_reference)
        if len(reference) > MAX_REFERENCE:
            raise InvalidQueryError(f"reference: It has at most {MAX_REFERENCE} characters.")
        return self._find_by_reference(reference, client, after)

    def _find_by_key(self, key: str, client: str) -> Response:
        messages, unreadable = {}, None
        for message_id in ids.possible_message_ids(client, key):
            try:
                messages[message_id] = self._sender.load(message_id, client)
            except NotFoundError:
                continue
            except UnreadableItemError as error:  # it may be another client's message
                unreadable = error
        if unreadable and not messages:
            raise unreadable
        return responses.of_found(messages)

    def _find_by_reference(
        self, reference: str, client: str, after: MessagePosition | None
    ) -> Response:
        messages, sends = dict[str, MessageState](), 0
        for position, message in self._sender.find_by_reference(reference, client, after):
            if len(messages) == PAGE_SIZE or sends >= MAX_SENDS:
                return responses.of_found(messages, after and "-".join(after))
            messages[message.id], after = message, position
            sends += len(message.sends)
        return responses.of_found(messages)

    def get_token(self, token_id: str, client: str) -> Response:
        _check_name(token_id)
        return responses.of_token(token_id, self._sender.find_by_token_id(token_id, client))

    def post_message(self, post: Post, deadline: Deadline) -> Response:
        _check_content(post.headers)
        began = self._clock()
        document = decode(post.body)
        if post.is_webhook and _is_payload(document.value):
            document = document.member("data")
        name = "webhook-id" if post.is_webhook else "Idempotency-Key"
        key = _key(post.headers, name) or key_in(document.value)
        identity = ids.identify(post.client, key, document) if key else None
        deferred = _prefers_async(post.headers)
        try:
            submission = self._reader.read(
                document,
                client=post.client,
                arrived_at=began,
                trace=post.headers.get("x-amzn-trace-id"),
            )
            if post.is_rate_limited and not self._is_stored(identity):
                self._rate_limit.check(post.client, len(submission.request.to))
            message = self._sender.submit(
                submission, identity, deadline, Timing.DEFERRED if deferred else Timing.NOW
            )
        except (RequestRefusedError, RateLimitedError) as refused:
            message = self._sender.replay(identity, refused)
        if any(send.status is Status.SENDING for send in message.sends):
            raise RequestInProgressError(message.id)
        self._enqueue(message)
        if message.upstream_seconds is not None:
            spent = self._clock() - began
            self._metrics.time("OverheadLatency", max(0.0, spent - message.upstream_seconds))
        return responses.of_message(message, deferred=deferred)

    def preview_message(self, post: Post) -> Response:
        """Return what `post_message` would send now, without storing, counting or sending."""
        _check_content(post.headers)
        _ = _key(post.headers)
        now = self._clock()
        submission = self._reader.read(decode(post.body), client=post.client, arrived_at=now)
        moment = datetime.fromtimestamp(now, UTC)
        return responses.of_preview(
            submission,
            build_calls(submission.request, moment),
            warnings_of(submission.request, moment),
        )

    def _is_stored(self, identity: ids.Identity | None) -> bool:
        """Whether a request is repeated. Raises `IdempotencyKeyReusedError`."""
        with suppress(NotFoundError):
            self._sender.replay(identity, NotFoundError(""))
            return True
        return False

    def _enqueue(self, message: MessageState) -> None:
        """Enqueue the queued sends, after a replay too: a copy for a claimed send does no harm."""
        try:
            self._sender.enqueue(message.sends)
        except QueueUnavailableError:
            # The sends are stored, so the response is correct: the sweeper enqueues them later.
            logger.exception("sends not enqueued", extra={"message_id": message.id})


def _is_payload(value: object) -> bool:
    """Whether it is a payload as Standard Webhooks recommends it."""
    return isinstance(value, dict) and {"type", "timestamp", "data"} <= value.keys()


def _check_name(name: str) -> None:
    if len(name.encode()) > LONGEST_NAME:
        raise NotFoundError(name)


def _valid(name: str, value: str, validate: Callable[[str], str]) -> str:
    """Validate the value of a parameter. Raises `InvalidQueryError`."""
    try:
        return validate(value)
    except PydanticCustomError as error:
        raise InvalidQueryError(f"{name}: {error.message()}") from None


def _position(cursor: str) -> MessagePosition:
    match = _CURSOR.fullmatch(cursor)
    if match is None:
        raise InvalidQueryError("next: It must be the value of next from the page before.")
    return MessagePosition(*match.groups())


def _check_content(headers: Mapping[str, str]) -> None:
    media_type, *parameters = headers.get("content-type", "").lower().split(";")
    if media_type.strip() != "application/json":
        raise UnsupportedMediaTypeError("Send the header Content-Type: application/json.")
    for name, _, value in (parameter.partition("=") for parameter in parameters):
        if name.strip() == "charset" and value.strip().strip('"') not in {"utf-8", "utf8"}:
            raise UnsupportedMediaTypeError("Send the body in UTF-8.")
    if headers.get("content-encoding", "identity").strip().lower() != "identity":
        raise UnsupportedMediaTypeError("Send the body without a content encoding.")


def _key(headers: Mapping[str, str], name: str = "Idempotency-Key") -> str | None:
    """Return the key in the header, without its quotes. Raises `InvalidHeaderError`."""
    value = headers.get(name.lower())
    if value is None:
        return None
    try:
        return validate_key(value.strip())
    except PydanticCustomError as error:
        raise InvalidHeaderError(f"{name}: {error.message()}") from None


def _prefers_async(headers: Mapping[str, str]) -> bool:
    """Whether `Prefer` contains respond-async (RFC 7240)."""
    preferences = headers.get("prefer", "").split(",")
    return "respond-async" in {entry.partition(";")[0].strip().lower() for entry in preferences}
