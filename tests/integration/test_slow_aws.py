"""Checks that slow AWS responses shorten no lease, and that no call begins after `expiresAt`."""

import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import Any
from unittest.mock import patch

import pytest

from smsrelay.adapters.dynamodb_operator_pauses import DynamoDbOperatorPauses
from smsrelay.adapters.mobileconnect import MobileConnect
from smsrelay.sends.call_outcome import Outcome
from tests.conftest import WallClock
from tests.support import permissions
from tests.support.environment import CLIENT, Environment
from tools.mobileconnect_simulator import Simulator

Json = dict[str, Any]

MESSAGE: Json = {"message": "MzA6Nzg6MA", "to": ["+1 212 555 0100"], "text": "Hello"}
SLOW_SECONDS = 20.0
PAUSES_CACHED = 30.0
MAX_CLOCK_SKEW = 30.0


@pytest.fixture(autouse=True)
def _slow_pauses(wall_clock: WallClock, relay: Environment) -> Iterator[None]:
    _ = relay
    wall_clock.now = time.time()  # SQS uses the machine's time
    load = DynamoDbOperatorPauses.load

    def slowly(pauses: DynamoDbOperatorPauses) -> Any:
        wall_clock.now += SLOW_SECONDS
        return load(pauses)

    with patch.object(DynamoDbOperatorPauses, "load", slowly):
        yield


def post(relay: Environment, _: WallClock, message: Json, remaining: float) -> None:
    relay.post(message, remaining=remaining)


def work(relay: Environment, _: WallClock, message: Json, remaining: float) -> None:
    relay.enqueue(message, {"client": CLIENT})
    relay.work(remaining)


def post_and_work(
    relay: Environment, wall_clock: WallClock, message: Json, remaining: float
) -> None:
    relay.post(message, headers={"Prefer": "respond-async"})
    wall_clock.now += PAUSES_CACHED
    relay.show_all()
    relay.work(remaining)


WAYS = [post, work, post_and_work]


@pytest.mark.parametrize("way", WAYS)
def test_a_lease_ends_after_the_invocation_and_the_clock_skew(
    wall_clock: WallClock, relay: Environment, way: Callable[..., None]
) -> None:
    leases = []
    send = MobileConnect.send

    def note(upstream: MobileConnect, *arguments: Any) -> Outcome:
        with permissions.calls_of("operator"):
            [item] = relay.items()
        leases.append(float(item["dueAt"]["N"]) - wall_clock.now)
        return send(upstream, *arguments)

    with patch.object(MobileConnect, "send", note):
        way(relay, wall_clock, MESSAGE, 28.0)
    assert leases == [pytest.approx(28.0 + MAX_CLOCK_SKEW, abs=0.001)]


@pytest.mark.parametrize("way", WAYS)
def test_no_call_begins_after_the_expiry(
    wall_clock: WallClock, relay: Environment, simulator: Simulator, way: Callable[..., None]
) -> None:
    # An asynchronous post reads the pauses before it is stored.
    seconds = 2 * SLOW_SECONDS + PAUSES_CACHED - 1 if way is post_and_work else SLOW_SECONDS - 1
    expires_at = datetime.fromtimestamp(wall_clock.now + seconds, UTC).isoformat()
    way(relay, wall_clock, MESSAGE | {"expiresAt": expires_at}, 60.0)
    assert simulator.calls() == []
    relay.show_all()
    relay.work()
    [item] = relay.items()
    assert item["status"] == {"S": "expired"}
