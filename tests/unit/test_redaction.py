"""Tests which parts of the upstream's error messages are kept, and which are cut."""

import html
import json
import re
import tracemalloc
import unicodedata
from base64 import b64encode, urlsafe_b64encode
from collections.abc import Callable, Mapping
from urllib.parse import quote

import pytest

from smsrelay.security.redaction import DOCUMENTED_WORDS, MAX_LENGTH, redact, without, without_names
from smsrelay.sends.call_outcome import of_response
from tools.mobileconnect_simulator import error_messages

NUMBER = "13175550142"
UUID = "3f2504e0-4f89-11d3-9a0c-0305e82c3301"
DIGITS = (
    *("⁰¹²³⁴⁵⁶⁷⁸⁹", "⓪①②③④⑤⑥⑦⑧⑨", "⓿❶❷❸❹❺❻❼❽❾"),
    # Full-width, Arabic and mathematical digits.
    *("".join(chr(zero + n) for n in range(10)) for zero in (0xFF10, 0x0660, 0x1D7EC)),
)


def full_width(text: str) -> str:
    return "".join(chr(ord(sign) + 0xFEE0) if "!" <= sign <= "~" else sign for sign in text)


BODY = json.dumps(
    {
        "messageText": "Hello Zoë Grün, your parcel arrives Friday. Code 493028, or 77 1 ﬁve.",
        "ContentURL": "https://media.example/Receipts.png",
        "keyword": "TestKeyword",
        "Subscribers": [
            {
                "MobileNumber": NUMBER,
                "SubscriberKey": "shopper-8812",
                "Attributes": {
                    "FirstName": "Jane",
                    "Plan": full_width("Platin"),
                    "Ref": "80d1a6f2-77aa",
                },
            },
            {"MobileNumber": "13175550143", "SubscriberKey": "Quentin"},
        ],
    },
    ensure_ascii=False,
)


def shown(message: str, body: str = BODY) -> str:
    [redacted] = redact([message], body)
    return redacted


@pytest.mark.parametrize(
    "mark", [*(digits[2] for digits in DIGITS), "½", "\u200b", "\u00ad", "_", "·", ". "]
)
def test_a_number_with_marks_between_its_digits_is_cut(mark: str) -> None:
    assert shown(f"{mark.join(NUMBER)} is not valid") == "… is not valid"
    assert shown(f"{NUMBER[:4]}{mark}{NUMBER[4:]} is not valid") == "… is not valid"


@pytest.mark.parametrize("digits", DIGITS)
def test_digits_of_other_scripts_are_cut(digits: str) -> None:
    others = dict(zip(map(ord, "0123456789"), digits, strict=True))
    written = NUMBER.translate(others)
    for message in (written, " ".join(written), f"{NUMBER[:7]}{written[7:]}"):
        assert shown(f"{message} is not valid") == "… is not valid"
    body = json.dumps({"messageText": f"code {'4930'.translate(others)}"})
    assert shown("4930 is not valid", body) == "… is not valid"


@pytest.mark.parametrize("filler", ["parcel ", "a\u0663 👋", "\ufdfa"])
def test_memory_does_not_grow_with_the_text(filler: str) -> None:
    text = filler * (340_000 // len(filler.encode()))
    body = json.dumps({"messageText": text}, ensure_ascii=False)
    messages = ["Contact 12 has no preference for a channel; see reference 50100. " * 8] * 20
    tracemalloc.start()
    try:
        redact(messages, body)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    # Enough for the decoded text (4 bytes a character), its letters and digits, and the messages.
    assert peak < 2_500_000


DOCUMENTED = (
    *(*error_messages.DOCUMENTED, error_messages.TOKEN_NOT_VALID),
    *("Not Authorized", "Insufficient Privileges", "Rate limit exceeded"),
    *("Your requests are temporarily blocked.", "invalid_client"),
    *of_response(400, {}, b"", 0.0).errors,
)


@pytest.mark.parametrize("message", DOCUMENTED)
def test_documented_messages_are_kept_whatever_the_text_is(message: str) -> None:
    filled = message.format(UUID)
    body = json.dumps({"messageText": message.replace("400", "")})
    assert shown(filled, body) == filled


def test_the_documented_words_are_those_of_the_documented_messages() -> None:
    words = {re.sub("[^a-z]", "", word.lower()) for word in " ".join(DOCUMENTED).split()}
    assert words - {""} == DOCUMENTED_WORDS


@pytest.mark.parametrize(
    "message",
    [
        "Keyword TestKeyword is invalid for the code on the message",
        f"please contact Customer Support with reference id {UUID.upper()}.",
        "Contact record already exists (50200): 'subscriber'",
        '{"message": "MobileNumbers missing", "errorkind": 20002}',
        "OPS-4711, see PAGE 404!",
        "-0500 is not a valid UTC offset.",
        "20:06 is no start time",
        "… is not valid … - ?",
        "Marketing Cloud",
        "Service Unavailable",
        "",
    ],
)
def test_harmless_words_are_kept(message: str) -> None:
    assert shown(message) == message
    assert without([message], []) == (message,)


SECRETS = (
    *(NUMBER, "+1 (317) 555-0142", "493028", "4930", "https://media.example/Receipts.png"),
    *("Grün", "Zoë Grün", "parcel arrives", "shopper-8812", "shopper", "Jane", "Platin", "Quentin"),
    *("80d1a6f2-77aa", "receipts", "five", "media.example"),
)
SPELLINGS: Mapping[str, Callable[[str], str]] = {
    "as it is": str,
    "in upper case": str.upper,
    "twice": lambda secret: secret * 2,
    "within a word": lambda secret: f"x{secret}x",
    "in part": lambda secret: secret[1:],
    "hyphenated": "-".join,
    "with invisible marks": "\u200b".join,
    "decomposed": lambda secret: unicodedata.normalize("NFD", secret),
    "without accents": lambda secret: secret.replace("ü", "u").replace("ë", "e"),
    "full-width": full_width,
    "percent-encoded": lambda secret: quote(secret, safe=""),
    "percent-encoded wholly": lambda secret: "".join(f"%{b:02X}" for b in secret.encode()),
    "HTML": html.escape,
    "entities": lambda secret: "".join(f"&#{ord(character)};" for character in secret),
    "escapes": lambda secret: "".join(f"\\u{ord(character):04x}" for character in secret),
    "JSON": json.dumps,
    "hexadecimal": lambda secret: secret.encode().hex(),
    "base64": lambda secret: b64encode(secret.encode()).decode(),
    "base64 without padding": lambda secret: urlsafe_b64encode(secret.encode()).decode().strip("="),
    "base64 in part": lambda secret: b64encode(f"{secret} and more".encode()).decode()[:9],
    "base64 of more": lambda secret: b64encode(f"id:{secret}".encode()).decode().strip("="),
}


@pytest.mark.parametrize("spelling", SPELLINGS)
@pytest.mark.parametrize("secret", SECRETS)
def test_a_secret_is_cut_in_every_spelling(secret: str, spelling: str) -> None:
    spelled = SPELLINGS[spelling](secret)
    assert shown(f"Token {spelled} is not valid") == "Token … is not valid"
    assert shown(f"The number ({spelled}), is zero") == "The number … is zero"
    assert shown(f"Token:{spelled}") == "…"


@pytest.mark.parametrize("secret", SECRETS)
@pytest.mark.parametrize("size", [1, 2, 3, 5])
def test_a_secret_is_cut_in_pieces(secret: str, size: int) -> None:
    pieces = [secret[n : n + size] for n in range(0, len(secret), size)]
    for between in (" ", " and ", " (and) "):
        words = {word.strip("().:-") for word in shown(between.join(pieces)).split()}
        assert words <= {"", "…", "and", *("a", "at", "in", "or")}, words


@pytest.mark.parametrize("secret", ["Jan", "Jane", "Ben", "id Jane", "100200300"])
def test_base64_of_letters_only_is_cut(secret: str) -> None:
    body = json.dumps({"messageText": f"for {secret.removeprefix('id ')}"})
    encoded = b64encode(secret.encode()).decode().strip("=")
    assert encoded.isalpha()
    assert shown(f"{encoded}, is not valid", body) == "… is not valid"
    assert shown(f"{encoded}, is not valid", "{}") == f"{encoded}, is not valid"


@pytest.mark.parametrize(
    ("message", "expected"),
    [
        ("317 555 0142 is not valid", "… is not valid"),
        ("317 and 555 and 0142 and 0143", "… and … and … and …"),
        ("3 1 7 5 5", "…"),
        ("a317b555c0142 or 3a1a7a5a5a5a0a1a4a2", "… or …"),
        ("number_13175550142, 13175550142x", "…"),
        (f"{NUMBER}-13175550143", "…"),
        ("2026-10-05 13175550142", "…"),
        # A number that was not sent is cut, too.
        ("contact +1 212 606 0199", "contact …"),
        ("contact 212 - 606 - 0199, or 2126060199", "contact … - … - … or …"),
        ("contact 212/606/0199 or tel:212 60601", "contact … or …"),
        ("contact 212\u00a0606\u20130199 or ⑥⑥6 666", "contact … or …"),
        ("order 606060", "order …"),
        ("order 60606 and 66", "order 60606 and 66"),
    ],
)
def test_numbers_in_pieces_are_cut(message: str, expected: str) -> None:
    assert shown(message) == expected


@pytest.mark.parametrize(
    "uuid",
    [
        "13175550-1421-4175-a550-142131755501",
        "aaaaaaaa-aaaa-4aaa-aaaa-a13175550142",
        "80d1a6f2-77aa-4aaa-aaaa-aaaaaaaaaaaa",
        f"{UUID}-{UUID}",
        f"x{UUID}",
    ],
)
def test_similar_ids_are_cut(uuid: str) -> None:
    assert shown(f"reference id {uuid}.") == "reference id …"


@pytest.mark.parametrize(
    ("message", "expected"),
    [
        ("Message MzA6Nzg6MA is not valid", "Message … is not valid"),
        ("blocked text: Hello Zoë Grün, your parcel", "blocked text: … your …"),
        ("Subscriber Jane (shopper-8812) was not valid", "Subscriber … was not valid"),
        ("Zoe:png, is not valid", "… is not valid"),
        ("xJa-nex is not valid", "… is not valid"),
        ("a b x \ud800 \x00 & + / = %", "a …"),
        ("no\r\n\tvalid  \u2028 number ", "no valid number"),
        ("y" * 600, "y" * MAX_LENGTH),
        (f"{'wxyz ' * 100}{NUMBER}", ("wxyz " * 100).strip()),
        ("…" * 600, "…" * MAX_LENGTH),
    ],
)
def test_words_beside_cut_ones_are_kept(message: str, expected: str) -> None:
    body = json.loads(BODY)
    body["messageText"] += " bx"
    assert shown(message, json.dumps(body)) == expected
    assert shown(expected, json.dumps(body)) == expected


def test_nothing_is_secret_without_a_request() -> None:
    assert redact(["Hello 12"], "") == ("Hello 12",)
    assert redact([], BODY) == ()


@pytest.mark.parametrize(
    ("pointer", "expected"),
    [
        ("", ""),
        ("/to/249/attributes/First_Name", "/to/249/attributes/First_Name"),
        ("/address2/x-y.z", "/address2/x-y.z"),
        ("/13175550142/to", "/…/to"),
        ("/1_3_1_7_5_5_5/x123456", "/…/…"),
        ("/call 12/ünknown/a~1b/²", "/…/…/…/…"),
        (f"/{'n' * 41}/{'n' * 40}", f"/…/{'n' * 40}"),
    ],
)
def test_a_pointer_keeps_names_of_fields_only(pointer: str, expected: str) -> None:
    assert without_names(pointer) == expected
    assert without_names(expected) == expected
