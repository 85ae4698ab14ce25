"""Checks that the OpenAPI document is current, correct and complete."""

import ast
import base64
import copy
import hashlib
import json
import re
import shutil
import subprocess
from collections import Counter
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import jsonschema_rs
import pytest
import schemathesis

from smsrelay.sends.send import Status
from tests.support import contract
from tests.support.template import ROOT, properties, template
from tools.openapi import (
    code_examples,
    document,
    event_schema,
    guides,
    problem_examples,
    response_schemas,
)
from tools.openapi.__main__ import files
from tools.openapi.error_codes import CODES, example, refusals

SOURCES = sorted((ROOT / "layers/smsrelay/smsrelay").rglob("*.py"))
SCHEMAS = contract.document()["components"]["schemas"]
OPERATIONS = {
    (method, path): operation
    for path, item in contract.document()["paths"].items()
    for method, operation in item.items()
}
MEMBERS = {"type", "title", "status"}  # constants that explain themselves


@pytest.fixture(scope="module")
def written() -> dict[Path, str]:
    return files()


@pytest.mark.parametrize("name", ["openapi.json", "docs.html", "smsrelay.http", "app.py"])
def test_the_committed_files_are_current(written: dict[Path, str], name: str) -> None:
    [path] = [path for path in written if path.name == name]
    assert path.read_text() == written[path], "run `make openapi`"


# The document is OpenAPI 3.1, and its schemas are JSON Schema.


def test_the_document_is_valid_openapi() -> None:
    schemathesis.openapi.from_dict(contract.document()).validate()
    assert contract.document()["openapi"].startswith("3.1.")


@pytest.mark.parametrize("name", SCHEMAS)
def test_each_schema_is_valid_json_schema(name: str) -> None:
    jsonschema_rs.meta.validate(SCHEMAS[name])
    contract.validator(f"/components/schemas/{name}")


def routes() -> Iterator[dict[str, Any]]:
    """Yield the routes of template.yaml, without those below /iam, which are copies."""
    for function in ("ApiFunction", "WebhookFunction"):
        for event in properties(function)["Events"].values():
            yield event["Properties"]


def test_every_route_of_the_template_is_described_and_no_other() -> None:
    assert set(OPERATIONS) == {(it["Method"].lower(), it["Path"]) for it in routes()}


def test_the_document_has_the_templates_authentication() -> None:
    for it in routes():
        operation = OPERATIONS[it["Method"].lower(), it["Path"]]
        needs_key = it.get("Auth") != {"ApiKeyRequired": False}
        assert ("security" not in operation) is needs_key
        refused = operation["responses"]["403"]["content"][problem_examples.TYPE]["examples"]
        assert ("api-key-required" in refused) is needs_key


# Rules of the linters of `make lint-openapi`: these tests check them without Node.


def schemas_within(part: Any) -> Iterator[dict[str, Any]]:
    """Yield every object schema in a part of the document, including nested ones."""
    if isinstance(part, dict):
        if isinstance(part.get("properties"), dict):
            yield part
        for name, inner in part.items():
            if name not in {"example", "examples"}:
                yield from schemas_within(inner)
    elif isinstance(part, list):
        for inner in part:
            yield from schemas_within(inner)


def references(part: Any) -> Iterator[str]:
    if isinstance(part, dict):
        if "$ref" in part:
            yield part["$ref"]
        part = list(part.values())
    if isinstance(part, list):
        for inner in part:
            yield from references(inner)


def test_the_document_follows_the_linters_rules() -> None:
    info = contract.document()["info"]
    assert info["contact"]["name"]
    assert info["license"]["identifier"]
    assert contract.document()["security"]  # for each operation without its own
    tags = {tag["name"] for tag in contract.document()["tags"] if tag["description"]}
    for operation in OPERATIONS.values():
        assert operation["summary"]
        assert operation["description"]
        assert set(operation["tags"]) <= tags
        assert any(status.startswith("4") for status in operation["responses"])
    names = Counter(operation["operationId"] for operation in OPERATIONS.values())
    assert max(names.values()) == 1


def test_every_component_is_used() -> None:
    used = {reference.rpartition("/")[2] for reference in references(contract.document())}
    assert set(SCHEMAS) == used


def test_required_members_are_described_where_they_are_required() -> None:
    for schema in schemas_within(contract.document()):
        assert set(schema.get("required", ())) <= set(schema["properties"])


def test_examples_fit_closed_schemas() -> None:
    """Redocly's linter closes all schemas, including those inside rules, unless they say open."""
    strict = copy.deepcopy(contract.document())
    for schema in schemas_within(strict):
        if "additionalProperties" not in schema:
            schema["unevaluatedProperties"] = False
    for item in strict["paths"].values():
        for operation in item.values():
            for content in contents(operation):
                checker = jsonschema_rs.validator_for({**strict, **content["schema"]})
                for it in content.get("examples", {}).values():
                    checker.validate(it["value"])


# Everything has an example, and every example is valid.


def fields() -> Iterator[tuple[str, str, dict[str, Any]]]:
    for name, schema in SCHEMAS.items():
        for field, it in schema.get("properties", {}).items():
            if not (name.endswith("Problem") and field in MEMBERS):
                yield name, field, it


@pytest.mark.parametrize(("schema", "field", "it"), list(fields()))
def test_every_field_is_described_and_has_valid_examples(
    schema: str, field: str, it: dict[str, Any]
) -> None:
    target = SCHEMAS[it["$ref"].rpartition("/")[2]] if "$ref" in it else it
    if "items" in target and "$ref" in target["items"]:
        target = SCHEMAS[target["items"]["$ref"].rpartition("/")[2]] | target
    assert target.get("description")
    examples = target.get("examples", [])
    assert examples or "const" in target or "properties" in target
    for value in examples:
        contract.validator(f"/components/schemas/{schema}/properties/{field}").validate(value)


def contents(operation: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield from operation.get("requestBody", {"content": {}})["content"].values()
    for response in operation["responses"].values():
        yield from response["content"].values()


@pytest.mark.parametrize("operation", OPERATIONS.values(), ids=lambda it: it["operationId"])
def test_every_example_of_a_body_fits_its_schema(operation: dict[str, Any]) -> None:
    for content in contents(operation):
        checker = jsonschema_rs.validator_for(
            {**contract.closed(), **content["schema"]}, validate_formats=True
        )
        for it in content.get("examples", {}).values():
            checker.validate(it["value"])
    for parameter in operation.get("parameters", ()):
        jsonschema_rs.validate(parameter["schema"], parameter["example"])


def test_every_error_status_has_an_example_for_each_code() -> None:
    for operation in OPERATIONS.values():
        for status, response in operation["responses"].items():
            if status.startswith("2"):
                continue
            [(media_type, content)] = response["content"].items()
            assert media_type == problem_examples.TYPE
            codes = [it["value"]["code"] for it in content["examples"].values()]
            assert codes
            assert list(content["examples"]) == codes
            assert {it["value"]["status"] for it in content["examples"].values()} == {int(status)}


# The relay accepts what fits the schema, except for rules beyond the schema.


def fits(value: object) -> bool:
    return contract.validator("/components/schemas/MessageRequest").is_valid(value)


@pytest.mark.parametrize("path", sorted((ROOT / "events/messages").glob("*.json")))
def test_only_accepted_samples_fit_the_schema(path: Path) -> None:
    good = not path.stem.startswith("refused-")
    assert fits(json.loads(path.read_text())) is good
    assert (refusals(path.read_text()) == []) is good


def test_refused_examples_do_not_fit_except_for_rules_beyond_the_schema() -> None:
    fitting = {code for code, it in CODES.items() if it.example and fits(json.loads(it.example))}
    beyond = {"invalid-number", "invalid-time", "invalid-url"}  # only some of their examples fit
    assert fitting == contract.BEYOND - beyond
    assert [refusal.code for text in SOME for refusal in refusals(text)] == sorted(beyond)
    assert all(fits(json.loads(text)) for text in SOME)


SOME = [
    '{"message": "m", "to": ["+1 212 555 010"]}',
    '{"message": "m", "to": ["+12125550100"], "sendAt": "2027-02-30T16:01:00Z"}',
    '{"message": "m", "to": ["+12125550100"], "mediaUrl": "https://images.example.com:99999/"}',
]


@pytest.mark.parametrize("name", ["text", "subscribe", "keyword", "sendAt", "quietHours", "to"])
def test_null_fits_no_field(name: str) -> None:
    assert not fits({"message": "m", "to": ["+12125550100"], name: None})


# The document has exactly the codes that exist.


def literals(nodes: list[ast.expr]) -> set[str]:
    return {node.value for node in nodes if isinstance(node, ast.Constant)}  # type: ignore[misc] # strings


def test_every_code_of_the_sources_is_described() -> None:
    found = set()
    for path in SOURCES:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call):
                name = getattr(node.func, "attr", getattr(node.func, "id", ""))
                found |= literals(node.args[{"invalid": 0, "Refusal": 1}.get(name, 9) :][:1])
            elif isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "_CODES":
                assert isinstance(node.value, ast.Dict)
                found |= {
                    code
                    for value in node.value.values
                    if isinstance(value, ast.Tuple)
                    for code in literals(value.elts[:1])
                }
    assert found == set(CODES)


@pytest.mark.parametrize("code", [code for code, it in CODES.items() if it.example])
def test_the_example_of_a_refusal_has_its_code(code: str) -> None:
    found = example(code)
    assert found["code"] == code
    assert contract.document()["x-refusal-codes"][code]["example"] == found


def test_every_problem_of_the_relay_and_the_gateway_is_described() -> None:
    services = ROOT / "layers/smsrelay/smsrelay/services"
    text = "".join(
        (services / f"{name}.py").read_text() for name in ("responses", "problem_documents")
    )
    relays = set(re.findall(r'problem\(\s*HTTPStatus\.\w+,\s*"([a-z-]+)"', text))
    relays |= {"too-large", "invalid-request"}  # chosen there by a condition
    gateways = {
        json.loads(it["ResponseTemplates"]["application/json"])["code"]
        for it in template()["Resources"]["Api"]["Properties"]["GatewayResponses"].values()
    }
    assert set(document.PROBLEMS) == relays | gateways
    assert relays >= {"not-json", "delivery-unknown", "not-read"}
    answered = {
        it["value"]["code"]
        for operation in OPERATIONS.values()
        for content in contents(operation)
        for it in content.get("examples", {}).values()
        if "code" in it["value"]
    }
    assert answered == set(document.PROBLEMS)


def test_no_function_imports_the_generator_of_the_document() -> None:
    for folder in ("functions", "layers/smsrelay/smsrelay"):
        for path in (ROOT / folder).rglob("*.py"):
            assert "tools" not in re.findall(r"(?m)^(?:from|import) (\w+)", path.read_text())


# The page, and the requests for an editor.


class Page(HTMLParser):
    """Collects the page's links, the ids that can be linked to, and the open elements."""

    EMPTY = frozenset(("meta", "link", "br", "input"))

    def __init__(self, text: str) -> None:
        super().__init__()
        self.links: list[str] = []
        self.ids: list[str] = []
        self.tags: Counter[str] = Counter()
        self.open: list[str] = []
        self.text = ""
        self.script = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags[tag] += 1
        if tag not in self.EMPTY:
            self.open.append(tag)
        for name, value in attrs:
            if name in {"href", "src", "action"}:
                self.links.append(value or "")
            elif name == "id":
                self.ids.append(value or "")

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data
        if self.open[-1:] == ["script"]:
            self.script += data


@pytest.fixture(scope="module")
def page(written: dict[Path, str]) -> Page:
    return Page(written[ROOT / "functions/api/docs.html"])


def test_the_page_needs_no_other_files(page: Page) -> None:
    assert page.open == []
    assert not {"img", "iframe", "form", "object"} & set(page.tags)
    assert page.tags["script"] == 1
    elsewhere = {link for link in page.links if not link.startswith("#")}
    assert elsewhere == {"openapi.json", "data:,"}
    assert max(Counter(page.ids).values()) == 1
    assert {link[1:] for link in page.links if link.startswith("#")} <= set(page.ids)
    assert "url(" not in page.text
    assert "@import" not in page.text


def test_the_policy_allows_the_script_of_the_page_and_no_other(page: Page) -> None:
    digest = base64.b64encode(hashlib.sha256(page.script.encode()).digest()).decode()
    policy = (ROOT / "functions/api/app.py").read_text()
    assert re.findall(r"script-src ([^;\"]+)", policy) == [f"'sha256-{digest}'"]
    # default-src applies to everything else, so the script can't make a request.
    assert set(re.findall(r"([a-z]+-src) ", policy)) == {
        *("default-src", "script-src", "style-src", "img-src")
    }
    assert "default-src 'none'" in policy
    assert "img-src data:;" in policy
    assert re.findall(r"localStorage\.setItem\(([^,]+),", page.script) == ['"language"']


def test_the_page_has_all_operations_and_codes(page: Page) -> None:
    for method, path in OPERATIONS:
        assert f"{method.upper()} {path}" in page.text
    for code in (*CODES, *document.PROBLEMS):
        assert code in page.text
    for name, field, it in fields():
        if not name.endswith("Problem"):
            assert field in page.text
            assert it.get("description", "").replace("`", "") in page.text
    for status in Status:
        assert f"status-{status}" in page.ids
    for name in guides.event_schemas()["SendChange"]["properties"]:
        assert f"SendChange.{name}" in page.ids
    jsonschema_rs.validate(event_schema.schema(), guides.example_event())


EXAMPLES = [
    pytest.param(language, text, id=f"{name}-{language}")
    for name, texts in [
        *(
            (it["operationId"], code_examples.of_operation(method, path, it))
            for (method, path), it in OPERATIONS.items()
        ),
        ("queue", code_examples.QUEUE),
        ("callback", code_examples.CALLBACK),
    ]
    for language, text in texts.items()
]


@pytest.mark.parametrize(("language", "text"), EXAMPLES)
def test_the_examples_of_the_page_can_be_parsed(language: str, text: str) -> None:
    if language == "Python":
        ast.parse(text)
        return
    command = (
        ["node", "--input-type=module", "--check", "-"] if language == "Node" else ["bash", "-n"]
    )
    if not shutil.which(command[0]):
        pytest.skip(f"{command[0]} is not installed")
    subprocess.run(command, input=text, text=True, check=True)  # noqa: S603 - our own examples


def test_the_requests_for_an_editor_are_valid(written: dict[Path, str]) -> None:
    text = written[ROOT / "docs/smsrelay.http"]
    requests = re.split(r"(?m)^### .*\n", text)[1:]
    lines = [request.splitlines()[0] for request in requests]
    assert {line.partition(" ")[0] for line in lines} == {"GET", "POST", "DELETE"}
    for request in requests:
        head, _, body = request.strip().partition("\n\n")
        assert re.match(r"(GET|POST|DELETE) \{\{apiUrl\}\}/[\w./=?-]+(\n[\w-]+: .+)*$", head), head
        assert (refusals(body) == []) if body else head.startswith(("GET", "DELETE"))
    assert f"GET {{{{apiUrl}}}}/messages/{response_schemas.MESSAGE_ID}" in lines
