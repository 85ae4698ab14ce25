"""The document as a page for people: plain HTML and CSS, nothing to load, no script."""

import json
import re
from collections.abc import Iterable, Mapping
from html import escape
from pathlib import Path

from tools.openapi import Json

CSS = (Path(__file__).parent / "html_page.css").read_text()
LONGEST_PATTERN = 40
"""Characters; of longer ones, and of those with escapes, the description says what they mean."""
REQUEST = "MessageRequest"
SCHEMAS = (
    "MobileNumber",
    "Subscriber",
    "QuietHours",
    "AcceptedMessage",
    "SendSummary",
    "PreviewedMessage",
    "UpstreamRequest",
    "PreviewWarning",
    "StoredMessage",
    "StoredSend",
    "Delivery",
    "RecipientState",
    "FoundMessages",
    "TokenOwner",
    "Refusal",
)
_CURL = """\
curl -i "$API_URL/messages" \\
  -H "x-api-key: $API_KEY" -H 'Content-Type: application/json' \\
  -H 'Idempotency-Key: order-8812-shipped' \\
  -d '{"message": "MzA6Nzg6MA", "to": ["+1 212 555 0100"], "text": "Your order is on its way."}'
"""


_SHOWN = {"apiKey": "API key", "webhookSignature": "signature"}


def page(document: Json) -> str:
    """The page."""
    info = document["info"]
    operations = [
        (method, path, operation)
        for path, item in document["paths"].items()
        for method, operation in item.items()
    ]
    schemas = document["components"]["schemas"]
    sections = [
        _section("overview", "Overview", _overview(document)),
        *(
            _section(it["operationId"], it["summary"], _operation(method, path, it, schemas))
            for method, path, it in operations
        ),
        _section("problems", "Problems", _problems(document)),
        _section("refusals", "Codes of refused fields", _refusals(document)),
        _section("schemas", "Schemas", "".join(_schema(name, schemas) for name in SCHEMAS)),
    ]
    return f"""\
<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>{escape(info["title"])} {escape(info["version"])}: the HTTP API</title>
<link rel="icon" href="data:,">
<style>
{CSS}</style>
</head>
<body>
<a class="skip" href="#overview">Skip to the content</a>
<header>
<h1>{escape(info["title"])} <small>{escape(info["version"])}</small></h1>
<p>{_inline(info["summary"])} <a href="openapi.json">OpenAPI document</a></p>
</header>
<div class="columns">
<nav aria-label="Contents">
{_contents(operations)}
</nav>
<main>
{"".join(sections)}</main>
</div>
</body>
</html>
"""


def _contents(operations: Iterable[tuple[str, str, Json]]) -> str:
    rows = [_link("overview", "Overview")]
    rows += [
        _link(
            operation["operationId"],
            f"{method.upper()} {path}",
            [REQUEST] if operation["operationId"] == "postMessage" else [],
        )
        for method, path, operation in operations
    ]
    rows += [
        _link("problems", "Problems"),
        _link("refusals", "Codes of refused fields"),
        _link("schemas", "Schemas", SCHEMAS),
    ]
    return "<ul>\n" + "\n".join(rows) + "\n</ul>"


def _link(anchor: str, title: str, below: Iterable[str] = ()) -> str:
    links = "".join(_link(name, name) for name in below)
    inner = f"<ul>{links}</ul>" if links else ""
    return f'<li><a href="#{anchor}">{escape(title)}</a>{inner}</li>'


def _section(anchor: str, title: str, content: str) -> str:
    return (
        f'<section id="{anchor}" aria-labelledby="{anchor}-title">\n'
        f'<h2 id="{anchor}-title">{escape(title)}</h2>\n{content}\n</section>\n'
    )


def _overview(document: Json) -> str:
    paragraphs = _paragraphs(document["info"]["description"])
    schemes = document["components"]["securitySchemes"].values()
    headers = _table(
        ("header", "meaning"),
        [(_name(it["name"], required=False), _inline(it["description"])) for it in schemes],
    )
    return f"{paragraphs}<h3>Who calls</h3>{headers}<h3>With curl</h3>{_code(_CURL, 'Request')}"


def _operation(method: str, path: str, operation: Json, schemas: Json) -> str:
    shown = operation.get("security", [{"apiKey": []}])
    key = "".join(f'<span class="key">{_SHOWN[name]}</span>' for it in shown for name in it)
    route = f'<b class="{method}">{method.upper()}</b> <code>{escape(path)}</code>'
    parts = [
        f'<p class="route">{route} {key}</p>',
        _paragraphs(operation.get("description", "")),
    ]
    if parameters := operation.get("parameters"):
        rows = [
            (
                _name(it["name"], required=it.get("required", False)),
                escape(it["in"]),
                _inline(it["description"]) + _example(it["example"]),
            )
            for it in parameters
        ]
        parts += ["<h3>Parameters</h3>", _table(("name", "in", "meaning"), rows)]
    if body := operation.get("requestBody"):
        [(media_type, content)] = body["content"].items()
        parts += ["<h3>Body</h3>", f"<p><code>{media_type}</code>: {_type(content['schema'])}.</p>"]
        if operation["operationId"] == "postMessage":
            parts += [f"<p>{_inline(body['description'])}</p>", _schema(REQUEST, schemas)]
            parts += ["<h3>Examples</h3>", *_examples(content["examples"])]
    answers = [_response(status, response) for status, response in operation["responses"].items()]
    return "\n".join([*parts, "<h3>Answers</h3>", *answers])


def _response(status: str, response: Json) -> str:
    [(media_type, content)] = response["content"].items()
    parts = [f"<p><code>{media_type}</code>: {_type(content['schema'])}</p>"]
    if headers := response.get("headers"):
        rows = [
            (_name(name, required=it.get("required", False)), _inline(it.get("description", "")))
            for name, it in headers.items()
        ]
        parts.append(_table(("header", "meaning"), rows))
    parts += [
        f"<p>{_inline(it['summary'])}</p>{_json(it['value'])}"
        for it in content.get("examples", {}).values()
    ]
    kind = "good" if status.startswith("2") else "bad"
    summary = f'<b class="{kind}">{status}</b> {_inline(response["description"])}'
    return f"<details><summary>{summary}</summary>{''.join(parts)}</details>"


def _problems(document: Json) -> str:
    found = {
        schema["properties"]["code"]["const"]: schema
        for name, schema in document["components"]["schemas"].items()
        if name.endswith("Problem")
    }
    rows = []
    for code, schema in found.items():
        properties = schema["properties"]
        more = [
            f"<code>{escape(name)}</code>"
            for name in properties
            if name not in {"type", "title", "status", "code", "detail"}
        ]
        rows.append(
            (
                f'<b class="bad">{properties["status"]["const"]}</b>',
                f"<code>{escape(code)}</code>",
                _inline(schema["description"]),
                ", ".join(more),
            )
        )
    members = ", ".join(
        f"<code>{it}</code>" for it in ("type", "title", "status", "code", "detail")
    )
    introduction = (
        "<p>Every answer other than 2xx is a problem document, "
        f"<code>application/problem+json</code>, with {members}.</p>"
    )
    return introduction + _table(("status", "code", "when", "more members"), rows)


def _refusals(document: Json) -> str:
    rows = [
        (
            f"<code>{escape(code)}</code>",
            _inline(entry["meaning"]),
            f"<code>{escape(entry['example']['pointer'])}</code> "
            f"{escape(entry['example']['detail'])}"
            if "example" in entry
            else "",
        )
        for code, entry in document["x-refusal-codes"].items()
    ]
    return _table(("code", "meaning", "for example"), rows)


def _schema(name: str, schemas: Json) -> str:
    schema = schemas[name]
    head = f'<h3 id="{name}">{name}</h3>{_paragraphs(schema["description"])}'
    if "properties" not in schema:
        return f"{head}<p>{_type(schema)}</p>{_limits(schema)}{_field_examples(schema)}"
    rows = [
        (
            _name(field, required=field in schema["required"]),
            _type(it),
            _inline(it.get("description", "")) + _limits(it) + _field_examples(it),
        )
        for field, it in schema["properties"].items()
    ]
    return head + _table(("field", "type", "meaning"), rows)


def _type(schema: Json) -> str:  # noqa: PLR0911 - a table
    """The type in words, with links to the schemas."""
    if "$ref" in schema:
        name = schema["$ref"].rpartition("/")[2]
        if not name.endswith("Problem"):
            return f'<a href="#{name}">{name}</a>'
        return '<a href="#problems">problem</a>'
    kinds = schema.get("oneOf") or schema.get("anyOf")
    if kinds and "type" not in schema:
        return " or ".join(dict.fromkeys(map(_type, kinds)))
    if "enum" in schema:
        return "<br>".join(f"<code>{escape(str(value))}</code>" for value in schema["enum"])
    kind = schema.get("type", "")
    if kind == "array":
        return f"array of {_type(schema['items'])}"
    if isinstance(schema.get("additionalProperties"), dict):
        return f"object of {_type(schema['additionalProperties'])}"
    words = " or ".join(kind) if isinstance(kind, list) else kind
    return f"{words} ({schema['format']})" if "format" in schema else escape(words)


_LIMITS = {
    "minLength": "length ≥ {}",
    "maxLength": "length ≤ {}",
    "minItems": "entries ≥ {}",
    "maxItems": "entries ≤ {}",
    "maxProperties": "fields ≤ {}",
    "minimum": "≥ {}",
    "maximum": "≤ {}",
    "default": "default <code>{}</code>",
}


def _limits(schema: Json) -> str:
    words = [
        text.format(escape(str(schema[name]))) for name, text in _LIMITS.items() if name in schema
    ]
    pattern = schema.get("pattern", "")
    if pattern and len(pattern) <= LONGEST_PATTERN and "\\u" not in pattern:
        words.append(f"pattern <code>{escape(pattern)}</code>")
    return f'<p class="limits">{", ".join(words)}</p>' if words else ""


def _field_examples(schema: Json) -> str:
    return "".join(map(_example, schema.get("examples", ())))


def _example(value: object) -> str:
    return f'<p class="example"><code>{escape(json.dumps(value, ensure_ascii=False))}</code></p>'


def _examples(examples: Mapping[str, Json]) -> Iterable[str]:
    for it in examples.values():
        summary = _inline(it["summary"])
        yield f"<details><summary>{summary}</summary>{_json(it['value'])}</details>"


def _json(value: object) -> str:
    return _code(json.dumps(value, indent=2, ensure_ascii=False), "Example")


def _code(text: str, label: str) -> str:
    # With a place in the tab order, so that it can be scrolled from the keyboard.
    return (
        f'<pre tabindex="0" role="region" aria-label="{escape(label)}">'
        f"<code>{escape(text)}</code></pre>"
    )


def _table(head: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    body = "\n".join("<tr>" + "".join(f"<td>{cell}</td>" for cell in row) + "</tr>" for row in rows)
    heads = "".join(f'<th scope="col">{name}</th>' for name in head)
    return f"<table><thead><tr>{heads}</tr></thead><tbody>\n{body}\n</tbody></table>"


def _name(name: str, *, required: bool) -> str:
    return f"<code>{escape(name)}</code>" + (' <span class="required">required</span>' * required)


def _paragraphs(text: str) -> str:
    return "".join(f"<p>{_inline(part)}</p>" for part in text.split("\n\n") if part)


def _inline(text: str) -> str:
    """Escaped, with what stands in backticks as code."""
    return re.sub(r"`([^`]+)`", r"<code>\1</code>", escape(text, quote=False))
