"""Limits the base URLs in secrets and responses to the hosts that the deployment allows."""

import re
from typing import Final, NamedTuple

# This pattern matches the whole URL, because URL parsers can disagree about its host. Not allowed:
# userinfo, a path, a query, a fragment, a trailing dot, non-ASCII letters, spaces and backslashes.
_LABEL: Final = r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?"
_HOST: Final = rf"(?:{_LABEL}\.)+{_LABEL}|localhost"
_URL: Final = re.compile(rf"(?:(https?)://)?({_HOST})(?::([0-9]{{1,5}}))?/?", re.ASCII)
_ENTRY: Final = re.compile(rf"(?:(http)://)?((?:\*\.)?(?:{_HOST}))", re.ASCII)
_THIS_MACHINE: Final = {"127.0.0.1", "localhost"}
_LONGEST_HOST: Final = 253


class _Entry(NamedTuple):
    host: str
    """A host, or `*.` and a domain."""
    scheme: str

    def allows(self, host: str) -> bool:
        if self.host.startswith("*."):
            return host.endswith(self.host[1:])
        return host == self.host


class AllowedHosts:
    """The hosts that the relay may call."""

    def __init__(self, text: str) -> None:
        """Parse a list such as `*.marketingcloudapis.com, sms.example.com`.

        `*.` matches one label or more. `http://127.0.0.1` allows this machine, at any port and
        without TLS; it is for the local stack. Raises ValueError for an invalid entry.
        """
        self._entries = [_entry(word) for word in text.split(",")]

    def base_url(self, url: str) -> str:
        """Return a base URL as `https://host`; the scheme, a slash and port 443 are optional.

        Raises ValueError, without parts of the URL, if it is invalid or not allowed.
        """
        # ASCII is checked first: some non-ASCII letters become ASCII in lower case.
        match = _URL.fullmatch(url.strip(" \t\r\n").lower()) if url.isascii() else None
        if match is None or len(match[2]) > _LONGEST_HOST:
            raise ValueError("not a base URL: https:// and a host, nothing else")
        scheme, host, port = match.groups()
        for entry in self._entries:
            if entry.allows(host) and scheme in {None, entry.scheme}:
                if entry.scheme == "http":
                    return f"http://{host}:{port}" if port else f"http://{host}"
                if port in {None, "443"}:
                    return f"https://{host}"
        raise ValueError("a base URL that may not be called: see the parameter UpstreamHosts")


def _entry(word: str) -> _Entry:
    match = _ENTRY.fullmatch(word.strip().lower())
    if match is None:
        raise ValueError(
            "UpstreamHosts must be host names, such as *.marketingcloudapis.com, separated by "
            "commas and without https://"
        )
    scheme, host = match.groups()
    if scheme and host not in _THIS_MACHINE:
        raise ValueError("UpstreamHosts: only this machine may be called without TLS")
    if host.count(".") < 2 and host.startswith("*."):  # noqa: PLR2004 - `*.com` would be too wide
        raise ValueError("UpstreamHosts: a star must stand for less than a whole top-level domain")
    return _Entry(host, scheme or "https")
