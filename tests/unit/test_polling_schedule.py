"""Tests the delays between polls of a delivery."""

from smsrelay.sends.polling_schedule import next_poll_delay

HOUR = 3_600.0


def test_gaps_grow_with_age_between_a_minute_and_six_hours() -> None:
    assert [next_poll_delay(age) for age in (0, 29, 61, HOUR, 4 * HOUR, 1e9)] == [
        60, 60, 122, 2 * HOUR, 6 * HOUR, 6 * HOUR
    ]  # fmt: skip
