"""The phone page of the deployed stack: posted with its form, seen on its phone."""

import httpx
from playwright.sync_api import Browser, expect

from tools.local_stack.simulator_client import SimulatorControl
from tools.local_stack.stack import Stack


def test_what_the_form_posts_arrives_on_the_phone(
    stack: Stack, upstream: SimulatorControl, browser: Browser, api: httpx.Client
) -> None:
    # If another test has left the function a token that has ended, this call gets the 401.
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
    raw = request.locator(".side").last
    expect(raw).to_contain_text(sent["tokenId"])
    expect(raw).not_to_contain_text("joined by")  # time: the tokenId proves it
    expect(raw).to_contain_text('"messageText": "All the way through"')
    assert stack.api_key not in page.content()
    page.context.close()
