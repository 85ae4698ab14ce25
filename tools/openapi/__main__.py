"""`make openapi`: write what follows from the models."""

from pathlib import Path

from tools.openapi import ROOT, catalogue_schema, document, event_schema, html_page, http_examples


def files() -> dict[Path, str]:
    """What is written, by its place; the first two are served by the api function."""
    described = document.document()
    return {
        ROOT / "functions/api/openapi.json": document.text(),
        ROOT / "functions/api/docs.html": html_page.page(described),
        ROOT / "docs/message-catalogue.schema.json": catalogue_schema.text(),
        ROOT / "docs/event.schema.json": event_schema.text(),
        ROOT / "docs/smsrelay.http": http_examples.requests(described),
    }


if __name__ == "__main__":
    for place, content in files().items():
        place.write_text(content)
