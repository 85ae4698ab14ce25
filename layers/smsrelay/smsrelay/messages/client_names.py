"""The rule for client names, which are used in paths, secret names and the ledger."""

import re
from typing import Final

PATTERN: Final = "[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?"
RULE: Final = "1 to 63 characters of a-z, 0-9 and hyphens, without a hyphen at either end"

_NAME: Final = re.compile(PATTERN)


def is_client_name(text: str) -> bool:
    return _NAME.fullmatch(text) is not None
