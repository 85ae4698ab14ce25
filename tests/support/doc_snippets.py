"""Finds the snippets in the docs that post a message, and runs them."""

import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.support.template import ROOT

PAGES = (
    "docs/authentication.md",
    "docs/client-library.md",
    "docs/deploy.md",
    "docs/webhooks.md",
)
COMMANDS = {
    "sh": ["bash", "-euc"],
    "python": [sys.executable, "-c"],
    "js": ["node", "--input-type=module", "-e"],
    "ts": ["node", "--input-type=module", "-e"],
}
PACKAGES = ROOT / ".local/typescript"
"""Where `make typescript` installs the npm packages."""
TYPESCRIPT = ["--strict", "--target", "es2022", "--module", "es2022"]
TYPESCRIPT += ["--moduleResolution", "bundler", "--types", "node"]


class Snippet(NamedTuple):
    """A snippet; `way` is how it authenticates: key, iam or webhook."""

    page: str
    way: str
    language: str
    code: str

    def __str__(self) -> str:
        return f"{self.page.removeprefix('docs/')}-{self.way}-{self.language}"

    @property
    def needs_packages(self) -> bool:
        """Whether it uses npm packages."""
        return self.language == "ts" or "aws4fetch" in self.code

    def skip_unless_installed(self) -> None:
        """Skip its test if its language or packages are missing."""
        if not shutil.which(COMMANDS[self.language][0]):
            pytest.skip(f"{self.language} is not installed")
        if self.needs_packages and not (PACKAGES / "ready").exists():
            pytest.skip("the packages of `make typescript` are not installed")

    def run(self, environment: Mapping[str, str]) -> subprocess.CompletedProcess[str]:
        """Run it unchanged, with these environment variables only."""
        code = javascript_of(self.code) if self.language == "ts" else self.code
        return subprocess.run(  # noqa: S603 - our own page
            [*COMMANDS[self.language], code],
            cwd=PACKAGES if self.needs_packages else None,
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
            env=environment,
        )


@cache
def javascript_of(code: str) -> str:
    """Check a TypeScript example against the OpenAPI document's types, and compile it."""
    with tempfile.TemporaryDirectory() as folder:
        example = Path(folder) / "example.ts"
        example.write_text(code)
        types = [str(ROOT / "functions/api/openapi.json"), "-o", f"{folder}/smsrelay.d.ts"]
        options = ["--typeRoots", str(PACKAGES / "node_modules/@types"), str(example)]
        for command in (
            ["openapi-typescript", *types, "--default-non-nullable=false"],
            ["tsc", *TYPESCRIPT, *options],
        ):
            ended = subprocess.run(  # noqa: S603 - a package of package-lock.json
                [str(PACKAGES / "node_modules/.bin" / command[0]), *command[1:]],
                cwd=PACKAGES,
                capture_output=True,
                text=True,
                check=False,
            )
            assert ended.returncode == 0, ended.stdout + ended.stderr
        return example.with_suffix(".js").read_text()


SNIPPETS = [
    Snippet(page, *found)
    for page in PAGES
    for found in re.findall(
        r"<!-- runs: (\w+) -->\n```(\w+)\n(.*?)```", (ROOT / page).read_text(), re.DOTALL
    )
]
