"""Parses token requests; refuses invalid ones with OAuth errors."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from tools.mobileconnect_simulator.responses import Reply, oauth_error
from tools.mobileconnect_simulator.tokens import SCOPES
from tools.mobileconnect_simulator.validation import NotJsonError, read_json

_FIELDS: Final = ("grant_type", "client_id", "client_secret", "account_id", "scope")
_ACCOUNT_ID = re.compile(r"[0-9]+", re.ASCII)


@dataclass(frozen=True, slots=True)
class TokenRequest:
    client_id: str
    client_secret: str
    scopes: frozenset[str]


def read_token_request(raw: bytes | None) -> TokenRequest | Reply:
    """Parse a request, or return its refusal. `raw` is None if the content type is not JSON."""
    try:
        body = read_json(raw or b"")
    except NotJsonError:
        body = None
    if not isinstance(body, dict):
        return _invalid("The body must be a JSON object, sent as application/json.")
    wrong = _first_wrong(body)
    if wrong is not None:
        return _invalid(wrong)
    if body["grant_type"] != "client_credentials":
        return oauth_error(400, "unsupported_grant_type", "Only client_credentials is supported.")
    # As in the upstream, a missing scope means all scopes, and an empty one none.
    asked = SCOPES if "scope" not in body else frozenset(body["scope"].split())
    if not asked <= SCOPES:
        return oauth_error(400, "invalid_scope", "A requested scope is not granted.")
    return TokenRequest(body["client_id"], body["client_secret"], asked)


def _first_wrong(body: Mapping[str, object]) -> str | None:
    for name in body:
        if name not in _FIELDS:
            return f"{name} is unknown."
    for name in ("grant_type", "client_id", "client_secret"):
        value = body.get(name)
        if not isinstance(value, str) or not value:
            return f"{name} must be a non-empty string."
    if not isinstance(body.get("scope", ""), str):
        return "scope must be a string."
    account_id = body.get("account_id", 0)
    if isinstance(account_id, bool) or not (
        isinstance(account_id, int)
        or (isinstance(account_id, str) and _ACCOUNT_ID.fullmatch(account_id))
    ):
        return "account_id must be the number of a business unit."
    return None


def _invalid(description: str) -> Reply:
    return oauth_error(400, "invalid_request", description)
