"""`make openapi`: write what follows from the models."""

import re
from pathlib import Path

from tools.openapi import ROOT, catalogue_schema, document, event_schema, html_page, http_examples


def files() -> dict[Path, str]:
    """What is written, by its place.

    The api function serves openapi.json and docs.html; its module has the hash of its script.
    """
    described = document.document()
    app = ROOT / "functions/api/app.py"
    return {
        app: re.sub(r"'sha256-[^']+'", html_page.script_source(), app.read_text()),
        ROOT / "functions/api/openapi.json": document.text(),
        ROOT / "functions/api/docs.html": html_page.page(described),
        ROOT / "docs/message-catalogue.schema.json": catalogue_schema.text(),
        ROOT / "docs/event.schema.json": event_schema.text(),
        ROOT / "docs/smsrelay.http": http_examples.requests(described),
    }


if __name__ == "__main__":
    for place, content in files().items():
        place.write_text(content)
