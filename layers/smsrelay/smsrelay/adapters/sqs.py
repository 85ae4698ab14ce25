"""The queue and its dead-letter queue."""

import json
import math
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any, Final

from smsrelay.adapters.aws_errors import aws_errors
from smsrelay.errors import PublishError, QueueUnavailableError
from smsrelay.messages.strict_json import MAX_REQUEST_BYTES
from smsrelay.sends.backoff import MAX_SQS_DELAY
from smsrelay.sends.send import SendKey, reference_body

if TYPE_CHECKING:
    from mypy_boto3_sqs import SQSClient

BATCH: Final = 10
"""Messages in one call, the most that SQS takes."""
LONGEST_ATTRIBUTE: Final = 4_000
LONGEST_VISIBILITY: Final = 42_000
"""Seconds: SQS takes 12 hours at most, which begin when the message was received."""


class SqsRetryQueue:
    """The `RetryQueue` port."""

    def __init__(self, client: "SQSClient", url: str) -> None:
        """`url` is the queue's."""
        self._client = client
        self._url = url

    def put(self, sends: Mapping[SendKey, float]) -> None:
        """Enqueue a reference to each send; what SQS refuses is tried once more."""
        entries: list[Any] = [
            {
                "Id": str(n),
                "MessageBody": reference_body(key),
                "DelaySeconds": math.ceil(min(wait, MAX_SQS_DELAY)),
            }
            for n, (key, wait) in enumerate(sends.items())
        ]
        refused = self._send(self._send(entries))
        if refused:
            raise QueueUnavailableError(f"the queue refused {len(refused)} messages")

    def show_again(self, receipt_handle: str, seconds: float) -> None:
        """Let a message that is being worked on come back after so many seconds."""
        with _queue_errors():
            self._client.change_message_visibility(
                QueueUrl=self._url,
                ReceiptHandle=receipt_handle,
                VisibilityTimeout=min(math.ceil(seconds), LONGEST_VISIBILITY),
            )

    def _send(self, entries: Sequence[Any]) -> list[Any]:
        return _send(self._client, self._url, entries)


class SqsDeadLetterQueue:
    """The `DeadLetterQueue` port."""

    def __init__(self, client: "SQSClient", url: str) -> None:
        """`url` is the dead-letter queue's."""
        self._client = client
        self._url = url

    def put(self, body: str, attributes: Mapping[str, str]) -> None:
        """Keep a body; a little of the largest ones is cut off to make room for the reason."""
        values = {
            name: _printable(value)[:LONGEST_ATTRIBUTE]
            for name, value in attributes.items()
            if value
        }
        room = MAX_REQUEST_BYTES - len(json.dumps(values).encode()) - len(values) * len("String")
        truncated = body.encode("utf-8", "replace")[:room].decode("utf-8", "ignore")
        with _queue_errors():
            answer = self._client.send_message(
                QueueUrl=self._url,
                MessageBody=truncated or " ",
                MessageAttributes={
                    name: {"DataType": "String", "StringValue": value}
                    for name, value in values.items()
                },
            )
            answer["MessageId"]


class SqsCallbacks:
    """The `Callbacks` port."""

    def __init__(self, client: "SQSClient", url: str) -> None:
        """`url` is the queue's."""
        self._client = client
        self._url = url

    def put(self, bodies: Sequence[str]) -> None:
        """Enqueue them; what SQS refuses is told again with all the others."""
        entries = [{"Id": str(n), "MessageBody": body} for n, body in enumerate(bodies)]
        try:
            refused = _send(self._client, self._url, entries)
        except QueueUnavailableError as error:
            raise PublishError(str(error)) from error
        if refused:
            raise PublishError(f"the queue refused {len(refused)} callbacks")


def _send(client: "SQSClient", url: str, entries: Sequence[Any]) -> list[Any]:
    """Send in batches; the entries that were not taken."""
    taken: set[str] = set()
    for start in range(0, len(entries), BATCH):
        batch = entries[start : start + BATCH]
        with _queue_errors():
            answer = client.send_message_batch(QueueUrl=url, Entries=batch)
        taken |= {entry["Id"] for entry in answer.get("Successful", [])}
    return [entry for entry in entries if entry["Id"] not in taken]


def _printable(value: str) -> str:
    return "".join(character if character.isprintable() else " " for character in value)


def _queue_errors() -> AbstractContextManager[None]:
    return aws_errors(QueueUnavailableError, "the queue is out of reach")
