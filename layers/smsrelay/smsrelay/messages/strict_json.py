"""Strict JSON: what pydantic can't see any more once a document has become a dict."""

import json
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from decimal import Decimal
from itertools import islice
from typing import Any, NamedTuple, NoReturn

from smsrelay.errors import NotJsonError, TooLargeError
from smsrelay.messages.refusals import INVALID_CHARACTER, MAX_REFUSALS, Refusal, pointer

MAX_REQUEST_BYTES = 1_048_576
"""The size of the largest request: what one SQS message holds (1 MiB)."""

_UNUSABLE = re.compile("[\x00\ud800-\udfff]")
# How the same characters look when they are escaped, or whatever else needs the closer look.
_SUSPICIOUS = re.compile(r"\\u(?:0000|[dD][89a-fA-F])|[\x00\ud800-\udfff]")


class Document(NamedTuple):
    """A decoded JSON document, and what is wrong with it although it could be decoded."""

    value: Any
    refusals: tuple[Refusal, ...]

    def member(self, name: str) -> "Document":
        """What a member of the object holds, as a document of its own."""
        place = f"/{name}"
        inside = tuple(
            refusal._replace(pointer=refusal.pointer.removeprefix(place))
            for refusal in self.refusals
            if refusal.pointer.startswith(f"{place}/")
        )
        return Document(self.value[name], inside)


class _Repeating(dict[str, Any]):
    """An object in which a name stands more than once."""

    def __init__(self, pairs: list[tuple[str, Any]]) -> None:
        super().__init__(pairs)
        counts = Counter(name for name, _ in pairs)
        self.repeated = sorted(name for name, count in counts.items() if count > 1)


def decode(text: str) -> Document:
    """Decode a JSON document (RFC 8259) and point at what I-JSON (RFC 7493) forbids.

    Fractions become `Decimal`, so that a price keeps its last zero. Names that stand twice in an
    object, NUL characters and lone surrogates are refusals, not errors: they have a place.
    Raises `TooLargeError` (over `MAX_REQUEST_BYTES` as UTF-8) or `NotJsonError`.
    """
    is_plain = text.isascii()
    size = len(text) if is_plain else len(text.encode("utf-8", "surrogatepass"))
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
            text, object_pairs_hook=object_of, parse_float=Decimal, parse_constant=_no_constant
        )
    except json.JSONDecodeError as error:
        raise NotJsonError(f"{error.msg} at line {error.lineno}, column {error.colno}") from None
    except RecursionError:
        raise NotJsonError("nested too deeply") from None
    except ArithmeticError:
        raise NotJsonError("a number is out of range") from None
    except ValueError as error:  # a constant that is no JSON, or an integer of thousands of digits
        raise NotJsonError(str(error).partition(";")[0]) from None
    is_plain = is_plain and "\\u" not in text  # and a bare NUL is no JSON
    if repeating or (not is_plain and _SUSPICIOUS.search(text)):
        return Document(value, tuple(islice(_refusals(value), MAX_REFUSALS)))
    return Document(value, ())


def json_object(text: str) -> dict[str, Any]:
    """The JSON object in a text that another system wrote; empty if it is anything else."""
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return {}
    return value if isinstance(value, dict) else {}


def utf8_safe(word: str) -> str:
    """The word without halves of surrogate pairs, which JSON can hold and UTF-8 can't."""
    return word.encode("utf-8", "replace").decode()


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")


def _refusals(value: object) -> Iterator[Refusal]:
    """Walk the document in document order, without recursion; keep one path, not one per value."""
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
    """The refusals of a value, without those of the values in it."""
    if isinstance(value, str) and _UNUSABLE.search(value):
        yield Refusal(pointer(path), "invalid-character", INVALID_CHARACTER)
    elif isinstance(value, dict):
        for name in getattr(value, "repeated", ()):
            place = pointer((*path, _printable(name)))
            yield Refusal(place, "duplicate-field", "The field stands here more than once.")
        for name in value:
            if _UNUSABLE.search(name):
                place = pointer((*path, _printable(name)))
                yield Refusal(place, "invalid-character", INVALID_CHARACTER)


def _printable(name: str) -> str:
    """The name, fit to be put into an answer."""
    return _UNUSABLE.sub("\ufffd", name)
