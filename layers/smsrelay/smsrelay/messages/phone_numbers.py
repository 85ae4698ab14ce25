"""Normalizes mobile numbers to E.164, and finds their calling codes."""

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
"""The possible numbers of digits, calling code included, by calling code."""


def normalize(written: str) -> str:
    """Normalize a mobile number to E.164: `+` and its digits, without separators.

    The `+` is required: without it a national number could reach a phone in another country. The
    number must have 8 to 15 digits and a length that exists for its country code. It may be
    unassigned, as the examples in the upstream's reference are.
    """
    digits = written.removeprefix("+")
    if not (digits.isascii() and digits.isdigit()):  # a number in E.164 needs no pattern
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
    """Return the calling code of a normalized number."""
    return _code_of(number[1:])


def _code_of(digits: str) -> str:
    """Return the calling code that the digits begin with; empty if they begin with none.

    No calling code is a prefix of another one, so the first match is the right one.
    """
    for end in (1, 2, 3):
        if digits[:end] in _LENGTHS:
            return digits[:end]
    return ""
