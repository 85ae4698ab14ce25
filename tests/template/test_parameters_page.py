"""Checks that docs/parameters.md describes the template's parameters."""

import re

from tests.support.template import template
from tools.parameters_page import PAGE, page


def test_the_page_is_generated_from_the_template() -> None:
    assert PAGE.read_text() == page(template()), "run `make parameters`"


def test_the_page_has_every_parameter_once_with_its_default_and_its_limits() -> None:
    rows = dict(re.findall(r"^\| `(\w+)` \| (.*) \|$", page(template()), re.MULTILINE))
    assert list(rows) == list(template()["Parameters"])
    assert rows["RestBaseUrl"].startswith("empty | text | ")
    assert rows["Stage"].startswith("`prod` | text, matching `[a-z][a-z0-9]{0,11}` | ")
    assert rows["UpstreamHosts"].startswith("`*.marketingcloudapis.com` | text, not empty | ")
    assert "| text, at most 2048 characters, matching `" in rows["QueueSenderArns"]
    assert rows["UpstreamTimeoutSeconds"].startswith("`45` | 1 to 48 | ")
    assert rows["YearlyApiCalls"].startswith("`2000000` | from 0 | ")
    assert rows["Architecture"].startswith("`arm64` | `arm64`, `x86_64` | ")


def test_a_page_of_the_docs_is_a_link() -> None:
    links = re.findall(r"\]\(([^)]+\.md)\)", page(template()))
    assert "message-catalogue.md" in links
    assert [it for it in links if not (PAGE.parent / it).is_file()] == []
