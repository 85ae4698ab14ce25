"""The questions of first contact. Each raises a UsageError if the input ends."""

import json
import re
from typing import Final

from pydantic_core import PydanticCustomError

from smsrelay.errors import CredentialsUnusableError
from smsrelay.messages.phone_numbers import normalize
from smsrelay.messages.request import MESSAGE_ID
from smsrelay.security.allowed_hosts import AllowedHosts
from smsrelay.tokens.token_response import parse_credentials
from smsrelay_cli.credentials import read_line
from smsrelay_cli.exit_codes import UsageError
from smsrelay_cli.terminal import entered_line

TEXT: Final = "First contact of smsrelay."


def phone_number() -> str:
    """Ask for the phone number that receives the SMS."""
    try:
        return normalize(read_line("Number of your phone, such as +12125550100: "))
    except PydanticCustomError as error:
        raise UsageError(f"this is not a phone number: {error.message()}") from None


def message_id() -> str:
    """Ask for the encoded message id."""
    encoded = read_line("Id of the message, such as MzA6Nzg6MA: ")
    if not MESSAGE_ID.fullmatch(encoded):
        raise UsageError("this is not a message id: docs/marketing-cloud.md#the-messages-id")
    return encoded


def client_credentials(hosts: AllowedHosts) -> dict[str, str]:
    """Ask for the client credentials until they have the right form."""
    while True:
        print("Enter the client credentials (docs/marketing-cloud.md#client-credentials).")
        fields = {
            "client_id": _ask("Client id: "),
            "client_secret": _ask("Client secret (not shown): ", is_secret=True),
            "auth_base_url": _ask("Authentication base URI: "),
        }
        if mid := _ask(
            "MID of the business unit (press Enter for that of the package): ", "[0-9]*"
        ):
            fields["account_id"] = mid
        try:
            parse_credentials(json.dumps(fields), hosts)
        except CredentialsUnusableError as error:
            print(f"{error}. Enter them again.")
        else:
            return fields


def what_the_phone_shows() -> str:
    """Ask until the answer is 1, 2 or 3."""
    return _ask(f"What does the phone show? 1: {TEXT!r}, 2: another text, 3: nothing. ", "[123]")


def _ask(question: str, accepted: str = ".+", *, is_secret: bool = False) -> str:
    """Ask until the answer matches a regular expression."""
    while True:
        line = entered_line(question, is_secret=is_secret)
        if not line:
            raise UsageError(f"no input for: {question.strip()}")
        if re.fullmatch(accepted, line.strip()):
            return line.strip()
