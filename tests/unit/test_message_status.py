"""The status of a message, as tables."""

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
def test_a_message_is_what_its_sends_are(statuses: list[str], together: str) -> None:
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
def test_what_the_sends_of_a_message_are_together(statuses: set[Status], together: str) -> None:
    assert message_status(statuses) == together
