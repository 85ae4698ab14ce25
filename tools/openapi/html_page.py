"""The document as an HTML page: one file with CSS and a small script, without other files."""

import base64
import json
from collections.abc import Iterable, Mapping
from hashlib import sha256
from html import escape
from pathlib import Path

from tools.openapi import Json, code_examples, guides
from tools.openapi.html_parts import (
    base_url,
    in_languages,
    inline,
    json_block,
    paragraphs,
    section,
    table,
)

CSS = (Path(__file__).parent / "html_page.css").read_text()
SCRIPT = (Path(__file__).parent / "html_page.js").read_text()
"""Search, copy buttons, the chosen language and the API's address. The page works without it."""
LONGEST_PATTERN = 40
"""Characters. Longer patterns, and those with escapes, are explained in the description."""
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
EVENT_SCHEMAS = ("Event", "SendChange", "EventDelivery")
_SHOWN = {"apiKey": "API key", "webhookSignature": "signature"}


def page(document: Json) -> str:
    """Return the page."""
    info = document["info"]
    operations = [
        (method, path, operation)
        for path, item in document["paths"].items()
        for method, operation in item.items()
    ]
    schemas = document["components"]["schemas"]
    events = guides.event_schemas()
    sections = [
        section("overview", "Overview", _overview(document)),
        section("life-cycle", "Life cycle of a send", guides.life_cycle()),
        section("queue", "The queue", guides.queue()),
        section(
            "callbacks", "Events and callbacks", guides.callbacks(_schemas(events, EVENT_SCHEMAS))
        ),
        *(
            section(it["operationId"], it["summary"], _operation(method, path, it, schemas))
            for method, path, it in operations
        ),
        section("problems", "Problems", _problems(document)),
        section("refusals", "Codes of refused fields", _refusals(document)),
        section("schemas", "Schemas", _schemas(schemas, SCHEMAS)),
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
<p>{inline(info["summary"])} <a href="openapi.json">OpenAPI document</a></p>
</header>
<div class="columns">
<nav aria-label="Contents">
<search hidden>
<input id="search" type="search" placeholder="Search" aria-label="Search" autocomplete="off">
<p id="found" role="status"></p>
<ul id="results"></ul>
</search>
<details id="contents" open>
<summary>Contents</summary>
{_contents(operations)}
</details>
</nav>
<main>
{"".join(sections)}</main>
</div>
<script>
{SCRIPT}</script>
</body>
</html>
"""


def script_source() -> str:
    """Return the source of the script for the page's policy, which allows no other script."""
    digest = sha256(f"\n{SCRIPT}".encode()).digest()
    return f"'sha256-{base64.b64encode(digest).decode()}'"


def _contents(operations: Iterable[tuple[str, str, Json]]) -> str:
    rows = [
        _link("overview", "Overview"),
        _link("life-cycle", "Life cycle of a send"),
        _link("queue", "The queue"),
        _link("callbacks", "Events and callbacks", EVENT_SCHEMAS),
    ]
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


def _overview(document: Json) -> str:
    schemes = document["components"]["securitySchemes"].values()
    headers = table(
        ("header", "meaning"),
        [(_name(it["name"], required=False), inline(it["description"])) for it in schemes],
    )
    post = document["paths"]["/messages"]["post"]
    first = in_languages("first", code_examples.of_operation("post", "/messages", post))
    summary, _, more = document["info"]["description"].partition("\n\n")
    example = (
        f"<p>Base URL: <code>{base_url()}</code>. The examples take the API key from the "
        f"environment variable <code>API_KEY</code>.</p>{first}"
    )
    return f"{paragraphs(summary)}{example}{paragraphs(more)}<h3>Authentication</h3>{headers}"


def _operation(method: str, path: str, operation: Json, schemas: Json) -> str:
    shown = operation.get("security", [{"apiKey": []}])
    key = "".join(f'<span class="key">{_SHOWN[name]}</span>' for it in shown for name in it)
    route = f'<b class="{method}">{method.upper()}</b> <code>{escape(path)}</code>'
    parts = [
        f'<p class="route">{route} {key}</p>',
        paragraphs(operation["description"]),
    ]
    if texts := code_examples.of_operation(method, path, operation):
        parts.append(in_languages(operation["operationId"], texts))
    if parameters := operation.get("parameters"):
        rows = [
            (
                _name(it["name"], required=it.get("required", False)),
                escape(it["in"]),
                inline(it["description"]) + _example(it["example"]),
            )
            for it in parameters
        ]
        anchors = [f"{operation['operationId']}.{it['name']}" for it in parameters]
        parts += ["<h3>Parameters</h3>", table(("name", "in", "meaning"), rows, anchors)]
    if body := operation.get("requestBody"):
        [(media_type, content)] = body["content"].items()
        parts += ["<h3>Body</h3>", f"<p><code>{media_type}</code>: {_type(content['schema'])}.</p>"]
        if operation["operationId"] == "postMessage":
            parts += [f"<p>{inline(body['description'])}</p>", _schema(REQUEST, schemas)]
            parts += ["<h3>Examples</h3>", *_examples(content["examples"])]
    answers = [_response(status, response) for status, response in operation["responses"].items()]
    return "\n".join([*parts, "<h3>Responses</h3>", *answers])


def _response(status: str, response: Json) -> str:
    [(media_type, content)] = response["content"].items()
    parts = [f"<p><code>{media_type}</code>: {_type(content['schema'])}</p>"]
    if headers := response.get("headers"):
        rows = [
            (_name(name, required=it.get("required", False)), inline(it.get("description", "")))
            for name, it in headers.items()
        ]
        parts.append(table(("header", "meaning"), rows))
    parts += [
        f"<p>{inline(it['summary'])}</p>{json_block(it['value'])}"
        for it in content.get("examples", {}).values()
    ]
    kind = "good" if status.startswith("2") else "bad"
    summary = f'<b class="{kind}">{status}</b> {inline(response["description"])}'
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
                f"<code>{escape(code)}</code>",
                f'<b class="bad">{properties["status"]["const"]}</b>',
                inline(schema["description"]),
                ", ".join(more),
            )
        )
    members = ", ".join(
        f"<code>{it}</code>" for it in ("type", "title", "status", "code", "detail")
    )
    introduction = (
        "<p>Every response other than 2xx is a problem document, "
        f"<code>application/problem+json</code>, with {members}.</p>"
    )
    return introduction + table(
        ("code", "status", "when", "more members"), rows, [f"problem-{code}" for code in found]
    )


def _refusals(document: Json) -> str:
    rows = [
        (
            f"<code>{escape(code)}</code>",
            inline(entry["meaning"]),
            f"<code>{escape(entry['example']['pointer'])}</code> "
            f"{escape(entry['example']['detail'])}"
            if "example" in entry
            else "",
        )
        for code, entry in document["x-refusal-codes"].items()
    ]
    anchors = [f"refusal-{code}" for code in document["x-refusal-codes"]]
    return table(("code", "meaning", "for example"), rows, anchors)


def _schemas(schemas: Json, names: Iterable[str]) -> str:
    return "".join(_schema(name, schemas) for name in names)


def _schema(name: str, schemas: Json) -> str:
    schema = schemas[name]
    head = f'<h3 id="{name}">{name}</h3>{paragraphs(schema["description"])}'
    if "properties" not in schema:
        return f"{head}<p>{_type(schema)}</p>{_limits(schema)}{_field_examples(schema)}"
    rows = [
        (
            _name(field, required=field in schema["required"]),
            _type(it),
            inline(it.get("description", "")) + _limits(it) + _field_examples(it),
        )
        for field, it in schema["properties"].items()
    ]
    anchors = [f"{name}.{field}" for field in schema["properties"]]
    return head + table(("field", "type", "meaning"), rows, anchors)


def _type(schema: Json) -> str:  # noqa: PLR0911 - a table
    """Describe the type, with links to the schemas."""
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
        summary = inline(it["summary"])
        yield f"<details><summary>{summary}</summary>{json_block(it['value'])}</details>"


def _name(name: str, *, required: bool) -> str:
    return f"<code>{escape(name)}</code>" + (' <span class="required">required</span>' * required)
