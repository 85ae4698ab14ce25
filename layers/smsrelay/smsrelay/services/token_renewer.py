"""The token function's use case: a token that is always good, fetched as rarely as possible."""

import logging
from collections.abc import Mapping
from typing import Any, NamedTuple

from smsrelay.errors import CredentialsUnusableError, SecretUnavailableError
from smsrelay.ports import Clock, Counter, CredentialsSource, TokenIssuer, TokenStore
from smsrelay.tokens.renewal_timing import (
    Need,
    StoredToken,
    fingerprint,
    may_replace_refused,
    need_of,
)
from smsrelay.tokens.token_response import Grant, NotGranted

logger = logging.getLogger(__name__)

SENDING_SCOPE = "sms_send"


class Ask(NamedTuple):
    """Somebody other than the schedule wants a new token; `token` is the old one's fingerprint."""

    need: str
    token: str


def ask_of(event: Mapping[str, Any]) -> Ask | None:
    """What a sender asks for; None: it is the schedule."""
    if "need" not in event:
        return None
    return Ask(str(event["need"]), str(event.get("token")))


class Renewer:
    """Runs one at a time (the template sees to that), so it may remember what happened before."""

    def __init__(
        self,
        *,
        store: TokenStore,
        credentials: CredentialsSource,
        issuer: TokenIssuer,
        counter: Counter,
        clock: Clock,
    ) -> None:
        """Take the ports."""
        self._store = store
        self._credentials = credentials
        self._issuer = issuer
        self._counter = counter
        self._clock = clock
        self._failed = False
        self._refused: str | None = None

    def run(self, ask: Ask | None) -> dict[str, str]:
        """Look at the stored token, and renew it if it has to be.

        After a failure only the schedule tries again: a wrong client secret must not meet the
        upstream as often as sends are refused. What was refused is remembered for it.

        Returns:
            what was done, `renewed`, `kept` or `failed`, and why.
        """
        if ask is None:
            self._failed = False
        elif ask.need == Need.REFUSED:
            self._refused = ask.token
        if self._failed:
            return {"did": "kept", "reason": "failed-before"}
        try:
            token = self._store.read()
            refused = token is not None and fingerprint(token.access_token) == self._refused
            need = need_of(token, self._clock(), refused=refused)
            if need is None:
                self._counter.count("TokenGood")
                return {"did": "kept", "reason": "good"}
            if token is not None and need is Need.REFUSED and not self._may_replace(token):
                logger.warning(
                    "refused token kept: the last one was replaced just now",
                    extra={"token": self._refused},
                )
                return {"did": "kept", "reason": "replaced-just-now"}
            return self._renew(need)
        except SecretUnavailableError as error:
            return self._fail(NotGranted("secret-unavailable", None, (str(error),)))
        except CredentialsUnusableError as error:
            return self._fail(NotGranted("credentials-unusable", None, (str(error),)))

    def _may_replace(self, token: StoredToken) -> bool:
        return may_replace_refused(token, self._store.before(), self._clock())

    def _renew(self, need: Need) -> dict[str, str]:
        credentials = self._credentials.read()
        asked_at = self._clock()
        answer = self._issuer.fetch(credentials)
        if isinstance(answer, NotGranted):
            return self._fail(answer)
        self._store.write(answer)
        self._counter.count("TokensRenewed")
        self._counter.count("TokenGood")
        logger.info(
            "token renewed",
            extra={
                "reason": need.value,
                "token": fingerprint(answer.access_token),
                "seconds": round(answer.expires_at - asked_at),
            },
        )
        if not _may_send(answer):
            logger.warning("the new token may not send: its scope lacks %s", SENDING_SCOPE)
        return {"did": "renewed", "reason": need.value}

    def _fail(self, problem: NotGranted) -> dict[str, str]:
        self._failed = True
        self._counter.count("TokenRenewalsFailed")
        logger.error(
            "token not renewed: %s",
            problem.reason,
            extra={
                "reason": problem.reason,
                "upstream_status": problem.status,
                "errors": problem.errors,
            },
        )
        return {"did": "failed", "reason": problem.reason}


def _may_send(grant: Grant) -> bool:
    return not grant.scope or SENDING_SCOPE in grant.scope.split()
