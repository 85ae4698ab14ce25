"""`python -m tools.bench.aws_stub`: a stub of the AWS services and of MobileConnect, on one port.

The stub speaks plain HTTP, prints its port as JSON and stops when its stdin closes. Every
conditional write succeeds. It stores only the items of a transaction, until a claim updates them.
"""

import asyncio
import contextlib
import hashlib
import http.client
import itertools
import json
import secrets
import subprocess
import sys
import time
import uuid
import zlib
from collections import Counter, deque
from collections.abc import Callable, Iterator, Mapping
from http import HTTPStatus
from pathlib import Path
from typing import IO, Any, Final, NamedTuple, cast

from aiohttp import web

Json = dict[str, Any]

ROOT: Final = Path(__file__).parents[2]
UPSTREAM: Final = "upstream"
MAX_RECORDED: Final = 100
TOKEN_SECONDS: Final = 3_600
SERVICES: Final = {
    "DynamoDB_20120810": "dynamodb",
    "secretsmanager": "secretsmanager",
    "AmazonSQS": "sqs",
}
EMPTY_RESPONSES: Final = (
    "dynamodb.PutItem",
    "dynamodb.DeleteItem",
    "dynamodb.GetItem",
    "sqs.ChangeMessageVisibility",
    "sqs.DeleteMessage",
)


class Services:
    """The state of all services: call counts, recorded requests, stored items and settings."""

    def __init__(self) -> None:
        self.base_url = ""
        self.delay_seconds = 0.0
        self.status = HTTPStatus.ACCEPTED
        self.calls: Counter[str] = Counter()
        self._requests: deque[tuple[str, web.BaseRequest, str]] = deque(maxlen=MAX_RECORDED)
        self._token = secrets.token_urlsafe(48)
        self._token_ids = itertools.count(1)
        self._items: dict[tuple[str, str], Json] = {}
        self._operations: Mapping[str, Callable[[Json], Json]] = {
            **dict.fromkeys(EMPTY_RESPONSES, lambda _: {}),
            "dynamodb.Query": _query,
            "dynamodb.TransactWriteItems": self._transact_write_items,
            "dynamodb.UpdateItem": self._update_item,
            "secretsmanager.GetSecretValue": self._get_secret_value,
            "sqs.SendMessage": _send_message,
            "sqs.SendMessageBatch": _send_message_batch,
        }

    async def answer(self, request: web.BaseRequest) -> web.Response:
        """Answer any request."""
        if request.path.startswith("/sms/v1/messageContact/"):
            return await self._send_sms(request)
        if request.path == "/_control":
            return self._show() if request.method == "GET" else await self._control(request)
        return await self._call_aws(request)

    async def _call_aws(self, request: web.BaseRequest) -> web.Response:
        """Answer an operation of AWS's JSON protocol."""
        service, _, name = request.headers.get("X-Amz-Target", "").partition(".")
        operation = f"{SERVICES.get(service)}.{name}"
        if operation not in self._operations:
            error = {"__type": "UnknownOperationException", "message": f"no stub of {operation}"}
            return web.json_response(error, status=HTTPStatus.BAD_REQUEST)
        raw = await self._record(operation, request)
        body = json.dumps(self._operations[operation](json.loads(raw))).encode()
        version = "1.1" if service == "secretsmanager" else "1.0"
        headers = {
            "Content-Type": f"application/x-amz-json-{version}",
            "x-amzn-RequestId": str(uuid.uuid4()),
            "x-amz-crc32": str(zlib.crc32(body)),
        }
        return web.Response(body=body, headers=headers)

    async def _send_sms(self, request: web.BaseRequest) -> web.Response:
        """Answer MobileConnect's send operation, after the delay that was set."""
        await self._record(UPSTREAM, request)
        if self.delay_seconds:
            await asyncio.sleep(self.delay_seconds)
        if self.status != HTTPStatus.ACCEPTED:
            return web.json_response({"errors": []}, status=self.status)
        return web.json_response({"tokenId": f"{next(self._token_ids):024}"}, status=self.status)

    def _show(self) -> web.Response:
        """Return the call counts and the recorded requests."""
        requests = [
            {
                "operation": operation,
                "path": request.path,
                "headers": {name.lower(): value for name, value in request.headers.items()},
                "raw": raw,
            }
            for operation, request, raw in self._requests
        ]
        return web.json_response({"calls": self.calls, "requests": requests})

    async def _control(self, request: web.BaseRequest) -> web.Response:
        """Set the delay and the status of MobileConnect, or clear what was recorded."""
        settings = await request.json()
        self.delay_seconds = settings.get("delay_ms", self.delay_seconds * 1_000) / 1_000
        self.status = HTTPStatus(settings.get("status", self.status))
        if settings.get("reset"):
            self.calls.clear()
            self._requests.clear()
        return web.json_response({})

    async def _record(self, operation: str, request: web.BaseRequest) -> str:
        raw = (await request.content.read()).decode()  # of any size, as `text()` is not
        self.calls[operation] += 1
        self._requests.append((operation, request, raw))
        return raw

    def _transact_write_items(self, parameters: Json) -> Json:
        for entry in parameters["TransactItems"]:
            item = entry["Put"]["Item"]
            self._items[_key(item)] = item
        return {}

    def _update_item(self, parameters: Json) -> Json:
        if parameters.get("ReturnValues") != "ALL_NEW":
            return {}
        item = self._items.pop(_key(parameters["Key"]), parameters["Key"])
        return {"Attributes": updated(item, parameters)}

    def _get_secret_value(self, parameters: Json) -> Json:
        now = time.time()
        token = {
            "access_token": self._token,
            "expires_at": int(now + TOKEN_SECONDS),
            "rest_instance_url": self.base_url,
        }
        return {
            "ARN": parameters["SecretId"],
            "Name": parameters["SecretId"].rpartition(":")[2],
            "VersionId": str(uuid.uuid4()),
            "VersionStages": ["AWSCURRENT"],
            "CreatedDate": round(now, 3),
            "SecretString": json.dumps(token),
        }


def updated(item: Json, parameters: Json) -> Json:
    """Apply an expression such as `SET a = :b, c = c + :d REMOVE e`; only integers are added."""
    names = parameters.get("ExpressionAttributeNames", {})
    values = parameters["ExpressionAttributeValues"]
    changes, _, removed = parameters["UpdateExpression"].removeprefix("SET ").partition(" REMOVE ")
    result = dict(item)
    for change in changes.split(", "):
        name, _, value = change.partition(" = ")
        term, plus, summand = value.partition(" + ")
        result[names.get(name, name)] = (
            {"N": str(int(item[term]["N"]) + int(values[summand]["N"]))} if plus else values[value]
        )
    return {name: value for name, value in result.items() if name not in removed.split(", ")}


def _key(item: Json) -> tuple[str, str]:
    return item["pk"]["S"], item["sk"]["S"]


def _query(parameters: Json) -> Json:
    """Return a client without limits for each API key and name; nothing for other queries."""
    key = parameters.get("ExpressionAttributeValues", {}).get(":pk", {}).get("S", "")
    client = {"client": {"S": "shop"}, "maxRecipients": {"N": "25000"}}
    items = [client] if key.startswith("CLIENT#") else []
    return {"Count": len(items), "Items": items, "ScannedCount": len(items)}


def _send_message(parameters: Json) -> Json:
    digest = hashlib.md5(parameters["MessageBody"].encode(), usedforsecurity=False)
    return {"MessageId": str(uuid.uuid4()), "MD5OfMessageBody": digest.hexdigest()}


def _send_message_batch(parameters: Json) -> Json:
    sent = [{"Id": entry["Id"], **_send_message(entry)} for entry in parameters["Entries"]]
    return {"Successful": sent, "Failed": []}


async def _serve() -> None:
    services = Services()
    runner = web.ServerRunner(web.Server(services.answer))
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    port = runner.addresses[0][1]
    services.base_url = f"http://127.0.0.1:{port}"
    print(json.dumps({"port": port}), flush=True)
    await asyncio.to_thread(sys.stdin.buffer.read)
    await runner.cleanup()


class Stub(NamedTuple):
    """The client of a running stub."""

    port: int

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def calls(self) -> Counter[str]:
        """Count the calls of each operation since the last reset."""
        return Counter(self._ask("GET")["calls"])

    def requests(self, operation: str) -> list[Json]:
        """Return the last requests of an operation: `path`, `headers`, `raw` and parsed `body`."""
        return [
            request | {"body": json.loads(request["raw"] or "null")}
            for request in self._ask("GET")["requests"]
            if request["operation"] == operation
        ]

    def control(self, **settings: float | bool) -> None:
        """Set `delay_ms` and `status` of MobileConnect, or `reset` what was recorded."""
        self._ask("POST", json.dumps(settings))

    def _ask(self, method: str, body: str | None = None) -> Any:  # noqa: ANN401 - JSON
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=10)
        with contextlib.closing(connection):
            connection.request(method, "/_control", body)
            return json.load(connection.getresponse())


@contextlib.contextmanager
def running() -> Iterator[Stub]:
    """Start a stub in its own process, and stop it when the block ends."""
    with subprocess.Popen(
        [sys.executable, "-m", "tools.bench.aws_stub"],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as process:
        line = cast("IO[bytes]", process.stdout).readline()
        yield Stub(json.loads(line)["port"])
        # Popen's exit closes stdin and waits for the process.


if __name__ == "__main__":
    asyncio.run(_serve())
