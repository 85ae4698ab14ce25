"""Parses queue messages: bare requests, requests in an SNS or EventBridge envelope, and sends."""

import re
from collections.abc import Collection, Mapping
from contextlib import suppress
from typing import Any, NamedTuple

from pydantic_core import PydanticCustomError

from smsrelay.messages.client_names import RULE, is_client_name
from smsrelay.messages.refusals import Refusal, RequestRefusedError
from smsrelay.messages.request import MAX_SENDS, validate_key
from smsrelay.messages.strict_json import Document, decode, utf8_safe
from smsrelay.sends.send import SendKey

KEY_ATTRIBUTE, CLIENT_ATTRIBUTE = "Idempotency-Key", "client"
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
    """A message's client and idempotency key, read from its attributes only."""

    client: str
    """Empty if the message names no client, or an invalid one."""
    key: str


def origin_of(queue_message: QueueMessage) -> MessageOrigin:
    """Return the origin of a message from its attributes, even if its body can't be read."""
    client = queue_message.attributes.get(CLIENT_ATTRIBUTE, "")
    key = queue_message.attributes.get(KEY_ATTRIBUTE, "")
    with suppress(PydanticCustomError):  # an invalid key is kept unchanged
        key = validate_key(key)
    return MessageOrigin(
        client if is_client_name(client) else "", utf8_safe(key) or queue_message.id
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
    attributes, fallback = queue_message.attributes, queue_message.id
    value = document.value
    if isinstance(value, dict):
        reference = _reference(value)
        if reference:
            return reference
        if value.get("Type") == "Notification" and isinstance(value.get("Message"), str):
            if senders is not None and value.get("TopicArn") not in senders:
                raise RequestRefusedError([TOPIC_NOT_LISTED])
            twice = tuple(entry for entry in document.refusals if entry.pointer == "/Message")
            document = decode(value["Message"])
            document = document._replace(refusals=twice + document.refusals)
            attributes = {**_sns_attributes(value), **attributes}
            fallback = str(value.get("MessageId") or fallback)
        elif "detail-type" in value and "detail" in value:
            document = document.member("detail")
            fallback = str(value.get("id") or fallback)
    client = attributes.get(CLIENT_ATTRIBUTE)
    if client is not None and not is_client_name(client):
        raise RequestRefusedError([INVALID_CLIENT])
    key = attributes.get(KEY_ATTRIBUTE)
    if key is None and isinstance(document.value, dict):
        stated = document.value.get("idempotencyKey")
        key = stated if isinstance(stated, str) else None
    return QueueRequest(document, client or "", _validate_key(fallback if key is None else key))


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
