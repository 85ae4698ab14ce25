"""Who calls: one name for a client, whichever way it comes and whatever it shows."""

import math
import re

from smsrelay.errors import ClientNotRegisteredError, RateLimitedError
from smsrelay.ports import ClientNames, Clock, RequestCounter

CACHE_SECONDS, CACHE_SIZE = 300.0, 10_000
"""Seconds that a name is remembered, and how many are."""
MINUTE = 60.0

_ASSUMED = re.compile(r"arn:([^:]+):sts::([0-9]+):assumed-role/([^/]+)/.+")
_ROLE = re.compile(r"arn:([^:]+):iam::([0-9]+):role/(?:.*/)?([^/]+)")


def principal(arn: str) -> str:
    """The IAM principal behind a caller's ARN: its role, whatever the session is called.

    A role's path is left out, because the ARN of its session doesn't say it.
    """
    match = _ASSUMED.fullmatch(arn) or _ROLE.fullmatch(arn)
    return arn if match is None else "arn:{}:iam::{}:role/{}".format(*match.groups())


class ClientRegistry:
    """Names for API keys and IAM principals, and the limit of who has no usage plan."""

    def __init__(
        self,
        names: ClientNames,
        request_counter: RequestCounter,
        *,
        default: str,
        per_minute: int,
        clock: Clock,
    ) -> None:
        """`default` is who shows nothing (sam local); `per_minute` 0 is no limit."""
        self._names = names
        self._request_counter = request_counter
        self._default = default
        self._per_minute = per_minute
        self._clock = clock
        self._cache: dict[str, tuple[str, float]] = {}

    def client_of(self, api_key_id: str | None, user_arn: str | None) -> str:
        """The client that an API key or an IAM principal belongs to.

        Raises:
            ClientNotRegisteredError: it belongs to none. That is not remembered, so a new client's
                first request is accepted.
            LedgerUnavailableError: nobody knows; another name instead would be another client's.
        """
        credential = principal(user_arn) if user_arn else api_key_id
        if not credential:
            return self._default
        now = self._clock()
        client, until = self._cache.get(credential, ("", 0.0))
        if now < until:
            return client
        registered = self._names.name_of(credential)
        if registered is None:
            raise ClientNotRegisteredError
        if len(self._cache) >= CACHE_SIZE:
            self._cache.clear()
        self._cache[credential] = registered, now + CACHE_SECONDS
        return registered

    def check_rate_limit(self, client: str) -> None:
        """Count one request of a client that no usage plan counts.

        Raises:
            RateLimitedError: it has made too many in this minute.
            LedgerUnavailableError: they can't be counted.
        """
        if not self._per_minute:
            return
        minute, passed = divmod(self._clock(), MINUTE)
        begins = int(minute * MINUTE)
        if self._request_counter.count(client, begins) > self._per_minute:
            raise RateLimitedError(math.ceil(MINUTE - passed))
