"""A real Chromium for the tests of pages: Debian's, driven by playwright."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from playwright.sync_api import Browser, sync_playwright

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
"""What is written on a page with less contrast than WCAG's AA asks for (4.5)."""
NAMES = ("chromium", "chromium-browser", "google-chrome")


def executable() -> str:
    """The path of a browser.

    Raises:
        FileNotFoundError: there is none.
    """
    found = next(filter(None, map(shutil.which, NAMES)), None)
    if found is None:
        raise FileNotFoundError("No chromium: `apt-get install chromium` brings it.")
    return found


@contextmanager
def running_browser() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        # No sandbox: CI's containers forbid its namespaces, and only our own pages are opened.
        options = ["--no-sandbox", "--no-proxy-server"]
        browser = playwright.chromium.launch(executable_path=executable(), args=options)
        yield browser
        browser.close()


# For a module and not for the session: playwright keeps an event loop running in this thread
# meanwhile, and another module's test may want one of its own.
@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with running_browser() as running:
        yield running
