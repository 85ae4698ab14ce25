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
"""The most readable sends of one sweep; the next sweep continues."""
MOST_COUNTED = 100
"""The most unknown sends counted in each partition of the index: one is enough for the alarm."""
SHORTEST_STEP = 5.0
"""No further send is recovered when fewer seconds are left."""


@dataclass
class Sweeper:
    sender: Sender
    ledger: Ledger
    """The ledger that `sender` uses."""
    pauses: OperatorPauses
    metrics: Metrics
    clock: Clock

    def sweep(self, deadline: Deadline) -> dict[str, int]:
        """Recover stalled sends, oldest first; return their number by new status."""
        # First, and also 0: only a 0 ends the alarms, so they last while sweeps fail.
        self.metrics.count("UnknownSends", self.ledger.count_unknown(MOST_COUNTED))
        self.metrics.count("SendingPaused", len(active(self.pauses.current())))
        recovered: Tally[str] = Tally()
        left = MOST_PER_SWEEP
        for key in self.ledger.stalled(self.clock()):
            if not left or deadline() < SHORTEST_STEP:
                break
            try:
                send = self.sender.recover_stalled(key)
                left -= 1
            except UnreadableItemError:
                continue  # not counted: it stays stalled, and would take the place of later sends
            except (LedgerUnavailableError, QueueUnavailableError) as error:
                logger.warning("send not recovered", extra={"send": str(key), "cause": str(error)})
                continue
            if send is not None:
                recovered[send.status.value] += 1
        if recovered:
            logger.warning("recovered sends", extra={"recovered": dict(recovered)})
        return dict(recovered)
