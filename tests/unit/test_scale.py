"""What tools/bench/scale.py claims, on a small case: no storm follows when too much is posted."""

from dataclasses import replace

import pytest

from tools.bench.scale import (
    FITTED,
    OVERSIZED,
    Relay,
    Scenario,
    Typical,
    numbers_of,
    overload_of,
    simulate,
)

SMALL = replace(FITTED, overload=900.0)


def mean(values: list[float]) -> float:
    return sum(values) / len(values)


@pytest.mark.parametrize("retry_after", [5.0, None])
@pytest.mark.parametrize("by_api", [0.0, 0.5, 1.0])
def test_three_times_too_much_makes_no_storm(by_api: float, retry_after: float | None) -> None:
    scenario = replace(SMALL, by_api=by_api, retry_after=retry_after)
    seen = simulate(scenario, Relay)
    assert seen.failed == 0
    assert seen.drained is not None
    # What comes through the API is called once; the queue makes little more than is taken.
    assert mean(overload_of(seen, scenario)) < by_api * scenario.times + 1.25
    assert max(seen.attempts) <= 12


def test_nor_with_far_more_sends_at_once_than_the_upstream_takes() -> None:
    scenario = replace(SMALL, workers=OVERSIZED.workers, each=OVERSIZED.each)
    seen = simulate(scenario, Relay)
    assert seen.failed == 0
    assert seen.drained is not None
    held_back = scenario.workers * scenario.each / 5.0 / scenario.capacity
    assert max(overload_of(seen, scenario)) < scenario.by_api * scenario.times + held_back + 1.25
    assert max(seen.receives.values()) < 1_000, "SQS buries no message before the relay does"


def test_a_naive_client_makes_one() -> None:
    seen = simulate(SMALL, Typical)
    assert mean(overload_of(seen, SMALL)) > 20
    assert seen.failed > seen.arrived / 2


def test_the_same_seed_tells_the_same() -> None:
    short = Scenario(overload=120.0)
    first, again = (numbers_of(simulate(short, Relay), short) for _ in range(2))
    assert first == again
    other = replace(short, seed=2)
    assert numbers_of(simulate(other, Relay), other) != first
