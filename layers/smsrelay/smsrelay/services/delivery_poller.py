"""Follows accepted sends up: asks the upstream what became of them, as often as is worth it."""

import logging
from collections import Counter as Tally
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from threading import Event
from typing import Final

from smsrelay.errors import LedgerUnavailableError
from smsrelay.ports import (
    ApiCalls,
    Clock,
    Deadline,
    DeliveryReports,
    Ledger,
    Metrics,
    RecipientResults,
    ReplaceResult,
)
from smsrelay.sends import ids, transitions
from smsrelay.sends.backoff import BLOCKED_DELAY
from smsrelay.sends.call_budget import Reservation
from smsrelay.sends.call_outcome import Failure, Outcome
from smsrelay.sends.delivery_report import DeliveryReport
from smsrelay.sends.send import Send, Status

logger = logging.getLogger(__name__)

MAX_PARALLEL_CALLS: Final = 5
"""Calls at once: beside the sends, which come first."""
MAX_CALLS: Final = 300
"""Calls of one run: it makes five at a time, and has 40 seconds for them."""
TIMEOUT: Final = 10.0
MIN_POLL_SECONDS: Final = TIMEOUT + 5.0
"""Seconds below which no further send is asked for: the last answer has to be stored, too."""
MIN_PAUSE: Final = 60.0
# What every other call would meet, too.
_AFFECTS_ALL_CALLS: Final = frozenset(
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


_NO_CALL: Final = frozenset(
    {"left", Failure.NO_TOKEN, Failure.NO_CONNECTION, Failure.CONNECT_TIMEOUT}
)
"""Results of sends for which no request reached the upstream."""


@dataclass(kw_only=True)
class DeliveryPoller:
    """One run a minute, within the budget of calls, oldest due first."""

    ledger: Ledger
    reports: DeliveryReports
    metrics: Metrics
    clock: Clock
    api_calls: ApiCalls
    recipient_results: RecipientResults | None
    _paused_until: float = field(default=0.0, init=False)

    def run(self, deadline: Deadline) -> dict[str, int]:
        """Ask once for each send that is due, and return how many there were, by result.

        The budget of calls bounds them. The first call goes alone: an upstream that throttles
        meets one call a minute, not a batch. Raises `LedgerUnavailableError` if the ledger can't
        say what is due, or how many calls are left.
        """
        now = self.clock()
        if now < self._paused_until:
            return {"paused": 1}
        calls = min(MAX_CALLS, self.api_calls.left(now))
        if not calls:
            return {"no-calls-left": 1}
        due = self.ledger.due_polls(now, calls)
        if not due:
            return {}
        reserved = self.api_calls.reserve(len(due), now)
        if not reserved.calls:  # another run was quicker
            return {"no-calls-left": 1}
        due = due[: reserved.calls]
        stop = Event()
        counts = Tally(self._poll_all(due[:1], deadline, stop))
        counts.update(self._poll_all(due[1:], deadline, stop))
        unused = sum(counts[result] for result in _NO_CALL)
        if unused:
            self._give_back(reserved, unused)
        return dict(counts)

    def _give_back(self, reserved: Reservation, unused: int) -> None:
        try:
            self.api_calls.give_back(reserved, unused)
        except LedgerUnavailableError:
            logger.warning("unused calls count as used", extra={"calls": unused})

    def _poll_all(self, sends: Sequence[Send], deadline: Deadline, stop: Event) -> list[str]:
        def poll(send: Send) -> str:
            if stop.is_set() or deadline() < MIN_POLL_SECONDS:
                return "left"
            return self._poll(send, stop)

        with ThreadPoolExecutor(MAX_PARALLEL_CALLS) as pool:
            return list(pool.map(poll, sends))

    def _poll(self, send: Send, stop: Event) -> str:
        self.metrics.count("DeliveryCalls")
        answer = self.reports.report(send.upstream_message_id, send.token_id or "", TIMEOUT)
        now, written_by = self.clock(), ids.new_message_id()
        if isinstance(answer, DeliveryReport):
            after = transitions.apply_report(send, answer, now=now, written_by=written_by)
        elif answer.reason in _AFFECTS_ALL_CALLS:
            stop.set()
            self._pause(answer, now)
            return answer.reason
        else:
            logger.warning("no delivery report", extra={**send.log_fields, "reason": answer.reason})
            self.metrics.count("DeliveryCallsFailed")
            after = transitions.schedule_next_poll(send, now=now, written_by=written_by)
        try:
            if (
                after.status is not send.status
                and self.recipient_results
                and isinstance(answer, DeliveryReport)
            ):
                # Before the send ends: who dies between the two writes them again.
                self.recipient_results.record(after, answer.codes)
            result = self.ledger.replace_if_unchanged(send, after)
            if result is ReplaceResult.GONE:
                logger.error("delivery not stored: the item is gone", extra=send.log_fields)
                self.metrics.count("ResultsNotStored")
                return "gone"
            if result:
                self._record(send, after)
        except LedgerUnavailableError:
            # It is still due, and asked for again: nothing is lost but a call.
            logger.warning("delivery not stored", extra=send.log_fields)
            return "not-stored"
        return after.status.value if isinstance(answer, DeliveryReport) else "no-report"

    def _pause(self, answer: Outcome, now: float) -> None:
        wait = BLOCKED_DELAY if answer.reason == "blocked" else MIN_PAUSE
        # A little less than a minute: the next run is not to find itself a moment too early.
        self._paused_until = now + max(wait, answer.retry_after or 0.0) - 5.0
        self.metrics.count("DeliveryCallsRefused")
        level = logging.ERROR if answer.reason == "forbidden" else logging.WARNING
        logger.log(
            level,
            "no delivery reports for now: %s%s",
            answer.reason,
            " (the scope sms_read may be missing)" if answer.reason == "forbidden" else "",
            extra={"reason": answer.reason, "upstream_status": answer.status},
        )

    def _record(self, before: Send, after: Send) -> None:
        """Count what has ended, once."""
        if after.awaits_report:
            return
        counts = after.delivery
        if after.status is not before.status:
            self.metrics.count(after.status.metric)
        if after.reason == transitions.NOBODY_SUBSCRIBED:
            self.metrics.count("SendsWithoutSubscribers")
        if after.status is Status.ACCEPTED or (counts and counts.pending):
            self.metrics.count("DeliveriesNeverReported")
        if counts:
            for name, number in (
                ("RecipientsDelivered", counts.delivered),
                ("RecipientsUndelivered", sum(counts.undelivered.values())),
                ("RecipientsUnsubscribed", counts.unsubscribed),
            ):
                if number:
                    self.metrics.count(name, number)
        logger.info(
            "delivery %s",
            after.status.value,
            extra={
                **after.log_fields,
                "reason": after.reason,
                "recipients": after.recipients,
                "delivered": counts.delivered if counts else None,
                "undelivered": dict(counts.undelivered) if counts else None,
                "unsubscribed": counts.unsubscribed if counts else None,
            },
        )
