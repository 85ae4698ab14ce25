"""Tests what a soak draws from its seed: requests, and the upstream's faults."""

from collections import Counter

from tests.promise.soak.requests import FAULTS, requests, upstream_faults
from tools.local_stack.samples import Way
from tools.mobileconnect_simulator.faults import Then, read_faults


def test_the_same_seed_draws_the_same_requests_and_faults() -> None:
    assert requests(7, 50) == requests(7, 50) != requests(8, 50)
    assert upstream_faults(7, 50) == upstream_faults(7, 50) != upstream_faults(8, 50)


def test_requests_use_both_ways_and_are_all_different() -> None:
    drawn = requests(1, 400)
    ways = Counter(request.way for request in drawn)
    assert ways == {Way.API: 200, Way.QUEUE: 200}
    messages = [request.message for request in drawn]
    assert len({it.key for it in messages}) == len({it.body for it in messages}) == len(drawn)
    assert {len(it.recipients) for it in messages} == {1, 2}


def test_one_call_in_ten_gets_a_fault_and_all_kinds_occur_equally_often() -> None:
    faults = read_faults(upstream_faults(1, 2_000))
    kinds = Counter(fault.then for fault in faults)
    assert kinds.pop(Then.OK) == 1_800
    assert kinds.keys() == set(FAULTS)
    assert max(kinds.values()) - min(kinds.values()) <= 1
