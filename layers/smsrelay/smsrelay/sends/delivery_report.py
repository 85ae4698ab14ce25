"""Parses the upstream's delivery report of an accepted send, and counts its recipients. Pure.

Sources: Salesforce's public documentation of `GET /sms/v1/messageContact/{id}/deliveries/{tokenId}`
and its table of standard status codes.
"""

import json
import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple

from smsrelay.messages.strict_json import json_object, utf8_safe

DELIVERED: Final = 4000
UNDELIVERED: Final = frozenset({1500, 1501, 2500, 2502, 4500, 4501, 4502, 4503, 4504, 4505})
"""The final codes of a failed delivery. Any code but these and `DELIVERED` can still change."""
_ENDED: Final = frozenset({"Finished", "Error"})
_CODE = re.compile(r"[0-9]{4}")


@dataclass(frozen=True, slots=True)
class DeliveryCounts:
    """The recipients of a send by delivery result, as of the last report."""

    delivered: int = 0
    undelivered: Mapping[str, int] = field(default_factory=dict)
    """By the standard status code."""
    pending: int = 0
    unsubscribed: int = 0
    """Recipients that the upstream left out because they have not subscribed."""
    checked_at: float = 0.0
    """Seconds since the epoch."""

    def as_json(self) -> dict[str, Any]:
        """Return the counts as members of a JSON object, without the time."""
        return {
            "delivered": self.delivered,
            "undelivered": dict(self.undelivered),
            "pending": self.pending,
            "unsubscribed": self.unsubscribed,
        }


class DeliveryReport(NamedTuple):
    """The upstream's report; `codes` has the highest status code of each number."""

    status: str
    counted: int | None
    """The subscribed recipients; None if the report doesn't have their number."""
    codes: Mapping[str, int]

    @property
    def has_ended(self) -> bool:
        return self.status in _ENDED

    @property
    def has_failed(self) -> bool:
        return self.status == "Error"


def parse_report(body: bytes) -> DeliveryReport | None:
    """Parse a response's body; return None if it isn't a report.

    A gateway's error can have a `status` too, so a report must also have a count or rows.
    """
    document = json_object(body.decode("utf-8-sig", "replace"))
    count, rows = document.get("count"), document.get("tracking")
    has_count = isinstance(count, int) and not isinstance(count, bool) and count >= 0
    if not isinstance(document.get("status"), str) or not (has_count or isinstance(rows, list)):
        return None
    codes: dict[str, int] = {}
    for row in rows if isinstance(rows, list) else ():
        if isinstance(row, dict):
            number, code = utf8_safe(str(row.get("mobileNumber"))), _code(row)
            # A number can have several rows, in any order: the highest code is its state.
            codes[number] = max(code, codes.get(number, 0))
    return DeliveryReport(document["status"], count if has_count else None, codes)


def _code(row: Mapping[str, Any]) -> int:
    """Return a row's code, which can be a string or a number; 0 if it isn't valid."""
    text = str(row.get("standardStatusCode"))
    return int(text) if _CODE.fullmatch(text) else 0


def count_recipients(report: DeliveryReport, recipients: int, now: float) -> DeliveryCounts:
    """Count the deliveries of a send with `recipients` recipients."""
    counted = recipients if report.counted is None else min(report.counted, recipients)
    states = Counter(report.codes.values())
    delivered = min(states[DELIVERED], counted)
    undelivered = {str(code): states[code] for code in sorted(UNDELIVERED & states.keys())}
    pending = max(0, counted - delivered - sum(undelivered.values()))
    # Before the end the upstream may not have counted all of them.
    left_out = recipients - counted if report.has_ended else 0
    return DeliveryCounts(delivered, undelivered, pending, left_out, now)


def to_json(counts: DeliveryCounts) -> str:
    stored = {**counts.as_json(), "checkedAt": counts.checked_at}
    return json.dumps(stored, separators=(",", ":"))


def from_json(stored: str) -> DeliveryCounts:
    entry = json.loads(stored)
    return DeliveryCounts(
        int(entry["delivered"]),
        {code: int(number) for code, number in entry["undelivered"].items()},
        int(entry["pending"]),
        int(entry["unsubscribed"]),
        float(entry["checkedAt"]),
    )
