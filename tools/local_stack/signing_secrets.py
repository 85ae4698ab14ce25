"""Secrets for webhooks and callbacks, in the form of the Standard Webhooks specification."""

import base64
import secrets


def new_signing_secret() -> str:
    """Return a new secret, as `smsrelay client` makes them."""
    return f"whsec_{base64.b64encode(secrets.token_bytes(32)).decode()}"
