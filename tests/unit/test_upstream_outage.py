"""Simulates outages of the upstream in virtual time: the backlog must not become unknown."""

import heapq
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest

from smsrelay.ports import ClaimResult
from smsrelay.sends import transitions
from smsrelay.sends.call_outcome import Outcome, of_response
from smsrelay.sends.queue_envelopes import QueueMessage
from smsrelay.sends.send import OnUnknown, Send, SendKey, Status, reference_body
from smsrelay.services.queue_worker import QueueWorker
from smsrelay.services.sender import Policy, Sender

START, HOUR = 1_790_000_000.0, 3_600.0
MESSAGES, WORKERS, BATCH = 1_000, 5, 10
TOKEN = b'{"tokenId": "abc"}'
Responder = Callable[[str, float], tuple[int, bytes]]
"""Returns status and body for a message id, so many seconds after the start."""


class FakeLedger:
    """Keeps the sends in memory."""

    def __init__(self, sends: dict[SendKey, Send]) -> None:
        self.sends = sends

    def load_one(self, key: SendKey) -> Send:
        return self.sends[key]

    def claim(
        self, key: SendKey, *, written_by: str, now: float, lease_until: float
    ) -> ClaimResult:
        send = self.sends[key]
        if send.status is not Status.QUEUED or send.due_at > now:
            return ClaimResult(won=False, send=send)
        self.sends[key] = replace(
            transitions.begin_attempt(send, now, lease_until), written_by=written_by
        )
        return ClaimResult(won=True, send=self.sends[key])

    def replace_if_unchanged(self, before: Send, after: Send) -> bool:
        if self.sends[before.key] != before:
            return False
        self.sends[before.key] = after
        return True


class Ignored:
    """A port whose calls do nothing."""

    def __getattr__(self, name: str) -> Callable[..., None]:
        return lambda *_, **__: None


class World:
    """A queue, a ledger, and environments that each process ten messages in parallel."""

    def __init__(self, responder: Responder, message_ids: list[str]) -> None:
        self.now = START
        self.responder = responder
        self.calls: list[tuple[float, str]] = []
        self.receives: Counter[SendKey] = Counter()
        sends = [_send(n, message_id) for n, message_id in enumerate(message_ids)]
        self.ledger = FakeLedger({send.key: send for send in sends})
        self.queue = [(START, send.key) for send in sends]
        self.batches: list[list[SendKey]] = [[] for _ in range(WORKERS)]
        self.workers = [self._worker(n) for n in range(WORKERS)]

    def run(self, seconds: float) -> None:
        while self.queue and self.now < START + seconds:
            for n in range(WORKERS):
                while len(self.batches[n]) < BATCH and self.queue and self.queue[0][0] <= self.now:
                    self.batches[n].append(heapq.heappop(self.queue)[1])
                while self.batches[n]:
                    self._process(n)
            self.now += 1.0

    def statuses(self) -> Counter[str]:
        return Counter(send.status for send in self.ledger.sends.values())

    def _process(self, n: int) -> None:
        key = self.batches[n].pop()
        self.receives[key] += 1
        message = QueueMessage(reference_body(key), str(key), {}, None)
        wait = self.workers[n].process(message, lambda: 60.0)
        if wait is not None:
            heapq.heappush(self.queue, (self.now + wait, key))

    def _worker(self, n: int) -> QueueWorker:
        world, ignored = self, Ignored()

        class FakeUpstream:
            def send(self, upstream_message_id: str, body: str, timeout: float) -> Outcome:
                _ = body, timeout
                world.calls.append((world.now, upstream_message_id))
                if world.batches[n]:  # process the rest of the batch during this call
                    world._process(n)
                status, body_ = world.responder(upstream_message_id, world.now - START)
                return of_response(status, {}, body_, world.now)

        sender: Any = Sender
        relay = sender(
            ledger=self.ledger,
            upstream=FakeUpstream(),
            queue=ignored,
            dead_letters=ignored,
            pauses=SimpleNamespace(current=list),
            metrics=ignored,
            clock=lambda: self.now,
            random=lambda: 0.5,
            policy=Policy(
                max_attempts=4, max_age=24 * HOUR, upstream_timeout=10.0, concurrent_sends=10
            ),
        )
        reader: Any = ignored
        return QueueWorker(
            relay,
            reader,
            default_client="c",
            sender_arns=(),
            metrics=ignored,
            clock=lambda: self.now,
            sleep=lambda _: None,
        )


def _send(n: int, upstream_message_id: str) -> Send:
    return Send(
        key=SendKey(f"{n:026d}", 1),
        client="c",
        upstream_message_id=upstream_message_id,
        recipients=1,
        status=Status.QUEUED,
        on_unknown=OnUnknown.HOLD,
        fingerprint="f",
        created_at=START,
        updated_at=START,
        due_at=START,
        written_by="o",
        body="{}",
    )


def test_an_hour_of_a_gateways_503_leaves_few_sends_unknown() -> None:
    def gateway(_: str, seconds: float) -> tuple[int, bytes]:
        return (503, b"<html>upstream connect error</html>") if seconds < HOUR else (202, TOKEN)

    world = World(gateway, ["m"] * MESSAGES)
    world.run(3 * HOUR)
    statuses = world.statuses()
    assert statuses[Status.UNKNOWN] <= 150
    assert statuses[Status.ACCEPTED] == MESSAGES - statuses[Status.UNKNOWN]
    assert max(world.receives.values()) < 60, "a message must not be received too often"


@pytest.mark.parametrize("status", [403, 405, 407, 421, 425])
def test_a_wrong_route_pauses_all_sends_and_loses_none(status: int) -> None:
    def proxy(_: str, seconds: float) -> tuple[int, bytes]:
        return (status, b"") if seconds < HOUR else (202, TOKEN)

    world = World(proxy, ["m"] * MESSAGES)
    world.run(HOUR)
    assert len(world.calls) <= 150
    world.run(3 * HOUR)
    assert world.statuses() == {Status.ACCEPTED: MESSAGES}


def test_a_404_pauses_its_message_id_only() -> None:
    def upstream(message_id: str, _: float) -> tuple[int, bytes]:
        return (404, b'{"errorcode": 0}') if message_id == "gone" else (202, TOKEN)

    world = World(upstream, ["m", "gone"] * (MESSAGES // 2))
    world.run(HOUR)
    assert world.statuses() == {Status.ACCEPTED: MESSAGES // 2, Status.QUEUED: MESSAGES // 2}
    assert sum(message_id == "gone" for _, message_id in world.calls) <= 150


def test_the_send_that_caused_a_pause_does_not_stop_the_others() -> None:
    def firewall(message_id: str, _: float) -> tuple[int, bytes]:
        return (403, b"") if message_id == "blocked" else (202, TOKEN)

    world = World(firewall, ["blocked", *["m"] * (MESSAGES - 1)])
    world.run(HOUR)
    assert world.statuses()[Status.ACCEPTED] == MESSAGES - 1
