"""Checks the links of the pages, and that the start page names each page."""

import re
from pathlib import Path

import pytest

from tests.support.template import ROOT

PAGES = [*sorted(ROOT.glob("*.md")), *sorted(ROOT.glob("docs/**/*.md"))]
PAGES += sorted(ROOT.glob("tools/*/README.md"))


def links(page: Path) -> list[tuple[str, str]]:
    """Return path and anchor of each link into this repository, except in code."""
    text = re.sub(r"```.*?```|`[^`\n]*`", "", page.read_text(), flags=re.DOTALL)
    return re.findall(r"\]\((?!https?:)([^)#\s]*)(?:#([^)\s]+))?\)", text)


def anchors(page: Path) -> set[str]:
    """Return GitHub's anchors of a page's headings."""
    text = re.sub(r"```.*?```", "", page.read_text(), flags=re.DOTALL)
    headings = re.findall(r"(?m)^#+ (.+)$", text)
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_each_link_leads_to_a_file_and_a_heading(page: Path) -> None:
    for path, anchor in links(page):
        target = page.parent / path if path else page
        assert target.exists(), path
        assert not anchor or anchor in anchors(target), f"{path}#{anchor}"


def test_the_start_page_names_each_page() -> None:
    start = ROOT / "docs/index.md"
    named = {(start.parent / path).resolve() for path, _ in links(start) if path}
    pages = {page for page in ROOT.glob("docs/**/*.md") if page != start}
    assert pages <= named


def test_readme_and_pages_are_short() -> None:
    for page in [ROOT / "README.md", *ROOT.glob("docs/**/*.md")]:
        lines = len(page.read_text().splitlines())
        assert lines <= (150 if page.name == "README.md" else 250), page.name
