"""Keeps the stored access token valid, with as few requests for new tokens as possible."""

import logging
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from smsrelay.errors import (
    CredentialsUnusableError,
    LedgerUnavailableError,
    SecretUnavailableError,
)
from smsrelay.ports import Clock, CredentialsSource, Metrics, RenewalReport, TokenIssuer, TokenStore
from smsrelay.tokens.renewal_timing import (
    RenewalReason,
    fingerprint,
    may_replace_refused,
    renewal_reason,
)
from smsrelay.tokens.token_response import (
    CREDENTIALS_REFUSED,
    AccessToken,
    ClientCredentials,
    TokenError,
)

logger = logging.getLogger(__name__)

SEND_SCOPE = "sms_send"


class RenewalRequest(NamedTuple):
    """A sender's request for a new token; `token` is the old one's fingerprint."""

    reason: str
    token: str


def parse_renewal_request(event: Mapping[str, Any]) -> RenewalRequest | None:
    """Return the request in an event; None: the event comes from the schedule."""
    if "need" not in event:
        return None
    return RenewalRequest(str(event["need"]), str(event.get("token")))


@dataclass(kw_only=True)
class TokenRenewer:
    """Renews tokens, and keeps state between runs.

    `ReserveTokenConcurrency` makes sure that only one environment runs at a time.
    """

    store: TokenStore
    credentials: CredentialsSource
    issuer: TokenIssuer
    report: RenewalReport
    metrics: Metrics
    clock: Clock
    _failed: bool = field(default=False, init=False)
    _refused: str | None = field(default=None, init=False)
    _accepted_secret: str | None = field(default=None, init=False)

    def run(self, ask: RenewalRequest | None) -> dict[str, str]:
        """Renew the stored token if necessary; return what was done and why.

        After a failure only scheduled runs try again: a wrong client secret must not cause as many
        requests as there are refused sends. A refused token is remembered for these runs.
        """
        if ask is None:
            self._failed = False
        elif ask.reason == RenewalReason.REFUSED:
            self._refused = ask.token
        if self._failed:
            return {"did": "kept", "reason": "failed-before"}
        try:
            token = self.store.load()
            refused = token is not None and fingerprint(token.access_token) == self._refused
            reason = renewal_reason(token, self.clock(), refused=refused)
            if reason is None:
                self.metrics.count("TokenGood")
                return {"did": "kept", "reason": "good"}
            if (
                token is not None
                and reason is RenewalReason.REFUSED
                and not may_replace_refused(token, self.store.load(previous=True), self.clock())
            ):
                self.metrics.count("TokenRenewalsFailed")
                logger.warning(
                    "refused token kept: the last one was replaced just now",
                    extra={"token": self._refused},
                )
                return {"did": "kept", "reason": "replaced-just-now"}
            return self._renew(reason)
        except SecretUnavailableError as error:
            return self._fail(TokenError("secret-unavailable", None, (str(error),)))
        except CredentialsUnusableError as error:
            return self._fail(TokenError("credentials-unusable", None, (str(error),)))

    def _renew(self, reason: RenewalReason) -> dict[str, str]:
        credentials = self.credentials.load()
        asked_at = self.clock()
        answer = self._fetch(credentials)
        if isinstance(answer, TokenError):
            return self._fail(answer)
        self.store.write(answer)
        self.metrics.count("TokensRenewed")
        self.metrics.count("TokenGood")
        extra = {
            "reason": reason.value,
            "token": fingerprint(answer.access_token),
            "seconds": round(answer.expires_at - asked_at),
        }
        logger.info("token renewed", extra=extra)
        if answer.scope and SEND_SCOPE not in answer.scope.split():
            logger.warning("the new token may not send: its scope lacks %s", SEND_SCOPE)
        self._report_renewal(credentials, answer)
        return {"did": "renewed", "reason": reason.value}

    def _report_renewal(self, credentials: ClientCredentials, token: AccessToken) -> None:
        staged = credentials.staged
        in_use = staged is not None and staged.client_secret == self._accepted_secret
        self._record(
            "renewed",
            tokenExpiresAt=token.expires_at,
            scope=token.scope,
            restBaseUrl=token.rest_instance_url,
            businessUnit=credentials.account_id,
            secretExpiresAt=_date(credentials),
            stagedExpiresAt=_date(staged),
            staged=None if staged is None else "in-use" if in_use else "waiting",
        )

    def _record(self, result: str, **facts: object) -> None:
        """Store the facts for `smsrelay doctor`; a failure does not affect the renewal."""
        try:
            self.report.record(result, {"at": self.clock(), **facts})
        except LedgerUnavailableError as error:
            logger.warning("the report of the renewal is not stored: %s", error)

    def _fetch(self, credentials: ClientCredentials) -> AccessToken | TokenError:
        """Fetch a token with the client secret that was accepted last, else with the other one.

        Marketing Cloud ends the active secret as soon as an administrator activates the staged one.
        """
        choices = [credentials] if credentials.staged is None else [credentials, credentials.staged]
        choices.sort(key=lambda choice: choice.client_secret != self._accepted_secret)
        for choice in choices:
            answer = self.issuer.fetch(choice)
            if isinstance(answer, AccessToken):
                self._accepted_secret = choice.client_secret
                self.metrics.count("CredentialDaysLeft", choice.days_left(self.clock()))
                if choice is credentials.staged:
                    self.metrics.count("StagedSecretInUse")
                    logger.warning("secret activated: run `smsrelay credentials promote`")
                break
            if answer.reason != CREDENTIALS_REFUSED:
                break
        return answer

    def check_staged(self) -> dict[str, str]:
        """Request a token with the staged client secret, without using it."""
        try:
            staged = self.credentials.load().staged
        except (SecretUnavailableError, CredentialsUnusableError) as error:
            logger.error("the staged client secret can't be checked: %s", error)  # noqa: TRY400
            return {"did": "checked", "reason": "credentials-unusable"}
        if staged is None:
            return {"did": "checked", "reason": "no-staged-secret"}
        answer = self.issuer.fetch(staged)
        reason = answer.reason if isinstance(answer, TokenError) else "accepted"
        return {"did": "checked", "reason": reason}

    def _fail(self, problem: TokenError) -> dict[str, str]:
        self._failed = True
        self.metrics.count("TokenRenewalsFailed")
        reason, status, errors = problem
        extra = {"reason": reason, "upstream_status": status, "errors": errors}
        logger.error("token not renewed: %s", reason, extra=extra)
        self._record("failed", reason=reason)
        return {"did": "failed", "reason": problem.reason}


def _date(credentials: ClientCredentials | None) -> str | None:
    """Return when a client secret expires, in ISO 8601."""
    expires_at = credentials and credentials.expires_at
    return expires_at.isoformat() if expires_at else None
