"""Recovers stalled sends: expired leases, and queued sends whose SQS message never arrived."""

import logging
from collections import Counter as Tally
from dataclasses import dataclass

from smsrelay.errors import (
    LedgerUnavailableError,
    QueueUnavailableError,
    UnreadableItemError,
)
from smsrelay.ports import Clock, Deadline, Ledger, Metrics, OperatorPauses
from smsrelay.sends.operator_pause import active
from smsrelay.services.sender import Sender

logger = logging.getLogger(__name__)

MOST_PER_SWEEP = 800
"""Readable sends that one sweep looks at; the next one goes on."""
MOST_COUNTED = 100
"""Unknown sends that are counted in each partition of the index: the alarm needs one."""
SHORTEST_STEP = 5.0
"""Seconds below which no further send is looked at."""


@dataclass
class Sweeper:
    relay: Sender
    ledger: Ledger
    """The same as the relay's."""
    pauses: OperatorPauses
    metrics: Metrics
    clock: Clock

    def sweep(self, deadline: Deadline) -> dict[str, int]:
        """Look once, oldest first; return how many sends were recovered, by their new status."""
        recovered: Tally[str] = Tally()
        left = MOST_PER_SWEEP
        for key in self.ledger.stalled(self.clock()):
            if not left or deadline() < SHORTEST_STEP:
                break
            try:
                send = self.relay.recover_stalled(key)
                left -= 1
            except UnreadableItemError:
                continue  # it stays, so counting it would keep later sends from being recovered
            except (LedgerUnavailableError, QueueUnavailableError) as error:
                logger.warning("send not recovered", extra={"send": str(key), "cause": str(error)})
                continue
            if send is not None:
                recovered[send.status.value] += 1
        # As long as there is one, an alarm is to say so.
        if unknown := self.ledger.count_unknown(MOST_COUNTED):
            self.metrics.count("UnknownSends", unknown)
        if pauses := active(self.pauses.current()):
            self.metrics.count("SendingPaused", len(pauses))
        if recovered:
            logger.warning("recovered sends", extra={"recovered": dict(recovered)})
        return dict(recovered)
