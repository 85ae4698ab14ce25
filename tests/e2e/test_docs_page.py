"""Tests `GET /docs` of the deployed stack in a real browser."""

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from playwright.sync_api import Browser, Page, expect

from tests.support.browser import CONTRASTS
from tests.support.template import ROOT
from tools.local_stack.simulator_client import SimulatorControl
from tools.local_stack.stack import Stack

WIDTHS = (1280, 700, 375, 320)
COMMANDS = {
    "curl": ["bash", "-euc"],
    "Python": [sys.executable, "-c"],
    "Node": ["node", "--input-type=module", "-e"],
}
SMALL = """() => [...document.querySelectorAll("a, button, summary, label, #search")]
  .filter((it) => it.checkVisibility() && !it.matches(".skip"))
  .map((it) => [it.outerHTML.slice(0, 90), it.getBoundingClientRect()])
  .filter(([, { width, height }]) => width < 24 || height < 24)
  .map(([html, { width, height }]) => `${html} ${width} x ${height}`)"""
"""Returns the controls that are smaller than the 24 px that WCAG 2.2 AA requires."""
PICTURES = ("phone-page.png", "api-docs.png")


@pytest.fixture(scope="module")
def page(browser: Browser, stack: Stack) -> Iterator[Page]:
    """The page; a violation of its policy or a request to another server fails the test."""
    context = browser.new_context(viewport={"width": 1280, "height": 800})
    context.set_default_timeout(10_000)
    context.grant_permissions(["clipboard-read", "clipboard-write"])
    page = context.new_page()
    messages: list[str] = []
    page.on("console", lambda message: messages.append(message.text))
    page.on("pageerror", lambda error: messages.append(str(error)))
    page.on("request", lambda request: messages.extend(elsewhere(request.url, stack)))
    page.goto(f"{stack.api_url}/docs")
    yield page
    context.close()
    assert messages == []


def elsewhere(url: str, stack: Stack) -> list[str]:
    return [] if url.startswith((f"{stack.api_url}/", "data:")) else [url]


@pytest.fixture(autouse=True)
def opened_again(page: Page, stack: Stack) -> Iterator[None]:
    page.goto(f"{stack.api_url}/docs")
    yield
    page.set_viewport_size({"width": 1280, "height": 800})
    page.emulate_media(color_scheme="null")


def test_the_page_has_its_style(page: Page) -> None:
    """The page's policy must allow its style."""
    expect(page.get_by_role("heading", level=1)).to_contain_text("smsrelay")
    expect(page.get_by_role("navigation", name="Contents")).to_have_css("position", "sticky")


@pytest.mark.parametrize("width", WIDTHS)
def test_the_page_fits_into_any_window(page: Page, width: int) -> None:
    page.set_viewport_size({"width": width, "height": 740})
    open_all(page)
    assert page.evaluate("document.documentElement.scrollWidth") <= width


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_page_can_be_read_in_light_and_dark(page: Page, scheme: Any) -> None:
    page.emulate_media(color_scheme=scheme)
    open_all(page)
    assert page.evaluate(CONTRASTS) == []
    red = int(page.evaluate("getComputedStyle(document.body).backgroundColor.match(/\\d+/)[0]"))
    assert (red < 64) is (scheme == "dark")


def test_the_keyboard_is_enough(page: Page) -> None:
    page.keyboard.press("Tab")
    expect(page.get_by_role("link", name="Skip to the content")).to_be_focused()
    assert page.evaluate("document.activeElement.getBoundingClientRect().left") >= 0
    page.keyboard.press("Enter")
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.closest('#overview') !== null")

    link = page.get_by_role("link", name="POST /messages", exact=True)
    link.focus()
    assert link.evaluate("it => getComputedStyle(it).outlineStyle") == "solid"
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", name="Send a message", exact=True)).to_be_in_viewport()

    answer = page.locator("#postMessage details").filter(has_text="delivery-unknown").last
    summary = answer.locator("summary")
    summary.focus()
    page.keyboard.press("Enter")
    example = answer.get_by_role("region", name="Example").first
    expect(example).to_be_visible()
    page.keyboard.press("Tab")
    expect(answer.get_by_role("link", name="problem")).to_be_focused()
    page.keyboard.press("Tab")
    expect(example).to_be_focused()


def test_the_search_finds_fields_and_codes(page: Page) -> None:
    page.keyboard.press("/")
    search = page.get_by_role("searchbox", name="Search")
    expect(search).to_be_focused()
    search.fill("too-many-seg")
    expect(page.locator("#results a").first).to_contain_text("too-many-segments")
    page.keyboard.press("Enter")
    expect(page.locator("tr:target")).to_contain_text("needs more SMS than")
    expect(page.locator("tr:target")).to_be_in_viewport()
    search.fill("no such words")
    expect(page.get_by_role("status")).to_have_text("Nothing found")
    search.press("Escape")
    expect(page.get_by_role("link", name="Overview")).to_be_visible()


@pytest.mark.parametrize("language", COMMANDS)
def test_a_copied_example_runs_unchanged(
    page: Page, stack: Stack, upstream: SimulatorControl, language: str
) -> None:
    """The example uses the address of the page."""
    command = COMMANDS[language]
    if not shutil.which(command[0]):
        pytest.skip(f"{command[0]} is not installed")
    page.locator("#postMessage").get_by_text(language, exact=True).click()
    expect(page.locator("#cancelMessage").get_by_label(language, exact=True)).to_be_checked()
    button = page.locator("#postMessage > .in-languages").get_by_role("button")
    button.click()
    expect(button).to_have_text("Copied")
    text = page.evaluate("navigator.clipboard.readText()")
    assert f"{stack.api_url}/messages" in text
    ended = subprocess.run(  # noqa: S603 - our own page
        [*command, text.replace("order-8812-shipped", f"page-{language}")],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
        env={"PATH": os.environ["PATH"], "API_KEY": stack.api_key},
    )
    assert ended.returncode == 0, ended.stderr + ended.stdout
    assert json.loads(ended.stdout)["status"] == "accepted"
    assert len(upstream.sent()) == 1


def test_all_controls_are_large_enough_for_fingers(page: Page) -> None:
    page.set_viewport_size({"width": 375, "height": 740})
    page.get_by_role("searchbox").fill("key")
    small = page.evaluate(SMALL)
    page.get_by_role("searchbox").fill("")
    open_all(page)
    assert small + page.evaluate(SMALL) == []


def test_every_link_has_a_target(page: Page, stack: Stack) -> None:
    """This holds below the stage's path, too."""
    links = page.locator("a").evaluate_all("all => all.map(it => it.href)")
    here = f"{stack.api_url}/docs#"
    assert {link for link in links if not link.startswith(here)} == {
        f"{stack.api_url}/openapi.json"
    }
    for link in {link for link in links if link.startswith(here)}:
        assert page.locator(f"[id={link.removeprefix(here)}]").count() == 1
    answer = httpx.get(f"{stack.api_url}/openapi.json", trust_env=False)
    assert answer.json()["openapi"].startswith("3.1.")


def test_the_readme_shows_each_page_once() -> None:
    text = (ROOT / "README.md").read_text()
    shown = re.findall(r"!\[[^\]]*\]\(docs/([^)]+\.png)\)", text)
    assert sorted(shown) == sorted(PICTURES)
    for name in PICTURES:
        assert (ROOT / "docs" / name).read_bytes().startswith(b"\x89PNG")


def open_all(page: Page) -> None:
    page.locator("details").evaluate_all("all => all.forEach((it) => { it.open = true; })")
