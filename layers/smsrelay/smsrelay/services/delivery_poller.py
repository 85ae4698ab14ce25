"""Polls the upstream for the delivery of accepted sends."""

import logging
from collections import Counter as Tally
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Final

from smsrelay.errors import LedgerUnavailableError, SecretUnavailableError
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
from smsrelay.sends.call_outcome import OUT_OF_TIME, WRONG_ROUTE_REASONS, Failure, Outcome
from smsrelay.sends.delivery_report import DeliveryReport
from smsrelay.sends.send import NOT_POLLED, Send, Status

logger = logging.getLogger(__name__)

MAX_PARALLEL_CALLS: Final = 5
"""Concurrent calls; few, because calls that send messages are more important."""
MAX_CALLS: Final = 300
"""Calls of one run, which makes five at a time and has 40 seconds for them."""
TIMEOUT: Final = 10.0
MIN_POLL_SECONDS: Final = TIMEOUT + 5.0
"""No poll begins when fewer seconds are left, because its result must be stored too."""
MIN_WRITE_SECONDS: Final = 5.0
"""No send is ended without a poll when fewer seconds are left."""
MIN_PAUSE: Final = 55.0
"""A minute, less 5 seconds, so that the run a minute later does not come a moment too early."""
# Failures that all other calls would have too.
_AFFECTS_ALL_CALLS: Final = WRONG_ROUTE_REASONS | frozenset(
    {
        "throttled",
        "blocked",
        "unavailable",
        "unauthorised",
        OUT_OF_TIME.reason,
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
    ledger: Ledger
    reports: DeliveryReports
    metrics: Metrics
    clock: Clock
    api_calls: ApiCalls
    recipient_results: RecipientResults | None
    _paused_until: float = field(default=0.0, init=False)

    def run(self, deadline: Deadline) -> dict[str, int]:
        """Poll each due send once, within the budget of calls; return the number by result.

        The first call is made alone, so that an upstream that throttles gets one call a minute, not
        a batch. Sends that could not be polled within 72 hours end. Raises `LedgerUnavailableError`
        if the due sends or the budget can't be read.
        """
        now = self.clock()
        is_paused = now < self._paused_until
        calls = 0 if is_paused else min(MAX_CALLS, self.api_calls.left(now))
        due = self.ledger.due_polls(now, calls)
        reserved = self.api_calls.reserve(len(due.on_time), now) if due.on_time else None
        counts = self._poll_all(due.on_time, reserved, deadline) if reserved else Tally[str]()
        if is_paused:
            counts["paused"] = 1
            self.metrics.count("DeliveryCallsRefused")
        elif not calls or (reserved and not reserved.calls):
            counts["no-calls-left"] = 1
        if ended := self._end_unpolled(due.late, deadline):
            counts[NOT_POLLED] = ended
        return dict(counts)

    def _poll_all(
        self, sends: Sequence[Send], reserved: Reservation, deadline: Deadline
    ) -> Tally[str]:
        sends, pauses = sends[: reserved.calls], list[float]()

        def poll(send: Send) -> str:
            if pauses or deadline() < MIN_POLL_SECONDS:
                return "left"
            try:
                return self._poll(send, pauses)
            except Exception:
                # One send must not end the run: it would be the first one of the next run, too.
                logger.exception("poll failed unexpectedly", extra=send.log_fields)
                with suppress(Exception):
                    self.metrics.count("UnexpectedErrors")
                return "unexpected-error"

        counts = Tally(map(poll, sends[:1]))
        counts.update(_in_parallel(poll, sends[1:]))
        if pauses:
            self._paused_until = max(pauses)
            self.metrics.count("DeliveryCallsRefused")
        if unused := sum(counts[result] for result in _NO_CALL):
            self._give_back(reserved, unused)
        return counts

    def _end_unpolled(self, sends: Sequence[Send], deadline: Deadline) -> int:
        """End sends that could not be polled in time, and return their number."""

        def end(send: Send) -> bool:
            if deadline() < MIN_WRITE_SECONDS:
                return False
            after = transitions.end_unpolled(send, now=self.clock(), written_by=ids.new_id())
            try:
                is_stored = bool(self.ledger.replace_if_unchanged(send, after))
            except LedgerUnavailableError:
                return False  # the next run finds it again
            if is_stored and send.delivery:
                self._record(send, after)
            return is_stored

        ended = sum(_in_parallel(end, sends))
        if ended:
            # One line for all: there can be thousands, and the ledger has each of them.
            logger.warning("deliveries were not polled in time", extra={"sends": ended})
            self.metrics.count("DeliveriesNotPolled", ended)
        return ended

    def _give_back(self, reserved: Reservation, unused: int) -> None:
        try:
            self.api_calls.give_back(reserved, unused)
        except LedgerUnavailableError as error:
            extra = {"calls": unused, "cause": str(error)}
            logger.warning("unused calls count as used", extra=extra)

    def _poll(self, send: Send, pauses: list[float]) -> str:
        """Poll a send, and return the result; add the end of a pause if the call was refused."""
        self.metrics.count("DeliveryCalls")
        answer = self.reports.report(send.upstream_message_id, send.token_id or "", TIMEOUT)
        now, written_by = self.clock(), ids.new_id()
        if isinstance(answer, DeliveryReport):
            after = transitions.apply_report(send, answer, now=now, written_by=written_by)
            result = after.status.value
        elif answer.reason in _AFFECTS_ALL_CALLS:
            pauses.append(self._end_of_pause(answer, now))
            return answer.reason
        else:
            cause = {"reason": answer.reason, "upstream_status": answer.status}
            logger.warning("no delivery report", extra=send.log_fields | cause)
            self.metrics.count("DeliveryCallsFailed")
            after = transitions.schedule_next_poll(send, now=now, written_by=written_by)
            result = "no-report"
        try:
            # Before the send ends, so that both are written again after a crash in between.
            if isinstance(answer, DeliveryReport) and not self._record_recipients(after, answer):
                later = transitions.schedule_next_poll(send, now=now, written_by=written_by)
                if later.awaits_report:  # else the send ends without these results
                    after, result = later, "not-stored"
            written = self.ledger.replace_if_unchanged(send, after)
            if written is ReplaceResult.GONE:
                logger.error("delivery not stored: the item is gone", extra=send.log_fields)
                self.metrics.count("ResultsNotStored")
                return "gone"
            if written is ReplaceResult.CHANGED:
                return "changed"
            self._record(send, after)
        except LedgerUnavailableError as error:
            # The send is still due, so the next run polls it again: only a call is lost.
            logger.warning("delivery not stored", extra=send.log_fields | {"cause": str(error)})
            return "not-stored"
        return result

    def _record_recipients(self, after: Send, report: DeliveryReport) -> bool:
        """Store the results of an ended send's recipients; return False without their key."""
        if after.awaits_report or not self.recipient_results:
            return True
        try:
            self.recipient_results.record(after, report.codes)
        except SecretUnavailableError as error:
            logger.warning("delivery not stored", extra=after.log_fields | {"cause": str(error)})
            self.metrics.count("DeliveryCallsFailed")
            return False
        return True

    def _end_of_pause(self, answer: Outcome, now: float) -> float:
        wait = BLOCKED_DELAY if answer.reason == "blocked" else MIN_PAUSE
        level = logging.ERROR if answer.reason == "forbidden" else logging.WARNING
        logger.log(
            level,
            "polling paused: %s%s",
            answer.reason,
            " (the scope sms_read may be missing)" if answer.reason == "forbidden" else "",
            extra={"reason": answer.reason, "upstream_status": answer.status},
        )
        return now + max(wait, answer.retry_after or 0.0)

    def _record(self, before: Send, after: Send) -> None:
        """Count and log the delivery of a send whose polling has ended."""
        if after.awaits_report:
            return
        counts = after.delivery
        if after.status is not before.status:
            self.metrics.count(after.status.metric)
        if after.reason == transitions.NOBODY_SUBSCRIBED:
            self.metrics.count("SendsWithoutSubscribers")
        if after.reason != NOT_POLLED and (
            after.status is Status.ACCEPTED or (counts and counts.pending)
        ):
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


def _in_parallel[T](step: Callable[[Send], T], sends: Sequence[Send]) -> list[T]:
    with ThreadPoolExecutor(MAX_PARALLEL_CALLS) as pool:
        return list(pool.map(step, sends))
