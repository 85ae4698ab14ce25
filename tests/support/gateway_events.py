"""Builds the events with which API Gateway invokes a function of a REST API.

An event has the path of the URL in `requestContext.path`. `path` is the same, but lacks the stage
at the default endpoint. Only the query is decoded. `recorded_gateway_events.json` proves this with
parts of public events that others recorded on AWS: the members that depend on the request's
address, with changed names. None of them has percent-encoding at a custom domain, or a route like
`/webhooks/{client}`; some have other routes with a parameter.
"""

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple
from urllib.parse import parse_qs, urljoin, urlsplit

from tests.support.template import ROOT, template

Json = dict[str, Any]

SAMPLE = ROOT / "events/api-post-message.json"
RECORDED = ROOT / "tests/support/recorded_gateway_events.json"


class Endpoint(NamedTuple):
    """An address of the API: a host, and the part of the URL's path before the routes."""

    host: str
    base: str

    def event(
        self,
        method: str,
        route: str,
        *,
        headers: Mapping[str, str] = {},
        body: str | None = None,
        identity: Mapping[str, str | None] = {},
        resource: str | None = None,
    ) -> Json:
        """Return the event of a request for a route, which may have a query."""
        event: Json = json.loads(SAMPLE.read_text())
        path, _, query = route.partition("?")
        resource = resource or _resource(path)
        values = parse_qs(query, keep_blank_values=True)
        event |= {
            "resource": resource,
            "path": path if ".execute-api." in self.host else f"{self.base}{path}",
            "httpMethod": method,
            "headers": dict(headers),
            "multiValueHeaders": {name: [value] for name, value in headers.items()},
            "queryStringParameters": {name: it[-1] for name, it in values.items()} or None,
            "multiValueQueryStringParameters": values or None,
            "pathParameters": _parameters(resource, path),
            "body": body,
        }
        context = event["requestContext"]
        for name in ("apiKey", "apiKeyId"):  # only in requests with a key
            del context["identity"][name]
        context["identity"] |= identity
        context |= {
            "domainName": self.host,
            "domainPrefix": self.host.partition(".")[0],
            "httpMethod": method,
            "path": f"{self.base}{path}",
            "resourcePath": resource,
        }
        return event

    def route_of(self, reference: str) -> str:
        """Return the route to which a reference in a response leads, by RFC 3986."""
        url = urlsplit(urljoin(f"https://{self.host}{self.base}/messages", reference))
        assert url.netloc == self.host
        assert url.path.startswith(f"{self.base}/")
        route = url.path.removeprefix(self.base)
        assert "GET" in {method for method, path in routes() if _matches(path, route)}
        return route


DEFAULT_ENDPOINT = Endpoint("a1b2c3d4e5.execute-api.us-east-1.amazonaws.com", "/prod")
ENDPOINTS = {
    "default endpoint": DEFAULT_ENDPOINT,
    "custom domain": Endpoint("sms.example.com", ""),
    "custom domain with a base path": Endpoint("api.example.com", "/shop/sms"),
    "custom domain without a stage": Endpoint("api.example.com", "/sms/prod"),
}


def routes() -> Iterator[tuple[str, str]]:
    """Yield the methods and resources of template.yaml."""
    for resource in template()["Resources"].values():
        for event in resource["Properties"].get("Events", {}).values():
            if event["Type"] == "Api":
                yield event["Properties"]["Method"], event["Properties"]["Path"]


def _resource(path: str) -> str:
    """Return the resource of a path, or the path itself if it has none (AWS sends no event)."""
    return next((resource for _, resource in routes() if _matches(resource, path)), path)


def _matches(resource: str, path: str) -> bool:
    return _match(resource, path) is not None


def _parameters(resource: str, path: str) -> dict[str, str] | None:
    match = _match(resource, path)
    return (match and match.groupdict()) or None


def _match(resource: str, path: str) -> re.Match[str] | None:
    pattern = re.sub(r"{(\w+)}", r"(?P<\1>[^/]+)", resource.replace("{proxy+}", "(?P<proxy>.+?)"))
    return re.fullmatch(f"{pattern}/?", path, re.DOTALL)
