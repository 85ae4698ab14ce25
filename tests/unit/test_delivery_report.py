"""What the upstream's reports mean: pure, as tables."""

import json
from dataclasses import replace
from typing import Any

import pytest

from smsrelay.sends import delivery_report, transitions
from smsrelay.sends.delivery_report import Delivery, Report, next_gap, report_of, tally
from smsrelay.sends.send import OnUnknown, Send, SendKey, Status, message_status

NOW = 1_800_000_000.0
MINUTE, HOUR = 60.0, 3_600.0


def row(number: str, code: object) -> dict[str, Any]:
    return {"mobileNumber": number, "statusCode": "x", "standardStatusCode": code}


def body(status: object = "Finished", count: object = 1, **more: object) -> bytes:
    return json.dumps({"status": status, "count": count, "tracking": [], **more}).encode()


def accepted(recipients: int = 1, **more: Any) -> Send:
    send = Send(
        key=SendKey("01", 1),
        client="shop",
        template="MzA6Nzg6MA",
        recipients=recipients,
        status=Status.ACCEPTED,
        on_unknown=OnUnknown.HOLD,
        fingerprint="",
        created_at=NOW - MINUTE,
        updated_at=NOW - MINUTE,
        due_at=NOW,
        owner="o",
        token_id="token",
        followed=True,
        deliver_at=NOW - MINUTE,
    )
    return replace(send, **more)


def test_the_highest_code_of_a_number_is_its_state_whatever_the_order_and_the_type() -> None:
    rows = [row("1", "4000"), row("1", 1000), row("2", 2000), row("2", "3001"), row("2", 1000)]
    report = report_of(body(count=2, tracking=rows))
    assert report == Report("Finished", 2, {"1": 4000, "2": 3001})


@pytest.mark.parametrize(
    "answer",
    [b"", b"<html>", b"[]", b"{}", b"null", b"[" * 100_000, body(status=1), body(status=None)],
)
def test_what_is_no_report_is_none(answer: bytes) -> None:
    assert report_of(answer) is None


@pytest.mark.parametrize("count", [None, -1, True, "1", 1.5, [], 10**30])
def test_a_count_that_is_none_does_not_stop_the_rest(count: object) -> None:
    report = report_of(body(count=count, tracking=[row("1", 4000), "?", None, {"x": 1}]))
    assert report is not None
    known = tally(report, 1, NOW)
    assert (known.delivered, known.unsubscribed) == (1, 0)


@pytest.mark.parametrize("code", [None, "", "40000", 40000, "4e3", [], "\uff14\uff10\uff10\uff10"])
def test_a_code_that_is_none_is_pending(code: object) -> None:
    report = report_of(body(tracking=[row("1", code)]))
    assert report is not None
    assert tally(report, 1, NOW).pending == 1


@pytest.mark.parametrize(
    ("code", "state"),
    [
        *[(code, "pending") for code in (1000, 2000, 2501, 2600, 2601, 3000, 3001, 3002, 3400)],
        *[(code, "undelivered") for code in (1500, 1501, 2500, 2502, *range(4500, 4506))],
        (4000, "delivered"),
        (9999, "pending"),
    ],
)
def test_each_documented_code_has_its_meaning(code: int, state: str) -> None:
    known = tally(Report("Finished", 1, {"1": code}), 1, NOW)
    told = {
        "pending": known.pending,
        "undelivered": known.undelivered.get(str(code), 0),
        "delivered": known.delivered,
    }
    assert told == {"pending": 0, "undelivered": 0, "delivered": 0} | {state: 1}


@pytest.mark.parametrize(
    ("report", "recipients", "status", "reason"),
    [
        (Report("Finished", 2, {"1": 4000, "2": 4000}), 2, Status.DELIVERED, None),
        (Report("Finished", 2, {"1": 4000, "2": 4500}), 2, Status.PARTLY, None),
        (Report("Finished", 1, {"1": 4000}), 2, Status.PARTLY, None),
        (Report("Finished", 1, {"1": 4501}), 1, Status.UNDELIVERED, "not-delivered"),
        (Report("Finished", 0, {}), 3, Status.UNDELIVERED, "no-subscribed-recipient"),
        (Report("Finished", 1, {"1": 4501}), 2, Status.UNDELIVERED, "not-delivered"),
        (Report("Error", 1, {}), 1, Status.UNDELIVERED, "not-delivered"),
        (Report("Error", 2, {"1": 4000}), 2, Status.ACCEPTED, None),
    ],
)
def test_how_a_send_ends(
    report: Report, recipients: int, status: Status, reason: str | None
) -> None:
    after = transitions.reported(accepted(recipients), report, now=NOW, owner="p")
    assert (after.status, after.reason) == (status, reason)
    assert after.followed == (status is Status.ACCEPTED)


@pytest.mark.parametrize("status", ["New", "Queuing", "Started", "Whatever", "finished"])
def test_a_count_of_none_means_nothing_before_the_end(status: str) -> None:
    after = transitions.reported(accepted(3), Report(status, 0, {}), now=NOW, owner="p")
    assert after.status is Status.ACCEPTED
    assert after.followed
    assert after.delivery
    assert after.delivery.unsubscribed == 0


def test_a_send_is_asked_for_ever_more_rarely_and_at_last_not_at_all() -> None:
    send, now, asked = accepted(deliver_at=NOW, due_at=NOW + MINUTE), NOW, []
    while send.followed:
        now = send.due_at
        asked.append(now - NOW)
        send = transitions.reported(send, Report("Started", 1, {}), now=now, owner="p")
    minutes = [int(age / MINUTE) for age in asked]
    assert minutes[:6] == [1, 3, 9, 27, 81, 243]
    assert asked[-1] >= delivery_report.LONGEST_FOLLOWED > asked[-2]
    assert asked[-1] <= delivery_report.LONGEST_FOLLOWED + delivery_report.LONGEST_GAP
    assert len(asked) < 25
    assert send.status is Status.ACCEPTED, "nobody knows"


def test_after_72_hours_it_ends_as_it_is_known() -> None:
    old = accepted(2, deliver_at=NOW - 73 * HOUR)
    half = transitions.reported(
        old, Report("Finished", 2, {"1": 4000, "2": 3002}), now=NOW, owner="p"
    )
    assert (half.status, half.followed) == (Status.PARTLY, False)
    unheard = transitions.unreported(old, now=NOW, owner="p")
    assert (unheard.status, unheard.followed) == (Status.ACCEPTED, False)


def test_gaps_grow_with_age_between_a_minute_and_six_hours() -> None:
    assert [next_gap(age) for age in (0, 29, 61, HOUR, 4 * HOUR, 1e9)] == [
        60, 60, 122, 2 * HOUR, 6 * HOUR, 6 * HOUR
    ]  # fmt: skip


def test_what_is_stored_is_read_again() -> None:
    known = Delivery(1, {"4500": 2}, 3, 4, NOW)
    assert delivery_report.read(delivery_report.written(known)) == known


@pytest.mark.parametrize(
    ("statuses", "together"),
    [
        ({Status.DELIVERED}, "delivered"),
        ({Status.DELIVERED, Status.UNDELIVERED}, "partly"),
        ({Status.DELIVERED, Status.PARTLY}, "partly"),
        ({Status.DELIVERED, Status.ACCEPTED}, "accepted"),
        ({Status.DELIVERED, Status.REJECTED}, "partial"),
        ({Status.DELIVERED, Status.UNKNOWN}, "unknown"),
    ],
)
def test_what_the_sends_of_a_message_are_together(statuses: set[Status], together: str) -> None:
    assert message_status(statuses) == together
