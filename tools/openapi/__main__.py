"""`make openapi`: write the files that are generated from the models."""

import re
from pathlib import Path

from tools.openapi import ROOT, catalogue_schema, document, event_schema, html_page, http_examples


def files() -> dict[Path, str]:
    """Return the content of each generated file.

    The api function serves openapi.json and docs.html; its module contains the hash of the script.
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
