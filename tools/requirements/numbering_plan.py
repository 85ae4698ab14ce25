"""`python -m tools.requirements.numbering_plan`: write the table of phone number lengths."""

from typing import Final

from phonenumbers import (
    COUNTRY_CODE_TO_REGION_CODE,
    PhoneMetadata,
    region_code_for_country_code,
)

from tools.requirements import ROOT

FILE: Final = ROOT / "layers/smsrelay/smsrelay/messages/_numbering_plan.py"

_HEAD = '''\
"""The lengths of national numbers; `make lock` generates this file from libphonenumber's metadata.

The metadata's licence is Apache-2.0 (licences/libphonenumber.txt). Importing libphonenumber itself
would take longer than all other checks of a number.
"""

from collections.abc import Mapping
from typing import Final

NATIONAL_LENGTHS: Final[Mapping[int, tuple[int, ...]]] = {
'''


def lengths() -> dict[int, tuple[int, ...]]:
    """Return the lengths by calling code, without codes of unknown lengths."""
    found = {}
    for code in sorted(COUNTRY_CODE_TO_REGION_CODE):
        metadata = PhoneMetadata.metadata_for_region_or_calling_code(
            code, region_code_for_country_code(code)
        )
        described = metadata and metadata.general_desc
        if described and described.possible_length:
            found[code] = tuple(described.possible_length)
    return found


def text() -> str:
    """Return the text of the module."""
    return _HEAD + "".join(f"    {code}: {it},\n" for code, it in lengths().items()) + "}\n"


if __name__ == "__main__":
    FILE.write_text(text())
    print(FILE.relative_to(ROOT))
