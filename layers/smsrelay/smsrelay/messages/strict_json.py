"""Decodes JSON strictly: finds the faults that pydantic can't see in a decoded dict."""

import json
import math
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from decimal import Decimal
from itertools import islice
from typing import Any, NamedTuple, NoReturn

from smsrelay.errors import NotJsonError, TooLargeError
from smsrelay.messages.refusals import INVALID_CHARACTER, MAX_REFUSALS, Refusal, pointer

MAX_REQUEST_BYTES = 1_048_576
"""The size of the largest request: the limit of an SQS message (1 MiB)."""

_UNUSABLE = re.compile("[\x00\ud800-\udfff]")
# The same characters, escaped or not; some other escapes match too, and are then checked closely.
_SUSPICIOUS = re.compile(r"\\u(?:0000|[dD][89a-fA-F])|[\x00\ud800-\udfff]")


class Document(NamedTuple):
    """A decoded JSON document, and the faults that `decode` found in it."""

    value: Any
    refusals: tuple[Refusal, ...]

    def member(self, name: str) -> "Document":
        """Return a member of the object as a document, with the refusals of and in it.

        If the object has the member twice, it is unclear which one is meant.
        """
        place = f"/{name}"
        inside = tuple(
            refusal
            if refusal.pointer == place
            else refusal._replace(pointer=refusal.pointer.removeprefix(place))
            for refusal in self.refusals
            if f"{refusal.pointer}/".startswith(f"{place}/")
        )
        return Document(self.value[name], inside)


class _Repeating(dict[str, Any]):
    """An object that contains a name more than once."""

    def __init__(self, pairs: list[tuple[str, Any]]) -> None:
        super().__init__(pairs)
        counts = Counter(name for name, _ in pairs)
        self.repeated = sorted(name for name, count in counts.items() if count > 1)


def decode(body: str) -> Document:
    """Decode a JSON document (RFC 8259) and find what I-JSON (RFC 7493) forbids.

    Fractions become `Decimal`, so that a price keeps its last zero. Duplicate names, NUL
    characters and lone surrogates become refusals, which have a pointer. Raises `TooLargeError`
    (over `MAX_REQUEST_BYTES` as UTF-8) or `NotJsonError`.
    """
    is_plain = body.isascii()
    size = len(body) if is_plain else len(body.encode("utf-8", "surrogatepass"))
    if size > MAX_REQUEST_BYTES:
        raise TooLargeError(MAX_REQUEST_BYTES)
    repeating = False

    def object_of(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        nonlocal repeating
        value = dict(pairs)
        if len(value) == len(pairs):
            return value
        repeating = True
        return _Repeating(pairs)

    try:
        value = json.loads(
            body, object_pairs_hook=object_of, parse_float=Decimal, parse_constant=_no_constant
        )
    except json.JSONDecodeError as error:
        raise NotJsonError(f"{error.msg} at line {error.lineno}, column {error.colno}") from None
    except RecursionError:
        raise NotJsonError("nested too deeply") from None
    except ArithmeticError:
        raise NotJsonError("a number is out of range") from None
    except ValueError as error:  # NaN or Infinity, or an integer with thousands of digits
        raise NotJsonError(str(error).partition(";")[0]) from None
    is_plain = is_plain and "\\u" not in body  # an unescaped NUL isn't valid JSON
    if repeating or (not is_plain and _SUSPICIOUS.search(body)):
        return Document(value, tuple(islice(_refusals(value), MAX_REFUSALS)))
    return Document(value, ())


def json_object(text: str) -> dict[str, Any]:
    """Decode a JSON object from another system; return `{}` for any other text."""
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return {}
    return value if isinstance(value, dict) else {}


def finite_number(value: object) -> float | None:
    """Read a number in a JSON document, which may be a string; None if it is not finite."""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    try:
        number = float(value)
    except (ValueError, OverflowError):
        return None
    return number if math.isfinite(number) else None


def utf8_safe(word: str) -> str:
    """Replace halves of surrogate pairs: JSON can contain them, UTF-8 can't."""
    return word.encode("utf-8", "replace").decode()


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")


def _refusals(value: object) -> Iterator[Refusal]:
    """Yield the refusals in document order, without recursion and with only one path in memory."""
    path: list[str | int] = []
    levels: list[Iterator[tuple[str | int, object]]] = [_children(value)]
    yield from _refusals_of(path, value)
    while levels:
        step, child = next(levels[-1], (None, None))
        if step is None:
            levels.pop()
            del path[len(levels) - 1 :]
            continue
        path[len(levels) - 1 :] = [step]
        yield from _refusals_of(path, child)
        levels.append(_children(child))


def _children(value: object) -> Iterator[tuple[str | int, object]]:
    if isinstance(value, dict):
        return ((_printable(name), child) for name, child in value.items())
    return iter(enumerate(value)) if isinstance(value, list) else iter(())


def _refusals_of(path: Sequence[str | int], value: object) -> Iterator[Refusal]:
    """Yield the refusals of one value, without those of the values in it."""
    if isinstance(value, str) and _UNUSABLE.search(value):
        yield Refusal(pointer(path), "invalid-character", INVALID_CHARACTER)
    elif isinstance(value, dict):
        for name in getattr(value, "repeated", ()):
            place = pointer((*path, _printable(name)))
            yield Refusal(place, "duplicate-field", "The object has this field more than once.")
        for name in value:
            if _UNUSABLE.search(name):
                place = pointer((*path, _printable(name)))
                yield Refusal(place, "invalid-character", INVALID_CHARACTER)


def _printable(name: str) -> str:
    """Replace the characters that a response can't contain."""
    return _UNUSABLE.sub("\ufffd", name)
