"""The one rule for a client's name, which stands in paths, names of secrets and the ledger."""

import re
from typing import Final

PATTERN: Final = "[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?"
RULE: Final = "1 to 63 characters of a-z, 0-9 and hyphens, without a hyphen at either end"
"""The same in words."""

_NAME: Final = re.compile(PATTERN)


def is_client_name(text: str) -> bool:
    """Whether the whole text can be a client's name."""
    return _NAME.fullmatch(text) is not None
