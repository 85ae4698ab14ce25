"""The canaries: planted words and numbers, the places where each may occur, and the search.

`PLANTED` has a row for every field of a request and for every secret.
"""

import base64
import html
import json
import re
import typing
import unicodedata
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Any
from urllib.parse import quote, unquote_plus

from pydantic import BaseModel


class Place(StrEnum):
    """A place where values come out."""

    LOG = "log"  # logs, metrics, tracebacks, what the runtime prints, what handlers return
    OWNER = "owner"  # answers to the client whose message it is
    OTHERS = "others"  # answers to any other client
    OPEN = "open"  # items of the ledger that the relay or an operator still needs
    ENDED = "ended"  # items of the ledger that are final: accepted, rejected, refused
    QUEUE = "queue"  # messages that the relay puts into the queue
    LETTERS = "letters"  # the dead-letter queue
    OPERATOR = "operator"  # the command's output
    UPSTREAM = "upstream"  # the calls of Marketing Cloud
    TOLD = "told"  # events on the bus, and callbacks


UPSTREAM, OPEN, ENDED, LETTERS = Place.UPSTREAM, Place.OPEN, Place.ENDED, Place.LETTERS
LOG, OWNER, OTHERS, OPERATOR = Place.LOG, Place.OWNER, Place.OTHERS, Place.OPERATOR
TOLD = Place.TOLD
KEPT = {UPSTREAM, OPEN, LETTERS}
"""Places of values that an unfinished send needs; a dead letter contains the body."""
ECHO = {OWNER, ENDED, OPERATOR}
"""Places of the upstream's error messages."""


@dataclass(frozen=True)
class Canary:
    """A word of letters and a number; the search finds one of them in every spelling."""

    word: str
    number: str | None = None
    may: frozenset[Place] = frozenset()
    number_may: frozenset[Place] | None = None
    """Where the number may occur, if this differs from `may`."""

    @property
    def text(self) -> str:
        """The word and the number, with characters that some format must escape."""
        return f'{self.word} "zoë" & <b>\\ 100%/{self.number or ""} and so it goes on, {self.word}'

    @property
    def token(self) -> str:
        """The word and the number as the value of a header."""
        return f"{'aZ9-' * 9}{self.word}.{self.number or ''}-_~+/{'bY8-' * 9}="

    def found(self, text: str, place: Place) -> Iterator[str]:
        """Yield the canaries in a text that may not occur in this place."""
        if place not in self.may:
            yield from _find_word(self.word, text)
        number_may = self.may if self.number_may is None else self.number_may
        if self.number and place not in number_may:
            yield from _find_number(self.number, text)


def canary(
    word: str, number: str | None, *may: Place, number_may: Iterable[Place] | None = None
) -> Canary:
    return Canary(
        f"Zq{word:x<9}qz",  # long enough for the search in base64
        number,
        frozenset(may),
        None if number_may is None else frozenset(number_may),
    )


# By field of the request, with `.` for nested fields. None: fixed values, or a time.
FIELDS: Mapping[str, Canary | None] = {
    "message": canary("template", None, UPSTREAM, OPEN, ENDED, *ECHO, LETTERS),
    "to": canary("plain", "12025550101", *KEPT),
    "to.mobile": canary("mobile", "13035550102", *KEPT),
    "to.key": canary("key", "14045550103", *KEPT),
    # A name is a column of a data extension; the upstream's errors may contain it.
    "to.attributes": canary("name", None, *KEPT, *ECHO),
    "text": canary("text", "16065550104", *KEPT),
    "subscribe": None,
    "resubscribe": None,
    # It is configuration, like the message id, and the upstream's documented errors name it.
    "keyword": canary("keyword", None, *KEPT, *ECHO),
    "sendAt": None,
    "expiresAt": None,
    "quietHours.start": None,
    "quietHours.end": None,
    "quietHours.timezone": None,
    "quietHours.utcOffset": None,
    "mediaUrl": canary("media", "17075550105", *KEPT),
    # Never sent, and shown only to its client; the command redacts its numbers.
    "reference": canary(
        "reference",
        "18085550106",
        *(OWNER, OPEN, ENDED, LETTERS, OPERATOR, TOLD),
        number_may=(OWNER, OPEN, ENDED, LETTERS, TOLD),
    ),
    "onUnknown": None,
    "maxSegments": None,
    # It is hashed into the message's id; a dead letter keeps it for a redrive.
    "idempotencyKey": canary("field", "19095550107", LETTERS),
}
BESIDE: Mapping[str, Canary] = {
    "attribute value": canary("value", "12125550108", *KEPT),
    # Values that are not fields.
    "header Idempotency-Key": canary("header", "13125550109", LETTERS),
    "other headers": canary("other", "14125550110"),
    # A client's name must be in lower case.
    "client": Canary("zqclientxxxqz", None, frozenset({LOG, OPEN, ENDED, LETTERS, OPERATOR, TOLD})),
    "SQS attribute": canary("attribute", "15125550111", LETTERS),
    "around an envelope": canary("envelope", "16125550112", LETTERS),
    # An unknown field's name: reported to its client; stored only if it looks like a name.
    "unknown field": canary("unknown", "17125550113", OWNER, LETTERS),
    "body that is no JSON": canary("garbage", "18125550114", LETTERS),
    "path": canary("path", "19125550115"),
    "access token": canary("token", "12135550116", UPSTREAM),
    "beside the token": canary("secret", "13135550117"),
    "client secret": canary("password", "16135550118", UPSTREAM),
    "client id": canary("package", "17135550119", UPSTREAM),
    "webhook secret": canary("webhook", "18135550122"),
    "tokenId": canary("receipt", None, LOG, OWNER, OPEN, ENDED, OPERATOR, UPSTREAM, TOLD),
    "what an exception says": canary("exception", "14135550120"),
    # An operator's free text: redacted, then shown with the send.
    "an operator's note": canary("reason", "15135550121", *ECHO, TOLD, number_may=()),
}
PLANTED: Mapping[str, Canary | None] = {**FIELDS, **BESIDE}


def planted(name: str) -> Canary:
    """Return the canary of a row."""
    found = PLANTED[name]
    assert found is not None
    return found


def leaves(model: type[BaseModel], prefix: str = "") -> Iterator[str]:
    """Yield the aliases of a model's fields, including those of nested models."""
    for name, field in model.model_fields.items():
        path = f"{prefix}{field.alias or name}"
        inner = list(_models(field.annotation))
        if not inner or path == "to":  # a recipient can also be a number
            yield path
        for each in inner:
            yield from leaves(each, f"{path}.")


def _models(annotation: object) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for argument in typing.get_args(annotation):
        yield from _models(argument)


NUMBERS = [planted(name).number or "" for name in ("to", "to.mobile")]


def written(number: str) -> str:
    """Return a number as people write it."""
    return f"+{number[0]} ({number[1:4]}) {number[4:7]}-{number[7:]}"


SUBSCRIBER: Mapping[str, Any] = {
    "mobile": f"+{NUMBERS[1]}",
    "key": planted("to.key").text,
    "attributes": {planted("to.attributes").word: planted("attribute value").text},
}
REQUEST: Mapping[str, Any] = {
    "message": planted("message").word,
    "to": [written(NUMBERS[0]), SUBSCRIBER],
    "text": planted("text").text,
    "subscribe": True,
    "resubscribe": False,
    "keyword": planted("keyword").word,
    "sendAt": datetime.now(UTC).isoformat(),
    "expiresAt": (datetime.now(UTC) + timedelta(days=1)).isoformat(),
    "quietHours": {"start": "21:00", "end": "08:00", "timezone": "America/Chicago"},
    "mediaUrl": f"https://media.example/{planted('mediaUrl').word}?n={planted('mediaUrl').number}",
    "reference": planted("reference").text,
    "onUnknown": "hold",
    "maxSegments": 9,
}
LONE: Mapping[str, Any] = {**REQUEST, "to": [dict(SUBSCRIBER)]}
NUMBERED: Mapping[str, Any] = {**REQUEST, "to": [written(NUMBERS[0])]}


def refused_requests() -> Iterator[str]:
    """Yield bodies that are refused, with canaries in every possible position."""
    for path in FIELDS:
        row = FIELDS[path] or planted("text")
        for wrong in (row.text, [row.text], {row.text: row.text}, written(row.number or "1")):
            yield json.dumps(_with(path, wrong))
    unknown = planted("unknown field").text
    for where in ("", "quietHours.", "to."):
        yield json.dumps(_with(f"{where}{unknown}", planted("text").text))
    attributes: Any = {unknown: None, planted("unknown field").number: []}
    yield json.dumps(_with("to.attributes", attributes))
    repeated = f"{json.dumps(unknown)}:1"
    yield f"{json.dumps(REQUEST)[:-1]},{repeated},{repeated}}}"
    garbage = planted("body that is no JSON")
    yield from (garbage.text, f'{{"text": "{garbage.text}', json.dumps(garbage.text))
    yield f"[{garbage.number * 500}]" if garbage.number else ""
    yield json.dumps({"send": {"id": garbage.text, "n": 1}})


def _with(path: str, value: object) -> dict[str, Any]:
    request = json.loads(json.dumps({**REQUEST, "to": [dict(SUBSCRIBER)]}))
    *outer, name = path.split(".", 1) if path.startswith(("to.", "quietHours.")) else [path]
    inside = request
    for step in outer:
        inside = inside[step][0] if step == "to" else inside[step]
    inside[name] = [value] if path == "to" else value
    return dict(request)


def spellings(value: str) -> list[str]:
    """Return a value in the spellings in which others could repeat it."""
    escaped = "".join(f"\\u{ord(character):04x}" for character in value if ord(character) < 1 << 16)
    forms = [
        *(value, value.lower(), value.upper(), f"'{value}'", f"{value[: len(value) // 2]}..."),
        *(quote(value), quote(value, safe=""), quote(quote(value, safe=""), safe="")),
        *(html.escape(value), "".join(f"&#{ord(character)};" for character in value)),
        *(json.dumps(value), json.dumps(value, ensure_ascii=False), escaped),
        *(unicodedata.normalize("NFD", value), f"  {value.replace(' ', '  ')}"),
        base64.b64encode(value.encode()).decode(),
        base64.urlsafe_b64encode(f"user:{value}".encode()).decode().rstrip("="),
        f"{value}{value}",
    ]
    digits = re.sub(r"[^0-9]", "", value)
    if digits and len(digits) <= 15 and re.fullmatch(r"[0-9+() -]+", value):
        country, area, exchange, line = digits[0], digits[1:4], digits[4:7], digits[7:]
        forms += [
            digits,
            written(digits),
            quote(written(digits)),
            html.escape(f"tel:+{country}-{area}-{exchange}-{line}"),
            *(mark.join((area, exchange, line)) for mark in " .-/,\u00a0\u2013_:'"),
            f"{country} {area} {exchange} {line[:2]} {line[2:]}",
            " ".join(digits),
            "-".join(digits),
            digits.translate({ord("0") + n: 0xFF10 + n for n in range(10)}),
            digits.translate({ord("0") + n: 0x0660 + n for n in range(10)}),
            digits.translate(dict(zip(map(ord, "0123456789"), "⁰¹²³⁴⁵⁶⁷⁸⁹", strict=True))),
            digits.translate(dict(zip(map(ord, "0123456789"), "⓿❶❷❸❹❺❻❼❽❾", strict=True))),
            *(mark.join(digits) for mark in "²①\u200b"),
            f"%2B{country}%20{area}%20{exchange}%20{line}",
            f"+00{digits}",
            base64.b64encode(f"+{digits}".encode()).decode(),
        ]
    return forms


def _find_word(word: str, text: str) -> Iterator[str]:
    for form in _readings(text):
        at = form.casefold().find(word.casefold())
        if at >= 0:
            yield f"{word}: {form[max(0, at - 150) : at + 80]!r}"
            return
    for spelled in (word, word.lower(), word.upper()):
        yield from _find_base64(spelled, text)


_DIFFERS_IN_EACH_RUN = re.compile(
    r"""
    (?<![0-9.])20\d\d-\d\d-\d\d[T ]\d\d:\d\d:\d\d  # a time
        (?:[.,]\d{1,6}(?!\d))?(?:Z|[+-]\d\d:?\d\d)?(?![0-9A-Za-z])
    | (?<![0-9A-Za-z.])(?:
        1[78]\d{8}(?:\d{3}|\.\d{1,9})?  # a time in seconds or milliseconds
        | [0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}  # a UUID
        | [0-9a-f]{32}(?:[0-9a-f]{32})?  # a hash
        | (?<=Time":\[)\d{1,5}\.\d(?:,\d{1,5}\.\d)*(?=\])  # a metric of milliseconds
        | (?<=Latency":\[)\d{1,5}\.\d(?:,\d{1,5}\.\d)*(?=\])
      )(?![0-9A-Za-z])
    """,
    re.VERBOSE,
)
"""Text that can contain a planted number by coincidence: 21:05:55.011+00:00 has 555-0110."""


def _find_number(number: str, text: str) -> Iterator[str]:
    text = _DIFFERS_IN_EACH_RUN.sub("<left out>", text)
    pattern = re.compile(r"[^0-9A-Za-z]{0,3}".join(number[-7:]))
    for form in _readings(text):
        match = pattern.search(form)
        if match:
            yield f"{number}: {form[max(0, match.start() - 150) : match.end() + 80]!r}"
            return
    yield from _find_base64(number, text)


def _find_base64(word: str, text: str) -> Iterator[str]:
    """Look for a word at each of the three offsets that it can have in base64."""
    for offset in range(3):
        encoded = base64.b64encode(b"\0" * offset + word.encode()).decode()
        core = encoded[4 if offset else 0 : -4]
        if core in text or core.replace("+", "-").replace("/", "_") in text:
            yield f"{word} as base64: {core}"


def _readings(text: str) -> Iterator[str]:
    """Yield the text, and its decoded forms."""
    yield text
    for _ in range(2):
        text = re.sub(r"\\+u([0-9a-fA-F]{4})", lambda match: chr(int(match[1], 16)), text)
        text = unicodedata.normalize("NFKC", html.unescape(unquote_plus(text)))
        text = re.sub("[^\0-\x7f]", lambda match: str(unicodedata.digit(match[0], match[0])), text)
        yield text
