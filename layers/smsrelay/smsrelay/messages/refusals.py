"""Refusals: the reasons why a request is invalid, in the upstream's wording where it has one."""

from collections.abc import Iterable, Sequence
from itertools import islice
from typing import NamedTuple

from pydantic_core import PydanticCustomError

from smsrelay.errors import RelayError

MAX_REFUSALS = 1_000
"""The most reasons that are kept: a hostile request can have a million."""
MAX_POINTER = 300


class Refusal(NamedTuple):
    """One reason to refuse a request.

    `pointer` is a JSON Pointer (RFC 6901) into the request, `code` is stable and for programs,
    `detail` is for people and never repeats a posted value.
    """

    pointer: str
    code: str
    detail: str


# The wording is that of the upstream's reference page (the simulator's error_messages.py lists all
# of it), without the placeholders: a refusal never repeats a value, such as a phone number.
MESSAGE_ID = "Message id is not valid."
NO_RECIPIENTS = "The count of mobile numbers or subscribers cannot be zero."
INCOMPLETE_SUBSCRIBER = (
    "A subscriber object must have both a mobile number and subscriber key defined."
)
KEYWORD_MISSING = "Keyword cannot be blank when Subscribe or Resubscribe are true."
KEYWORD_NOT_NEEDED = "Keyword is not necessary when Subscribe and Resubscribe are false."
BLANK_TEXT = "Cannot override message text with a blank message."
NOT_NUMERIC = "Invalid phone number: this is not a numeric string."
NOT_INTERNATIONAL = "Write the number in international form, such as +1 310 555 0100."
COUNTRY_NOT_ALLOWED = "Messages to numbers of this country code are not allowed here."
RECIPIENT_NOT_ALLOWED = "This client is a guest: it may send only to its own numbers."
TOO_SHORT = "Invalid phone number: it has fewer than 8 digits (is the country code missing?)."
TOO_LONG = "Invalid phone number: it has more than 15 digits."
IMPOSSIBLE = "Invalid phone number: no number of this country code has this length."
UTC_OFFSET = "This is not a valid UTC offset. It looks like -05:00, from -12:00 to +14:00."
WINDOW_TIME = "This is not a valid blackout window start time, or end time. It looks like 21:00."
TIME = "This is not a valid send time, or time of expiry. It looks like 2026-10-05T16:01:00-04:00."
OFFSET_MISSING = "The time needs its offset from UTC, such as -04:00 or Z."
TIME_IN_THE_PAST = "The send time is more than an hour before the request arrived."
EXPIRES_TOO_EARLY = "The message must expire after it arrives, and after its send time."
INVALID_CHARACTER = "It contains a NUL character or half a surrogate pair."
TEXT_MISSING = "It limits the SMS of a text, but the request has no text."
TIMEZONE = "There is no such time zone. It looks like America/Chicago."


def pointer(path: Iterable[str | int]) -> str:
    """Return the JSON Pointer of a path: `("to", 0, "a/b")` becomes `/to/0/a~1b`.

    Long paths are cut: the names in them come from the caller and can be as large as the request.
    """
    steps = (str(step)[:MAX_POINTER] for step in islice(path, MAX_POINTER))
    return "".join(f"/{step.replace('~', '~0').replace('/', '~1')}" for step in steps)[:MAX_POINTER]


def invalid(code: str, detail: str) -> PydanticCustomError:
    """Return the error that a validator raises; pydantic adds the location to it."""
    return PydanticCustomError(code, detail)


class RequestRefusedError(RelayError):
    """The request is invalid. `refusals` has the reasons; `omitted` counts those left out."""

    def __init__(self, refusals: Sequence[Refusal], omitted: int = 0) -> None:
        """The exception's text contains the codes only, not the details."""
        super().__init__(", ".join(sorted({refusal.code for refusal in refusals})))
        self.refusals = tuple(refusals[:MAX_REFUSALS])
        self.omitted = omitted + len(refusals) - len(self.refusals)
