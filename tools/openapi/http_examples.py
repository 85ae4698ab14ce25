"""The document's examples as requests that an editor can send (.http)."""

import json
from collections.abc import Iterator
from urllib.parse import quote

from tools.openapi import Json

_HEAD = """\
# Requests to smsrelay, for editors that send .http files. Written by `make openapi`.
# `make up` writes .local/smsrelay.http: this file with the local stack's address and API key.
@apiUrl = http://localhost
@apiKey = the-value-of-an-api-key
"""


def requests(document: Json) -> str:
    """Return the .http file with every example of every operation."""
    return "\n\n".join([_HEAD, *_requests(document)]) + "\n"


def _requests(document: Json) -> Iterator[str]:
    for path, item in document["paths"].items():
        for method, operation in item.items():
            security = operation.get("security", [{"apiKey": []}])
            if {"webhookSignature": []} in security:
                continue  # an editor can't sign requests
            key = ["x-api-key: {{apiKey}}"] if security else []
            url = "{{apiUrl}}" + path
            headers = list(key)
            for parameter in operation.get("parameters", ()):
                if parameter["in"] == "path":
                    url = url.replace(f"{{{parameter['name']}}}", parameter["example"])
            line = f"{method.upper()} {url}"
            title = operation["summary"]
            body = operation.get("requestBody")
            if body is None:
                for query in _queries(operation):
                    yield "\n".join((f"### {title}", f"{line}{query}", *headers))
                continue
            [(media_type, content)] = body["content"].items()
            headers.append(f"Content-Type: {media_type}")
            for name, example in content["examples"].items():
                text = json.dumps(example["value"], indent=2, ensure_ascii=False)
                yield "\n".join((f"### {title}: {name}", line, *headers, "", text))
            for parameter in operation["parameters"]:
                header = f"{parameter['name']}: {parameter['example']}"
                heading = f"### {title}: with {parameter['name']}"
                yield "\n".join((heading, line, *headers, header, "", text))


def _queries(operation: Json) -> list[str]:
    """Return example queries, one for each parameter that can be used alone."""
    return [
        f"?{it['name']}={quote(it['example'])}"
        for it in operation.get("parameters", ())
        if it["in"] == "query" and it["name"] != "next"
    ] or [""]
