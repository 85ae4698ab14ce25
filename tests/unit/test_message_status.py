"""Tests the status of a message, which follows from its sends' statuses."""

import pytest

from smsrelay.sends.message_status import message_status
from smsrelay.sends.send import Status


@pytest.mark.parametrize(
    ("statuses", "together"),
    [
        (["accepted"], "accepted"),
        (["accepted", "accepted"], "accepted"),
        (["accepted", "queued"], "partial"),
        (["queued", "sending"], "queued"),
        (["sending"], "sending"),
        (["rejected", "rejected"], "rejected"),
        (["accepted", "rejected"], "partial"),
        (["queued", "rejected"], "partial"),
        (["accepted", "unknown", "rejected"], "unknown"),
        (["failed", "failed"], "failed"),
    ],
)
def test_the_status_for_a_list_of_statuses(statuses: list[str], together: str) -> None:
    assert message_status([Status(status) for status in statuses]) == together


@pytest.mark.parametrize(
    ("statuses", "together"),
    [
        ({Status.DELIVERED}, "delivered"),
        ({Status.DELIVERED, Status.UNDELIVERED}, "partially_delivered"),
        ({Status.DELIVERED, Status.PARTIALLY_DELIVERED}, "partially_delivered"),
        ({Status.DELIVERED, Status.ACCEPTED}, "accepted"),
        ({Status.DELIVERED, Status.REJECTED}, "partial"),
        ({Status.DELIVERED, Status.UNKNOWN}, "unknown"),
    ],
)
def test_the_status_for_a_set_of_statuses(statuses: set[Status], together: str) -> None:
    assert message_status(statuses) == together
