"""The certificate authorities that HTTPS calls trust."""

import ssl
from functools import cache

import httpx


@cache
def trusted() -> ssl.SSLContext:
    """Return the one context of this process: it trusts certifi's authorities and no others.

    Reading the authorities takes longer than several calls, so they are read once.
    """
    return httpx.create_ssl_context(trust_env=False)
