"""Arrivals above the upstream's capacity, simulated: does the relay make a storm of retries?

Discrete events (SimPy), the same for the same seed. What decides is the relay's own code: what an
answer means (`outcome`), how a send goes on (`life`), how long it waits (`retry`), how long a
worker holds back (`brake`), when a queued send counts as forgotten (`STALLED_AFTER`). The world
around it is a model: an upstream that takes so many calls a second and answers the others 429 with
`Retry-After`, SQS with its visibility time-outs, and the workers of the template's
`MaxConcurrentSends`. A naive client with the same arrivals is compared with it.
"""

import argparse
import heapq
import json
import time
from collections import Counter
from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from random import Random
from typing import Any, Final, Protocol

import simpy

from smsrelay.sends import transitions
from smsrelay.sends.backoff import MAX_SQS_DELAY, retry_delay
from smsrelay.sends.call_outcome import Outcome, OutcomeKind, of_response
from smsrelay.sends.send import OnUnknown, Send, SendKey, Status
from smsrelay.services.sender import STALLED_AFTER
from smsrelay.services.upstream_pause import Call, UpstreamPause
from tools.bench.scale_picture import Line, Panel, picture

Process = Generator[simpy.Event, Any]

ROOT: Final = Path(__file__).parents[2]
RESULTS: Final = ROOT / "tools/bench/results/scale.json"
PICTURE: Final = ROOT / "docs/retry-storm.svg"
MINUTE: Final = 60.0
POLL: Final = 0.5
"""Seconds after which an idle worker looks again."""
LEASE: Final = 90.0
TYPICAL_AT_ONCE: Final = 4
"""A call, and three repetitions of it at once; then a pause."""
TYPICAL_PAUSE: Final = 1.0


@dataclass(frozen=True)
class Scenario:
    """Who posts how much, and what the upstream takes. Times in seconds, rates a second."""

    seed: int = 1
    capacity: float = 4.0
    """Calls that the upstream takes."""
    times: float = 3.0
    """Arrivals in multiples of the capacity, while there are too many."""
    overload: float = 3_600.0
    afterwards: float = 0.25
    """Arrivals after that, in the same multiples."""
    longest: float = 10 * 3_600.0
    by_api: float = 0.5
    """The share of arrivals that come through the API: called at once, by no worker."""
    workers: int = 2
    each: int = 1
    """Workers, and sends of each side by side: the template's mapping `MaxConcurrentSends`."""
    latency: float = 0.3
    refusal: float = 0.05
    """How long the upstream takes to accept a call, and to refuse one."""
    retry_after: float | None = 5.0
    max_attempts: int = 12
    max_age: float = 24 * 3_600.0
    per_sweep: int = 32
    """The sweeper's 800, as the capacity is to 100 a second."""


FITTED: Final = Scenario()
"""As many at once as make 1.7 times the calls that the upstream takes: 50, if it took 100/s."""
OVERSIZED: Final = replace(FITTED, workers=5, each=10)
"""MaxConcurrentSends at its default of 50, with an upstream that takes four calls a second."""


@dataclass
class Seen:
    """What one client did, and what became of what it was given."""

    arrived: int = 0
    calls: Counter[int] = field(default_factory=Counter)
    """Calls of the upstream, by the minute."""
    accepted: Counter[int] = field(default_factory=Counter)
    waiting: list[int] = field(default_factory=list)
    """Sends that had not ended, at the begin of each minute."""
    attempts: Counter[int] = field(default_factory=Counter)
    """Accepted sends by the attempts that they took."""
    failed: int = 0
    delays: list[float] = field(default_factory=list)
    """From arrival to acceptance."""
    swept: int = 0
    receives: Counter[int] = field(default_factory=Counter)
    """Times that SQS delivered the messages of a send."""
    drained: float | None = None
    """Seconds after the overload at which next to nothing was left of it."""

    @property
    def unfinished(self) -> int:
        """How many have neither been accepted nor failed."""
        return self.arrived - self.failed - self.attempts.total()


class Upstream:
    """Takes so many calls a second (a bucket that holds those of one), and refuses the others."""

    def __init__(self, env: simpy.Environment, scenario: Scenario, seen: Seen) -> None:
        self._env = env
        self._rate = scenario.capacity
        self._bucket = scenario.capacity
        self._filled_at = 0.0
        self._seen = seen
        wait = scenario.retry_after
        headers = {} if wait is None else {"retry-after": f"{wait:g}"}
        words = b'{"message": "Rate limit exceeded", "errorcode": 50100}'
        self._throttled = of_response(429, headers, words, 0.0)
        self._taken = of_response(202, {}, b'{"tokenId": "t"}', 0.0)

    def call(self) -> Outcome:
        """What becomes of a call that is made now."""
        now = self._env.now
        self._bucket = min(self._rate, self._bucket + (now - self._filled_at) * self._rate)
        self._filled_at = now
        self._seen.calls[int(now / MINUTE)] += 1
        if self._bucket < 1.0:
            return self._throttled
        self._bucket -= 1.0
        self._seen.accepted[int(now / MINUTE)] += 1
        return self._taken


class Queue:
    """SQS, as far as it matters: a message is seen when it is due, the longest due first."""

    def __init__(self) -> None:
        self._messages: list[tuple[float, int, int]] = []
        self._number = 0

    def put(self, send: int, visible_at: float) -> None:
        self._number += 1
        heapq.heappush(self._messages, (visible_at, self._number, send))

    def receive(self, most: int, now: float) -> list[int]:
        batch: list[int] = []
        while self._messages and len(batch) < most and self._messages[0][0] <= now:
            batch.append(heapq.heappop(self._messages)[2])
        return batch

    def next_look(self, now: float) -> float:
        """When an idle worker looks again."""
        first = self._messages[0][0] if self._messages else now + POLL
        return min(max(first, now + 0.01), now + POLL)


class Client(Protocol):
    """Who gets the arrivals."""

    def arrive(self, n: int, *, by_api: bool) -> None:
        """Take one send more."""


class Relay:
    """The relay's way with a send, as its own functions decide it."""

    def __init__(self, env: simpy.Environment, scenario: Scenario, seen: Seen) -> None:
        self._env = env
        self._scenario = scenario
        self._seen = seen
        self._random = Random(f"relay {scenario.seed}")  # noqa: S311 - no secret comes of it
        self._upstream = Upstream(env, scenario, seen)
        self._queue = Queue()
        self._sends: dict[int, Send] = {}
        """Those that are queued."""
        self._index: list[tuple[float, int]] = []
        """When they are due, the first one first; an entry that is no longer true stays in it."""
        for _ in range(scenario.workers):
            env.process(self._worker())
        env.process(self._sweeper())

    def arrive(self, n: int, *, by_api: bool) -> None:
        send = _send(n, self._env.now)
        if by_api:  # called at once, and handed over with the wait as its delay if it was refused
            _, after, ends = self._attempt(send)
            self._end(n, after, ends, longest=MAX_SQS_DELAY)
        else:
            self._keep(n, send)
            self._queue.put(n, self._env.now)

    def _worker(self) -> Process:
        brake = UpstreamPause(lambda: self._env.now, self._random.random)
        while True:
            batch = self._queue.receive(self._scenario.each, self._env.now)
            if batch and (held := brake.remaining()):
                yield self._env.timeout(held)
            now = self._env.now
            ends = max([self._receive(n, brake) for n in batch], default=0.0)
            ends = ends if batch else self._queue.next_look(now)
            yield self._env.timeout(max(0.01, ends - now))

    def _receive(self, n: int, brake: UpstreamPause) -> float:
        """When the worker is done with a message."""
        now = self._env.now
        self._seen.receives[n] += 1
        send = self._sends.get(n)
        if send is None:
            return now  # another message of the same send has brought it to its end
        if send.due_at > now:
            self._queue.put(n, now + max(1.0, send.due_at - now))
            return now
        outcome, after, ends = self._attempt(send)
        brake.record(Call("", []), outcome)
        self._end(n, after, ends, longest=float("inf"))
        return ends

    def _attempt(self, send: Send) -> tuple[Outcome, Send, float]:
        """A call, the send after it, and when that is."""
        scenario, now = self._scenario, self._env.now
        begun = transitions.begin_attempt(send, now, now + LEASE)
        too_old = transitions.age(begun, now) > scenario.max_age
        outcome = Outcome(OutcomeKind.NOT_SENT, "too-old") if too_old else self._upstream.call()
        taken = outcome.kind is OutcomeKind.ACCEPTED
        ends = now + (scenario.latency if taken else scenario.refusal)
        after = transitions.finish_attempt(
            begun,
            outcome,
            now=ends,
            wait=retry_delay(
                outcome, transitions.attempts_since_resend(begun), self._random.random
            ),
            max_attempts=transitions.counted_attempts(begun) if too_old else scenario.max_attempts,
        )
        return outcome, after, ends

    def _end(self, n: int, after: Send, ends: float, *, longest: float) -> None:
        if after.status is Status.QUEUED:
            self._keep(n, after)
            self._queue.put(n, ends + min(longest, max(1.0, after.due_at - ends)))
            return
        self._sends.pop(n, None)
        if after.status is Status.ACCEPTED:
            self._seen.attempts[after.attempts] += 1
            self._seen.delays.append(ends - after.created_at)
        else:
            self._seen.failed += 1

    def _sweeper(self) -> Process:
        while True:
            yield self._env.timeout(MINUTE)
            now, left = self._env.now, self._scenario.per_sweep
            while left and self._index and self._index[0][0] + STALLED_AFTER <= now:
                due_at, n = heapq.heappop(self._index)
                send = self._sends.get(n)
                if send is not None and send.due_at == due_at:
                    self._keep(n, replace(send, due_at=now, updated_at=now))
                    self._queue.put(n, now)
                    self._seen.swept += 1
                    left -= 1

    def _keep(self, n: int, send: Send) -> None:
        self._sends[n] = send
        heapq.heappush(self._index, (send.due_at, n))


class Typical:
    """A loop around a call: thrice again at once, then after a second; as often as the relay."""

    def __init__(self, env: simpy.Environment, scenario: Scenario, seen: Seen) -> None:
        self._env = env
        self._scenario = scenario
        self._seen = seen
        self._upstream = Upstream(env, scenario, seen)

    def arrive(self, n: int, *, by_api: bool) -> None:
        _ = n, by_api  # one is like another
        self._env.process(self._try())

    def _try(self) -> Process:
        began = self._env.now
        for attempt in range(1, self._scenario.max_attempts + 1):
            if self._upstream.call().kind is OutcomeKind.ACCEPTED:
                self._seen.attempts[attempt] += 1
                self._seen.delays.append(self._env.now + self._scenario.latency - began)
                return
            pause = 0.0 if attempt % TYPICAL_AT_ONCE else TYPICAL_PAUSE
            yield self._env.timeout(self._scenario.refusal + pause)
        self._seen.failed += 1


def simulate(scenario: Scenario, client: type[Relay | Typical]) -> Seen:
    """Let a client have the arrivals, until next to nothing of the overload is left."""
    env = simpy.Environment()
    seen = Seen()
    served: Client = client(env, scenario, seen)
    random = Random(f"arrivals {scenario.seed}")  # noqa: S311 - no secret comes of it

    def arrivals() -> Process:
        while True:
            times = scenario.times if env.now < scenario.overload else scenario.afterwards
            yield env.timeout(random.expovariate(times * scenario.capacity))
            served.arrive(seen.arrived, by_api=random.random() < scenario.by_api)
            seen.arrived += 1

    env.process(arrivals())
    while env.now < scenario.longest:
        seen.waiting.append(seen.unfinished)
        env.run(until=env.now + MINUTE)
        # Ten seconds' worth of what the upstream takes are always on their way.
        if env.now > scenario.overload and seen.unfinished <= 10 * scenario.capacity:
            seen.drained = env.now - scenario.overload
            break
    return seen


def _send(n: int, now: float) -> Send:
    return Send(
        key=SendKey(str(n), 1),
        client="client",
        upstream_message_id="template",
        recipients=1,
        status=Status.QUEUED,
        on_unknown=OnUnknown.HOLD,
        fingerprint="",
        created_at=now,
        updated_at=now,
        due_at=now,
        written_by="",
        body="",
    )


def overload_of(seen: Seen, scenario: Scenario) -> list[float]:
    """Calls of each minute with too many arrivals, in multiples of what the upstream takes."""
    minutes = int(scenario.overload / MINUTE)
    return [seen.calls[minute] / MINUTE / scenario.capacity for minute in range(minutes)]


def numbers_of(seen: Seen, scenario: Scenario) -> Mapping[str, object]:
    """What is written down of a run."""
    calls = overload_of(seen, scenario)
    delays = sorted(seen.delays)
    attempts = sorted(seen.attempts.elements())
    first, last = int(scenario.overload / MINUTE) + 1, len(seen.waiting) - 1
    taken = sum(seen.accepted[minute] for minute in range(first, last))
    drained = seen.drained is not None and last > first
    return {
        "sends_at_once": scenario.workers * scenario.each,
        "arrived": seen.arrived,
        "accepted": seen.attempts.total(),
        "failed": seen.failed,
        "failed_share": round(seen.failed / seen.arrived, 4),
        "calls": seen.calls.total(),
        "calls_per_accepted": round(seen.calls.total() / seen.attempts.total(), 2),
        "calls_by_capacity": {
            "mean": round(sum(calls) / len(calls), 2),
            "highest_minute": round(max(calls), 2),
        },
        "attempts": {"p50": _at(attempts, 0.5), "p99": _at(attempts, 0.99), "most": attempts[-1]},
        "delay_seconds": {
            "p50": round(_at(delays, 0.5)),
            "p99": round(_at(delays, 0.99)),
            "most": round(delays[-1]),
        },
        "drain_seconds": seen.drained,
        "capacity_used_while_draining": round(
            taken / ((last - first) * MINUTE * scenario.capacity), 2
        )
        if drained
        else None,
        "most_receives": max(seen.receives.values(), default=0),
        "swept": seen.swept,
    }


def _at[T](ordered: Sequence[T], share: float) -> T:
    return ordered[min(len(ordered) - 1, int(len(ordered) * share))]


def _panels(scenario: Scenario, runs: Mapping[str, Seen]) -> list[Panel]:
    names = {
        "naive": "naive client: thrice again at once, then after a second, 12 calls in all",
        "oversized": f"smsrelay, {OVERSIZED.workers * OVERSIZED.each} MaxConcurrentSends: too many",
        "fitted": f"smsrelay, {FITTED.workers * FITTED.each} MaxConcurrentSends: a good fit",
    }
    hours = [minute / 60 for minute in range(max(len(seen.waiting) for seen in runs.values()))]
    calls = {
        name: Line(
            names[name],
            name,
            [
                (hour, seen.calls[minute] / MINUTE / scenario.capacity)
                for minute, hour in enumerate(hours[: len(seen.waiting)])
            ],
        )
        for name, seen in runs.items()
    }
    waiting = {
        name: Line(
            names[name], name, list(zip(hours, (n / 1_000 for n in seen.waiting), strict=False))
        )
        for name, seen in runs.items()
    }
    return [
        Panel(
            "calls of the upstream, in multiples of what it takes",
            [*calls.values()],
            ticks=(1, 2, 4, 8, 16, 32),
            is_log=True,
        ),
        Panel("sends that wait, in thousands", [*waiting.values()], ticks=(0, 10, 20, 30)),
    ]


def main(arguments: Sequence[str] | None = None) -> None:
    """Run all, and write numbers and picture."""
    parser = argparse.ArgumentParser(prog="python -m tools.bench.scale", description=__doc__)
    parser.add_argument("--seed", type=int, default=FITTED.seed)
    seed = parser.parse_args(arguments).seed
    began = time.monotonic()
    cases: Mapping[str, tuple[Scenario, type[Relay | Typical]]] = {
        "naive": (FITTED, Typical),
        "oversized": (OVERSIZED, Relay),
        "fitted": (FITTED, Relay),
        "api_only": (replace(FITTED, by_api=1.0), Relay),
        "no_retry_after": (replace(FITTED, retry_after=None), Relay),
    }
    runs: dict[str, Seen] = {}
    numbers: dict[str, Mapping[str, object]] = {}
    for name, (scenario, client) in cases.items():
        print(f"simulating {name.replace('_', ' ')} …", flush=True)
        runs[name] = simulate(replace(scenario, seed=seed), client)
        numbers[name] = numbers_of(runs[name], scenario)
        print(
            f"  {seen_shortly(runs[name], scenario)}",
        )
    drawn = {name: runs[name] for name in ("naive", "oversized", "fitted")}
    PICTURE.write_text(picture(_panels(FITTED, drawn), overload_hours=FITTED.overload / 3_600))
    RESULTS.parent.mkdir(exist_ok=True)
    document = {"seed": seed, "capacity": FITTED.capacity, "times": FITTED.times, "runs": numbers}
    RESULTS.write_text(json.dumps(document, indent=2) + "\n")
    print(f"scale: {len(runs)} runs in {time.monotonic() - began:.0f} s; {RESULTS}, {PICTURE}")


def seen_shortly(seen: Seen, scenario: Scenario) -> str:
    """One line about a run."""
    calls = overload_of(seen, scenario)
    ended = "not drained" if seen.drained is None else f"drained in {seen.drained / 60:.0f} min"
    return (
        f"{seen.arrived} arrived, {seen.failed} failed; calls by what the upstream takes: "
        f"{sum(calls) / len(calls):.1f}, {max(calls):.1f} in the highest minute; {ended}"
    )


if __name__ == "__main__":
    main()
