"""Mobile numbers: from what people write to E.164, and their calling codes."""

import re

from smsrelay.messages import refusals
from smsrelay.messages._numbering_plan import NATIONAL_LENGTHS

_WRITTEN = re.compile(r"\+?[0-9 .()\-]+")
_SEPARATORS = re.compile(r"[^0-9]")
MIN_DIGITS, MAX_DIGITS = 8, 15  # E.164 has at most 15
_LENGTHS = {
    str(code): frozenset(len(str(code)) + length for length in lengths)
    for code, lengths in NATIONAL_LENGTHS.items()
}
"""How many digits a number can have, by its calling code."""


def normalize(written: str) -> str:
    """A mobile number in E.164 notation: `+` and its digits, without separators.

    Without the required `+`, a national number would reach a phone in another country. A number
    has 8 to 15 digits, of a length that exists for the country code. Only carriers know whether it
    is assigned; the upstream reference's own examples are not.
    """
    digits = written.removeprefix("+")
    if not (digits.isascii() and digits.isdigit()):  # what is E.164 already needs no pattern
        if not _WRITTEN.fullmatch(written):
            raise refusals.invalid("invalid-number", refusals.NOT_NUMERIC)
        digits = _SEPARATORS.sub("", written)
    if not written.startswith("+"):
        raise refusals.invalid("number-not-international", refusals.NOT_INTERNATIONAL)
    if len(digits) < MIN_DIGITS:
        raise refusals.invalid("invalid-number", refusals.TOO_SHORT)
    if len(digits) > MAX_DIGITS:
        raise refusals.invalid("invalid-number", refusals.TOO_LONG)
    if len(digits) not in _LENGTHS.get(_code_of(digits), ()):
        raise refusals.invalid("invalid-number", refusals.IMPOSSIBLE)
    return f"+{digits}"


def is_calling_code(code: str) -> bool:
    return code in _LENGTHS


def calling_code(number: str) -> str:
    """The calling code of a normalized number."""
    return _code_of(number[1:])


def _code_of(digits: str) -> str:
    """The calling code with which digits begin; empty if there is none.

    No calling code is the beginning of another one, so the first that fits is the right one.
    """
    for end in (1, 2, 3):
        if digits[:end] in _LENGTHS:
            return digits[:end]
    return ""
