"""The soak must notice whatever breaks the promise: each case spoils one thing."""

from collections import Counter
from dataclasses import replace
from typing import Any

import pytest

from tools.local_stack.samples import Way
from tools.mobileconnect_simulator.faults import Then, read_faults
from tools.soak.checks import Arrival, Broken, Promise, Seen, Stored, totals, violations
from tools.soak.scenario import Part, requests, upstream_faults

KEY = ("01K", 1)
TOLD = Arrival("token-1", told=True)
UNTOLD = Arrival("token-1", told=False)
ACCEPTED = Stored("accepted", "token-1", 1)
UNKNOWN = Stored("unknown", None, 1)
FAILED = Stored("failed", None, 12)
HOLD = Promise(KEY, hold=True, taken=True)
RESEND = replace(HOLD, hold=False)
GOOD = Seen(promises=[HOLD], stored={KEY: ACCEPTED}, arrived={KEY: [TOLD]})


def seen(promise: Promise, stored: Stored | None, *arrived: Arrival, **more: Any) -> Seen:
    return Seen([promise], {} if stored is None else {KEY: stored}, {KEY: arrived}, **more)


@pytest.mark.parametrize(
    "good",
    [
        GOOD,
        seen(HOLD, UNKNOWN),
        seen(HOLD, UNKNOWN, TOLD),
        seen(HOLD, Stored("rejected", None, 1)),
        seen(HOLD, Stored("accepted", None, 1), UNTOLD),
        seen(HOLD, Stored("accepted", None, 1), TOLD, log="put it back: token-1"),
        seen(HOLD, FAILED, letters={KEY}),
        seen(RESEND, Stored("accepted", "token-2", 2), TOLD, Arrival("token-2", told=True)),
        seen(replace(HOLD, taken=False), None),
    ],
)
def test_a_promise_that_is_kept(good: Seen) -> None:
    assert violations(good) == []


@pytest.mark.parametrize(
    ("how", "bad"),
    [
        (Broken.LOST, seen(HOLD, None)),
        (Broken.LOST, seen(HOLD, None, TOLD)),
        (Broken.LOST, seen(HOLD, Stored("accepted", None, 1))),
        (Broken.LOST, seen(HOLD, FAILED)),
        (Broken.LOST, replace(GOOD, refused={"01M": "refused"})),
        (Broken.TWICE, seen(HOLD, ACCEPTED, TOLD, UNTOLD)),
        (Broken.TWICE, seen(HOLD, UNKNOWN, UNTOLD, UNTOLD)),
        (Broken.STUCK, seen(HOLD, Stored("queued", None, 1))),
        (Broken.STUCK, seen(RESEND, Stored("sending", None, 2), UNTOLD)),
        (Broken.UNTRUE, seen(HOLD, Stored("rejected", None, 1), UNTOLD)),
        (Broken.UNTRUE, seen(RESEND, Stored("rejected", None, 2), UNTOLD)),
        (Broken.UNTRUE, seen(HOLD, FAILED, UNTOLD, letters={KEY})),
        (Broken.UNTRUE, seen(replace(HOLD, taken=False), None, TOLD)),
        (Broken.TOKEN, seen(HOLD, Stored("accepted", None, 1), TOLD)),
        (Broken.TOKEN, seen(RESEND, Stored("accepted", None, 1), TOLD)),
        (Broken.TOKEN, seen(HOLD, Stored("accepted", "token-2", 1), UNTOLD)),
        (Broken.STRAY, replace(GOOD, arrived={KEY: [TOLD], ("?", 0): [TOLD]})),
        (Broken.STRAY, replace(GOOD, stored={KEY: ACCEPTED, ("01K", 2): UNKNOWN})),
    ],
)
def test_a_promise_that_is_broken(how: Broken, bad: Seen) -> None:
    assert [violation.how for violation in violations(bad)] == [how]


def test_the_last_line_counts_what_is_broken() -> None:
    keys = [(f"0{n}", 1) for n in range(4)]
    bad = Seen(
        promises=[replace(HOLD, key=key) for key in keys],
        stored={keys[0]: ACCEPTED, keys[1]: UNKNOWN, keys[2]: Stored("accepted", None, 1)},
        arrived={keys[0]: [TOLD, UNTOLD], keys[1]: [UNTOLD]},
    )
    told = "soak: 4 requests, 3 sends, 2 lost, 1 twice, 1 unknown"
    assert str(totals(4, bad, violations(bad))) == told


def test_a_seed_draws_the_same_again() -> None:
    assert requests(7, 50) == requests(7, 50) != requests(8, 50)
    assert upstream_faults(7, 50) == upstream_faults(7, 50) != upstream_faults(8, 50)


def test_requests_come_both_ways_and_no_two_are_alike() -> None:
    drawn = requests(1, 400)
    ways = Counter(request.way for request in drawn)
    assert ways == {Way.API: 200, Way.QUEUE: 200}
    assert len({request.key for request in drawn}) == len({r.body for r in drawn}) == len(drawn)
    assert {request.parts for request in drawn} == {
        (Part.NUMBERS,),
        (Part.SUBSCRIBERS,),
        (Part.NUMBERS, Part.SUBSCRIBERS),
    }


def test_one_call_in_ten_meets_a_fault_of_every_kind() -> None:
    faults = read_faults(upstream_faults(1, 2_000))
    kinds = Counter(fault.then for fault in faults)
    assert kinds.pop(Then.OK) == 1_800
    assert kinds.keys() == set(Then) - {Then.OK}
    assert max(kinds.values()) - min(kinds.values()) <= 1
