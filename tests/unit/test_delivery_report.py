"""Tests how delivery reports are read, and how they change a send."""

import json
from dataclasses import replace
from typing import Any

import pytest

from smsrelay.sends import delivery_report, transitions
from smsrelay.sends.delivery_report import (
    DeliveryCounts,
    DeliveryReport,
    count_recipients,
    parse_report,
)
from smsrelay.sends.polling_schedule import LAST_POLL, MAX_POLL_INTERVAL, POLLING_PERIOD
from smsrelay.sends.send import OnUnknown, Send, SendKey, Status

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
        upstream_message_id="MzA6Nzg6MA",
        recipients=recipients,
        status=Status.ACCEPTED,
        on_unknown=OnUnknown.HOLD,
        fingerprint="",
        created_at=NOW - MINUTE,
        updated_at=NOW - MINUTE,
        due_at=NOW,
        written_by="o",
        token_id="token",
        awaits_report=True,
        scheduled_for=NOW - MINUTE,
    )
    return replace(send, **more)


def test_the_highest_code_of_a_number_is_its_state_whatever_the_order_and_the_type() -> None:
    rows = [row("1", "4000"), row("1", 1000), row("2", 2000), row("2", "3001"), row("2", 1000)]
    report = parse_report(body(count=2, tracking=rows))
    assert report == DeliveryReport("Finished", 2, {"1": 4000, "2": 3001})


@pytest.mark.parametrize(
    "answer",
    [
        *(b"", b"<html>", b"[]", b"{}", b"null", b"[" * 100_000, body(status=1), body(status=None)),
        *(b'{"status": "Error"}', b'{"status": "Finished", "message": "done"}'),
        b'{"status": "Error", "count": "1", "tracking": {}}',
    ],
)
def test_other_bodies_are_no_report(answer: bytes) -> None:
    assert parse_report(answer) is None


@pytest.mark.parametrize("count", [None, -1, True, "1", 1.5, [], 10**30])
def test_an_invalid_count_does_not_stop_the_rest(count: object) -> None:
    report = parse_report(body(count=count, tracking=[row("1", 4000), "?", None, {"x": 1}]))
    assert report is not None
    counts = count_recipients(report, 1, NOW)
    assert (counts.delivered, counts.unsubscribed) == (1, 0)


@pytest.mark.parametrize("fields", ['"count": 0', '"tracking": []'])
def test_a_report_has_a_count_or_rows(fields: str) -> None:
    report = parse_report(b'{"status": "Finished", %s}' % fields.encode())
    assert report is not None
    assert report.has_ended


@pytest.mark.parametrize("code", [None, "", "40000", 40000, "4e3", [], "\uff14\uff10\uff10\uff10"])
def test_an_invalid_code_is_pending(code: object) -> None:
    report = parse_report(body(tracking=[row("1", code)]))
    assert report is not None
    assert count_recipients(report, 1, NOW).pending == 1


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
    counts = count_recipients(DeliveryReport("Finished", 1, {"1": code}), 1, NOW)
    counted = {
        "pending": counts.pending,
        "undelivered": counts.undelivered.get(str(code), 0),
        "delivered": counts.delivered,
    }
    assert counted == {"pending": 0, "undelivered": 0, "delivered": 0} | {state: 1}


@pytest.mark.parametrize(
    ("report", "recipients", "status", "reason"),
    [
        (DeliveryReport("Finished", 2, {"1": 4000, "2": 4000}), 2, Status.DELIVERED, None),
        (
            DeliveryReport("Finished", 2, {"1": 4000, "2": 4500}),
            2,
            Status.PARTIALLY_DELIVERED,
            None,
        ),
        (DeliveryReport("Finished", 1, {"1": 4000}), 2, Status.PARTIALLY_DELIVERED, None),
        (DeliveryReport("Finished", 1, {"1": 4501}), 1, Status.UNDELIVERED, "not-delivered"),
        (DeliveryReport("Finished", 0, {}), 3, Status.UNDELIVERED, "no-subscribed-recipient"),
        (DeliveryReport("Finished", 1, {"1": 4501}), 2, Status.UNDELIVERED, "not-delivered"),
        (DeliveryReport("Error", 1, {}), 1, Status.UNDELIVERED, "not-delivered"),
        (DeliveryReport("Error", 2, {"1": 4000}), 2, Status.ACCEPTED, None),
    ],
)
def test_how_a_send_ends(
    report: DeliveryReport, recipients: int, status: Status, reason: str | None
) -> None:
    after = transitions.apply_report(accepted(recipients), report, now=NOW, written_by="p")
    assert (after.status, after.reason) == (status, reason)
    assert after.awaits_report == (status is Status.ACCEPTED)


@pytest.mark.parametrize("status", ["New", "Queuing", "Started", "Whatever", "finished"])
def test_a_count_of_zero_means_nothing_before_the_end(status: str) -> None:
    after = transitions.apply_report(
        accepted(3), DeliveryReport(status, 0, {}), now=NOW, written_by="p"
    )
    assert after.status is Status.ACCEPTED
    assert after.awaits_report
    assert after.delivery
    assert after.delivery.unsubscribed == 0


def test_polls_become_rarer_and_then_end() -> None:
    send, now, asked = accepted(scheduled_for=NOW, due_at=NOW + MINUTE), NOW, []
    while send.awaits_report:
        now = send.due_at
        asked.append(now - NOW)
        send = transitions.apply_report(
            send, DeliveryReport("Started", 1, {}), now=now, written_by="p"
        )
    minutes = [int(age / MINUTE) for age in asked]
    assert minutes[:6] == [1, 3, 9, 27, 81, 243]
    assert asked[-1] == LAST_POLL == POLLING_PERIOD - HOUR
    assert asked[-2] >= LAST_POLL - MAX_POLL_INTERVAL
    assert len(asked) < 25
    assert send.status is Status.ACCEPTED, "without a report the status must stay"


def test_after_72_hours_a_send_ends_with_the_last_report() -> None:
    old = accepted(2, scheduled_for=NOW - 73 * HOUR, reason="accepted")
    half = transitions.apply_report(
        old, DeliveryReport("Finished", 2, {"1": 4000, "2": 3002}), now=NOW, written_by="p"
    )
    assert (half.status, half.awaits_report) == (Status.PARTIALLY_DELIVERED, False)
    assert half.reason is None
    unheard = transitions.schedule_next_poll(old, now=NOW, written_by="p")
    assert (unheard.status, unheard.awaits_report) == (Status.ACCEPTED, False)
    assert (unheard.reason, unheard.updated_at) == ("accepted", NOW)


def test_a_last_poll_without_a_report_is_repeated_until_the_72_hours_are_over() -> None:
    send, now, polls = accepted(2, scheduled_for=NOW - LAST_POLL), NOW, []
    while send.awaits_report:
        polls.append(now - NOW)
        send = transitions.schedule_next_poll(send, now=now, written_by="p")
        now = send.due_at
    assert polls == [minutes * MINUTE for minutes in (0, 10, 20, 30, 40, 50)]
    assert (send.status, send.reason) == (Status.ACCEPTED, accepted().reason)


def test_what_is_stored_is_read_again() -> None:
    known = DeliveryCounts(1, {"4500": 2}, 3, 4, NOW)
    assert delivery_report.from_json(delivery_report.to_json(known)) == known
