"""Examples of each operation in curl, Python and Node."""

from urllib.parse import quote

from tools.openapi import Json

BASE_URL = "https://relay.example.com/prod"
"""A placeholder, which the page's script replaces by the API's address."""

_JSON = '{"message": "MzA6Nzg6MA", "to": ["+1 212 555 0100"], "text": "Your order is on its way."}'
_PYTHON_MESSAGE = """\
message = {
    "message": "MzA6Nzg6MA",
    "to": ["+1 212 555 0100"],
    "text": "Your order is on its way.",
}
"""
_NODE_MESSAGE = """\
const message = {
  message: "MzA6Nzg6MA",
  to: ["+1 212 555 0100"],
  text: "Your order is on its way.",
};
"""


def of_operation(method: str, path: str, operation: Json) -> dict[str, str]:
    """Return the request by language; empty for the documentation, which browsers can show."""
    if "documentation" in operation["tags"]:
        return {}
    url = BASE_URL + path
    queries = [it for it in operation["parameters"] if it["in"] == "query"]
    for it in operation["parameters"]:
        if it["in"] == "path":
            url = url.replace(f"{{{it['name']}}}", quote(it["example"], safe=""))
    if queries:
        url += f"?{queries[0]['name']}={quote(queries[0]['example'])}"
    match operation["operationId"]:
        case "postMessage":
            return {"curl": _curl_post(url), "Python": _python_post(url), "Node": _node_post(url)}
        case "postWebhook":
            return {
                "curl": _curl_webhook(url),
                "Python": _python_webhook(url),
                "Node": _node_webhook(url),
            }
    posts = method == "post"
    return {
        "curl": _curl(method, url, posts=posts),
        "Python": _python(method, url, posts=posts),
        "Node": _node(method, url, posts=posts),
    }


def _curl(method: str, url: str, *, posts: bool) -> str:
    body = f" \\\n  -H 'Content-Type: application/json' \\\n  -d '{_JSON}'" if posts else ""
    verb = "--request DELETE " if method == "delete" else ""
    return f"""\
printf 'x-api-key: %s' "$API_KEY" | curl --fail-with-body --silent --show-error \\
  --max-time 35 -H @- {verb}'{url}'{body}
"""


def _python(method: str, url: str, *, posts: bool) -> str:
    message, argument = (f"{_PYTHON_MESSAGE}", "    json=message,\n") if posts else ("", "")
    return f"""\
import os

import httpx

{message}response = httpx.{method}(
    "{url}",
    headers={{"x-api-key": os.environ["API_KEY"]}},
{argument}    timeout=35,  # seconds; the relay answers within 29
)
print(response.text)
response.raise_for_status()
"""


def _node(method: str, url: str, *, posts: bool) -> str:
    message = _NODE_MESSAGE if posts else ""
    verb = "" if method == "get" else f'  method: "{method.upper()}",\n'
    headers = '"x-api-key": process.env.API_KEY'
    body = ""
    if posts:
        headers = f'"Content-Type": "application/json", {headers}'
        body = "  body: JSON.stringify(message),\n"
    return f"""\
{message}const response = await fetch("{url}", {{
{verb}  headers: {{ {headers} }},
{body}  signal: AbortSignal.timeout(35_000), // the relay answers within 29 seconds
}});
console.log(await response.text());
if (!response.ok) process.exitCode = 1;
"""


# Sending: the request is repeated with the same key after a time-out or a temporary error.


def _curl_post(url: str) -> str:
    return f"""\
# --retry repeats the request with the same key, so the SMS is sent once
printf 'x-api-key: %s' "$API_KEY" | curl --fail-with-body --silent --show-error \\
  --max-time 35 --retry 2 --retry-connrefused -H @- '{url}' \\
  -H 'Content-Type: application/json' \\
  -H 'Idempotency-Key: order-8812-shipped' \\
  -d '{_JSON}'
"""


def _python_post(url: str) -> str:
    return f"""\
import os
import time

import httpx

url = "{url}"
headers = {{"x-api-key": os.environ["API_KEY"], "Idempotency-Key": "order-8812-shipped"}}
{_PYTHON_MESSAGE}
for wait in (5, 30, None):  # seconds; repeated with the same key, so the SMS is sent once
    try:
        # The relay answers within 29 seconds.
        response = httpx.post(url, headers=headers, json=message, timeout=35)
    except httpx.TransportError:
        if wait is None:
            raise
    else:
        if wait is None or response.status_code not in (409, 429, 500, 503, 504):
            break
    time.sleep(wait)
print(response.text)
response.raise_for_status()
"""


def _node_post(url: str) -> str:
    return f"""\
import {{ setTimeout }} from "node:timers/promises";

const url = "{url}";
const headers = {{
  "Content-Type": "application/json",
  "x-api-key": process.env.API_KEY,
  "Idempotency-Key": "order-8812-shipped",
}};
{_NODE_MESSAGE}
let response;
for (const wait of [5, 30, null]) {{ // seconds; repeated with the same key, so the SMS is sent once
  try {{
    response = await fetch(url, {{
      method: "POST",
      headers,
      body: JSON.stringify(message),
      signal: AbortSignal.timeout(35_000), // the relay answers within 29 seconds
    }});
    if (wait === null || ![409, 429, 500, 503, 504].includes(response.status)) break;
  }} catch (error) {{
    if (wait === null) throw error;
  }}
  await setTimeout(wait * 1000);
}}
console.log(await response.text());
if (!response.ok) process.exitCode = 1;
"""


# Webhooks: the id is the idempotency key. Each repetition needs a new signature.


def _curl_webhook(url: str) -> str:
    return f"""\
body='{_JSON}'
id=msg_order-8812-shipped now=$(date +%s)
signature=$(printf %s "$id.$now.$body" | python3 -c '
import base64, hmac, os, sys
key = base64.b64decode(os.environ["WEBHOOK_SECRET"].removeprefix("whsec_"))
print(base64.b64encode(hmac.digest(key, sys.stdin.buffer.read(), "sha256")).decode())')
curl --fail-with-body --silent --show-error --max-time 35 '{url}' \\
  -H 'Content-Type: application/json' -H "webhook-id: $id" -H "webhook-timestamp: $now" \\
  -H "webhook-signature: v1,$signature" -d "$body"
"""


def _python_webhook(url: str) -> str:
    return f"""\
import base64
import hmac
import json
import os
import time

import httpx

{_PYTHON_MESSAGE}
webhook_id, now, body = "msg_order-8812-shipped", str(int(time.time())), json.dumps(message)
key = base64.b64decode(os.environ["WEBHOOK_SECRET"].removeprefix("whsec_"))
signature = hmac.digest(key, f"{{webhook_id}}.{{now}}.{{body}}".encode(), "sha256")
response = httpx.post(
    "{url}",
    headers={{
        "Content-Type": "application/json",
        "webhook-id": webhook_id,
        "webhook-timestamp": now,
        "webhook-signature": f"v1,{{base64.b64encode(signature).decode()}}",
    }},
    content=body,
    timeout=35,  # seconds; the relay answers within 29
)
print(response.text)
response.raise_for_status()
"""


def _node_webhook(url: str) -> str:
    return f"""\
import {{ createHmac }} from "node:crypto";

{_NODE_MESSAGE}
const id = "msg_order-8812-shipped", now = Math.floor(Date.now() / 1000);
const body = JSON.stringify(message);
const key = Buffer.from(process.env.WEBHOOK_SECRET.replace(/^whsec_/, ""), "base64");
const signature = createHmac("sha256", key).update(`${{id}}.${{now}}.${{body}}`).digest("base64");
const response = await fetch("{url}", {{
  method: "POST",
  headers: {{
    "Content-Type": "application/json",
    "webhook-id": id,
    "webhook-timestamp": String(now),
    "webhook-signature": `v1,${{signature}}`,
  }},
  body,
  signal: AbortSignal.timeout(35_000), // the relay answers within 29 seconds
}});
console.log(await response.text());
if (!response.ok) process.exitCode = 1;
"""


# The queue: the same JSON, with the client and the key as message attributes.

QUEUE = {
    "AWS CLI": f"""\
aws sqs send-message --queue-url "$QUEUE_URL" \\
  --message-body '{_JSON}' \\
  --message-attributes '{{
    "client": {{"DataType": "String", "StringValue": "shop"}},
    "Idempotency-Key": {{"DataType": "String", "StringValue": "order-8812-shipped"}}}}'
""",
    "Python": f"""\
import json
import os

import boto3

{_PYTHON_MESSAGE}
boto3.client("sqs").send_message(
    QueueUrl=os.environ["QUEUE_URL"],
    MessageBody=json.dumps(message),
    MessageAttributes={{
        "client": {{"DataType": "String", "StringValue": "shop"}},
        "Idempotency-Key": {{"DataType": "String", "StringValue": "order-8812-shipped"}},
    }},
)
""",
    "Node": f"""\
import {{ SendMessageCommand, SQSClient }} from "@aws-sdk/client-sqs";

{_NODE_MESSAGE}
await new SQSClient().send(new SendMessageCommand({{
  QueueUrl: process.env.QUEUE_URL,
  MessageBody: JSON.stringify(message),
  MessageAttributes: {{
    client: {{ DataType: "String", StringValue: "shop" }},
    "Idempotency-Key": {{ DataType: "String", StringValue: "order-8812-shipped" }},
  }},
}}));
""",
}


# Callbacks: the receiver checks the signature of the body's bytes.

CALLBACK = {
    "Python": """\
import base64
import hmac
import os
import time

KEY = base64.b64decode(os.environ["CALLBACK_SECRET"].removeprefix("whsec_"))


def is_signed(headers, body: bytes) -> bool:
    \"\"\"Whether the relay signed this body, at most five minutes ago.\"\"\"
    webhook_id, sent_at = headers["webhook-id"], headers["webhook-timestamp"]
    digest = hmac.digest(KEY, f"{webhook_id}.{sent_at}.".encode() + body, "sha256")
    expected = b"v1," + base64.b64encode(digest)
    is_recent = abs(time.time() - int(sent_at)) < 300
    signatures = headers["webhook-signature"].encode().split()
    return is_recent and any(hmac.compare_digest(expected, it) for it in signatures)
""",
    "Node": """\
import { createHmac, timingSafeEqual } from "node:crypto";

const key = Buffer.from(process.env.CALLBACK_SECRET.replace(/^whsec_/, ""), "base64");

// Whether the relay signed this body (a Buffer), at most five minutes ago.
export function isSigned(headers, body) {
  const { "webhook-id": id, "webhook-timestamp": sentAt } = headers;
  const expected = createHmac("sha256", key).update(`${id}.${sentAt}.`).update(body).digest();
  const isRecent = Math.abs(Date.now() / 1000 - Number(sentAt)) < 300;
  return isRecent && headers["webhook-signature"].split(" ").some((it) => {
    const signature = Buffer.from(it.replace(/^v1,/, ""), "base64");
    return signature.length === expected.length && timingSafeEqual(signature, expected);
  });
}
""",
}
