"""Checks that pages of other sites in a developer's browser can't use the local stack."""

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import urlencode, urlsplit

import httpx
import pytest
from playwright.sync_api import Browser, Page, expect

from tests.support.browser import running_browser
from tools.local_stack.stack import Stack

ATTACKER = "attacker.example"
SEND = """async (url) => { await fetch(url.split('?')[0], {
  method: 'POST', mode: 'no-cors', body: new URLSearchParams(url.split('?')[1]),
}); }"""
SHOW_IMAGE = """(url) => new Promise((done) => {
  const image = new Image();
  image.onload = image.onerror = () => done();
  image.src = url;
})"""
CREATE_FUNCTION = """async ([url, body]) => {
  await fetch(url, {method: 'POST', mode: 'no-cors', body});
}"""
ORDER_FAULT = """async (url) => { await fetch(url, {
  method: 'POST', mode: 'no-cors', body: '[{"route": "send", "then": "500"}]',
}); }"""
READ = """async (url) => {
  try {
    const response = await fetch(url);
    return response.ok ? await response.text() : '';
  } catch { return ''; }
}"""
FUNCTION = "attackers-function"


class EmptyPage(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "text/html")
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Log nothing."""


@pytest.fixture(scope="module")
def port() -> Iterator[int]:
    """The port of another server on this machine, with empty pages."""
    with ThreadingHTTPServer(("127.0.0.1", 0), EmptyPage) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server.server_port
        server.shutdown()
        thread.join()


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """A browser that resolves the attacker's name to this machine."""
    with running_browser(f"--host-resolver-rules=MAP {ATTACKER} 127.0.0.1") as running:
        yield running


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    page = browser.new_page()
    yield page
    page.close()


@pytest.fixture
def queue_url(stack: Stack) -> Iterator[str]:
    """A queue that no function reads."""
    url = stack.clients.sqs.create_queue(QueueName="attacked")["QueueUrl"]
    yield url
    stack.clients.sqs.delete_queue(QueueUrl=url)


def sending(stack: Stack, queue_url: str) -> str:
    """Return the URL of a call that puts a message into the queue."""
    call = {"Action": "SendMessage", "QueueUrl": queue_url, "MessageBody": "attack"}
    return f"{stack.aws_endpoint_url}/?{urlencode(call)}"


def messages(stack: Stack, queue_url: str) -> int:
    found = stack.clients.sqs.get_queue_attributes(QueueUrl=queue_url, AttributeNames=["All"])
    return int(found["Attributes"]["ApproximateNumberOfMessages"])


@pytest.mark.parametrize("host", [ATTACKER, "127.0.0.1", "localhost"])
@pytest.mark.parametrize("way", [SEND, SHOW_IMAGE])
def test_other_sites_send_no_queue_message(
    stack: Stack, queue_url: str, page: Page, port: int, host: str, way: str
) -> None:
    page.goto(f"http://{host}:{port}/")

    page.evaluate(way, sending(stack, queue_url))

    assert messages(stack, queue_url) == 0


def test_other_sites_create_no_function(stack: Stack, page: Page, port: int) -> None:
    function = {
        "FunctionName": FUNCTION,
        "Runtime": "python3.13",
        "Role": "arn:aws:iam::000000000000:role/none",
        "Handler": "app.handler",
        "Code": {"ZipFile": "UEsFBgAAAAAAAAAAAAAAAAAAAAAAAA=="},
    }
    page.goto(f"http://{ATTACKER}:{port}/")

    url = f"{stack.aws_endpoint_url}/2015-03-31/functions"
    page.evaluate(CREATE_FUNCTION, [url, json.dumps(function)])

    functions = stack.clients.lambda_.list_functions()["Functions"]
    assert FUNCTION not in {it["FunctionName"] for it in functions}


@pytest.mark.parametrize("host", [ATTACKER, "127.0.0.1", "localhost"])
def test_other_sites_read_nothing(stack: Stack, page: Page, port: int, host: str) -> None:
    page.goto(f"http://{host}:{port}/")

    assert page.evaluate(READ, f"{stack.aws_endpoint_url}/?Action=ListQueues") == ""
    assert page.evaluate(READ, f"{stack.simulator_url}/_control/calls") == ""


@pytest.mark.usefixtures("upstream")
def test_other_sites_order_no_faults(stack: Stack, page: Page, port: int) -> None:
    page.goto(f"http://{ATTACKER}:{port}/")

    page.evaluate(ORDER_FAULT, f"{stack.simulator_url}/_control/faults")

    faults = httpx.get(f"{stack.simulator_url}/_control/faults", trust_env=False)
    assert faults.json() == []


def test_a_name_that_leads_to_this_machine_is_refused(
    stack: Stack, queue_url: str, page: Page
) -> None:
    """With DNS rebinding, the attacker's page and the local stack are one site for the browser."""
    own_port = urlsplit(stack.aws_endpoint_url).port
    site = f"http://{ATTACKER}:{own_port}"
    page.goto(f"{site}/_ministack/health")

    page.evaluate(SEND, sending(stack, queue_url).replace("127.0.0.1", ATTACKER, 1))

    assert messages(stack, queue_url) == 0
    assert page.evaluate(READ, f"{site}/?Action=ListQueues") == ""


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "https://attacker.example"},
        {"Origin": "null"},
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
        {"Host": "attacker.example"},
        {"Host": "127.0.0.1.attacker.example:4566"},
        {"Host": "attacker.execute-api.localhost"},
        {"Host": ""},
    ],
)
def test_requests_of_other_sites_pages_are_refused(stack: Stack, headers: dict[str, str]) -> None:
    url = f"{stack.aws_endpoint_url}/_ministack/health"
    answer = httpx.get(url, headers=headers, trust_env=False)

    assert (answer.status_code, "local stack" in answer.text) == (403, True)


@pytest.mark.parametrize(
    ("method", "path", "mode", "status"),
    [
        ("GET", "/docs", "navigate", 200),
        ("GET", "/docs", "no-cors", 403),
        ("POST", "/docs", "navigate", 403),
        ("GET", "/openapi.json", "navigate", 403),
        ("GET", "/docs/../?Action=ListQueues", "navigate", 403),
    ],
)
def test_another_server_on_this_machine_links_to_the_documentation_only(
    stack: Stack, method: str, path: str, mode: str, status: int
) -> None:
    headers = {"Sec-Fetch-Site": "same-site", "Sec-Fetch-Mode": mode}
    answer = httpx.request(method, f"{stack.api_url}{path}", headers=headers, trust_env=False)

    assert answer.status_code == status


@pytest.mark.parametrize(
    "headers",
    [{"Host": "localhost:1"}, {"Sec-Fetch-Site": "none"}, {"Sec-Fetch-Site": "same-origin"}],
)
def test_programs_and_typed_addresses_have_access(stack: Stack, headers: dict[str, str]) -> None:
    url = f"{stack.aws_endpoint_url}/_ministack/health"
    answer = httpx.get(url, headers=headers, trust_env=False)

    assert answer.status_code == 200


def test_the_documentation_leads_to_the_document(stack: Stack, page: Page) -> None:
    page.goto(stack.docs_url)
    page.get_by_role("link", name="OpenAPI document").click()

    expect(page.locator("body")).to_contain_text('"openapi"')
