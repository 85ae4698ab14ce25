"""Tests operators' pauses, whose time does not count towards a send's age."""

import pytest

from smsrelay.sends.operator_pause import (
    KEPT_SECONDS,
    OperatorPause,
    begin,
    end,
    is_paused,
    paused_seconds,
)

ALL = ""


@pytest.mark.parametrize(
    ("pauses", "expected"),
    [
        ([], 0),
        ([(ALL, 10, 30)], 25),
        ([("shop", 10, 30)], 25),
        ([("other", 10, 30)], 0),
        ([(ALL, 10, 30), (ALL, 40, 50)], 40),
        ([(ALL, 10, 30), ("shop", 20, 40)], 35),
        ([("shop", 20, 40), (ALL, 10, 60)], 55),
        ([(ALL, 10, 60), ("shop", 20, 40), ("other", 0, 100)], 55),
        ([(ALL, 90, None)], 10),
        ([(ALL, 20, 30), ("shop", 25, None)], 80),
        ([(ALL, -50, 30)], 35),
        ([(ALL, -50, -10)], 0),
        ([(ALL, -50, -2)], 3),
        ([(ALL, 10, 30), (ALL, 32, 40)], 35),
        ([(ALL, 90, 300)], 10),
        ([(ALL, 200, None)], 0),
    ],
)
def test_overlapping_pauses_count_once_and_only_while_the_send_waits(
    pauses: list[tuple[str, float, float | None]],
    expected: float,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("smsrelay.sends.operator_pause.RETURN_SECONDS", 5.0)
    found = [OperatorPause(*pause) for pause in pauses]
    assert paused_seconds(found, "shop", since=0, now=100) == expected


def test_a_client_is_paused_by_its_own_pause_and_by_a_pause_of_all() -> None:
    pauses = begin([], "shop", "", 1.0)
    assert is_paused(pauses, "shop")
    assert not is_paused(pauses, "other")
    pauses = begin(pauses, ALL, "", 2.0)
    assert is_paused(pauses, "other")
    pauses = end(pauses, ALL, 3.0)
    assert is_paused(pauses, "shop"), "the client's own pause must continue"
    assert not is_paused(end(pauses, "shop", 4.0), "shop")


def test_only_pauses_that_ended_long_ago_are_dropped() -> None:
    pauses = end(begin(begin([], "shop", "", 0.0), ALL, "", 0.0), ALL, 1.0)
    assert begin(pauses, ALL, "", KEPT_SECONDS)[:2] == pauses
    [kept, _] = begin(pauses, ALL, "", KEPT_SECONDS + 1)
    assert kept.client == "shop", "a pause that has not ended must be kept"
