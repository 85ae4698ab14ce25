"""The snippets of the docs that post a message, and how each one is run."""

import re
import subprocess
import sys
from collections.abc import Mapping
from typing import NamedTuple

from tests.support.template import ROOT

PAGES = ("docs/authentication.md", "docs/client-library.md", "docs/deploy.md")
COMMANDS = {
    "sh": ["bash", "-euc"],
    "python": [sys.executable, "-c"],
    "js": ["node", "--input-type=module", "-e"],
}


class Snippet(NamedTuple):
    """A snippet; `way` is how it authenticates: key, iam or webhook."""

    page: str
    way: str
    language: str
    code: str

    def __str__(self) -> str:
        return f"{self.page.removeprefix('docs/')}-{self.way}-{self.language}"

    def run(self, environment: Mapping[str, str]) -> subprocess.CompletedProcess[str]:
        """Run it as it is on the page, with these environment variables only."""
        return subprocess.run(  # noqa: S603 - our own page
            [*COMMANDS[self.language], self.code],
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
            env=environment,
        )


SNIPPETS = [
    Snippet(page, *found)
    for page in PAGES
    for found in re.findall(
        r"<!-- runs: (\w+) -->\n```(\w+)\n(.*?)```", (ROOT / page).read_text(), re.DOTALL
    )
]
