"""Numbers and texts out of words that others wrote, before they are stored, logged or shown."""

import base64
import binascii
import html
import json
import re
import unicodedata
from collections.abc import Callable, Iterable, Iterator
from urllib.parse import unquote

from smsrelay.decoding import storable

MAX_LENGTH = 500
"""Characters of one error that are kept."""
_SHORTEST_SECRET = 4
"""Characters below which a value of ours is no secret, and stands in every other word."""
_RUN = 16
"""Characters of a longer secret that give it away although the rest is missing or changed."""
_TAIL = 7
"""Digits at the end of a number by which it is known, with or without its codes."""
_ROUNDS = 8

# What looks like a number and is none comes first; then seven digits in a row or more, and the
# usual ways to group fewer.
_DIGITS = re.compile(
    r"(?P<uuid>\b[0-9A-Fa-f]{8}(?:-[0-9A-Fa-f]{4}){3}-[0-9A-Fa-f]{12}\b)"
    r"|(?P<date>\b[0-9]{4}-[0-9]{2}-[0-9]{2}\b)"
    r"|\+?[0-9]{7,}"
    r"|\+?(?:[0-9]{1,3}[ .-])?\(?[0-9]{2,4}\)?[ .-][0-9]{3,4}[ .-][0-9]{2,4}"
)
_SPREAD = re.compile(r"[+(]*[0-9](?:[^0-9A-Za-z]{0,3}[0-9]){6,}")
_BASE64 = re.compile(r"[A-Za-z0-9+/_-]{8,}={0,2}")
_ESCAPED = re.compile(r"\\+u([0-9a-fA-F]{4})")
_FIELD = re.compile(r"[A-Za-z0-9_.…-]{0,40}")


def redact(words: Iterable[str], body: str) -> tuple[str, ...]:
    """The upstream's words without a number (its last two digits stay) and without what we sent.

    Args:
        words: The upstream's errors: they repeat numbers, such as `13175550100 is not …`.
        body: The JSON that the upstream answers to: its numbers, text, keys, media and values of
            attributes are taken out.
    """
    return without(words, _secrets(body))


def without(words: Iterable[str], secrets: Iterable[str]) -> tuple[str, ...]:
    """The upstream's words without a number and without any of these strings.

    They are found in upper and lower case, escaped for JSON, HTML or a URL, and in base64; of a
    long one every part is. What was escaped comes back as it reads, if something was in it.
    """
    words = tuple(words)
    if not words:
        return ()
    knife = _Knife(secrets)
    return tuple(knife.redacted(word)[:MAX_LENGTH] for word in words)


def without_names(pointer: str) -> str:
    """A JSON Pointer to be stored: steps that don't look like names of fields are taken out.

    A field that does not exist is named by who posted it: it may be a text or a number.
    """
    steps = (_DIGITS.sub(_last_two, step) for step in pointer.split("/"))
    return "/".join(step if _FIELD.fullmatch(step) else "…" for step in steps)


class _Knife:
    """Takes some secrets, and all numbers, out of any word."""

    def __init__(self, secrets: Iterable[str]) -> None:
        plain = {form for secret in secrets for form in (_lower(secret), _plain(secret)) if form}
        # Of numbers the last two digits stay: they are known by their tails.
        short = {form for form in plain if not (form.isdigit() and len(form) >= _TAIL)}
        self._whole = sorted(short, key=len, reverse=True)
        self._parts = {
            secret[n : n + _RUN] for secret in plain for n in range(len(secret) - _RUN + 1)
        }
        # By their tails.
        self._numbers = {
            digits[-_TAIL:]: digits
            for secret in plain
            for digits in (_digits(match[0]) for match in _SPREAD.finditer(secret))
        }

    def redacted(self, word: str) -> str:
        """The word as it is, or, if it hides something, as it reads without that."""
        for _ in range(_ROUNDS):
            for reading in _readings(word):
                rest = self._cut(reading)
                if rest != reading:
                    word = storable(rest)
                    break
            else:
                return word
        return "…"  # it can be read in more ways than anybody needs

    def _cut(self, word: str) -> str:
        for secret in self._whole:
            word = _replaced(word, secret)
        word = self._without_parts(word)
        word = _SPREAD.sub(self._without_known, word)
        word = _BASE64.sub(lambda match: "…" if self._hides(match[0]) else match[0], word)
        return _DIGITS.sub(_last_two, word)

    def _without_parts(self, word: str) -> str:
        lower, kept, n = _lower(word), [], 0
        while self._parts and n < len(word):
            end = n
            while lower[end : end + _RUN] in self._parts:
                end += 1
            if end > n:
                kept.append("…")
                n = end + _RUN - 1
            else:
                kept.append(word[n])
                n += 1
        return "".join(kept) if self._parts else word

    def _without_known(self, match: re.Match[str]) -> str:
        """Digits with whatever is between them, without the numbers that are known."""
        run = match[0]
        places = [n for n, character in enumerate(run) if character.isdigit()]
        digits, kept, done, n = _digits(run), [], 0, 0
        least = 0
        while n <= len(digits) - _TAIL:
            known = self._numbers.get(digits[n : n + _TAIL])
            if known is None:
                n += 1
                continue
            first = n - _alike(digits[least:n][::-1], known[:-_TAIL][::-1])
            if n - first < len(known) - _TAIL:
                first = _beginning(run, places, first, least)  # another one with the same tail
            least = n = n + _TAIL
            kept += [run[done : places[first]].rstrip("+("), "…", digits[n - 2 : n]]
            done = places[n - 1] + 1
        return "".join(kept) + run[done:]

    def _hides(self, encoded: str) -> bool:
        padded = encoded.rstrip("=") + "=" * (-len(encoded.rstrip("=")) % 4)
        try:
            decoded = base64.b64decode(padded, b"-_" if "-" in padded or "_" in padded else b"+/")
            inside = decoded.decode()
        except (binascii.Error, ValueError):
            return False
        return any(
            any(secret in form for secret in self._whole)
            or self._without_parts(form) != form
            or any(self._without_known(match) != match[0] for match in _SPREAD.finditer(form))
            for form in (_lower(inside), _plain(inside))
        )


def _readings(word: str) -> Iterator[str]:
    """The word, and what it says when what escapes it is undone: once each, then all of it."""
    yield word
    ways: tuple[Callable[[str], str], ...] = (_unescaped, html.unescape, unquote, _plain)
    known = {word}
    together = word
    for _ in range(3):
        for way in ways:
            together = way(together)
            for reading in (way(word), together, together.replace("+", " ")):
                if reading not in known:
                    known.add(reading)
                    yield reading


def _unescaped(word: str) -> str:
    characters = _ESCAPED.sub(lambda match: chr(int(match[1], 16)), word)
    return re.sub(r"\\(.)", r"\1", characters)


def _plain(word: str) -> str:
    """In lower case, with single spaces, composed characters, and the digits of all scripts."""
    digits = "".join(
        str(unicodedata.decimal(character)) if character.isdecimal() else character
        for character in word
    )
    parts = _lower(digits).split("…")  # our own mark would become three dots
    composed = "…".join(unicodedata.normalize("NFKC", part) for part in parts)
    return " ".join(composed.split())


def _lower(word: str) -> str:
    """In lower case, character by character: as long as it was."""
    lower = word.lower()
    if len(lower) == len(word):
        return lower
    return "".join(
        character.lower() if len(character.lower()) == 1 else character for character in word
    )


def _replaced(word: str, secret: str) -> str:
    """Without a secret in whatever case; one of digits only is one where it stands alone."""
    if secret not in _lower(word):
        return word
    if secret.isdigit():
        return re.sub(rf"(?<![0-9]){secret}(?![0-9])", "…", word)
    return re.sub(re.escape(secret), "…", word, flags=re.IGNORECASE)


def _beginning(run: str, places: list[int], first: int, least: int) -> int:
    """Where a number begins that goes on to the left: its digits, or at most eight in groups."""
    n = first
    while n > least and places[n - 1] == places[n] - 1:
        n -= 1
    if n < first:
        return n
    while n > max(least, first - 8) and not run[places[n - 1] + 1 : places[n]].strip(" ().-"):
        n -= 1
    return n


def _alike(one: str, other: str) -> int:
    """How many characters two words have in common at their beginning."""
    pairs = zip(one, other, strict=False)
    return next((n for n, (a, b) in enumerate(pairs) if a != b), min(len(one), len(other)))


def _digits(word: str) -> str:
    return re.sub(r"[^0-9]", "", word)


def _secrets(body: str) -> Iterator[str]:
    """What a request says of people: their numbers, too."""
    request = json.loads(body) if body else {}
    yield from request.get("mobileNumbers", [])
    yield from _long_enough([request.get("messageText", ""), request.get("ContentURL", "")])
    for subscriber in request.get("Subscribers", []):
        yield subscriber["MobileNumber"]
        key = subscriber["SubscriberKey"]
        yield from _long_enough([key, *subscriber.get("Attributes", {}).values()])


def _long_enough(values: Iterable[str]) -> Iterator[str]:
    return (value for value in values if len(value) >= _SHORTEST_SECRET)


def _last_two(match: re.Match[str]) -> str:
    if match["uuid"] or match["date"]:
        return match[0]
    return f"…{_digits(match[0])[-2:]}"
