"""Numbers and texts out of words that others wrote, before they are stored, logged or shown."""

import json
import re
from collections.abc import Iterable, Iterator

MAX_LENGTH = 500
"""Characters of one error that are kept."""
_SHORTEST_SECRET = 4
"""Characters below which a value of ours is no secret, and stands in every other word."""

# What looks like a number and is none comes first; then seven digits in a row or more, and the
# usual ways to group fewer.
_DIGITS = re.compile(
    r"(?P<uuid>\b[0-9A-Fa-f]{8}(?:-[0-9A-Fa-f]{4}){3}-[0-9A-Fa-f]{12}\b)"
    r"|(?P<date>\b[0-9]{4}-[0-9]{2}-[0-9]{2}\b)"
    r"|\+?[0-9]{7,}"
    r"|\+?(?:[0-9]{1,3}[ .-])?\(?[0-9]{2,4}\)?[ .-][0-9]{3,4}[ .-][0-9]{2,4}"
)


def redact(words: Iterable[str], body: str) -> tuple[str, ...]:
    """The upstream's words without a number (its last two digits stay) and without what we sent.

    Args:
        words: The upstream's errors: they repeat numbers, such as `13175550100 is not …`.
        body: The JSON that the upstream answers to: its text, keys and attributes are taken out.
    """
    secrets = sorted(set(_secrets(body)), key=len, reverse=True)
    return tuple(_redacted(word, secrets) for word in words)


def _redacted(word: str, secrets: Iterable[str]) -> str:
    for secret in secrets:
        word = word.replace(secret, "…")
    return _DIGITS.sub(_last_two, word)[:MAX_LENGTH]


def _secrets(body: str) -> Iterator[str]:
    """What a request says of people, besides numbers."""
    request = json.loads(body) if body else {}
    yield from _long_enough([request.get("messageText", "")])
    for subscriber in request.get("Subscribers", []):
        key = subscriber["SubscriberKey"]
        yield from _long_enough([key, *subscriber.get("Attributes", {}).values()])


def _long_enough(values: Iterable[str]) -> Iterator[str]:
    return (value for value in values if len(value) >= _SHORTEST_SECRET and not value.isdigit())


def _last_two(match: re.Match[str]) -> str:
    if match["uuid"] or match["date"]:
        return match[0]
    return f"…{re.sub(r'[^0-9]', '', match[0])[-2:]}"
