"""The certificate authorities that HTTPS calls trust."""

import ssl
from functools import cache

import httpx


@cache  # reading the authorities takes longer than several calls
def trusted() -> ssl.SSLContext:
    """Return the shared context, which trusts only certifi's authorities."""
    return httpx.create_ssl_context(trust_env=False)
