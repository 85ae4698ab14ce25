"""Small pieces of the page: sections, tables, code."""

import json
import re
from collections.abc import Iterable, Mapping
from html import escape

from tools.openapi.code_examples import BASE_URL


def section(anchor: str, title: str, content: str) -> str:
    return (
        f'<section id="{anchor}" aria-labelledby="{anchor}-title">\n'
        f'<h2 id="{anchor}-title">{escape(title)}</h2>\n{content}\n</section>\n'
    )


def table(
    head: Iterable[str], rows: Iterable[Iterable[str]], anchors: Iterable[str] | None = None
) -> str:
    """Return a table. Each row can have an anchor, for links and for the search."""
    rows = list(rows)
    ids = ["" for _ in rows] if anchors is None else [f' id="{it}"' for it in anchors]
    body = "\n".join(
        f"<tr{anchor}>" + "".join(f"<td>{cell}</td>" for cell in row) + "</tr>"
        for anchor, row in zip(ids, rows, strict=True)
    )
    heads = "".join(f'<th scope="col">{name}</th>' for name in head)
    return f"<table><thead><tr>{heads}</tr></thead><tbody>\n{body}\n</tbody></table>"


def paragraphs(text: str) -> str:
    return "".join(f"<p>{inline(part)}</p>" for part in text.split("\n\n") if part)


def inline(text: str) -> str:
    """Escape a text, and format parts in backticks as code."""
    return re.sub(r"`([^`]+)`", r"<code>\1</code>", escape(text, quote=False))


def code(text: str, label: str, language: str = "") -> str:
    """Return a block of code. The page's script replaces `BASE_URL` by the API's address."""
    shown = escape(text).replace(BASE_URL, base_url())
    # tabindex makes it possible to scroll the block with the keyboard.
    block = (
        f'<pre tabindex="0" role="region" aria-label="{escape(label)}"><code>{shown}</code></pre>'
    )
    chosen = f' data-language="{language}"' if language else ""
    return f'<div class="code"{chosen}>{block}</div>'


def json_block(value: object, label: str = "Example") -> str:
    return code(json.dumps(value, indent=2, ensure_ascii=False), label)


def in_languages(name: str, texts: Mapping[str, str]) -> str:
    """Return a request in several languages, one of which is shown. `name` must be unique."""
    choices = "".join(
        f'<label><input type="radio" name="{name}-language" value="{language}"'
        f"{' checked' * (number == 0)}>{language}</label>"
        for number, language in enumerate(texts)
    )
    blocks = "".join(code(text, f"Request in {it}", it) for it, text in texts.items())
    return (
        '<div class="in-languages"><div class="languages" role="radiogroup" aria-label="Language">'
        f"{choices}</div>{blocks}</div>"
    )


def base_url() -> str:
    return f'<span class="base-url">{BASE_URL}</span>'
