"""Follows accepted sends up: asks the upstream what became of them, as often as is worth it."""

import logging
from collections import Counter as Tally
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from threading import Event
from typing import Final

from smsrelay.errors import NothingStoredError
from smsrelay.ports import Clock, Counter, Deadline, DeliveryReports, Ledger, RecipientRows
from smsrelay.sends import ids, transitions
from smsrelay.sends.backoff import BLOCKED_WAIT
from smsrelay.sends.call_outcome import Failure, Outcome
from smsrelay.sends.delivery_report import Report
from smsrelay.sends.send import Send, Status

logger = logging.getLogger(__name__)

SIDE_BY_SIDE: Final = 5
"""Calls at once: beside the sends, which come first."""
TIMEOUT: Final = 10.0
SHORTEST_STEP: Final = TIMEOUT + 5.0
"""Seconds below which no further send is asked for: the last answer has to be stored, too."""
LEAST_PAUSE: Final = 60.0
# What every other call would meet, too.
_FOR_ALL: Final = frozenset(
    {
        "throttled",
        "blocked",
        "unavailable",
        "unauthorised",
        "forbidden",
        Failure.NO_TOKEN,
        Failure.NO_CONNECTION,
        Failure.CONNECT_TIMEOUT,
    }
)


class Follower:
    """One run a minute, within a budget of calls, oldest due first."""

    def __init__(  # noqa: PLR0913 - one argument for each port
        self,
        *,
        ledger: Ledger,
        reports: DeliveryReports,
        counter: Counter,
        clock: Clock,
        budget: int,
        rows: RecipientRows | None = None,
    ) -> None:
        """`budget` is the calls of one run; `rows`, if any, keeps how it ended for each number."""
        self._ledger = ledger
        self._reports = reports
        self._counter = counter
        self._clock = clock
        self._budget = budget
        self._rows = rows
        self._paused_until = 0.0

    def run(self, deadline: Deadline) -> dict[str, int]:
        """Ask once for each send that is due.

        The first call goes alone: an upstream that throttles meets one call a minute, not a batch.

        Returns:
            how many sends were asked for, by what was heard.

        Raises:
            NothingStoredError: nobody knows what is due.
        """
        if self._clock() < self._paused_until:
            return {"paused": 1}
        due = self._ledger.due_deliveries(self._clock(), self._budget)
        stop = Event()
        heard = Tally(self._look_at(due[:1], deadline, stop))
        heard.update(self._look_at(due[1:], deadline, stop))
        return dict(heard)

    def _look_at(self, sends: Sequence[Send], deadline: Deadline, stop: Event) -> list[str]:
        def look(send: Send) -> str:
            if stop.is_set() or deadline() < SHORTEST_STEP:
                return "left"
            return self._look(send, stop)

        with ThreadPoolExecutor(SIDE_BY_SIDE) as pool:
            return list(pool.map(look, sends))

    def _look(self, send: Send, stop: Event) -> str:
        self._counter.count("DeliveryCalls")
        answer = self._reports.report(send.template, send.token_id or "", TIMEOUT)
        now, owner = self._clock(), ids.new_message_id()
        if isinstance(answer, Report):
            after = transitions.reported(send, answer, now=now, owner=owner)
        elif answer.reason in _FOR_ALL:
            stop.set()
            self._pause(answer, now)
            return answer.reason
        else:
            logger.warning("no delivery report", extra={**send.names, "reason": answer.reason})
            self._counter.count("DeliveryCallsFailed")
            after = transitions.unreported(send, now=now, owner=owner)
        try:
            if after.status is not send.status and self._rows and isinstance(answer, Report):
                # Before the send ends: who dies between the two writes them again.
                self._rows.record(send, answer.codes)
            if self._ledger.settle(send, after):
                self._report(send, after)
        except NothingStoredError:
            # It is still due, and asked for again: nothing is lost but a call.
            logger.warning("delivery not stored", extra=send.names)
            return "not-stored"
        return after.status.value if isinstance(answer, Report) else "no-report"

    def _pause(self, answer: Outcome, now: float) -> None:
        wait = BLOCKED_WAIT if answer.reason == "blocked" else LEAST_PAUSE
        # A little less than a minute: the next run is not to find itself a moment too early.
        self._paused_until = now + max(wait, answer.retry_after or 0.0) - 5.0
        self._counter.count("DeliveryCallsRefused")
        level = logging.ERROR if answer.reason == "forbidden" else logging.WARNING
        logger.log(
            level,
            "no delivery reports for now: %s%s",
            answer.reason,
            " (the scope sms_read may be missing)" if answer.reason == "forbidden" else "",
            extra={"reason": answer.reason, "upstream_status": answer.status},
        )

    def _report(self, before: Send, after: Send) -> None:
        """Count what has ended, once."""
        if after.followed:
            return
        known = after.delivery
        if after.status is not before.status:
            self._counter.count(f"Sends{after.status.value.capitalize()}")
        if after.reason == transitions.NOBODY_SUBSCRIBED:
            self._counter.count("SendsToNobody")
        if after.status is Status.ACCEPTED or (known and known.pending):
            self._counter.count("DeliveriesNeverReported")
        if known:
            for name, number in (
                ("RecipientsDelivered", known.delivered),
                ("RecipientsUndelivered", sum(known.undelivered.values())),
                ("RecipientsUnsubscribed", known.unsubscribed),
            ):
                if number:
                    self._counter.count(name, number)
        logger.info(
            "delivery %s",
            after.status.value,
            extra={
                **after.names,
                "reason": after.reason,
                "recipients": after.recipients,
                "delivered": known.delivered if known else None,
                "undelivered": dict(known.undelivered) if known else None,
                "unsubscribed": known.unsubscribed if known else None,
            },
        )
