"""Runs a real Chromium for the tests of pages: Debian's, driven by playwright.

`python -m tests.support.browser` (`make screenshots`) renews docs/phone-page.png and
docs/api-docs.png with a local stack.
"""

import json
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
from playwright.sync_api import Browser, Page, Route, expect, sync_playwright

from tools.local_stack import ROOT
from tools.local_stack.stack import LocalStack, StartError

expect.set_options(timeout=20_000)  # milliseconds; a slow machine must not fail the tests
CONTRASTS = """() => {
  const numbers = (text) => (text.match(/[\\d.]+/g) ?? []).map(Number);
  const light = (rgb) => {
    const parts = rgb.slice(0, 3).map((part) => part / 255)
      .map((part) => (part <= 0.03928 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4));
    return 0.2126 * parts[0] + 0.7152 * parts[1] + 0.0722 * parts[2];
  };
  const ground = (it) => {
    for (let each = it; each; each = each.parentElement) {
      const colour = numbers(getComputedStyle(each).backgroundColor);
      if (colour.length === 3 || colour[3] === 1) return colour;
    }
    return [255, 255, 255];
  };
  const bad = [];
  for (const it of document.querySelectorAll("body *")) {
    const own = [...it.childNodes].some((node) => node.nodeType === 3 && node.data.trim());
    if (!own || !it.checkVisibility() || it.closest(":disabled, noscript")) continue;
    const [one, two] = [light(numbers(getComputedStyle(it).color)), light(ground(it))];
    const contrast = (Math.max(one, two) + 0.05) / (Math.min(one, two) + 0.05);
    if (contrast < 4.5) bad.push(`${it.tagName} ${it.className} ${it.textContent} ${contrast}`);
  }
  return bad;
}"""
"""Returns the texts of a page with less contrast than WCAG AA requires (4.5)."""
NAMES = ("chromium", "chromium-browser", "google-chrome")


def executable() -> str:
    """Return the path of a browser.

    Raises:
        FileNotFoundError: no browser is installed.
    """
    found = next(filter(None, map(shutil.which, NAMES)), None)
    if found is None:
        raise FileNotFoundError("No browser found: run `apt-get install chromium`.")
    return found


@contextmanager
def running_browser(*more_options: str) -> Iterator[Browser]:
    with sync_playwright() as playwright:
        # --no-sandbox: CI's containers forbid its namespaces, and only our own pages are opened.
        options = ["--no-sandbox", "--no-proxy-server", *more_options]
        browser = playwright.chromium.launch(executable_path=executable(), args=options)
        yield browser
        browser.close()


# The scope is not the session: while playwright runs, it keeps an event loop in this thread, and
# tests of other modules may need their own.
@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with running_browser() as running:
        yield running


DOCS = ROOT / "docs"
MESSAGE = "MzA6Nzg6MA"
PAGE_HEIGHT = 1150
"""In pixels: shows the raw call of the first request, and keeps the file below 250 KB."""
JOIN = {"subscribe": True, "resubscribe": True, "keyword": "JOINSMS"}
ACCEPTED = 202
QUIET_EARLY = {"start": "00:00", "end": "23:59", "utcOffset": "+00:00"}
VIEWS: dict[str, dict[str, Any]] = {
    "light": {"viewport": {"width": 1280, "height": 800}, "color_scheme": "light"},
    "dark": {"viewport": {"width": 1280, "height": 800}, "color_scheme": "dark"},
    "small": {"viewport": {"width": 360, "height": 740}, "color_scheme": "light"},
}
PARCEL = """
<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 360 190" width="360" height="190">
<rect width="360" height="190" fill="#cfe3f7"/><circle cx="300" cy="48" r="24" fill="#ffd56b"/>
<path d="M0 150q90-45 180-15t180-10v65H0z" fill="#8fbf8f"/>
<path d="M120 82l70-26 70 26v72l-70 24-70-24z" fill="#c99a62"/>
<path d="M190 108l70-26v72l-70 24z" fill="#b38350"/>
<path d="M120 82l70 26 70-26-70-26z" fill="#dcb27d"/>
<path d="M150 71l70 26v20l-12-5-12 12V106l-70-26z" fill="#f4e3c8"/></svg>
"""


def main() -> int:
    """Take the pictures; put those of dark mode and small windows into the argument's folder."""
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else None
    try:
        with LocalStack(ROOT / ".local" / "screenshots", say=print) as stack:
            _post_all(stack.simulator_url)
            with running_browser() as browser:
                take(browser, stack.simulator_url, folder)
    except StartError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


def take(browser: Browser, simulator_url: str, folder: Path | None) -> None:
    """Take the pictures of the phone page and of the API's documentation."""
    page = _open(browser, simulator_url, "light")
    page.get_by_label("Text", exact=True).fill("Your parcel 8812 is at your door. Have a look!")
    page.get_by_label("Picture its URL").fill("https://images.example.com/parcel.jpg")
    page.get_by_label("Reference").fill("order-8812")
    page.get_by_role("button", name="Post", exact=True).click()
    expect(page.locator("#result")).to_contain_text("accepted")
    expect(page.locator("#bubbles .message").last).to_contain_text("at your door")
    page.get_by_role("button", name="503 unavailable").click()
    page.locator("#numbers button").first.click()
    page.mouse.move(0, 0)
    page.locator("#post .scroll").evaluate("it => { it.scrollTop = 0; }")
    page.wait_for_function("[...document.images].every((it) => it.complete)")
    page.set_viewport_size({"width": 1280, "height": PAGE_HEIGHT})
    _keep(page, DOCS / "phone-page.png", full_page=False)
    if folder is not None:
        folder.mkdir(parents=True, exist_ok=True)
        _look_around(browser, simulator_url, folder)
    page.set_viewport_size({"width": 1280, "height": 910})
    page.goto((ROOT / "functions" / "api" / "docs.html").as_uri())
    _keep(page, DOCS / "api-docs.png", full_page=False)
    page.context.close()


def _look_around(browser: Browser, simulator_url: str, folder: Path) -> None:
    for name in VIEWS:
        page = _open(browser, simulator_url, name)
        _keep(page, folder / f"{name}.png", full_page=False)
        if name != "light":
            page.locator("#numbers button").first.click()
            _keep(page, folder / f"{name}-talk.png", full_page=False)
            page.locator("#rows summary").first.click()
            _keep(page, folder / f"{name}-whole.png", full_page=True)
        docs = (ROOT / "functions" / "api" / "docs.html").as_uri()
        page.goto(docs)
        _keep(page, folder / f"{name}-docs.png", full_page=name == "small")
        page.context.close()


def _open(browser: Browser, url: str, view: str) -> Page:
    context = browser.new_context(locale="en-GB", timezone_id="UTC", **VIEWS[view])
    page = context.new_page()
    page.route("https://images.example.com/**", _serve)
    page.goto(url)
    page.wait_for_selector("html[data-ready]")
    return page


def _serve(route: Route) -> None:
    route.fulfill(body=PARCEL, content_type="image/svg+xml")


def _keep(page: Page, file: Path, *, full_page: bool) -> None:
    page.screenshot(path=file, full_page=full_page, animations="disabled")
    print(f"{file.name}: {file.stat().st_size // 1024} KB")


def _post_all(simulator_url: str) -> None:
    """Post as the page's form does, so that the page shows the requests beside their calls."""
    with httpx.Client(trust_env=False, timeout=60) as client:
        for body in _conversations():
            order = {"body": json.dumps({"message": MESSAGE, **body}, indent=2)}
            answer = client.post(f"{simulator_url}/_control/post", json=order).raise_for_status()
            if answer.json()["status"] != ACCEPTED:
                raise ValueError(answer.text)


def _conversations() -> list[dict[str, Any]]:
    tomorrow = (datetime.now(UTC) + timedelta(days=1)).replace(hour=8, minute=30, second=0)
    kim = {"mobile": "+12125550103", "key": "ExampleSubKey1", "attributes": {"FirstName": "Kim"}}
    return [
        {"to": ["+44 7700 900123"], "text": "Your table for two is ready at 19:30."},
        {"to": ["+1 945 555 0101"], "text": "Your invoice for October is online."},
        {"to": [kim], "text": "Hello %%FirstName%%, welcome to the club.", **JOIN},
        {
            "to": ["+1 212 555 0107"],
            "text": "Reminder: your appointment is today at ten.",
            "sendAt": tomorrow.isoformat(timespec="seconds"),
        },
        {
            "to": ["+1 212 555 0108"],
            "text": "Good morning. Your parcel arrives today.",
            "quietHours": QUIET_EARLY,
        },
        {"to": ["+1 212 555 0109"], "text": "Your code is 493028. It ends in 5 minutes."},
        {"to": ["+1 212 555 0100"], "text": "Thank you for your order 8812."},
        {"to": ["+1 212 555 0100"], "text": "Your order 8812 is on its way."},
        {
            "to": ["+1 212 555 0100"],
            "text": "How was your order 8812? Answer with a number from 1 to 5.",
            "sendAt": tomorrow.isoformat(timespec="seconds"),
            "quietHours": {"start": "07:00", "end": "09:00", "utcOffset": "+00:00"},
        },
    ]


if __name__ == "__main__":
    sys.exit(main())
