"""Parses queue messages: bare requests, requests in an SNS or EventBridge envelope, and sends."""

import re
from collections.abc import Collection, Mapping
from contextlib import suppress
from typing import Any, NamedTuple

from pydantic_core import PydanticCustomError

from smsrelay.errors import NotJsonError, TooLargeError
from smsrelay.messages.client_names import RULE, is_client_name
from smsrelay.messages.refusals import Refusal, RequestRefusedError
from smsrelay.messages.request import MAX_SENDS, validate_key
from smsrelay.messages.strict_json import Document, decode, utf8_safe
from smsrelay.sends.send import SendKey

KEY_ATTRIBUTE, CLIENT_ATTRIBUTE = "Idempotency-Key", "client"
KEY_REUSED = "idempotency-key-reused"
"""The reason of a dead letter whose key belongs to another message."""
_ID = re.compile(r"[0-9A-Z]{26}")

INVALID_CLIENT = Refusal("", "invalid-client", f"The attribute client must be {RULE}.")
TOPIC_NOT_LISTED = Refusal(
    "/TopicArn", "topic-not-listed", "The parameter QueueSenderArns does not contain this topic."
)


class QueueMessage(NamedTuple):
    """A message as SQS delivers it; `attributes` has its string attributes only."""

    body: str
    id: str
    attributes: Mapping[str, str]
    trace: str | None = None
    """AWS's trace header."""
    receive_count: int = 1
    """The number of deliveries by SQS, this one included."""
    sent_at: float = 0.0
    """When SQS received it, in seconds since the epoch; 0: not known."""


class QueueRequest(NamedTuple):
    """A request from the queue: the simplified JSON, its client, and its idempotency key."""

    document: Document
    client: str
    """Empty if the message names no client."""
    key: str


class MessageOrigin(NamedTuple):
    """A message's client and idempotency key, read from attributes only."""

    client: str
    """Empty if the message names no client, or an invalid one."""
    key: str
    """The key that the message names, even if it is invalid. It is `sender_id` if it names none."""
    sender_id: str
    """The id that the message's sender got for it."""

    @property
    def valid_key(self) -> str:
        """The key, or the sender's id if the key is invalid."""
        with suppress(PydanticCustomError):
            return validate_key(self.key)
        return self.sender_id


def origin_of(queue_message: QueueMessage, senders: Collection[str] | None = None) -> MessageOrigin:
    """Return the origin of a message, even if its request can't be read."""
    attributes, sender_id = queue_message.attributes, queue_message.id
    with suppress(NotJsonError, TooLargeError):
        value = decode(queue_message.body).value
        attributes, sender_id = _attributes_and_id(value, queue_message, senders)
    client, key = attributes.get(CLIENT_ATTRIBUTE, ""), attributes.get(KEY_ATTRIBUTE, "")
    with suppress(PydanticCustomError):  # an invalid key is kept unchanged
        key = validate_key(key)
    return MessageOrigin(
        client if is_client_name(client) else "", utf8_safe(key) or sender_id, sender_id
    )


def open_envelope(
    queue_message: QueueMessage, senders: Collection[str] | None = None
) -> QueueRequest | SendKey:
    """Return the request in a queue message, or the send that the relay's own message names.

    A request can be the body itself, in an SNS notification, or the detail of an EventBridge event.
    Only topics in `senders` are accepted; None: all. Raises the errors of `decode`, and
    `RequestRefusedError` for another topic, or an invalid client or key.
    """
    document = decode(queue_message.body)
    value = document.value
    attributes, sender_id = _attributes_and_id(value, queue_message, senders)
    if isinstance(value, dict):
        reference = _reference(value)
        if reference:
            return reference
        if _is_notification(value):
            if not _is_listed(value, senders):
                raise RequestRefusedError([TOPIC_NOT_LISTED])
            twice = tuple(entry for entry in document.refusals if entry.pointer == "/Message")
            document = decode(value["Message"])
            document = document._replace(refusals=twice + document.refusals)
        elif _is_event(value):
            document = document.member("detail")
    client = attributes.get(CLIENT_ATTRIBUTE)
    if client is not None and not is_client_name(client):
        raise RequestRefusedError([INVALID_CLIENT])
    key = attributes.get(KEY_ATTRIBUTE)
    if key is None and isinstance(document.value, dict):
        stated = document.value.get("idempotencyKey")
        key = stated if isinstance(stated, str) else None
    return QueueRequest(document, client or "", _validate_key(sender_id if key is None else key))


def _attributes_and_id(
    value: object, queue_message: QueueMessage, senders: Collection[str] | None
) -> tuple[Mapping[str, str], str]:
    """Return the attributes of a message, and the id that its sender got for it."""
    if not isinstance(value, dict):
        return queue_message.attributes, queue_message.id
    if _is_notification(value) and _is_listed(value, senders):
        attributes = {**_sns_attributes(value), **queue_message.attributes}
        return attributes, str(value.get("MessageId") or queue_message.id)
    own_id = value.get("id") if _is_event(value) else None
    return queue_message.attributes, str(own_id or queue_message.id)


def _is_notification(value: Mapping[str, Any]) -> bool:
    return value.get("Type") == "Notification" and isinstance(value.get("Message"), str)


def _is_listed(notification: Mapping[str, Any], senders: Collection[str] | None) -> bool:
    return senders is None or notification.get("TopicArn") in senders


def _is_event(value: Mapping[str, Any]) -> bool:
    return "detail-type" in value and "detail" in value


def _validate_key(key: str) -> str:
    try:
        return validate_key(key)
    except PydanticCustomError as error:
        refusal = Refusal("/idempotencyKey", error.type, error.message())
        raise RequestRefusedError([refusal]) from None


def _reference(value: Mapping[str, Any]) -> SendKey | None:
    reference = value.get("send")
    if set(value) != {"send"} or not isinstance(reference, dict):
        return None
    message_id, n = reference.get("id"), reference.get("n")
    if isinstance(message_id, str) and _ID.fullmatch(message_id) and isinstance(n, int):
        # The ledger must not be asked for an impossible key.
        return SendKey(message_id, n) if 1 <= n <= MAX_SENDS else None
    return None


def _sns_attributes(notification: Mapping[str, Any]) -> dict[str, str]:
    """Read an SNS notification's `MessageAttributes`: `{"client": {"Type": …, "Value": …}}`."""
    attributes = notification.get("MessageAttributes")
    if not isinstance(attributes, dict):
        return {}
    return {
        name: entry["Value"]
        for name, entry in attributes.items()
        if isinstance(entry, dict) and isinstance(entry.get("Value"), str)
    }
