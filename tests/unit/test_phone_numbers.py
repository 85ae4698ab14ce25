from random import Random

import phonenumbers
import pytest
from pydantic_core import PydanticCustomError

from smsrelay.messages._numbering_plan import NATIONAL_LENGTHS
from smsrelay.messages.phone_numbers import calling_code, normalize
from tools.requirements import numbering_plan

REGIONS = ["US", "CA", "GB", "DE", "FR", "IT", "ES", "NL", "CH", "AT"]
REGIONS += ["SE", "PL", "TR", "IN", "CN", "JP", "AU", "BR", "MX", "ZA"]


@pytest.mark.parametrize(
    ("written", "number"),
    [
        ("+1 212 555 0100", "+12125550100"),
        ("+12125550100", "+12125550100"),
        ("+1 (212) 555-0100", "+12125550100"),
        ("+1.212.555.0100", "+12125550100"),
        ("+15555554410", "+15555554410"),  # from the reference; 555 is no area code
        ("+44 7700 900123", "+447700900123"),
        ("+49 171 3920012", "+491713920012"),
        ("+61 491 570 006", "+61491570006"),
        ("+290 2000", None),  # St. Helena: valid, but shorter than the relay allows
        ("+870 000 000 000", "+870000000000"),  # satellite phones, which belong to no country
    ],
)
def test_numbers(written: str, number: str | None) -> None:
    if number is None:
        with pytest.raises(PydanticCustomError):
            normalize(written)
    else:
        assert normalize(written) == number


@pytest.mark.parametrize(
    ("written", "reason"),
    [
        ("212-555-CALL", "not a numeric string"),
        ("", "not a numeric string"),
        ("+", "not a numeric string"),
        ("++12125550100", "not a numeric string"),
        ("12125550100+", "not a numeric string"),
        ("1\u200b2125550100", "not a numeric string"),
        ("\u0661\u0662\u0663\u0664\u0665\u0666\u0667\u0668", "not a numeric string"),
        ("12125550100\n", "not a numeric string"),
        (" +12125550100", "not a numeric string"),
        ("(+1) 212 555 0100", "not a numeric string"),
        ("+555-0100", "fewer than 8 digits"),
        ("+()-.", "fewer than 8 digits"),
        ("+1212555010012345", "more than 15 digits"),
        ("+1212555010", "this length"),  # North America needs 10 digits after the 1
        ("+121255501000", "this length"),
        ("+44 (0)7700 900123", "this length"),  # the 0 is only for calls inside the country
        ("+00447700900123", "this length"),  # no country code begins with 0
        ("+21012345678", "this length"),  # 210 is not assigned
    ],
)
def test_impossible_numbers_are_refused(written: str, reason: str) -> None:
    with pytest.raises(PydanticCustomError, match=reason) as caught:
        normalize(written)
    assert caught.value.type == "invalid-number"


@pytest.mark.parametrize(
    "written", ["(310) 555-0100", "13105550100", "00447700900123", "555-0100", "07700 900123"]
)
def test_a_number_without_plus_is_refused(written: str) -> None:
    with pytest.raises(PydanticCustomError) as caught:
        normalize(written)
    assert caught.value.type == "number-not-international"
    assert caught.value.message() == (
        "Write the number in international form, such as +1 310 555 0100."
    )


@pytest.mark.parametrize("region", REGIONS)
def test_national_numbers_are_refused_and_international_ones_accepted(region: str) -> None:
    """Tests 5,000 numbers of each of 20 countries in libphonenumber's formats."""
    example = phonenumbers.example_number_for_type(region, phonenumbers.PhoneNumberType.MOBILE)
    assert example is not None
    assert example.national_number is not None
    dice = Random(region)  # noqa: S311 - the same numbers in each run
    first = example.national_number // 10_000 * 10_000
    for last in dice.sample(range(10_000), 5_000):
        example.national_number = first + last
        national, international, e164 = (
            phonenumbers.format_number(example, form)
            for form in (
                phonenumbers.PhoneNumberFormat.NATIONAL,
                phonenumbers.PhoneNumberFormat.INTERNATIONAL,
                phonenumbers.PhoneNumberFormat.E164,
            )
        )
        for written in (national, e164.removeprefix("+")):
            with pytest.raises(PydanticCustomError) as caught:
                normalize(written)
            assert caught.value.type == "number-not-international", written
        assert normalize(international) == normalize(e164) == e164
        assert calling_code(e164) == str(example.country_code)


def test_the_lengths_are_those_of_libphonenumber() -> None:
    assert numbering_plan.lengths() == NATIONAL_LENGTHS, (
        "run `python -m tools.requirements.numbering_plan`"
    )


def test_no_calling_code_is_a_prefix_of_another_one() -> None:
    codes = [str(code) for code in NATIONAL_LENGTHS]
    assert not [
        (code, other)
        for code in codes
        for other in codes
        if code != other and other.startswith(code)
    ]
