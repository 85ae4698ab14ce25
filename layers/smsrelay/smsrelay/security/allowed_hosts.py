"""Which servers may be called: secrets and answers hold base URLs, the deployment allows hosts."""

import re
from typing import Final, NamedTuple

# A whole URL or none of it: what this does not spell out (userinfo, path, query, fragment, a
# trailing dot, a letter outside ASCII, a space or backslash in between) is no base URL, so nothing
# is left for two parsers to disagree about.
_LABEL: Final = r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?"
_HOST: Final = rf"(?:{_LABEL}\.)+{_LABEL}|localhost"
_URL: Final = re.compile(rf"(?:(https?)://)?({_HOST})(?::([0-9]{{1,5}}))?/?", re.ASCII)
_ENTRY: Final = re.compile(rf"(?:(http)://)?((?:\*\.)?(?:{_HOST}))", re.ASCII)
_THIS_MACHINE: Final = {"127.0.0.1", "localhost"}
_LONGEST_HOST: Final = 253


class _Entry(NamedTuple):
    host: str
    """Or `*.` and what all of its hosts end with."""
    scheme: str

    def allows(self, host: str) -> bool:
        if self.host.startswith("*."):
            return host.endswith(self.host[1:])
        return host == self.host


class AllowedHosts:
    """The servers that may be called, and the one way to make a base URL of what others wrote."""

    def __init__(self, text: str) -> None:
        """Read a list such as `*.marketingcloudapis.com, sms.example.com`.

        `*.` stands for one label or more. `http://127.0.0.1` lets this machine be called, at any
        port and without TLS: it is for the local stack. An invalid entry raises a ValueError.
        """
        self._entries = [_entry(word) for word in text.split(",")]

    def base_url(self, url: str) -> str:
        """A base URL as `https://host`; given with or without scheme, slash and port 443.

        If it is invalid or not allowed, a ValueError is raised, which repeats nothing of it.
        """
        # ASCII first: some letters of other scripts become ASCII in lower case.
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
        raise ValueError("UPSTREAM_HOSTS must be a list of hosts, with commas")
    scheme, host = match.groups()
    if scheme and host not in _THIS_MACHINE:
        raise ValueError("UPSTREAM_HOSTS: only this machine may be called without TLS")
    if host.count(".") < 2 and host.startswith("*."):  # noqa: PLR2004 - `*.com` would be everybody
        raise ValueError("UPSTREAM_HOSTS: a star must stand for less than a whole top-level domain")
    return _Entry(host, scheme or "https")
