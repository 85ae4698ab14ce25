"""Removes phone numbers, message texts and secrets from error messages of other systems.

The upstream can repeat a request in any spelling. So this is an allow-list: "…" replaces every word
that is not known to be harmless.
"""

import json
import re
import unicodedata
from base64 import b64decode
from collections.abc import Iterable, Iterator

MAX_LENGTH = 500
"""The most characters of one error message."""
# In lower case and without punctuation: the words of the upstream's error messages for 400, then
# for 401, 403 and 429, and of the token endpoint's for 401.
_DOCUMENTED = """
    a active an and applicable are array at be blackout blank both cannot client code contact count
    customer defined error false for have hhmm id in invalid is key keyword message messagetext
    mobile must necessary no not number numbers numeric object occurred of offset on or order
    override phone please provided reference resubscribe same send start status string subscribe
    subscriber subscribers support text the time to token true unexpected utc valid was were when
    window with yyyymmdd zero
    authorized blocked exceeded insufficient invalidclient limit privileges rate requests
    temporarily your
"""
DOCUMENTED_WORDS = frozenset(_DOCUMENTED.split())
"""Words that are kept even if a secret contains them."""

_PUNCTUATION = ".,:;!?'\"()[]{}_…-"
_BETWEEN_PARTS = re.compile(f"[{re.escape(_PUNCTUATION)}]+")
_UUID = re.compile(r"[0-9A-Fa-f]{8}(?:-[0-9A-Fa-f]{4}){3}-[0-9A-Fa-f]{12}")
_WITHOUT_LETTERS = re.compile(rf"{_UUID.pattern}|(?:(?!{_UUID.pattern})[^A-Za-z])+")
_MAX_DIGITS = 5  # the upstream's error codes have no more
# A word is cut if it shares so many consecutive characters with a secret. A UUID must share more:
# four of its hexadecimal digits often occur in a phone number by chance.
_WORD_PIECE, _UUID_PIECE = 4, 6
_MIN_DECODED = 3  # many English words are base64 of one or two characters
_SLICE = 1_024  # characters of a secret that are converted at once: one can become 18
_FIELD_NAME = re.compile(rf"[A-Za-z_.…-]{{0,40}}[0-9]{{0,{_MAX_DIGITS}}}")
_NOT_ALPHANUMERIC = bytes(code for code in range(128) if not chr(code).isalnum())


def redact(messages: Iterable[str], body: str) -> tuple[str, ...]:
    """Cut a request's personal data out of error messages.

    An example of a message is `13175550100 is not a numeric string`. `body` is the request's JSON:
    its numbers, text, media URL, subscriber keys and attribute values are secrets.
    """
    return without(messages, _secrets(body))


def without(messages: Iterable[str], secrets: Iterable[str]) -> tuple[str, ...]:
    """Cut these secrets, in any spelling, out of error messages.

    Words of ASCII letters and punctuation, UUIDs, and numbers of at most five digits are kept if
    they don't occur in a secret. Memory use is that of the secrets, plus an amount that depends
    only on the messages.
    """
    split = [
        _WITHOUT_LETTERS.sub(_mark_digits, message[:MAX_LENGTH]).split() for message in messages
    ]
    pieces = {word: _pieces(word) for words in split for word in words}
    secret = _occurring(set().union(*filter(None, pieces.values())), secrets)
    cut = {word for word, own in pieces.items() if own is None or own & secret}
    redacted = (" ".join("…" if word in cut else word for word in words) for words in split)
    return tuple(re.sub("…(?: …)+", "…", message) for message in redacted)


def without_names(pointer: str) -> str:
    """Cut steps that don't look like field names out of a JSON Pointer.

    Clients choose the names of unknown fields: they can be texts or phone numbers.
    """
    steps = pointer.split("/")
    return "/".join(step if _FIELD_NAME.fullmatch(step) else "…" for step in steps)


def _secrets(body: str) -> Iterator[str]:
    request = json.loads(body) if body else {}
    yield from request.get("mobileNumbers", [])
    yield from (request.get("messageText", ""), request.get("ContentURL", ""))
    for subscriber in request.get("Subscribers", []):
        yield from (subscriber["MobileNumber"], subscriber["SubscriberKey"])
        yield from subscriber.get("Attributes", {}).values()


def _mark_digits(match: re.Match[str]) -> str:
    """Replace digits that could be a phone number with a character that is always cut."""
    run = match[0]
    if _UUID.fullmatch(run) or sum(map(str.isnumeric, run)) <= _MAX_DIGITS:
        return run
    return "".join("#" if character.isnumeric() else character for character in run)


def _pieces(word: str) -> set[str] | None:
    """Return the pieces of a word that must not occur in a secret; None if it is always cut."""
    core = word.strip(_PUNCTUATION)
    if _UUID.fullmatch(core):
        return _windows(core.replace("-", "").lower(), _UUID_PIECE)
    parts = [part for part in _BETWEEN_PARTS.split(core) if part]
    numbers = [part for part in parts if part.isdigit()]
    letters = [part for part in parts if part.isalpha()]
    if not core.isascii() or len(numbers) + len(letters) < len(parts):
        return None
    joined = "".join(letters)
    if joined.lower() in DOCUMENTED_WORDS:
        return set(numbers)
    texts = {text.lower() for text in (joined, *letters, *map(_from_base64, letters))}
    pieces = (_windows(text, _WORD_PIECE) for text in texts - DOCUMENTED_WORDS)
    return set(numbers).union(*pieces)


def _windows(text: str, size: int) -> set[str]:
    """Return all pieces of this size; a shorter text is one piece."""
    return {text[n : n + size] for n in range(max(len(text) - size, 0) + 1)} - {""}


def _from_base64(word: str) -> str:
    """Decode a base64 word to its letters and digits; empty if it isn't base64."""
    encoded = word[:-1] if len(word) % 4 == 1 else word
    try:
        text = _alphanumeric([b64decode(f"{encoded}==").decode()])
    except ValueError:
        return ""
    return text if len(text) >= _MIN_DECODED else ""


def _occurring(pieces: set[str], secrets: Iterable[str]) -> set[str]:
    """Return the pieces that occur in a secret, in any case, script or grouping."""
    text = _alphanumeric(secrets) if pieces else ""
    return {
        piece
        for size in {len(piece) for piece in pieces}
        for piece in pieces.intersection(text[n : n + size] for n in range(len(text) - size + 1))
    }


def _alphanumeric(texts: Iterable[str]) -> str:
    """Convert letters and digits to lower-case ASCII; leave out all other characters."""
    slices = (text[n : n + _SLICE] for text in texts for n in range(0, len(text), _SLICE))
    return b"".join(map(_alphanumeric_slice, slices)).decode()


def _alphanumeric_slice(text: str) -> bytes:
    if not text.isascii():
        decomposed = unicodedata.normalize("NFKD", text)
        text = "".join(str(unicodedata.digit(character, character)) for character in decomposed)
    return text.casefold().encode("ascii", "ignore").translate(None, _NOT_ALPHANUMERIC)
