"""Finds the client of an API key or IAM principal."""

import re

from smsrelay.errors import ClientNotRegisteredError
from smsrelay.ports import ClientNames, Clock
from smsrelay.services.client_cache import ClientCache

_ASSUMED = re.compile(r"arn:([^:]+):sts::([0-9]+):assumed-role/([^/]+)/.+")
_ROLE = re.compile(r"arn:([^:]+):iam::([0-9]+):role/(?:.*/)?([^/]+)")


def principal(arn: str) -> str:
    """Return the IAM principal of a caller's ARN: the role, for a session of a role.

    A role's path is left out, because the ARN of a session doesn't contain it.
    """
    match = _ASSUMED.fullmatch(arn) or _ROLE.fullmatch(arn)
    return arn if match is None else "arn:{}:iam::{}:role/{}".format(*match.groups())


class ClientRegistry:
    def __init__(self, names: ClientNames, *, default: str, clock: Clock) -> None:
        """`default` is the client of requests without API key or IAM principal (sam local)."""
        self._names = names
        self._default = default
        self._clients = ClientCache(self._load, clock)

    def client_of(self, api_key_id: str | None, user_arn: str | None) -> str:
        """Return the client of an API key or an IAM principal.

        Raises `LedgerUnavailableError` or `ClientNotRegisteredError`. The latter is not cached, so
        that a new client's first request is accepted.
        """
        credential = principal(user_arn) if user_arn else api_key_id
        if not credential:
            return self._default
        return self._clients.get(credential)

    def _load(self, credential: str) -> str:
        client = self._names.client_of(credential)
        if client is None:
            raise ClientNotRegisteredError
        return client
