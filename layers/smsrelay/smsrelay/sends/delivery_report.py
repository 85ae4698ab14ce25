"""What the upstream reports of an accepted send, and what that means for its recipients. Pure.

The facts are those of `GET /sms/v1/messageContact/{id}/deliveries/{tokenId}` in Salesforce's public
documentation, and of its table of standard status codes.
"""

import json
import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple

from smsrelay.messages.strict_json import json_object

DELIVERED: Final = 4000
UNDELIVERED: Final = frozenset({1500, 1501, 2500, 2502, 4500, 4501, 4502, 4503, 4504, 4505})
"""Codes after which nothing more is tried. All others may still be followed by another one."""
_ENDED: Final = frozenset({"Finished", "Error"})
_CODE = re.compile(r"[0-9]{4}")


@dataclass(frozen=True, slots=True)
class DeliveryCounts:
    """How many recipients of a send were reached, as far as the upstream has told."""

    delivered: int = 0
    undelivered: Mapping[str, int] = field(default_factory=dict)
    """By the standard status code."""
    pending: int = 0
    unsubscribed: int = 0
    """Recipients that the upstream left out: they have not subscribed, and got nothing."""
    checked_at: float = 0.0
    """Seconds since the epoch."""

    def as_json(self) -> dict[str, Any]:
        """The counts as members of a JSON object, without the time."""
        return {
            "delivered": self.delivered,
            "undelivered": dict(self.undelivered),
            "pending": self.pending,
            "unsubscribed": self.unsubscribed,
        }


class DeliveryReport(NamedTuple):
    """The upstream's answer: `codes` has the state of each number, its highest code."""

    status: str
    counted: int | None
    """Recipients without those who have not subscribed; None: it doesn't say."""
    codes: Mapping[str, int]

    @property
    def has_ended(self) -> bool:
        """Whether the upstream has done all that it will."""
        return self.status in _ENDED

    @property
    def has_failed(self) -> bool:
        """Whether it has ended before it did its work."""
        return self.status == "Error"


def parse_report(body: bytes) -> DeliveryReport | None:
    """The report in an answer's body; None: it is none.

    A gateway's error can have a `status`, too, so a report must have a count or rows.
    """
    document = json_object(body.decode("utf-8-sig", "replace"))
    count, rows = document.get("count"), document.get("tracking")
    has_count = isinstance(count, int) and not isinstance(count, bool) and count >= 0
    if not isinstance(document.get("status"), str) or not (has_count or isinstance(rows, list)):
        return None
    codes: dict[str, int] = {}
    for row in rows if isinstance(rows, list) else ():
        if isinstance(row, dict):
            number, code = str(row.get("mobileNumber")), _code(row)
            # Several rows a number, in no order: the highest code is its state.
            codes[number] = max(code, codes.get(number, 0))
    return DeliveryReport(document["status"], count if has_count else None, codes)


def _code(row: Mapping[str, Any]) -> int:
    """A row's code, which comes as a string or as a number; 0: none that is one."""
    text = str(row.get("standardStatusCode"))
    return int(text) if _CODE.fullmatch(text) else 0


def count_recipients(report: DeliveryReport, recipients: int, now: float) -> DeliveryCounts:
    """The report in numbers, for a send with so many recipients."""
    counted = recipients if report.counted is None else min(report.counted, recipients)
    states = Counter(report.codes.values())
    delivered = min(states[DELIVERED], counted)
    undelivered = {str(code): states[code] for code in sorted(UNDELIVERED & states.keys())}
    pending = max(0, counted - delivered - sum(undelivered.values()))
    # While it is queued the upstream has not counted yet.
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
