"""The second way in: messages of the queue, from other systems and from the relay itself."""

import logging
from collections.abc import Callable, Sequence

from smsrelay.errors import (
    KeyReusedError,
    NotFoundError,
    NothingStoredError,
    NotJsonError,
    QueueUnavailableError,
    TooLargeError,
)
from smsrelay.messages.refusals import Refusal, RequestRefusedError
from smsrelay.ports import Clock, Deadline
from smsrelay.sends.queue_envelopes import Delivery, Letter, Sender, open_envelope, sender_of
from smsrelay.sends.send import Send, SendKey, Status
from smsrelay.services.request_reader import Reader
from smsrelay.services.sender import Relay, When

logger = logging.getLogger(__name__)

TROUBLE_WAIT = 15.0
"""Seconds after which a message comes back that met a ledger or a queue out of reach."""


class Intake:
    """Decides about each message of the queue: done, or to be delivered again after a while."""

    def __init__(
        self,
        relay: Relay,
        reader: Reader,
        *,
        default_client: str,
        clock: Clock,
        sleep: Callable[[float], None],
    ) -> None:
        """The reader knows the catalogue; whose client is unsaid gets the default."""
        self._relay = relay
        self._reader = reader
        self._default_client = default_client
        self._clock = clock
        self._sleep = sleep

    def receive(self, delivery: Delivery, deadline: Deadline) -> float | None:
        """Do what a message asks for.

        Returns:
            None if the message is done and may be deleted, else the seconds after which it has
            to be delivered again.
        """
        held = self._relay.held_back()
        if not self._relay.has_time(lambda: deadline() - held):
            return held
        if held:
            # Asleep: what were given back would come again and again, and each time cost an attempt
            # of SQS's. What waits behind it stays in the queue.
            self._sleep(held)
        try:
            return self._receive(delivery, deadline)
        except (NothingStoredError, QueueUnavailableError) as error:
            logger.warning(
                "message comes back", extra={"sqs_message_id": delivery.id, "cause": str(error)}
            )
            return TROUBLE_WAIT

    def _receive(self, delivery: Delivery, deadline: Deadline) -> float | None:
        sender = sender_of(delivery, self._default_client)
        try:
            content = open_envelope(delivery, self._default_client)
            if isinstance(content, SendKey):
                return self._end(self._relay.attempt(content, deadline))
            sender = Sender(content.client, content.key)
            return self._submit(content, delivery.trace, deadline)
        except NotJsonError as error:
            refusals = [Refusal("", "not-json", f"The body is not JSON: {error}.")]
            self._bury(delivery, sender, refusals, "not-json")
        except TooLargeError as error:
            self._bury(delivery, sender, [Refusal("", "too-large", str(error))], "too-large")
        except RequestRefusedError as refused:
            self._bury(delivery, sender, refused.refusals, "refused")
        except KeyReusedError:
            refusals = [
                Refusal("/idempotencyKey", "key-reused", "The key belongs to another message.")
            ]
            self._bury(delivery, sender, refusals, "idempotency-key-reused")
        except NotFoundError:
            refusals = [Refusal("/send", "not-found", "There is no such send in the ledger.")]
            self._bury(delivery, sender, refusals, "no-such-send")
        return None

    def _submit(self, letter: Letter, trace: str | None, deadline: Deadline) -> float | None:
        posted = self._reader.read(
            letter.document, client=letter.client, key=letter.key, trace=trace
        )
        message = self._relay.submit(posted, deadline, When.LONE_NOW)
        if len(message.sends) == 1:
            send = message.sends[0]
            if message.replayed and send.status is Status.QUEUED:
                send = self._relay.attempt(send.key, deadline)
            return self._end(send)
        # After a redelivery, too: nobody knows whether the first time came this far, and a send
        # that is claimed already doesn't mind.
        self._relay.hand_over(message.sends)
        return None

    def _end(self, send: Send) -> float | None:
        if send.status is Status.FAILED:
            # Also when it was failed before: whoever stored that may have died before the letter.
            self._relay.give_up(send)
        if send.status in {Status.QUEUED, Status.SENDING}:
            return max(1.0, send.due_at - self._clock())
        return None

    def _bury(
        self, delivery: Delivery, sender: Sender, refusals: Sequence[Refusal], reason: str
    ) -> None:
        self._relay.bury(
            delivery.body,
            client=sender.client,
            key=sender.key,
            refusals=refusals,
            reason=reason,
        )
