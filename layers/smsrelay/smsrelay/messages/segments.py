"""Estimates how many SMS a text needs, and in which encoding. MobileConnect decides."""

import re
import unicodedata
from collections.abc import Mapping
from typing import Final, Literal, NamedTuple

MAX_NAMED: Final = 20
"""The most characters outside GSM-7 that a refusal lists."""

Encoding = Literal["GSM-7", "UCS-2"]

# 3GPP TS 23.038, sections 6.2.1 and 6.2.1.1.
_BASIC: Final = (
    "@£$¥èéùìòÇ\nØø\rÅåΔ_ΦΓΛΩΠΨΣΘΞÆæßÉ !\"#¤%&'()*+,-./0123456789:;<=>?"
    "¡ABCDEFGHIJKLMNOPQRSTUVWXYZÄÖÑÜ§¿abcdefghijklmnopqrstuvwxyzäöñüà"
)
_EXTENSION: Final = "\f^{}\\[~]|€"
"""Characters that take two units each."""
_GSM_7: Final = frozenset(_BASIC + _EXTENSION)
_GSM_7_SIGNS: Final = frozenset(sign for sign in _GSM_7 if not sign.isalnum())
# "Character Counts" and "Message Concatenation" in the help of MobileConnect.
_ONE_PART: Final[Mapping[Encoding, int]] = {"GSM-7": 160, "UCS-2": 70}
_CONCATENATED_PART: Final[Mapping[Encoding, int]] = {"GSM-7": 153, "UCS-2": 67}
_PERSONALISATION: Final = re.compile("%%.*?%%", re.DOTALL)
_REPLACEMENTS: Final = {
    ord(character): replacement
    for characters, replacement in (
        ("\u2018\u2019\u201a\u201b\u2032`\u00b4", "'"),
        ("\u201c\u201d\u201e\u201f\u2033\u00ab\u00bb", '"'),
        ("\u2010\u2011\u2012\u2013\u2014\u2015\u2212\u2022\u00b7", "-"),
        ("\t\u2028\u2029", " "),
        ("\u00ad\u200b\u200c\u200d\u2060\ufe0e\ufe0f\ufeff", ""),
        ("\u00d7", "x"),
    )
    for character in characters
}


class Segments(NamedTuple):
    encoding: Encoding
    characters: int
    """In units of the encoding; extended characters of GSM-7 and emoji count as two."""
    number: int
    """SMS for each recipient."""
    at_least: bool
    """Whether the text contains `%%…%%`, which is not counted, so that it can become longer."""


def estimate(text: str, *, concatenated: bool) -> Segments:
    """Estimate the size of a text.

    With concatenation, a text that needs more than one SMS is split into parts of 153 or 67
    characters. Without it, MobileConnect splits at spaces into parts of up to 160 or 70 characters.
    """
    fixed = _PERSONALISATION.sub("", text)
    encoding: Encoding = "GSM-7" if _GSM_7.issuperset(fixed) else "UCS-2"
    characters = _units(fixed, encoding)
    number = 1
    if characters > _ONE_PART[encoding]:
        limits = _CONCATENATED_PART if concatenated else _ONE_PART
        number = _parts(fixed, encoding, limits[encoding], at_spaces=not concatenated)
    return Segments(encoding, characters, number, at_least=fixed != text)


def outside_gsm_7(text: str) -> str:
    """List at most `MAX_NAMED` characters that make a text UCS-2, and count the others.

    Each has its code point, its offset (in code points, from 0) and a replacement. Letters and
    digits are not listed, because a refusal must not contain the text.
    """
    text = _PERSONALISATION.sub(lambda match: " " * len(match[0]), text)
    found = [(offset, sign) for offset, sign in enumerate(text) if sign not in _GSM_7]
    named = [
        f"U+{ord(sign):04X} at offset {offset}{instead}"
        for offset, sign in found
        if (instead := _instead_of(sign))
    ][:MAX_NAMED]
    others = len(found) - len(named)
    return "; ".join([*named, f"{others} not listed"] if others else named)


def _instead_of(character: str) -> str:
    replacement = _REPLACEMENTS.get(ord(character))
    if replacement is None:
        decomposed = unicodedata.normalize("NFKD", character)
        replacement = "".join(part for part in decomposed if not unicodedata.combining(part))
        if not replacement or not _GSM_7_SIGNS.issuperset(replacement):
            return ""
    return f' (write "{replacement}")' if replacement else " (leave it out)"


def _units(text: str, encoding: Encoding) -> int:
    if encoding == "GSM-7":
        return len(text) + sum(map(text.count, _EXTENSION))
    return len(text.encode("utf-16-le", "surrogatepass")) // 2


def _parts(text: str, encoding: Encoding, limit: int, *, at_spaces: bool) -> int:
    """Count the parts of at most `limit` units. No character is divided."""
    number = start = 0
    while start < len(text):
        end = _end_of_part(text, start, encoding, limit)
        if at_spaces and end < len(text):
            # A part may end with the space, or the space between two parts is dropped.
            space = text.rfind(" ", start, end + 1)
            end = end if space < 0 else space + 1
        number, start = number + 1, end
    return number


def _end_of_part(text: str, start: int, encoding: Encoding, limit: int) -> int:
    end = min(start + limit, len(text))
    while (excess := _units(text[start:end], encoding) - limit) > 0:
        end -= -(-excess // 2)  # each character has at most two units
    return end
