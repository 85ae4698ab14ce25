"""Deliveries of accepted sends: status and tracking rows, which advance with each poll."""

import random
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Final
from zoneinfo import ZoneInfo

from tools.mobileconnect_simulator import magic_numbers
from tools.mobileconnect_simulator.magic_numbers import Ending
from tools.mobileconnect_simulator.validation import Recipient

US_CENTRAL: Final = ZoneInfo("America/Chicago")
OWN_TEXT: Final = "(message's own text)"

_QUEUING: Final = 1
_STARTED: Final = 2
_FINISHED: Final = 3
_STATUSES: Final = ("New", "Queuing", "Started", "Finished")
# The highest code of a row at each status; the last one has no limit.
_REACHED: Final = (0, 1000, 3001, 9999)
_LADDER: Final = (1000, 2000, 3001, 3002)
_FAILED_AT_QUEUE: Final = 1500
DELIVERED: Final = 4000
_PERSONALISATION = re.compile(r"%%(\w+)%%")
# 2000 is the final code for shared short codes.
ARRIVED: Final = frozenset({2000, DELIVERED})

DESCRIPTIONS: Mapping[int, str] = {
    1000: "Queued",
    1500: "Queue failure",
    1501: "Validation failure",
    2000: "Delivered to aggregator",
    2500: "Failed to aggregator",
    2501: "Unknown to aggregator",
    2502: "Bad destination",
    2600: "Throttled",
    2601: "Socket error",
    3000: "En route",
    3001: "Sent to carrier",
    3002: "Accepted by carrier",
    3400: "Unknown",
    4000: "Delivered",
    4500: "Undeliverable",
    4501: "Expired",
    4502: "Deleted",
    4503: "Rejected",
    4504: "Unknown subscriber",
    4505: "Bad destination",
}


@dataclass(slots=True)
class SimulatedDelivery:
    """The delivery of an accepted send."""

    token_id: str
    message_id: str
    recipients: tuple[Recipient, ...]
    text: str | None
    accepted_at: datetime
    due: datetime
    scheduled_for: datetime | None = None
    quiet_until: datetime | None = None
    ending: Ending = Ending.FINISHED
    polls: int = 0
    completed_at: datetime | None = None


def poll(delivery: SimulatedDelivery, now: datetime, polls_per_status: int) -> dict[str, object]:
    """Return the response to one poll; the next poll returns the next status."""
    step = _step(delivery, now, polls_per_status)
    if step == _FINISHED and delivery.completed_at is None:
        delivery.completed_at = now
    if step != _QUEUING or now >= delivery.due:
        delivery.polls += 1
    failed = step == _FINISHED and delivery.ending is Ending.ERROR
    completed = delivery.completed_at
    return {
        "message": OWN_TEXT if delivery.text is None else delivery.text,
        "count": len(delivery.recipients),
        "createDate": _us_central(delivery.accepted_at),
        "completeDate": None if completed is None else _us_central(completed),
        "status": "Error" if failed else _STATUSES[step],
        "tracking": _tracking(delivery, step),
    }


def code_of(delivery: SimulatedDelivery, number: str) -> int:
    """Return the final code of this number."""
    return _FAILED_AT_QUEUE if delivery.ending is Ending.ERROR else magic_numbers.final_code(number)


def state(delivery: SimulatedDelivery, recipient: Recipient, now: datetime) -> str:
    """Return the state of the message on the phone: arrived, waiting or undelivered."""
    if code_of(delivery, recipient.number) not in ARRIVED:
        return "undelivered"
    return "waiting" if now < delivery.due else "arrived"


def personalised(delivery: SimulatedDelivery, recipient: Recipient) -> str:
    """Return the text with each `%%Name%%` replaced by the subscriber's attribute."""
    text = OWN_TEXT if delivery.text is None else delivery.text
    return _PERSONALISATION.sub(lambda match: recipient.attributes.get(match[1], match[0]), text)


def _step(delivery: SimulatedDelivery, now: datetime, polls_per_status: int) -> int:
    last = _STARTED if delivery.ending is Ending.NEVER else _FINISHED
    step = delivery.polls // polls_per_status if polls_per_status else last
    if now < delivery.due:
        last = _QUEUING
    return min(step, last)


def _tracking(delivery: SimulatedDelivery, step: int) -> list[dict[str, object]]:
    rows = [
        (recipient.number, code)
        for recipient in delivery.recipients
        for code in _codes(code_of(delivery, recipient.number))
        if code <= _REACHED[step]
    ]
    # The upstream documents no order. The tokenId is the seed, so that tests are repeatable.
    random.Random(f"{delivery.token_id}{step}").shuffle(rows)  # noqa: S311  no secret in an order
    return [_row(number, code, index) for index, (number, code) in enumerate(rows)]


def _codes(final: int) -> list[int]:
    return [code for code in _LADDER if code < final] + [final]


def _row(number: str, code: int, index: int) -> dict[str, object]:
    # As in the upstream, each row has one status code as a string and one as a number.
    as_text = index % 2 == 0
    return {
        "mobileNumber": number,
        "statusCode": str(code) if as_text else code,
        "message": DESCRIPTIONS[code],
        "standardStatusCode": code if as_text else str(code),
        "description": DESCRIPTIONS[code],
    }


def _us_central(moment: datetime) -> str:
    local = moment.astimezone(US_CENTRAL).replace(tzinfo=None)
    return local.isoformat(timespec="milliseconds")
