"""Numbers and texts out of words that others wrote, before they are stored, logged or shown."""

import json
import re
from collections.abc import Iterable

_LONG_DIGITS = re.compile(r"(?<![\w-])\+?[0-9][0-9 .()\-]{6,20}[0-9](?![\w-])")
_DATE = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}\b")
MIN_DIGITS, MAX_DIGITS = 7, 15


def redact(words: Iterable[str], body: str) -> tuple[str, ...]:
    """The upstream's words without a number (its last two digits stay) and without our text.

    Args:
        words: The upstream's errors: they repeat numbers, such as `13175550100 is not …`.
        body: The JSON that the upstream answers to; its `messageText` is taken out.
    """
    text = json.loads(body).get("messageText") if body else None
    return tuple(_without_numbers(word.replace(text, "…") if text else word) for word in words)


def _without_numbers(word: str) -> str:
    return _LONG_DIGITS.sub(_last_two, word)


def _last_two(match: re.Match[str]) -> str:
    digits = re.sub(r"[^0-9]", "", match[0])
    if _DATE.match(match[0]) or not MIN_DIGITS <= len(digits) <= MAX_DIGITS:
        return match[0]
    return f"…{digits[-2:]}"
