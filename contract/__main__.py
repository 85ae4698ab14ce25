"""`make openapi`: write what follows from the models."""

from pathlib import Path

from contract import ROOT, catalogue, document, event, page, requests


def files() -> dict[Path, str]:
    """What is written, by its place; the first two are served by the api function."""
    described = document.document()
    return {
        ROOT / "functions/api/openapi.json": document.text(),
        ROOT / "functions/api/docs.html": page.page(described),
        ROOT / "docs/catalogue.schema.json": catalogue.text(),
        ROOT / "docs/event.schema.json": event.text(),
        ROOT / "docs/smsrelay.http": requests.requests(described),
    }


if __name__ == "__main__":
    for place, content in files().items():
        place.write_text(content)
