"""The SQS queues: the queue, its dead-letter queue, and the queue of callbacks."""

import json
import math
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from itertools import batched
from typing import TYPE_CHECKING, Any, Final

from smsrelay.adapters.aws_errors import aws_errors
from smsrelay.errors import QueueUnavailableError
from smsrelay.messages.strict_json import MAX_REQUEST_BYTES
from smsrelay.sends.backoff import MAX_SQS_DELAY
from smsrelay.sends.send import SendKey, reference_body

if TYPE_CHECKING:
    from mypy_boto3_sqs import SQSClient

BATCH: Final = 10
"""The most messages of one call."""
LONGEST_ATTRIBUTE: Final = 4_000
LONGEST_VISIBILITY: Final = 42_000
"""In seconds. SQS's limit is 12 hours from the receipt of the message."""


class _SqsQueue:
    def __init__(self, client: "SQSClient", url: str) -> None:
        self._client = client
        self._url = url

    def _send(self, entries: Sequence[Any], tries: int = 1) -> None:
        """Send in batches, and those entries again that SQS did not accept."""
        codes: set[str] = set()
        for _ in range(tries):
            taken: set[str] = set()
            for batch in batched(entries, BATCH, strict=False):
                with _queue_errors():
                    answer = self._client.send_message_batch(QueueUrl=self._url, Entries=batch)
                taken |= {entry["Id"] for entry in answer.get("Successful", [])}
                codes |= {str(entry.get("Code")) for entry in answer.get("Failed", [])}
            entries = [entry for entry in entries if entry["Id"] not in taken]
        if entries:
            refused = f"the queue refused {len(entries)} messages: {', '.join(sorted(codes))}"
            raise QueueUnavailableError(refused)


class SqsRetryQueue(_SqsQueue):
    """The `RetryQueue` port."""

    def put(self, sends: Mapping[SendKey, float]) -> None:
        """Enqueue a reference to each send; entries that SQS refuses are tried once more."""
        entries: list[Any] = [
            {
                "Id": str(n),
                "MessageBody": reference_body(key),
                "DelaySeconds": math.ceil(min(wait, MAX_SQS_DELAY)),
            }
            for n, (key, wait) in enumerate(sends.items())
        ]
        self._send(entries, tries=2)

    def show_again(self, receipt_handle: str, seconds: float) -> None:
        """Make SQS deliver a message again after so many seconds."""
        with _queue_errors():
            self._client.change_message_visibility(
                QueueUrl=self._url,
                ReceiptHandle=receipt_handle,
                VisibilityTimeout=min(math.ceil(seconds), LONGEST_VISIBILITY),
            )


class SqsDeadLetterQueue(_SqsQueue):
    """The `DeadLetterQueue` port."""

    def put(self, body: str, attributes: Mapping[str, str], trace: str | None) -> None:
        """Store a body; the largest ones are cut a little to make room for the attributes."""
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
                **with_trace(trace),
            )
            answer["MessageId"]


class SqsCallbacks(_SqsQueue):
    """The `Callbacks` port."""

    def put(self, bodies: Sequence[str]) -> None:
        self._send([{"Id": str(n), "MessageBody": body} for n, body in enumerate(bodies)])


def with_trace(trace: str | None) -> dict[str, Any]:
    """Return the argument that sets a message's trace; the default is the sender's trace."""
    if not trace:
        return {}
    header = {"DataType": "String", "StringValue": trace}
    return {"MessageSystemAttributes": {"AWSTraceHeader": header}}


def _printable(value: str) -> str:
    return "".join(character if character.isprintable() else " " for character in value)


def _queue_errors() -> AbstractContextManager[None]:
    return aws_errors(QueueUnavailableError, "the queue is unavailable")
