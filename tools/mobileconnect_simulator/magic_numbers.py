"""Values that cause a refusal or a fault without the control routes, like test card numbers.

Message ids: `9SSSVV:R:N`, encoded. SSS is the HTTP status (000: no response), VV the variant,
R the route (78 send, 79 deliveries), and N the number of times: 0 always, otherwise for the first
N calls of each list of recipients; the next call succeeds, and the count starts again.
Numbers: `+1 9AB 555 01CD` ends with delivery code ABCD.
Client ids: `sim-` and the name of a fault.
The tables of this module are complete; README.md documents them.
"""

import re
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import Enum
from typing import Final

from tools.mobileconnect_simulator import error_messages
from tools.mobileconnect_simulator.clock import stamp
from tools.mobileconnect_simulator.faults import Fault, Route, Then
from tools.mobileconnect_simulator.validation import MessageId, Send

SEND_PART: Final = 78
DELIVERIES_PART: Final = 79
_ROUTE_PARTS: Mapping[Route, int] = {Route.SEND: SEND_PART, Route.DELIVERIES: DELIVERIES_PART}
_MOST_SUBJECTS: Final = 10_000
DEMO_RETRY_AFTER: Final = 1
SLOW_MS: Final = 2_000


class Ending(Enum):
    """How the deliveries of an accepted message end."""

    FINISHED = "Finished"
    ERROR = "Error"
    NEVER = "never"


@dataclass(frozen=True, slots=True)
class MagicMessage:
    """The effect of the first part of a message id; one of the fields is set."""

    refusals: tuple[str, ...] = ()
    then: Then | None = None
    delay_ms: int = 0
    retry_after: int | None = None
    ending: Ending = Ending.FINISHED


_SEVERAL = 940020

MESSAGES: Mapping[int, MagicMessage] = {
    **{
        940001 + index: MagicMessage(refusals=(text,))
        for index, text in enumerate(error_messages.DOCUMENTED)
    },
    _SEVERAL: MagicMessage(refusals=(error_messages.NOT_NUMERIC, error_messages.KEYWORD_INVALID)),
    900001: MagicMessage(then=Then.RESET_BEFORE_READ),
    900002: MagicMessage(then=Then.RESET_AFTER_ACCEPT),
    900003: MagicMessage(then=Then.HANG_AFTER_ACCEPT),
    900004: MagicMessage(then=Then.HANG_BEFORE_READ),
    920201: MagicMessage(then=Then.NO_TOKEN),
    920202: MagicMessage(then=Then.TRAILING_COMMA),
    920203: MagicMessage(then=Then.EMPTY),
    920204: MagicMessage(then=Then.OK, delay_ms=SLOW_MS),
    920211: MagicMessage(ending=Ending.ERROR),
    920212: MagicMessage(ending=Ending.NEVER),
    940030: MagicMessage(then=Then.BAD_REQUEST),
    940101: MagicMessage(then=Then.UNAUTHORIZED),
    940301: MagicMessage(then=Then.FORBIDDEN),
    940401: MagicMessage(then=Then.NOT_FOUND),
    942901: MagicMessage(then=Then.RATE_LIMITED),
    942902: MagicMessage(then=Then.BLOCKED),
    942903: MagicMessage(then=Then.RATE_LIMITED, retry_after=DEMO_RETRY_AFTER),
    950001: MagicMessage(then=Then.SERVER_ERROR),
    950201: MagicMessage(then=Then.BAD_GATEWAY_HTML),
    950202: MagicMessage(then=Then.BAD_GATEWAY_EMPTY),
    950301: MagicMessage(then=Then.UNAVAILABLE),
    950302: MagicMessage(then=Then.UNAVAILABLE, retry_after=DEMO_RETRY_AFTER),
    950303: MagicMessage(then=Then.UNAVAILABLE_HTML),
    950401: MagicMessage(then=Then.GATEWAY_TIMEOUT_HTML),
}

KEYWORDS: Mapping[str, str] = {"INVALIDKEYWORD": error_messages.KEYWORD_INVALID}

FINAL_CODES: Final = (
    1500,
    1501,
    2000,
    2500,
    2501,
    2502,
    2600,
    2601,
    3000,
    3001,
    3002,
    3400,
    4500,
    4501,
    4502,
    4503,
    4504,
    4505,
)


def number_for_code(code: int) -> str:
    """Return the number whose messages get this final code: +1 945 555 0101 for 4501."""
    return f"19{code // 100}55501{code % 100:02}"


NUMBER_CODES: Mapping[str, int] = {number_for_code(code): code for code in FINAL_CODES}
NUMBER_REFUSALS: Mapping[str, str] = {
    "19405550101": error_messages.PHONE_INVALID,
    "19405550102": error_messages.NOT_NUMERIC,
}
NOT_A_SUBSCRIBER: Final = "19405550103"
"""Not counted; a call with only this number is refused: no valid subscribers."""
UNSUBSCRIBED: Final = "19995550100"
"""Not counted, unless the call has Resubscribe."""


@dataclass(frozen=True, slots=True)
class MagicClient:
    then: Then | None = None
    scopes: frozenset[str] | None = None
    seconds: int | None = None
    bare_url: bool = False


_CLIENT_FAULT = re.compile(r"sim-(?P<then>.+?)(?P<once>-once)?")
CLIENTS: Mapping[str, MagicClient] = {
    "sim-no-sms-send": MagicClient(scopes=frozenset({"sms_read"})),
    "sim-no-sms-read": MagicClient(scopes=frozenset({"sms_send"})),
    "sim-one-second": MagicClient(seconds=1),
    "sim-bare-url": MagicClient(bare_url=True),
}


def is_client(client_id: str) -> bool:
    """Return whether the client id is a magic one, which is valid with any secret."""
    return client_id in CLIENTS or _client_fault(client_id) is not None


def _client_fault(client_id: str) -> tuple[Then, int] | None:
    match = _CLIENT_FAULT.fullmatch(client_id)
    if match is None or match["then"] not in list(Then):
        return None
    return Then(match["then"]), 1 if match["once"] else 0


class Magic:
    """Applies the tables, and counts how often each value was used."""

    def __init__(self) -> None:
        self._provoked: OrderedDict[tuple[Route, str, str], int] = OrderedDict()

    def clear(self) -> None:
        self._provoked.clear()

    def refusals(self, encoded: str, message: MessageId, send: Send, now: datetime) -> list[str]:
        """Return the refusals that the magic id, keyword and numbers of a call cause."""
        errors = []
        row = MESSAGES.get(message.first, MagicMessage())
        if row.refusals and message.middle == SEND_PART and _applies(row, send):
            subject = recipients_subject(send)
            if self._provokes(Route.SEND, encoded, message.last, subject):
                errors += [_fill(text, encoded, send, now) for text in row.refusals]
        if send.keyword is not None and send.keyword.upper() in KEYWORDS:
            errors.append(KEYWORDS[send.keyword.upper()].format(send.keyword))
        numbers = [recipient.number for recipient in send.recipients]
        errors += [
            NUMBER_REFUSALS[number].format(number)
            for number in numbers
            if number in NUMBER_REFUSALS
        ]
        if all(number == NOT_A_SUBSCRIBER for number in numbers):
            errors.append(error_messages.NO_VALID_SUBSCRIBERS)
        return list(dict.fromkeys(errors))

    def fault(self, route: Route, encoded: str, message: MessageId, subject: str) -> Fault | None:
        """Return the fault of a magic message id on this route, and count its use."""
        row = MESSAGES.get(message.first)
        if row is None or row.then is None or message.middle != _ROUTE_PARTS[route]:
            return None
        if not self._provokes(route, encoded, message.last, subject):
            return None
        return Fault(route, row.then, delay_ms=row.delay_ms, retry_after=row.retry_after)

    def client_fault(self, client_id: str) -> Fault | None:
        provoked = _client_fault(client_id)
        if provoked is None:
            return None
        then, times = provoked
        if not self._provokes(Route.TOKEN, client_id, times, ""):
            return None
        return Fault(Route.TOKEN, then)

    def _provokes(self, route: Route, value: str, times: int, subject: str) -> bool:
        if times == 0:
            return True
        key = (route, value, subject)
        provoked = self._provoked.pop(key, 0)
        if provoked >= times:
            return False
        self._provoked[key] = provoked + 1
        if len(self._provoked) > _MOST_SUBJECTS:
            self._provoked.popitem(last=False)
        return True


def recipients_subject(send: Send) -> str:
    """Return the identity of a send for a magic id: its recipients in any order."""
    return "\n".join(sorted(recipient.number for recipient in send.recipients))


def ending(message: MessageId) -> Ending:
    return MESSAGES.get(message.first, MagicMessage()).ending


def final_code(number: str) -> int:
    return NUMBER_CODES.get(number, 4000)


def takes_part(number: str, *, resubscribe: bool) -> bool:
    """Return whether the number counts: it has subscribed, or this call subscribes it."""
    return number != NOT_A_SUBSCRIBER and (number != UNSUBSCRIBED or resubscribe)


def _applies(row: MagicMessage, send: Send) -> bool:
    # A call with a text can use a blank message.
    return error_messages.MESSAGE_BLANK not in row.refusals or send.text is None


def _fill(text: str, encoded: str, send: Send, now: datetime) -> str:
    value = {
        error_messages.KEYWORD_INVALID: send.keyword or "TestKeyword",
        error_messages.UNEXPECTED: f"SIM-{stamp(now)}",
        error_messages.OFFSET_NOT_VALID: "-9900",
        error_messages.START_NOT_VALID: "2500",
        error_messages.SEND_TIME_NOT_VALID: "2026-13-01 25:00",
        error_messages.NOT_NUMERIC: send.recipients[0].number,
    }.get(text, encoded)
    return text.format(value)
