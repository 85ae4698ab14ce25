"""The certificate authorities that HTTPS calls trust."""

import ssl
from functools import cache

import httpx


@cache  # reading the authorities takes longer than several calls
def trusted() -> ssl.SSLContext:
    """Return the one context of this process: it trusts certifi's authorities and no others."""
    return httpx.create_ssl_context(trust_env=False)
