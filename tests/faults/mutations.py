"""Relays that break the promise, each in one way: the test must notice every one of them."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any
from unittest.mock import patch

from smsrelay import life, outcome
from smsrelay.adapters.dynamodb import DynamoDbLedger
from smsrelay.adapters.mobileconnect import MobileConnect
from smsrelay.intake import Intake
from smsrelay.outcome import Failure, Outcome
from smsrelay.ports import Creation
from smsrelay.relay import Relay
from smsrelay.send import Send, Status


def apply(name: str) -> None:
    """Patch this process for good; it lives for one run."""
    MUTATIONS[name]()


def send_before_claim() -> None:
    """The first write comes after the call."""
    waiting: list[Callable[[], object]] = []
    create, call = DynamoDbLedger.create, MobileConnect.send

    def create_later(ledger: DynamoDbLedger, sends: Sequence[Send]) -> Creation:
        if ledger.read_one(sends[0].key):
            return create(ledger, sends)
        waiting.append(lambda: create(ledger, sends))
        return Creation(created=True, sends=sends)

    def call_first(upstream: MobileConnect, template: str, body: str, timeout: float) -> Outcome:
        result = call(upstream, template, body, timeout)
        while waiting:
            waiting.pop()()
        return result

    patch.object(DynamoDbLedger, "create", create_later).start()
    patch.object(MobileConnect, "send", call_first).start()


def broken_answer_is_not_sent() -> None:
    """An answer that breaks off is taken for a call that never was."""
    certain = set(Failure) - {Failure.READ_TIMEOUT}
    patch.object(outcome, "_BEFORE_THE_REQUEST", certain).start()


def lapsed_is_queued() -> None:
    """A lease that ran out is tried again, whatever the caller wants."""

    def lapsed(send: Send, *, now: float, max_attempts: int) -> Send:
        _ = max_attempts
        return replace(send, status=Status.QUEUED, updated_at=now, due_at=now)

    patch.object(life, "lapsed", lapsed).start()


def accepted_before_call() -> None:
    """The result is written before the call, as if it could not fail."""
    ask = Relay._ask_upstream  # noqa: SLF001 - a mutation is inside

    def write_first(relay: Any, send: Send, deadline: Callable[[], float]) -> Outcome:
        done = replace(send, status=Status.ACCEPTED, body=None)
        relay._ledger.settle(send, done)  # noqa: SLF001 - the same
        return ask(relay, send, deadline)

    patch.object(Relay, "_ask_upstream", write_first).start()


def forgotten_token() -> None:
    """The receipt is neither stored nor logged."""
    call = MobileConnect.send

    def forget(upstream: MobileConnect, template: str, body: str, timeout: float) -> Outcome:
        return call(upstream, template, body, timeout)._replace(token_id=None)

    patch.object(MobileConnect, "send", forget).start()


def deleted_unread() -> None:
    """A message is deleted before anything of it is stored."""
    patch.object(Intake, "_receive", lambda *_: None).start()


def nothing_lapses() -> None:
    """A lease never ends: who dies keeps its sends for ever."""
    patch.object(life, "has_lapsed", lambda *_: False).start()


MUTATIONS: dict[str, Callable[[], None]] = {
    mutation.__name__: mutation
    for mutation in (
        send_before_claim,
        broken_answer_is_not_sent,
        lapsed_is_queued,
        accepted_before_call,
        forgotten_token,
        deleted_unread,
        nothing_lapses,
    )
}
