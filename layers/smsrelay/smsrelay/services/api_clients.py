"""The client's name for an API key or an IAM principal."""

import re

from smsrelay.errors import ClientNotRegisteredError
from smsrelay.ports import ClientNames, Clock
from smsrelay.services.client_cache import ClientCache

_ASSUMED = re.compile(r"arn:([^:]+):sts::([0-9]+):assumed-role/([^/]+)/.+")
_ROLE = re.compile(r"arn:([^:]+):iam::([0-9]+):role/(?:.*/)?([^/]+)")


def principal(arn: str) -> str:
    """The IAM principal behind a caller's ARN: its role, whatever the session is called.

    A role's path is left out, because the ARN of its session doesn't say it.
    """
    match = _ASSUMED.fullmatch(arn) or _ROLE.fullmatch(arn)
    return arn if match is None else "arn:{}:iam::{}:role/{}".format(*match.groups())


class ClientRegistry:
    def __init__(self, names: ClientNames, *, default: str, clock: Clock) -> None:
        """`default` is the client of requests without key or principal (sam local)."""
        self._names = names
        self._default = default
        self._registered = ClientCache(self._load, clock)

    def client_of(self, api_key_id: str | None, user_arn: str | None) -> str:
        """The client that an API key or an IAM principal belongs to.

        Raises `LedgerUnavailableError`, or `ClientNotRegisteredError`. The latter is not
        remembered, so a new client's first request is accepted.
        """
        credential = principal(user_arn) if user_arn else api_key_id
        if not credential:
            return self._default
        return self._registered.get(credential)

    def _load(self, credential: str) -> str:
        registered = self._names.name_of(credential)
        if registered is None:
            raise ClientNotRegisteredError
        return registered
