"""`python -m tools.bench.aws_stub`: all services that the programs call, as cheap as possible.

AWS's services and MobileConnect on one port of this machine: what they cost is not what is
measured. One line of JSON says which port; it serves until its stdin ends. Every condition of a
write holds, and nothing is stored but the items of a transaction, until they are claimed.
"""

import asyncio
import contextlib
import hashlib
import http
import http.client
import itertools
import json
import secrets
import subprocess
import sys
import time
import uuid
import zlib
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import IO, Any, Final, NamedTuple, cast

Json = dict[str, Any]

ROOT: Final = Path(__file__).parents[2]
UPSTREAM: Final = "upstream"
KEPT: Final = 100
"""How many of the last requests can be asked for."""
TOKEN_SECONDS: Final = 3_600.0
_END_OF_HEAD: Final = b"\r\n\r\n"
_NOTHING: Final = b"{}"
_NO_REASON: Final = b'{"errors":[]}'
_SEND: Final = b"POST /sms/v1/messageContact/"

_FIXED: Final[Mapping[str, bytes]] = {
    "dynamodb.PutItem": _NOTHING,
    "dynamodb.DeleteItem": _NOTHING,
    "dynamodb.GetItem": _NOTHING,
    "sqs.ChangeMessageVisibility": _NOTHING,
    "sqs.DeleteMessage": _NOTHING,
}
_MADE: Final = (
    "dynamodb.Query",
    "dynamodb.TransactWriteItems",
    "dynamodb.UpdateItem",
    "secretsmanager.GetSecretValue",
    "sqs.SendMessage",
    "sqs.SendMessageBatch",
)
_SERVICES: Final = {
    b"dynamodb_20120810": "dynamodb",
    b"secretsmanager": "secretsmanager",
    b"amazonsqs": "sqs",
}
_SPELLED: Final = {name.lower(): name for name in (*_FIXED, *_MADE)}
"""The operations by their names in lower case, as heads are read."""


class Request(NamedTuple):
    """One request: what it was counted as, the lines of its head, and its body."""

    operation: str
    head: bytes
    body: bytes

    def shown(self) -> Json:
        line, *headers = self.head.decode().split("\r\n")
        fields = (header.partition(":") for header in headers)
        return {
            "operation": self.operation,
            "path": line.split(" ")[1],
            "headers": {name.lower(): value.strip() for name, _, value in fields},
            "raw": self.body.decode(),
            "body": json.loads(self.body or b"null"),
        }


class Services:
    """What is counted, kept and set, for all connections."""

    def __init__(self) -> None:
        self.base_url = ""
        self.delay = 0.0
        """Seconds until the upstream answers."""
        self.refusal: bytes | None = None
        """What the upstream answers instead of taking a send."""
        self.last: deque[Request] = deque(maxlen=KEPT)
        self.calls: dict[str, int] = {}
        self._token = secrets.token_urlsafe(48)
        self._token_ids = itertools.count(1)
        self._items: dict[tuple[str, str], Json] = {}
        self._makers: Mapping[str, Callable[[Json], Json]] = {
            "dynamodb.Query": _found,
            "dynamodb.TransactWriteItems": self._transaction,
            "dynamodb.UpdateItem": self._update,
            "secretsmanager.GetSecretValue": self._secret,
            "sqs.SendMessage": _message,
            "sqs.SendMessageBatch": _messages,
        }
        self.reset()

    def reset(self) -> None:
        self.last.clear()
        self.calls = dict.fromkeys((*_SPELLED.values(), UPSTREAM), 0)

    def count(self, request: Request) -> None:
        self.calls[request.operation] += 1
        self.last.append(request)

    def sent(self) -> bytes:
        """The upstream's answer: a tokenId that none had before."""
        return self.refusal or _ACCEPTED % next(self._token_ids)

    def made(self, operation: str, body: bytes) -> bytes:
        """The answer of an AWS operation that is not always the same."""
        return _json(self._makers[operation](json.loads(body)))

    def _transaction(self, given: Json) -> Json:
        for entry in given["TransactItems"]:
            item = entry["Put"]["Item"]
            self._items[_key(item)] = item
        return {}

    def _update(self, given: Json) -> Json:
        if given.get("ReturnValues") != "ALL_NEW":
            return {}
        item = self._items.pop(_key(given["Key"]), given["Key"])
        return {"Attributes": updated(item, given)}

    def _secret(self, given: Json) -> Json:
        now, name = time.time(), given["SecretId"]
        token = {
            "access_token": self._token,
            "expires_at": int(now + TOKEN_SECONDS),
            "rest_instance_url": self.base_url,
        }
        return {
            "ARN": name,
            "Name": name.rpartition(":")[2],
            "VersionId": _id(),
            "VersionStages": ["AWSCURRENT"],
            "CreatedDate": round(now, 3),
            "SecretString": json.dumps(token),
        }

    def controlled(self, path: bytes, body: bytes) -> bytes:
        """The control routes: counts, the last requests, the delay, a new beginning."""
        if path == b"/_control/calls":
            return _plain(200, _json(self.calls))
        if path == b"/_control/requests":
            return _plain(200, _json([request.shown() for request in self.last]))
        if path == b"/_control" and body:
            given = json.loads(body)
            self.delay = given.get("delayMs", self.delay * 1_000) / 1_000
            if "status" in given:
                taken = given["status"] == http.HTTPStatus.ACCEPTED
                self.refusal = None if taken else _plain(given["status"], _NO_REASON)
            if given.get("reset"):
                self.reset()
            return _plain(200, _NOTHING)
        return _plain(404, _NOTHING)


def updated(item: Json, given: Json) -> Json:
    """The item after `SET a = :b, c = c + :d REMOVE e`, or the like; sums are of integers."""
    names, values = given.get("ExpressionAttributeNames", {}), given["ExpressionAttributeValues"]
    changes, _, removed = given["UpdateExpression"].removeprefix("SET ").partition(" REMOVE ")
    after = dict(item)
    for change in changes.split(", "):
        name, _, value = change.partition(" = ")
        term, plus, summand = value.partition(" + ")
        after[names.get(name, name)] = (
            {"N": str(int(item[term]["N"]) + int(values[summand]["N"]))} if plus else values[value]
        )
    return {name: value for name, value in after.items() if name not in removed.split(", ")}


def _key(item: Json) -> tuple[str, str]:
    return item["pk"]["S"], item["sk"]["S"]


def _found(given: Json) -> Json:
    """Every API key is registered; of all else there is nothing."""
    key = given.get("ExpressionAttributeValues", {}).get(":pk", {}).get("S", "")
    items = [{"client": {"S": "shop"}}] if key.startswith("CLIENT#") else []
    return {"Count": len(items), "Items": items, "ScannedCount": len(items)}


def _message(given: Json) -> Json:
    return {"MessageId": _id(), "MD5OfMessageBody": _md5(given["MessageBody"])}


def _messages(given: Json) -> Json:
    taken = [{"Id": entry["Id"], **_message(entry)} for entry in given["Entries"]]
    return {"Successful": taken, "Failed": []}


class Connection(asyncio.Protocol):
    """One kept connection; requests come one after another, as all clients here send them."""

    def __init__(self, services: Services) -> None:
        self._services = services
        self._received = b""
        self._write: Callable[[bytes], None]
        self._transport: asyncio.Transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        self._write = self._transport.write

    def data_received(self, data: bytes) -> None:
        received = self._received + data if self._received else data
        while (end := received.find(_END_OF_HEAD)) >= 0:
            head, begin = received[:end], end + len(_END_OF_HEAD)
            names = head.lower()
            length = int(_header(names, b"content-length") or 0)
            if len(received) < begin + length:
                break
            self._answer(head, names, received[begin : begin + length])
            received = received[begin + length :]
        self._received = received

    def _answer(self, head: bytes, names: bytes, body: bytes) -> None:
        services = self._services
        if head.startswith(_SEND):
            services.count(Request(UPSTREAM, head, body))
            answer = services.sent()
            if services.delay:
                asyncio.get_running_loop().call_later(services.delay, self._answer_late, answer)
            else:
                self._write(answer)
        elif target := _header(names, b"x-amz-target"):
            self._write(_of_aws(services, target, Request("", head, body)))
        else:
            self._write(services.controlled(head.split(b" ", 2)[1], body))

    def _answer_late(self, answer: bytes) -> None:
        if not self._transport.is_closing():
            self._write(answer)


def _of_aws(services: Services, target: bytes, request: Request) -> bytes:
    service, _, name = target.partition(b".")
    operation = _SPELLED.get(f"{_SERVICES.get(service, '')}.{name.decode()}")
    if operation is None:
        return _plain(400, _json({"__type": "UnknownOperationException", "message": "not played"}))
    services.count(request._replace(operation=operation))
    ready = _READY.get(operation)
    return ready or _with_request_id(operation, services.made(operation, request.body))


def _header(head: bytes, name: bytes) -> bytes | None:
    """The value of a header in a head in lower case."""
    at = head.find(b"\r\n" + name + b":")
    if at < 0:
        return None
    begin = at + len(name) + 3
    end = head.find(b"\r\n", begin)
    return head[begin : end if end >= 0 else None].strip()


def _plain(status: int, body: bytes, *headers: str) -> bytes:
    lines = (
        f"HTTP/1.1 {status} {http.client.responses[status]}",
        *(headers or ("Content-Type: application/json",)),
        f"Content-Length: {len(body)}",
    )
    return "\r\n".join(lines).encode() + _END_OF_HEAD + body


def _with_request_id(operation: str, body: bytes) -> bytes:
    """An answer as AWS's own: without a request id nobody who is careful believes it."""
    version = "1.1" if operation.startswith("secretsmanager.") else "1.0"
    return _plain(
        200,
        body,
        f"Content-Type: application/x-amz-json-{version}",
        f"x-amzn-RequestId: {_id()}",
        f"x-amz-crc32: {zlib.crc32(body)}",
    )


def _json(value: object) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode()


def _id() -> str:
    return str(uuid.uuid4())


def _md5(text: str) -> str:
    return hashlib.md5(text.encode(), usedforsecurity=False).hexdigest()


_READY: Final = {operation: _with_request_id(operation, body) for operation, body in _FIXED.items()}
_TOKEN_LENGTH: Final = 24
_ACCEPTED: Final = _plain(202, b'{"tokenId":"' + b"x" * _TOKEN_LENGTH + b'"}').replace(
    b"x" * _TOKEN_LENGTH, b"%0" + str(_TOKEN_LENGTH).encode() + b"d"
)


async def _serve() -> None:
    services = Services()
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: Connection(services), "127.0.0.1", 0, backlog=1_000)
    port = server.sockets[0].getsockname()[1]
    services.base_url = f"http://127.0.0.1:{port}"
    print(json.dumps({"port": port}), flush=True)
    await asyncio.to_thread(sys.stdin.buffer.read)
    server.close()


class Stub(NamedTuple):
    """A stub that runs, seen from the process that measures."""

    port: int

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def calls(self) -> dict[str, int]:
        """How often each operation was called since the last reset."""
        counted: dict[str, int] = self._ask("GET", "/_control/calls")
        return counted

    def requests(self, operation: str) -> list[dict[str, Any]]:
        """The last requests of an operation: `path`, `headers`, `raw` and `body` (parsed)."""
        last = self._ask("GET", "/_control/requests")
        return [request for request in last if request["operation"] == operation]

    def control(
        self, *, delay_ms: float | None = None, status: int | None = None, reset: bool = False
    ) -> None:
        """Let the upstream take so long, answer that, and forget what was counted and kept."""
        given = {"delayMs": delay_ms, "status": status, "reset": reset}
        wanted = {name: value for name, value in given.items() if value is not None}
        self._ask("POST", "/_control", wanted)

    def _ask(self, method: str, path: str, body: object = None) -> Any:  # noqa: ANN401 - JSON
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=10)
        with contextlib.closing(connection):
            connection.request(method, path, None if body is None else json.dumps(body))
            return json.load(connection.getresponse())


@contextlib.contextmanager
def running() -> Iterator[Stub]:
    """A stub in a process of its own, which ends with the block, or with who started it."""
    with subprocess.Popen(
        [sys.executable, "-m", "tools.bench.aws_stub"],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as process:
        said = cast("IO[bytes]", process.stdout).readline()
        yield Stub(json.loads(said)["port"])
        # Popen's exit closes stdin, and waits.


if __name__ == "__main__":
    asyncio.run(_serve())
