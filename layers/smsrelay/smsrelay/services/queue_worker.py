"""Processes queue messages, from other systems and from the relay itself."""

import logging
from collections.abc import Callable, Collection, Sequence

from smsrelay.errors import (
    IdempotencyKeyReusedError,
    LedgerUnavailableError,
    NotFoundError,
    NotJsonError,
    QueueUnavailableError,
    TooLargeError,
)
from smsrelay.messages.refusals import Refusal, RequestRefusedError
from smsrelay.ports import Clock, Deadline, Metrics
from smsrelay.sends import ids
from smsrelay.sends.queue_envelopes import (
    KEY_REUSED,
    QueueMessage,
    QueueRequest,
    open_envelope,
    origin_of,
)
from smsrelay.sends.send import Send, SendKey, Status
from smsrelay.services.request_reader import RequestReader
from smsrelay.services.sender import Sender, Timing

logger = logging.getLogger(__name__)

OUTAGE_DELAY, MAX_OUTAGE_DELAY = 15.0, 900.0
"""The first and the longest delay in seconds during an outage of the ledger or the queue."""


def outage_delay(receive_count: int) -> float:
    """Return the delay of a message during an outage, which doubles with each receive.

    SQS moves a message to the dead-letter queue after 1,000 receives: with a constant delay of 15
    seconds that would be after 4 hours.
    """
    doublings = min(max(0, receive_count - 1), 10)  # a larger power could be too large for a float
    return min(MAX_OUTAGE_DELAY, OUTAGE_DELAY * 2.0**doublings)


class QueueWorker:
    def __init__(  # noqa: PLR0913 - its ports and settings
        self,
        sender: Sender,
        reader: RequestReader,
        *,
        default_client: str,
        sender_arns: Collection[str],
        metrics: Metrics,
        clock: Clock,
        sleep: Callable[[float], None],
    ) -> None:
        """`default_client` is the client of messages that name none; their ids don't depend on it.

        SNS notifications are accepted only from the topics whose ARNs are in `sender_arns`.
        """
        self._sender = sender
        self._reader = reader
        self._default_client = default_client
        self._sender_arns = sender_arns
        self._metrics = metrics
        self._clock = clock
        self._sleep = sleep

    def process(self, queue_message: QueueMessage, deadline: Deadline) -> float | None:
        """Process a message; return the seconds until its next delivery, or None if it is done."""
        pause = self._sender.pause_remaining()
        if not self._sender.has_time_for_call(lambda: deadline() - pause):
            return pause
        if pause:
            # Returning the message instead would cost a receive each time.
            self._sleep(pause)
            return self.process(queue_message, deadline)  # the pause may have become longer
        try:
            return self._process(queue_message, deadline)
        except (LedgerUnavailableError, QueueUnavailableError) as error:
            logger.warning(
                "message delayed by an outage",
                extra={"sqs_message_id": queue_message.id, "cause": str(error)},
            )
            if queue_message.sent_at:
                self._metrics.time("QueuedSendAge", self._clock() - queue_message.sent_at)
            return outage_delay(queue_message.receive_count)

    def _process(self, queue_message: QueueMessage, deadline: Deadline) -> float | None:
        refusals: Sequence[Refusal]
        content = None
        try:
            content = open_envelope(queue_message, self._sender_arns)
            if isinstance(content, SendKey):
                return self._end(self._sender.attempt(content, deadline), queue_message.trace)
            return self._submit(content, queue_message, deadline)
        except NotJsonError as error:
            reason, detail = "not-json", f"The body is not JSON: {error}."
            refusals = [Refusal("", "not-json", detail)]
        except TooLargeError as error:
            reason, refusals = "too-large", [Refusal("", "too-large", str(error))]
        except RequestRefusedError as refused:
            reason, refusals = "refused", refused.refusals
        except IdempotencyKeyReusedError:
            reason, detail = KEY_REUSED, "The key belongs to another message."
            refusals = [Refusal("/idempotencyKey", "key-reused", detail)]
        except NotFoundError:
            reason, detail = "no-such-send", "There is no such send in the ledger."
            refusals = [Refusal("/send", "not-found", detail)]
        origin = origin_of(queue_message, self._sender_arns)
        if isinstance(content, QueueRequest):
            origin = origin._replace(client=content.client, key=content.key)
        # By a key of another message, only that message would be found.
        is_reused = reason == KEY_REUSED
        own_key = origin.sender_id if is_reused else origin.valid_key
        self._sender.reject(
            queue_message.body,
            message_id=ids.message_id(origin.client, own_key),
            client=origin.client or self._default_client,
            key=origin.key,
            refusals=refusals,
            reason=reason,
            trace=queue_message.trace,
        )
        return None

    def _submit(
        self, request: QueueRequest, queue_message: QueueMessage, deadline: Deadline
    ) -> float | None:
        identity = ids.identify(request.client, request.key, request.document)
        client = request.client or self._default_client
        try:
            submission = self._reader.read(
                request.document,
                client=client,
                arrived_at=queue_message.sent_at,
                trace=queue_message.trace,
            )
            message = self._sender.submit(submission, identity, deadline, Timing.SINGLE_NOW)
        except RequestRefusedError as refused:
            message = self._sender.replay(identity, refused)
        if len(message.sends) == 1:
            send = message.sends[0]
            if message.replayed and send.status is Status.QUEUED:
                send = self._sender.attempt(send.key, deadline)
            return self._end(send, queue_message.trace)
        # After a redelivery too: the first process may have died before this, and a second message
        # for a claimed send does no harm.
        self._sender.enqueue(message.sends)
        return None

    def _end(self, send: Send, trace: str | None) -> float | None:
        if send.can_be_redriven:
            # Even if it had ended before: the process that ended it may have died before this.
            self._sender.dead_letter(send, trace)
        if send.status in {Status.QUEUED, Status.SENDING}:
            return max(1.0, send.due_at - self._clock())
        return None
