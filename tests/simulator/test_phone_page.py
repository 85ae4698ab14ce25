"""Tests the phone page in a real browser."""

import json
import os
import re
import subprocess
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest
from playwright.sync_api import Browser, Locator, Page, Route, expect

from tests.simulator.calls import ID, TOKEN
from tests.support import browser as browser_support
from tests.support.browser import CONTRASTS
from tests.support.http_servers import Answer, FakeRelay, Posted, fake_relay
from tools.mobileconnect_simulator import Simulator
from tools.mobileconnect_simulator.faults import Then
from tools.mobileconnect_simulator.phone_page import SAMPLES

NUMBER, SHOWN = "12125550100", "+1 212 555 0100"
OTHER, OTHER_SHOWN = "12125550101", "+1 212 555 0101"
KEY = "the-relay-s-key"
DESKTOP = {"width": 1280, "height": 800}
PHONE = {"width": 360, "height": 640}
HOSTILE = "<img src=x onerror=\"document.title='owned'\"><script>document.title='owned'</script>"
PICTURE = (
    b'<svg xmlns="http://www.w3.org/2000/svg" width="40" height="30">'
    b'<rect width="40" height="30" fill="green"/></svg>'
)


@pytest.fixture(scope="module")
def desktop(browser: Browser) -> Iterator[Page]:
    """A window for all tests of the module, because opening one takes longer than most tests."""
    yield from _window(browser, DESKTOP)


@pytest.fixture
def page(desktop: Page, simulator: Simulator) -> Iterator[Page]:
    """The page, newly loaded on a desktop."""
    load(desktop, simulator)
    yield desktop
    desktop.unroute_all()
    desktop.emulate_media(color_scheme="null", reduced_motion="null")


@pytest.fixture
def small(browser: Browser, simulator: Simulator) -> Iterator[Page]:
    """The page in a small window."""
    for window in _window(browser, PHONE):
        load(window, simulator)
        yield window


@pytest.fixture
def relay(simulator: Simulator) -> Iterator[FakeRelay]:
    """A relay that is configured in the simulator, and sends each post with one call."""
    with fake_relay() as relay:
        relay.answer = lambda posted: accepted(simulator, posted)
        introduce(simulator, relay.url).raise_for_status()
        yield relay


def _window(browser: Browser, viewport: Any = DESKTOP) -> Iterator[Page]:
    """Yield an empty window; an error of the page fails the test."""
    context = browser.new_context(timezone_id="UTC", locale="en-US", viewport=viewport)
    context.set_default_timeout(20_000)
    page = context.new_page()
    errors: list[str] = []
    page.on("pageerror", lambda error: errors.append(str(error)))
    yield page
    context.close()
    assert errors == []


def load(page: Page, simulator: Simulator) -> None:
    page.goto(simulator.url)
    page.wait_for_selector("html[data-ready]")


def introduce(simulator: Simulator, url: str) -> httpx.Response:
    body = {"apiUrl": url, "apiKey": KEY}
    return httpx.put(f"{simulator.url}/_control/relay", json=body, trust_env=False)


def send(simulator: Simulator, number: str = NUMBER, text: str = "Hello", **more: Any) -> str:
    """Make a call of MobileConnect like the relay's; return its tokenId."""
    body = {"mobileNumbers": [number], "Override": True, "messageText": text, **more}
    answer = call(simulator, body)
    return str(answer.json()["tokenId"])


def call(simulator: Simulator, body: dict[str, Any], message: str = ID) -> httpx.Response:
    return httpx.post(
        f"{simulator.url}/sms/v1/messageContact/{message}/send",
        json=body,
        headers={"Authorization": f"Bearer {TOKEN}"},
        trust_env=False,
    )


def accepted(simulator: Simulator, posted: Posted) -> Answer:
    request = json.loads(posted.body)
    number = re.sub(r"\D", "", request["to"][0])
    token = send(simulator, number, request.get("text", ""))
    sends = [{"n": 1, "status": "accepted", "recipients": 1, "tokenId": token}]
    body = {"id": "50RA3E77SKYE6PJ2PSKS6WFK3N", "status": "accepted", "sends": sends}
    return Answer(202, body, {"Location": "/messages/50RA3E77SKYE6PJ2PSKS6WFK3N"})


def row(page: Page, shown: str) -> Locator:
    return page.locator("#numbers button").filter(has_text=shown)


def bubble(page: Page, text: str) -> Locator:
    return page.locator("#bubbles .message").filter(has_text=text)


# Phones.


def test_a_message_arrives_without_a_reload(page: Page, simulator: Simulator) -> None:
    expect(page.locator("#live")).to_have_text("live")
    expect(page.locator("#nothing")).to_be_visible()

    send(simulator, text="Your order is on its way.")

    expect(row(page, SHOWN)).to_contain_text("Your order is on its way.")
    expect(page.locator("#talk-title")).to_have_text(SHOWN)
    expect(bubble(page, "Your order is on its way.")).to_contain_text("Arrived")
    news = page.locator("#news[aria-live=polite]")
    expect(news).to_have_text(f"New message to {SHOWN}: Your order is on its way.")
    expect(page.locator("#nothing")).to_be_hidden()


def test_conversations_are_shown_newest_first_with_preview_and_count(
    page: Page, simulator: Simulator
) -> None:
    send(simulator, NUMBER, "one")
    expect(row(page, SHOWN)).to_contain_text("one")
    send(simulator, OTHER, "two")
    send(simulator, OTHER, "three")

    rows = page.locator("#numbers button")
    expect(rows).to_contain_text([OTHER_SHOWN, SHOWN])
    expect(rows.first).to_contain_text("three")
    expect(rows.first.locator(".count")).to_contain_text("2 messages, new")
    expect(rows.last).to_have_attribute("aria-current", "true")

    rows.first.click()
    expect(page.locator("#bubbles .bubble")).to_have_text(["two", "three"])
    expect(rows.first.locator(".count")).to_have_text("2 messages")


def test_a_bubble_shows_key_keyword_and_attributes(page: Page, simulator: Simulator) -> None:
    person = {"MobileNumber": NUMBER, "SubscriberKey": "Key1", "Attributes": {"FirstName": "Kim"}}
    body = {"Subscribers": [person], "Override": True, "messageText": "Hello %%FirstName%%"}
    call(simulator, {**body, "Subscribe": True, "keyword": "JOINSMS"})

    message = bubble(page, "Hello Kim")
    expect(message).to_contain_text(f"message {ID} · subscriber Key1 · keyword JOINSMS")


def test_an_undelivered_message_shows_the_reason(page: Page, simulator: Simulator) -> None:
    send(simulator, "19455550101", "never")

    expect(bubble(page, "never")).to_contain_text("Not delivered: Expired (4501)")


def test_send_time_and_quiet_hours_are_both_shown(page: Page, simulator: Simulator) -> None:
    # Scheduled for noon tomorrow, within quiet hours until three.
    noon = (datetime.now(UTC) + timedelta(days=1)).replace(hour=12, minute=0)
    quiet = {"UtcOffset": "+0000", "WindowStart": "1100", "WindowEnd": "1500"}
    send(simulator, text="late", SendTime=f"{noon:%Y-%m-%d %H:%M}", blackoutWindow=quiet)

    message = bubble(page, "late")
    expect(message.locator(".state")).to_have_text("Waiting")
    held = message.locator(".held")
    expect(held).to_have_text(
        [f"scheduled for {noon:%Y-%m-%d} 12:00:00", f"quiet hours until {noon:%Y-%m-%d} 15:00:00"]
    )

    simulator.advance(timedelta(days=3))
    expect(message.locator(".state")).to_have_text("Arrived")
    expect(held).to_contain_text(["was scheduled for", "had quiet hours until"])


def test_a_due_message_arrives_without_a_reload(page: Page, simulator: Simulator) -> None:
    soon = datetime.now(UTC).replace(second=0, microsecond=0) + timedelta(minutes=2)
    send(simulator, text="soon", SendTime=f"{soon:%Y-%m-%d %H:%M}")
    state = bubble(page, "soon").locator(".state")
    expect(state).to_have_text("Waiting")
    left = soon - datetime.now(UTC)

    simulator.advance(left - timedelta(seconds=1))

    expect(state).to_have_text("Arrived")


def test_a_button_advances_the_clock(page: Page, simulator: Simulator) -> None:
    page.get_by_role("button", name="Clock + 1 hour").click()

    expect(page.locator("#clock")).to_have_text("clock 1 h ahead")
    later = datetime.now(UTC) + timedelta(minutes=59)
    control = httpx.get(f"{simulator.url}/_control/clock", trust_env=False).json()
    assert datetime.fromisoformat(control["now"]) > later


def test_a_picture_is_shown(page: Page, simulator: Simulator) -> None:
    def serve(route: Route) -> None:
        route.fulfill(body=PICTURE, content_type="image/svg+xml")

    page.route("https://images.example.com/**", serve)
    send(simulator, text="Look", ContentURL="https://images.example.com/welcome.svg")

    image = page.get_by_role("img", name="Picture sent with this message")
    expect(image).to_be_visible()
    assert image.evaluate("image => image.decode().then(() => image.naturalWidth)") == 40


def test_a_picture_that_does_not_load_is_replaced(page: Page, simulator: Simulator) -> None:
    page.route("https://images.example.com/**", lambda route: route.abort())
    send(simulator, text="Look", ContentURL="https://images.example.com/gone.jpg")

    place = bubble(page, "Look").locator(".no-picture")
    expect(place).to_contain_text("Picture can't be loaded here")
    expect(place).to_contain_text("https://images.example.com/gone.jpg")


def test_hostile_texts_are_only_text(page: Page, simulator: Simulator, relay: FakeRelay) -> None:
    page.route("https://images.example.com/**", lambda route: route.abort())
    person = {"MobileNumber": NUMBER, "SubscriberKey": HOSTILE, "Attributes": {"Name": HOSTILE}}
    media = f"https://images.example.com/{HOSTILE.replace(chr(32), chr(47))}"
    call(
        simulator,
        {"Subscribers": [person], "Override": True, "messageText": "%%Name%%", "ContentURL": media},
    ).raise_for_status()
    relay.answer = lambda _: Answer(422, {"detail": HOSTILE}, {"Location": HOSTILE})
    page.get_by_role("button", name="JSON").click()
    page.locator("#json").fill(HOSTILE)
    page.get_by_role("button", name="Post", exact=True).click()

    expect(bubble(page, HOSTILE).first).to_be_visible()
    expect(page.locator("#result")).to_contain_text("onerror")
    expect(page.locator("#rows")).to_contain_text(HOSTILE)
    page.locator("#rows summary").last.click()
    assert page.locator("script").count() == 1
    assert page.locator("[onerror], img[src=x]").count() == 0
    assert page.title() == "smsrelay: phones"


def test_a_hostile_answer_of_a_script_can_not_become_html(page: Page) -> None:
    refused = page.evaluate(
        "() => { try { document.body.innerHTML = '<b>x</b>'; return ''; }"
        " catch (error) { return error.name; } }"
    )

    assert refused == "TypeError"


# Faults, clock, reset.


def test_every_fault_has_a_button(page: Page) -> None:
    names = page.locator("[data-then]").evaluate_all("all => all.map(it => it.dataset.then)")

    assert sorted(names) == sorted(Then)


@pytest.mark.parametrize("route", ["send", "token", "deliveries"])
@pytest.mark.parametrize(("strikes", "times"), [("once", 1), ("until switched off", -1)])
def test_faults_are_switched_on_and_off(
    page: Page, simulator: Simulator, route: str, strikes: str, times: int
) -> None:
    page.get_by_role("radio", name=route).check()
    page.get_by_role("radio", name=strikes).check()
    button = page.get_by_role("button", name="503 unavailable", exact=True)

    button.click()
    expect(button).to_have_attribute("aria-pressed", "true")
    entry = {"route": route, "then": "503-50300", "times": times, "delayMs": 0}
    assert simulator.faults() == [entry]
    expect(page.locator("#on li")).to_contain_text(f"{route}: 503 unavailable")

    button.click()
    expect(button).to_have_attribute("aria-pressed", "false")
    assert simulator.faults() == []
    expect(page.locator("#none-on")).to_be_visible()


def test_faults_that_are_on_are_shown_and_all_switched_off(
    page: Page, simulator: Simulator
) -> None:
    simulator.fail("send", "429-50100", times=3)
    simulator.fail("token", "401", times=-1)
    simulator.fail("send", "202-empty")
    expect(page.locator("#on li")).to_contain_text(
        ["429 rate limited", "carried out, empty body", "401 not authorised until"]
    )
    pressed = page.locator("[data-then][aria-pressed=true]")
    expect(pressed).to_have_text(["429 rate limited", "empty body"])

    page.get_by_role("button", name="Switch off token: 401 not authorised").click()
    expect(page.locator("#on li")).to_have_count(2)
    page.get_by_role("button", name="Switch all off").click()
    expect(page.locator("#none-on")).to_be_visible()
    assert simulator.faults() == []


def test_a_fault_that_happened_is_off_and_shown_with_its_call(
    page: Page, simulator: Simulator
) -> None:
    page.get_by_role("button", name="429 rate limited").click()
    expect(page.locator("#on li")).to_have_count(1)

    call(simulator, {"mobileNumbers": [NUMBER]})

    expect(page.locator("#none-on")).to_be_visible()
    page.locator("#rows summary").click()
    expect(page.locator("#rows .call")).to_contain_text("Rate limit exceeded")
    expect(page.locator("#rows .call dl")).to_contain_text("429 rate limited")


def test_reset_asks_first(page: Page, simulator: Simulator) -> None:
    send(simulator)
    expect(row(page, SHOWN)).to_be_visible()

    page.get_by_role("button", name="Reset …").click()
    page.get_by_role("button", name="Keep everything").click()
    assert len(simulator.sent()) == 1

    page.get_by_role("button", name="Reset …").click()
    page.get_by_role("button", name="Reset", exact=True).click()
    expect(page.locator("#nothing")).to_be_visible()
    assert simulator.sent() == []


# The form, and the requests beside their calls.


def test_without_a_relay_the_form_says_so(browser: Browser) -> None:
    with Simulator(access_tokens=[TOKEN]) as alone:
        for page in _window(browser):
            load(page, alone)
            expect(page.locator("#no-relay")).to_contain_text("make up")
            expect(page.get_by_role("button", name="Post", exact=True)).to_be_disabled()
            with fake_relay() as relay:
                introduce(alone, relay.url)
                expect(page.locator("#no-relay")).to_be_hidden()
                expect(page.get_by_role("button", name="Post", exact=True)).to_be_enabled()


def test_the_form_posts_every_field(page: Page, relay: FakeRelay) -> None:
    page.get_by_label("Message id").fill("MzA6Nzg6MA")
    page.get_by_label("To one number").fill(
        f'{SHOWN}\n\n  {{"mobile": "{OTHER}", "key": "Key1", "attributes": {{"A": 1}}}}\n'
    )
    page.get_by_label("Text", exact=True).fill("Hello\nthere")
    page.get_by_label("Picture its URL").fill("https://images.example.com/a.jpg")
    page.get_by_label("Send at").fill("2026-10-05T16:01:00-04:00")
    page.get_by_label("from").fill("21:00")
    page.get_by_label("to", exact=True).fill("08:00")
    page.get_by_label("zone or offset").fill("America/Chicago")
    page.get_by_label("subscribe", exact=True).check()
    page.get_by_label("resubscribe").check()
    page.get_by_label("keyword", exact=True).fill("JOINSMS")
    page.get_by_label("Reference").fill("order-8812")
    page.get_by_label("If it is unknown").select_option("resend")
    page.get_by_label("Idempotency-Key").fill("key-1")
    page.get_by_label("respond-async").check()
    page.get_by_role("button", name="Post", exact=True).click()

    expect(page.locator("#result")).to_contain_text("202")
    expect(page.locator("#result dl")).to_contain_text("50RA3E77SKYE6PJ2PSKS6WFK3N")
    (posted,) = relay.posted
    assert posted.path == "/messages"
    assert posted.headers["x-api-key"] == KEY
    assert posted.headers["idempotency-key"] == "key-1"
    assert posted.headers["prefer"] == "respond-async"
    assert posted.headers["content-type"] == "application/json"
    assert json.loads(posted.body) == {
        "message": "MzA6Nzg6MA",
        "to": [SHOWN, {"mobile": OTHER, "key": "Key1", "attributes": {"A": 1}}],
        "text": "Hello\nthere",
        "subscribe": True,
        "resubscribe": True,
        "keyword": "JOINSMS",
        "sendAt": "2026-10-05T16:01:00-04:00",
        "quietHours": {"start": "21:00", "end": "08:00", "timezone": "America/Chicago"},
        "mediaUrl": "https://images.example.com/a.jpg",
        "reference": "order-8812",
        "onUnknown": "resend",
    }


def test_request_and_raw_call_are_shown_side_by_side(page: Page, relay: FakeRelay) -> None:
    page.get_by_label("Text", exact=True).fill("Side by side")
    page.get_by_role("button", name="Post", exact=True).click()

    sides = page.locator("#rows .side")
    posted, became = sides.first, sides.last
    expect(posted).to_contain_text('"text": "Side by side"')
    expect(posted).to_contain_text('"status": "accepted"')
    expect(became).to_contain_text(f"POST /sms/v1/messageContact/{ID}/send")
    expect(became).to_contain_text('"messageText": "Side by side"')
    expect(became.locator("dl")).to_contain_text(ID)
    assert len(relay.posted) == 1
    expect(page.locator("#rows > li")).to_have_count(1)
    expect(bubble(page, "Side by side")).to_be_visible()
    left, right = posted.bounding_box(), became.bounding_box()
    assert left is not None
    assert right is not None
    assert left["y"] == right["y"]
    assert left["x"] + left["width"] <= right["x"]


def test_a_refused_request_has_no_call(page: Page, relay: FakeRelay) -> None:
    errors = [
        {"pointer": "/to/0", "code": "number", "detail": "Not a number."},
        {"pointer": "", "code": "fields-missing", "detail": "Something is missing."},
    ]
    detail = "The request breaks the rules."
    problem = {"code": "invalid-request", "detail": detail, "errors": errors}
    relay.answer = lambda _: Answer(422, problem)
    page.get_by_role("button", name="Post", exact=True).click()

    expect(page.locator("#result")).to_contain_text(detail)
    expect(page.locator("#result li")).to_have_text(
        ["/to/0 Not a number.", "the whole Something is missing."]
    )
    expect(page.locator("#result dl")).to_contain_text("invalid-request")
    expect(page.locator("#rows .side").first).to_contain_text('"pointer": "/to/0"')
    expect(page.locator("#rows .side").last).to_contain_text("No call.")


def test_a_refusal_of_the_upstream_is_shown_with_its_text(page: Page, relay: FakeRelay) -> None:
    words = "Keyword PLAY is invalid for the code on the message"
    problem = {"code": "upstream-refused", "detail": "Refused.", "errors": [words]}
    relay.answer = lambda _: Answer(422, problem)
    page.get_by_role("button", name="Post", exact=True).click()

    expect(page.locator("#result li")).to_have_text([words])


def receive(simulator: Simulator, token: str, status: str, **more: Any) -> None:
    """Post an event of the relay as EventBridge does."""
    detail = {
        "id": "50RA3E77SKYE6PJ2PSKS6WFK3N",
        "n": 1,
        "status": status,
        "final": status == "delivered",
        "tokenId": token,
        "segments": 2,
        "encoding": "GSM-7",
        "eventId": f"evt_{status}",
        **more,
    }
    event = {"time": "2026-10-05T20:01:07Z", "detail": detail}
    url = f"{simulator.url}/_received/events"
    httpx.post(url, json=event, trust_env=False).raise_for_status()


def test_events_are_shown_beside_the_message(page: Page, simulator: Simulator) -> None:
    token = send(simulator, text="two segments")
    receive(simulator, token, "delivered")
    receive(simulator, token, "accepted")  # EventBridge does not keep the order

    message = bubble(page, "two segments")
    expect(message).to_contain_text("Arrived · relay: delivered")
    expect(message).to_contain_text("2 segments, GSM-7")
    message.get_by_text("2 events, 0 callbacks").click()
    expect(message.locator(".changes li")).to_have_text(
        ["2026-10-05 20:01:07 accepted event", "2026-10-05 20:01:07 delivered event"]
    )
    receive(simulator, token, "delivered", eventId="again")
    expect(message).to_contain_text("3 events, 0 callbacks")
    expect(message.locator(".changes")).to_be_visible()  # an opened element stays open
    page.locator("#rows > li summary").first.click()
    events = page.locator("#rows .told")
    events.locator("summary").first.click()
    expect(events.locator("pre").first).to_contain_text('"eventId": "evt_accepted"')


def test_search_finds_numbers_texts_and_ids(page: Page, simulator: Simulator) -> None:
    receive(simulator, send(simulator, NUMBER, "Your order"), "accepted", reference="order-8812")
    send(simulator, NUMBER, "Thank you")
    send(simulator, OTHER, 'Say "hello"')
    search = page.get_by_label("Search")
    numbers = page.locator("#numbers .name")
    texts = page.locator("#bubbles .bubble")
    requests = page.locator("#rows > li")
    expect(requests).to_have_count(3)

    for sought, shown, bubbles in (
        ("thank", [SHOWN], ["Thank you"]),
        ("555 0100", [SHOWN], ["Your order", "Thank you"]),
        ("order-8812", [SHOWN], ["Your order"]),
        ('say "h', [OTHER_SHOWN], ['Say "hello"']),
    ):
        search.fill(sought)
        expect(numbers).to_have_text(shown)
        expect(texts).to_have_text(bubbles)
        expect(requests).to_have_count(len(bubbles))
    search.fill("mobileNumbers")  # the name of a field
    expect(page.locator("#nothing")).to_have_text("No message matches the search.")
    expect(page.locator("#no-requests")).to_have_text("No request matches the search.")
    search.fill("")
    expect(requests).to_have_count(3)


def test_a_request_is_copied_as_curl(page: Page, relay: FakeRelay) -> None:
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    page.get_by_label("Text", exact=True).fill("It's on\nits way")
    page.get_by_label("Idempotency-Key").fill("key-1")
    page.get_by_label("respond-async").check()
    page.locator("#copy").click()
    expect(page.locator("#copy")).to_have_text("Copied")
    copied = [page.evaluate("navigator.clipboard.readText()")]
    page.get_by_role("button", name="Post", exact=True).click()
    page.locator("#rows .copy").click()
    expect(page.locator("#rows .copy")).to_have_text("Copied")
    copied.append(page.evaluate("navigator.clipboard.readText()"))

    for command in copied:
        assert KEY not in command
        environment = {"API_KEY": KEY, "PATH": os.environ["PATH"]}
        subprocess.run(  # noqa: S603 - the page's own command
            ["/bin/bash", "-c", command], env=environment, check=True, capture_output=True
        )
    by_page, *by_curl = relay.posted
    assert len(by_curl) == 2
    for posted in by_curl:
        assert (posted.path, posted.body) == (by_page.path, by_page.body)
        for name in ("x-api-key", "content-type", "idempotency-key", "prefer"):
            assert posted.headers[name] == by_page.headers[name]


def test_the_form_stays_beside_the_response(page: Page, relay: FakeRelay) -> None:
    page.get_by_role("button", name="Post", exact=True).click()
    expect(page.locator("#result")).to_contain_text("accepted")
    for label in ("Message id", "To one number", "Text"):
        expect(page.get_by_label(label).first).to_be_in_viewport()
    page.get_by_role("button", name="Close").click()
    expect(page.locator("#result")).to_be_empty()
    expect(page.get_by_role("link", name="API documentation")).to_have_attribute(
        "href", f"{relay.url}/docs"
    )


def test_quiet_calls_are_shown_on_request_and_hide_no_others(
    page: Page, simulator: Simulator, relay: FakeRelay
) -> None:
    page.get_by_role("button", name="Post", exact=True).click()
    post = page.locator("#rows > li").filter(has_text="POST /messages")
    expect(post).to_contain_text("1 call")
    [token] = [sent["tokenId"] for sent in simulator.sent()]

    def ask(times: int) -> None:
        path = f"/sms/v1/messageContact/{ID}/deliveries/{token}"
        with httpx.Client(base_url=simulator.url, trust_env=False) as client:
            for _ in range(times):
                client.get(path, headers={"Authorization": f"Bearer {TOKEN}"})

    ask(250)
    others = page.get_by_role("button", name="Tokens and deliveries")
    expect(others).to_contain_text("(200)")
    expect(page.locator("#rows > li")).to_have_count(1)
    expect(post).to_contain_text("1 call")

    others.focus()
    page.keyboard.press("Enter")
    expect(others).to_have_attribute("aria-pressed", "true")
    expect(page.locator("#rows > li")).to_have_count(201)
    others.click()
    simulator.fail("deliveries", "500")
    ask(1)
    expect(page.locator("#rows > li")).to_have_count(2)
    expect(page.locator("#rows > li").first).to_contain_text("deliveries")
    assert len(relay.posted) == 1


def test_a_call_without_tokenid_is_joined_by_time_and_recipients(
    page: Page, simulator: Simulator, relay: FakeRelay
) -> None:
    simulator.fail("send", "500")

    def fails(posted: Posted) -> Answer:
        call(simulator, {"mobileNumbers": [OTHER]})  # also fails, but belongs to another post
        call(simulator, {"mobileNumbers": [NUMBER], "keyword": "NOTNEEDED"})
        return Answer(502, {"code": "not-sent", "detail": posted.path}, {"Retry-After": "5"})

    relay.answer = fails
    page.get_by_role("button", name="Post", exact=True).click()

    expect(page.locator("#result dl")).to_contain_text("Retry-After")
    request = page.locator("#rows > li").filter(has_text="POST /messages")
    expect(request.locator(".call")).to_contain_text("joined by")
    expect(request.locator(".call")).to_contain_text("NOTNEEDED")
    alone = page.locator("#rows > li").filter(has_not_text="POST /messages")
    alone.locator("summary").click()
    expect(alone.locator(".side").first).to_contain_text("Not posted with this form")


def test_a_queued_request_finds_its_call_later(
    page: Page, simulator: Simulator, relay: FakeRelay
) -> None:
    queued = {"n": 1, "status": "queued", "recipients": 1}
    message = {"id": "50RA3E77SKYE6PJ2PSKS6WFK3N", "status": "queued"}
    relay.answer = lambda _: Answer(202, {**message, "sends": [queued]})
    page.get_by_role("button", name="Post", exact=True).click()
    became = page.locator("#rows > li").filter(has_text="POST /messages").locator(".side").last
    expect(became).to_contain_text("No call yet: it is queued.")

    token = send(simulator, text="from the queue")
    relay.stored = {**message, "sends": [{**queued, "status": "accepted", "tokenId": token}]}

    expect(became).to_contain_text("from the queue")
    expect(page.locator("#rows > li")).to_have_count(1)


def test_json_is_posted_unchanged(page: Page, relay: FakeRelay) -> None:
    relay.answer = lambda _: Answer(400, {"code": "not-json"})
    page.get_by_role("button", name="JSON").click()
    assert json.loads(page.locator("#json").input_value())["message"] == "MzA6Nzg6MA"

    page.locator("#json").fill('{"message": 1.50,')
    page.get_by_role("button", name="Post", exact=True).click()

    expect(page.locator("#result")).to_contain_text("not-json")
    assert [posted.body for posted in relay.posted] == ['{"message": 1.50,']
    page.get_by_role("button", name="Form", exact=True).click()
    expect(page.locator("#cannot-show")).to_contain_text("it is not a JSON object")


def test_every_sample_is_posted_unchanged(page: Page, relay: FakeRelay) -> None:
    relay.answer = lambda _: Answer(422, {"code": "told"})
    files = sorted(SAMPLES.glob("*.json"))
    options = page.locator("#sample option")
    expect(options).to_have_count(len(files) + 1)
    for count, file in enumerate(files, 1):
        page.get_by_label("Sample").select_option(file.stem)
        page.get_by_role("button", name="Post", exact=True).click()
        shown = page.locator("#rows > li").first.locator(".side").first
        expect(shown).to_contain_text(json.loads(file.read_text())["message"])
        expect(page.locator("#rows > li")).to_have_count(count)

    assert [posted.body for posted in relay.posted] == [file.read_text() for file in files]


def test_an_unreachable_relay_is_reported(page: Page, simulator: Simulator) -> None:
    with fake_relay() as gone:
        introduce(simulator, gone.url)
    expect(page.get_by_role("button", name="Post", exact=True)).to_be_enabled()
    page.get_by_role("button", name="Post", exact=True).click()

    expect(page.locator("#result")).to_contain_text("The relay did not answer")


# The page itself.


def test_the_keyboard_is_enough(page: Page, simulator: Simulator, relay: FakeRelay) -> None:
    for number in (NUMBER, OTHER):
        send(simulator, number, f"to {number}")
    expect(page.locator("#numbers button")).to_have_count(2)
    load(page, simulator)

    page.keyboard.press("Tab")
    expect(page.get_by_role("link", name="Skip to the messages")).to_be_focused()
    tab_to(page, row(page, OTHER_SHOWN))
    outline = page.evaluate("getComputedStyle(document.activeElement).outlineStyle")
    assert outline == "solid"
    page.keyboard.press("ArrowDown")
    expect(row(page, SHOWN)).to_be_focused()
    expect(page.locator("#talk-title")).to_have_text(SHOWN)
    page.keyboard.press("Home")
    expect(row(page, OTHER_SHOWN)).to_be_focused()
    page.keyboard.press("End")
    page.keyboard.press("Tab")
    expect(page.locator("#bubbles")).to_be_focused()

    tab_to(page, page.get_by_label("Text", exact=True))
    page.keyboard.press("ControlOrMeta+a")
    page.keyboard.type("typed")
    page.keyboard.press("Tab")
    tab_to(page, page.get_by_role("button", name="Post", exact=True))
    page.keyboard.press("Enter")
    expect(bubble(page, "typed")).to_be_visible()
    assert len(relay.posted) == 1

    fault = page.get_by_role("button", name="500 server error", exact=True)
    tab_to(page, fault)
    page.keyboard.press("Space")
    expect(fault).to_have_attribute("aria-pressed", "true")


def tab_to(page: Page, target: Locator) -> None:
    """Press Tab until the target has the focus."""
    for _ in range(60):
        if target.evaluate("it => it === document.activeElement"):
            return
        page.keyboard.press("Tab")
    raise AssertionError("the Tab key does not reach the target")


def test_focus_stays_when_messages_arrive(page: Page, simulator: Simulator) -> None:
    send(simulator)
    row(page, SHOWN).focus()

    send(simulator, text="one more")

    expect(row(page, SHOWN)).to_contain_text("one more")
    expect(row(page, SHOWN)).to_be_focused()


def test_a_small_window_is_one_column_with_a_way_back(small: Page, simulator: Simulator) -> None:
    send(simulator, text="x" * 300)
    expect(row(small, SHOWN)).to_be_visible()
    expect(small.locator("#talk")).to_be_hidden()

    row(small, SHOWN).click()
    expect(small.locator("#talk")).to_be_visible()
    expect(small.locator("#numbers")).to_be_hidden()
    expect(small.get_by_role("button", name="All numbers")).to_be_focused()
    small.locator("#rows summary").click()
    for width in (360, 320, 700, 1000):
        small.set_viewport_size({"width": width, "height": 640})
        assert small.evaluate("document.documentElement.scrollWidth") <= width
    small.set_viewport_size({"width": PHONE["width"], "height": PHONE["height"]})

    small.get_by_role("button", name="All numbers").focus()
    small.keyboard.press("Escape")
    expect(row(small, SHOWN)).to_be_focused()
    expect(small.locator("#talk")).to_be_hidden()


def test_many_numbers_scroll_in_their_own_area(page: Page, simulator: Simulator) -> None:
    before = page.evaluate("document.documentElement.scrollHeight")
    call(simulator, {"mobileNumbers": [f"1212555{100 + last:04}" for last in range(100)]})
    expect(page.locator("#numbers button")).to_have_count(100)

    expect(page.locator("#news")).to_have_text("100 new messages")
    assert page.evaluate("document.documentElement.scrollHeight") <= before + 60  # one more request
    assert page.locator("#numbers").evaluate("it => it.scrollHeight > it.clientHeight")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_contrast_in_light_and_dark(
    page: Page, simulator: Simulator, relay: FakeRelay, scheme: Any
) -> None:
    page.emulate_media(color_scheme=scheme, reduced_motion="reduce")
    send(simulator, text="arrived")
    send(simulator, text="waiting", SendTime="2199-01-01 00:00")
    send(simulator, "19455550101", "undelivered")
    simulator.fail("token", "500", times=-1)
    page.get_by_role("button", name="Post", exact=True).click()
    expect(page.locator("#rows > li")).to_have_count(4)
    for shown in (SHOWN, "+1 945 555 0101"):
        row(page, shown).click()
        expect(page.locator("#talk-title")).to_have_text(shown)
        assert page.evaluate(CONTRASTS) == []
    red = int(page.evaluate("getComputedStyle(document.body).backgroundColor.match(/\\d+/)[0]"))
    assert (red < 64) is (scheme == "dark")
    assert len(relay.posted) == 1


def test_nothing_moves_with_reduced_motion(page: Page, simulator: Simulator) -> None:
    page.emulate_media(reduced_motion="reduce")
    send(simulator)
    expect(bubble(page, "Hello")).to_be_visible()
    send(simulator, text="again")
    expect(bubble(page, "again")).to_be_visible()

    assert page.evaluate("document.getAnimations().length") == 0


def test_controls_and_sections_have_names(page: Page) -> None:
    unnamed = page.evaluate(
        """() => [...document.querySelectorAll("button, input, select, textarea")]
          .filter((it) => !(it.labels?.length || it.textContent.trim() || it.ariaLabel))
          .map((it) => it.outerHTML)"""
    )
    assert unnamed == []
    for role in ("banner", "main"):
        expect(page.get_by_role(role)).to_have_count(1)
    for name in ("Phones", "Post a message", "Requests and their calls", "Faults"):
        expect(page.get_by_role("region", name=name, exact=True)).to_be_attached()


def test_the_page_reconnects_automatically(browser: Browser) -> None:
    with Simulator(access_tokens=[TOKEN]) as running:
        port = int(running.url.rpartition(":")[2])
        windows = _window(browser)
        page = next(windows)
        load(page, running)
        expect(page.locator("#live")).to_have_text("live")
        began = time.monotonic()
    assert time.monotonic() - began < 20, "an open page must not delay the stop"
    expect(page.locator("#live")).to_contain_text("not connected")

    with Simulator(port=port, access_tokens=[TOKEN]) as running:
        expect(page.locator("#live")).to_have_text("live")
        send(running, text="after all")
        expect(bubble(page, "after all")).to_be_visible()
        assert next(windows, None) is None


def test_the_page_requests_only_its_own_files(browser: Browser, simulator: Simulator) -> None:
    asked: list[str] = []
    context = browser.new_context()
    context.on("request", lambda request: asked.append(request.url))
    load(context.new_page(), simulator)
    context.close()

    assert asked
    assert [url for url in asked if not url.startswith((simulator.url, "data:"))] == []


def test_a_missing_browser_is_reported_with_a_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shutil.which", lambda _: None)

    with pytest.raises(FileNotFoundError, match="apt-get install chromium"):
        browser_support.executable()
