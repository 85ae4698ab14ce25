"""Tests the phone page of the deployed stack: a message posted in its form, shown on its phone."""

# ruff: noqa: SLF001 - MiniStack's own functions are patched

import re

import httpx
import pytest
from ministack.services import eventbridge, scheduler  # type: ignore[import-untyped]
from playwright.sync_api import Browser, expect

from smsrelay.sends.polling_schedule import FIRST_POLL
from tests.support.template import properties
from tools.local_stack import ministack_patches
from tools.local_stack.observations import Witness
from tools.local_stack.simulator_client import SimulatorControl
from tools.local_stack.stack import Stack


def test_a_post_of_the_form_arrives_on_the_phone(
    stack: Stack, upstream: SimulatorControl, browser: Browser, api: httpx.Client
) -> None:
    # If another test left an ended token in the function's cache, this call gets the 401.
    api.post("/messages", json={"message": "MzA6Nzg6MA", "to": ["+12125550143"], "text": "First"})
    upstream.reset()
    page = browser.new_page()
    page.goto(stack.phone_url)
    page.get_by_label("To one number").fill("+1 212 555 0142")
    page.get_by_label("Text", exact=True).fill("All the way through")
    page.get_by_role("button", name="Post", exact=True).click()

    phone = page.locator("#bubbles .message")
    expect(phone).to_contain_text("All the way through", timeout=30_000)
    expect(phone).to_contain_text("Arrived")
    expect(page.locator("#numbers")).to_contain_text("+1 212 555 0142")
    request = page.locator("#rows > li").filter(has_text="POST /messages")
    expect(request.locator(".side").first).to_contain_text('"status": "accepted"', timeout=30_000)
    (sent,) = upstream.sent()
    raw = request.get_by_role("region", name="Raw calls")
    expect(raw).to_contain_text(sent["tokenId"])
    expect(raw).not_to_contain_text("joined by")  # the tokenId joins them, not the time
    expect(raw).to_contain_text('"messageText": "All the way through"')
    assert stack.api_key not in page.content()
    page.get_by_role("link", name="API documentation").click()
    expect(page).to_have_title(re.compile("smsrelay"))
    page.context.close()


def test_the_first_poll_delivers_and_the_phone_shows_event_and_callback(
    stack: Stack, upstream: SimulatorControl, browser: Browser, api: httpx.Client
) -> None:
    message = {"message": "MzA6Nzg6MA", "to": ["+12125550144"], "text": "With a callback"}
    posted = api.post("/messages", json=message).json()
    with Witness(stack) as witness:
        witness.ask_for_deliveries([posted["id"]])
    assert api.get(f"/messages/{posted['id']}").json()["status"] == "delivered"

    page = browser.new_page()
    page.goto(stack.phone_url)
    phone = page.locator("#bubbles .message")
    expect(phone).to_contain_text("relay: delivered", timeout=30_000)
    expect(phone).to_contain_text("3 events, 1 callback", timeout=30_000)
    expect(phone).to_contain_text("1 segment, GSM-7")
    ways = [it["way"] for it in upstream.received() if it["data"]["status"] == "delivered"]
    assert ways == ["event", "callback"]
    page.context.close()


def test_a_send_is_delivered_within_two_minutes(monkeypatch: pytest.MonkeyPatch) -> None:
    """The first poll delivers it, and waits only for the schedule."""
    monkeypatch.setattr(scheduler, "_SCHEDULE_TICK_INTERVAL", scheduler._SCHEDULE_TICK_INTERVAL)
    monkeypatch.setattr(eventbridge, "_parse_rate_seconds", eventbridge._parse_rate_seconds)
    ministack_patches.run_schedules_twice_as_often()
    [schedule] = properties("DeliveryPollerFunction")["Events"].values()
    every = eventbridge._parse_rate_seconds(schedule["Properties"]["ScheduleExpression"])

    assert FIRST_POLL + every + scheduler._SCHEDULE_TICK_INTERVAL < 100
