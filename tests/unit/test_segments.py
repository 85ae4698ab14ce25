"""Tests the number of SMS for a text, by the standard, Salesforce's pages and two libraries."""

from decimal import Decimal
from random import Random

import gsm0338  # type: ignore[import-untyped]
import pytest
import smsutil  # type: ignore[import-untyped]

from smsrelay.messages.refusals import Refusal, RequestRefusedError
from smsrelay.messages.request import CatalogueDefaults
from smsrelay.messages.segments import Segments, estimate, outside_gsm_7
from smsrelay.messages.strict_json import Document
from smsrelay.messages.validation import parse_request

EXTENDED = "\f^{}\\[~]|€"
ALPHABETS = (
    "abcXYZ019 .,@£ñΔ\n",
    f"ab {EXTENDED}",
    "abc \u2019\u201c\u2026ç",
    "ab 😀漢",
    "".join(map(chr, range(32, 1_200))),
)
LENGTHS = (*range(1, 90), *range(150, 165, 3), 305, 308)
"""Lengths around the limits; mostly short, because one library needs 0.3 ms for a long text."""
# The example on "Message Concatenation" in Salesforce's help: 196 characters.
LANEYS = (
    "Spring has arrived at Laneys! Exclusive sale is this weekend, April 4-7. Get 10% off entire "
    "selection! Don't miss out on these deals!! Reply HELP for help or STOP to stop receiving "
    "messages."
)


def texts(count: int) -> list[str]:
    dice = Random(17)  # noqa: S311 - the same texts in every run
    return [
        "".join(dice.choices(ALPHABETS[n % len(ALPHABETS)], k=dice.choice(LENGTHS)))
        for n in range(count)
    ]


def test_two_libraries_count_the_same() -> None:
    gsm_7 = gsm0338.Codec()
    for text in texts(20_000):
        size = estimate(text, concatenated=True)
        split = smsutil.split(text)
        assert split.encoding == ("gsm0338" if size.encoding == "GSM-7" else "utf_16_be"), text
        assert size.number == len(split.parts), text
        try:
            units = len(gsm_7.encode(text)[0])
        except UnicodeEncodeError:
            assert size.encoding == "UCS-2", text
            assert size.characters * 2 == split.total_bytes, text
        else:
            assert (size.encoding, size.characters) == ("GSM-7", units), text
            assert units == split.total_bytes, text


@pytest.mark.parametrize(
    ("text", "alone", "concatenated"),
    [
        ("x", 1, 1),
        ("x" * 160, 1, 1),
        ("x" * 161, 2, 2),
        ("x" * 306, 2, 2),
        ("x" * 307, 2, 3),
        ("x" * 320, 2, 3),
        ("€" * 80, 1, 1),
        ("€" * 81, 2, 2),
        ("€" * 153, 2, 3),  # an extended character is not split between parts
        ("ç" * 70, 1, 1),
        ("ç" * 71, 2, 2),
        ("😀" * 35, 1, 1),
        ("😀" * 36, 2, 2),
        ("ç" + "😀" * 66, 2, 2),
        ("ç" + "😀" * 67, 2, 3),  # an emoji is not split, either
        (LANEYS, 2, 2),
        ("x" * 159 + " " + "y" * 160, 2, 3),
        ("x" * 160 + " " + "y" * 160, 2, 3),  # the space between two parts is lost
        (("x" * 81 + " ") * 4, 4, 3),  # split at spaces: one word in each part
        ("x" * 100 + " " + "y" * 100 + " " + "z" * 100, 3, 2),
    ],
)
def test_parts_of_a_text(text: str, alone: int, concatenated: int) -> None:
    assert estimate(text, concatenated=False).number == alone
    assert estimate(text, concatenated=True).number == concatenated


def test_personalisation_makes_the_size_a_minimum() -> None:
    assert estimate("Hi %%FirstName%%!", concatenated=False) == Segments("GSM-7", 4, 1, True)
    assert estimate("%%=v(@name\u2019)=%%", concatenated=False) == Segments("GSM-7", 0, 1, True)
    assert estimate("100%% sure", concatenated=False) == Segments("GSM-7", 10, 1, False)
    assert outside_gsm_7("%%=v(@name\u2019)=%%") == ""


def test_signs_outside_gsm_7_are_named_with_a_replacement_and_others_counted() -> None:
    text = "It\u2019s \u201cok\u201d \u2013 \u00a0… ✓\u200b%%\u2019%%漢"
    assert outside_gsm_7(text).split("; ") == [
        'U+2019 at offset 2 (write "\'")',
        'U+201C at offset 5 (write """)',
        'U+201D at offset 8 (write """)',
        'U+2013 at offset 10 (write "-")',
        'U+00A0 at offset 12 (write " ")',
        'U+2026 at offset 13 (write "...")',
        "U+200B at offset 16 (leave it out)",
        "2 not listed",
    ]
    assert outside_gsm_7("\u2013" * 23).count("offset") == 20
    assert outside_gsm_7("\u2013" * 23).endswith("; 3 not listed")


@pytest.mark.parametrize("text", ["Код 4711", "ç", "\uff14\uff17", "Ⓒⓞⓓⓔ", "\U0001d402", "漢"])
def test_letters_and_digits_outside_gsm_7_are_only_counted(text: str) -> None:
    letters = sum(not character.isascii() for character in text)
    assert outside_gsm_7(text) == f"{letters} not listed"


def refused(maximum: int | None = None, **fields: object) -> list[Refusal]:
    document = {"message": "MzA6Nzg6MA", "to": ["+12125550100"]} | fields
    try:
        parse_request(Document(document, ()), CatalogueDefaults(max_segments=maximum))
    except RequestRefusedError as error:
        return list(error.refusals)
    return []


def test_the_lower_limit_of_request_and_catalogue_counts() -> None:
    assert not refused(text="x" * 161)
    assert not refused(text="x" * 161, maxSegments=2)
    assert not refused(maximum=2, text="x" * 161)
    assert not refused(maximum=1)  # the text is in Marketing Cloud and not known
    for maximum, fields in (
        (None, {"maxSegments": 1}),
        (1, {}),
        (1, {"maxSegments": 2}),
        (2, {"maxSegments": 1}),
        (2, {"maxSegments": Decimal("1.0")}),
    ):
        assert refused(maximum, text="x" * 161, **fields) == [
            Refusal("/text", "too-many-segments", "The text needs 2 SMS in GSM-7; the limit is 1.")
        ]


def test_a_text_that_is_too_long_is_not_quoted() -> None:
    [refusal] = refused(maxSegments=1, text="Secret\u2019" * 11)
    assert refusal.code == "too-many-segments"
    assert "U+2019 at offset 6" in refusal.detail
    assert "offset 76" in refusal.detail
    assert "Secret" not in refusal.detail


@pytest.mark.parametrize("value", [0, -1, 256, 10**30, Decimal("1e999"), Decimal("0.5")])
def test_a_limit_is_between_1_and_255(value: object) -> None:
    assert [(it.pointer, it.code) for it in refused(text="x", maxSegments=value)] == [
        ("/maxSegments", "number-out-of-range")
    ]


@pytest.mark.parametrize("value", [None, True, "1", Decimal("1.5"), [1]])
def test_a_limit_is_an_integer(value: object) -> None:
    assert [(it.pointer, it.code) for it in refused(text="x", maxSegments=value)] == [
        ("/maxSegments", "wrong-type")
    ]


def test_a_limit_needs_a_text() -> None:
    assert [(it.pointer, it.code) for it in refused(maxSegments=1)] == [
        ("/maxSegments", "text-missing")
    ]
