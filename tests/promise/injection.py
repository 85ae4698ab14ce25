"""Injects faults of AWS, of the upstream and of callback receivers into the relay's clients.

It uses public extension points only: the events of botocore's clients, and httpx's transport.
"""

import io
import json
import threading
import traceback
import urllib.request
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping
from http import HTTPStatus
from typing import Any
from unittest.mock import patch

import httpx
from botocore.awsrequest import AWSPreparedRequest, AWSResponse, HeadersDict
from botocore.exceptions import (
    BotoCoreError,
    ConnectionClosedError,
    EndpointConnectionError,
    ReadTimeoutError,
)
from botocore.httpsession import URLLib3Session

from tests.promise.checkpoints import Checkpoints
from tests.promise.clock import Clock
from tests.promise.faults import RECEIVER_HOST, SIMULATED, Json, aws_error, is_carried_out
from tools.mobileconnect_simulator.faults import Then

SLOW = 1.9
"""Seconds after which a slow AWS response comes: just before the relay's read time-out."""
AWS_READ_TIMEOUT = 2.0
UPSTREAM_SLOW, UPSTREAM_VERY_SLOW = 12.0, 100.0
RETRY_AFTER = 30
"""The upstream's Retry-After, in seconds."""

LONG_TOKEN = json.dumps({"tokenId": "x" * 3_000})
"""A tokenId that is longer than an index key may be."""

CALL_ID = "x-call"

# It ignores the environment's proxies.
_opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))


class AwsInjection:
    """Injects faults into the relay's AWS clients by their events, and reports their writes."""

    def __init__(self, points: Checkpoints, clock: Clock) -> None:
        self.renewal_requests: list[Json] = []
        """The events with which senders invoked the token renewer; Lambda is not called."""
        self._points = points
        self._clock = clock
        self._http = URLLib3Session()
        self._local = threading.local()

    def watch(self, emitters: Iterable[Any]) -> None:
        for events in emitters:
            events.register("before-send", self._before)
            events.register("response-received", self._after)

    def _before(
        self, event_name: str, request: AWSPreparedRequest, **_: object
    ) -> AWSResponse | None:
        operation = event_name.partition(".")[2]
        fault = self._points.reach(f"{operation} before")
        writes = _writes(operation, request)
        self._local.writes = writes if fault in {None, "slow"} else None
        if fault is None or is_carried_out(fault):
            if writes:
                self._points.report("wrote", writes)
            if operation == "eventbridge.PutEvents":
                self._points.report("published", _events(request))
        try:
            if fault:
                return self._inject(fault, operation, request)
            return self._invoke(request) if operation == "lambda.Invoke" else None
        except BotoCoreError:
            raise
        except Exception:  # botocore would treat it as an error of its transport
            self._points.report("error", traceback.format_exc())
            raise

    def _after(self, event_name: str, response_dict: Any, **_: object) -> None:
        if self._local.writes and response_dict:
            # 400: the condition of the write was not met.
            kinds = {HTTPStatus.OK: "stored", HTTPStatus.BAD_REQUEST: "refused write"}
            if kind := kinds.get(response_dict["status_code"]):
                self._points.report(kind, self._local.writes)
        self._points.reach(f"{event_name.partition('.')[2]} after")

    def _inject(  # noqa: C901 - a table of faults
        self, fault: str, operation: str, request: AWSPreparedRequest
    ) -> AWSResponse:
        service = operation.partition(".")[0]
        response = None
        if is_carried_out(fault):
            response = self._carry_out(operation, request)
            _ = response.content  # waits for the whole response
            if fault != "slow" and response.status_code == HTTPStatus.BAD_REQUEST:
                # The condition was not met, but the relay does not see this response.
                self._points.report("refused write", _writes(operation, request))
        if error := aws_error(service, fault):
            document: Json = {"__type": error[1], "message": "injected"}
            if fault == "cancelled":
                document["CancellationReasons"] = [{"Code": "ThrottlingError"}, {"Code": "None"}]
            return _answer(request, error[0], document)
        match fault:
            case "no-token":
                return _answer(request, 200, {"SecretString": "{}"})
            case "entries-refused" if service == "eventbridge":
                entries = [{"ErrorCode": "InternalFailure"} for _ in _events(request)]
                count = len(entries)
                return _answer(request, 200, {"FailedEntryCount": count, "Entries": entries})
            case "entries-refused":
                entries = json.loads(_sent(request))["Entries"]
                failed = [
                    {"Id": entry["Id"], "Code": "InternalError", "SenderFault": False}
                    for entry in entries
                ]
                return _answer(request, 200, {"Successful": [], "Failed": failed})
            case "garbled-after":
                return _raw(request, 200, b"<html>not what you asked for</html>")
            case "time-out" | "time-out-after":
                self._clock.advance(AWS_READ_TIMEOUT)
                raise ReadTimeoutError(endpoint_url=request.url)
            case "reset-after":
                raise ConnectionClosedError(endpoint_url=request.url)
            case "no-connection":
                raise EndpointConnectionError(endpoint_url=request.url)
            case "slow":
                assert response is not None
                self._clock.advance(SLOW)
                return response
        raise AssertionError(fault)

    def _carry_out(self, operation: str, request: AWSPreparedRequest) -> AWSResponse:
        return self._invoke(request) if operation == "lambda.Invoke" else self._http.send(request)

    def _invoke(self, request: AWSPreparedRequest) -> AWSResponse:
        """Take an asynchronous invocation of the token renewer, as Lambda does."""
        event = json.loads(_sent(request))
        self.renewal_requests.append(event)
        self._points.report("asked for a token", event)
        return _raw(request, HTTPStatus.ACCEPTED, b"")


class UpstreamInjection:
    """Injects faults into httpx's transport, and reports each send's call and its response.

    It responds to callbacks itself, because their receiver's host does not exist.
    """

    def __init__(
        self, points: Checkpoints, clock: Clock, on_unauthorised: Callable[[], None]
    ) -> None:
        """`on_unauthorised` is called after the upstream responded 401."""
        self._points = points
        self._clock = clock
        self._on_unauthorised = on_unauthorised
        self._handle = httpx.HTTPTransport.handle_request

    def watch(self) -> None:
        """Patch the transport permanently: the process is used for one run only."""

        def handle(transport: httpx.HTTPTransport, request: httpx.Request) -> httpx.Response:
            callee = _callee(request.url)
            if callee != "upstream":
                return self._call_other(transport, request, callee)
            fault = self._points.reach("upstream before")
            call: Json = {"id": str(uuid.uuid4()), "at": self._clock.now, "fault": fault}
            request.headers[CALL_ID] = call["id"]  # appears in the simulator's log
            self._points.report("call", call | {"body": request.content.decode()})
            try:
                response = self._call(transport, request, fault)
                if response.status_code == httpx.codes.UNAUTHORIZED:
                    self._on_unauthorised()
            except httpx.HTTPError:
                self._points.report("call failed", {"id": call["id"]})
                raise
            finally:  # the process passes this point after a failure, too
                self._points.reach("upstream after")
            stream = response.stream
            assert isinstance(stream, httpx.SyncByteStream)
            retry_after = response.headers.get("retry-after")
            answered = call | {"status": response.status_code, "retryAfter": retry_after}
            response.stream = _ReportedStream(
                stream,
                lambda body: self._points.report("response", answered | {"body": body}),
            )
            return response

        patch.object(httpx.HTTPTransport, "handle_request", handle).start()

    def _call_other(
        self, transport: httpx.HTTPTransport, request: httpx.Request, callee: str
    ) -> httpx.Response:
        """Make a call that sends no SMS."""
        fault = self._points.reach(f"{callee} before")
        try:
            return self._call(transport, request, fault)
        finally:
            self._points.reach(f"{callee} after")

    def _answer_of(self, transport: httpx.HTTPTransport, request: httpx.Request) -> httpx.Response:
        if _callee(request.url) != "callback":
            return self._handle(transport, request)
        self._points.report("called back", json.loads(request.content))
        return _receiver_response(HTTPStatus.NO_CONTENT)

    def _call(  # noqa: C901 - the same
        self, transport: httpx.HTTPTransport, request: httpx.Request, fault: str | None
    ) -> httpx.Response:
        timeouts: Mapping[str, float] = request.extensions["timeout"]
        match fault:
            case "connection-refused":
                raise httpx.ConnectError(fault)
            case "connect-time-out":
                self._clock.advance(timeouts["connect"])
                raise httpx.ConnectTimeout(fault)
            case "pool-time-out":
                self._clock.advance(timeouts["pool"])
                raise httpx.PoolTimeout(fault)
            case "write-time-out":
                self._clock.advance(timeouts["read"])  # the time-out of the whole call
                raise httpx.WriteTimeout(fault)
            case "write-error":
                raise httpx.WriteError(fault)
            case "refused":
                return _receiver_response(HTTPStatus.INTERNAL_SERVER_ERROR)
            case "garbled-after":
                self._answer_of(transport, request).read()
                raise httpx.RemoteProtocolError(fault)
            case Then.HANG_BEFORE_READ:
                self._clock.advance(timeouts["read"])
                raise httpx.ReadTimeout(fault)
            case Then.HANG_AFTER_ACCEPT | "slow" | "very-slow":
                response = self._answer_of(transport, request)
                takes = UPSTREAM_SLOW if fault == "slow" else UPSTREAM_VERY_SLOW
                self._clock.advance(min(takes, timeouts["read"]))
                if takes > timeouts["read"]:
                    response.read()
                    raise httpx.ReadTimeout(fault)
                return response
        if fault == "202-long-token":
            _order(request.url, Then.OK, {"status": 202, "body": LONG_TOKEN})
        if fault in SIMULATED:
            _order(request.url, fault)
        return self._answer_of(transport, request)


class _ReportedStream(httpx.SyncByteStream):
    """The body of a response; reports what was read when it is closed."""

    def __init__(self, stream: httpx.SyncByteStream, report: Callable[[str], None]) -> None:
        self._stream = stream
        self._report = report
        self._read = bytearray()

    def __iter__(self) -> Iterator[bytes]:
        for chunk in self._stream:
            self._read += chunk
            yield chunk

    def close(self) -> None:
        self._report(self._read.decode(errors="replace"))
        self._stream.close()


class _Body(io.BytesIO):
    def stream(self, **_: object) -> Iterator[bytes]:
        yield self.read()


def _callee(url: httpx.URL) -> str:
    """Return the destination of a request: a key of HTTP_FAULTS."""
    if url.host == RECEIVER_HOST:
        return "callback"
    if url.path == "/v2/token":
        return "token"
    return "deliveries" if "/deliveries/" in url.path else "upstream"


def _receiver_response(status: int) -> httpx.Response:
    """Return the receiver's response to a callback."""
    # The relay's transport checks the connection of a response.
    return httpx.Response(status, extensions={"network_stream": None})


def _events(request: AWSPreparedRequest) -> list[Json]:
    """Return the details of the events that a call publishes."""
    return [json.loads(entry["Detail"]) for entry in json.loads(_sent(request))["Entries"]]


def _writes(operation: str, request: AWSPreparedRequest) -> list[Json]:
    """Return the sends that a call writes: name, status afterwards, and whether they are new."""
    if operation not in {"dynamodb.PutItem", "dynamodb.UpdateItem", "dynamodb.TransactWriteItems"}:
        return []
    call = json.loads(_sent(request))
    items = [entry["Put"]["Item"] for entry in call.get("TransactItems", ())]
    if "Item" in call:
        items.append(call["Item"])
    writes = [(item, item["status"]["S"]) for item in items if "status" in item]
    if ":sending" in (values := call.get("ExpressionAttributeValues", ())):
        writes.append((call["Key"], "sending"))
    elif ":queued" in values:
        writes.append((call["Key"], "queued"))
    is_new = "attribute_not_exists(pk)" in _sent(request).decode()
    return [{"send": _name(key), "status": status, "is_new": is_new} for key, status in writes]


def _name(key: Json) -> str:
    """Return a send's id and number."""
    message_id, number = key["pk"]["S"].removeprefix("MSG#"), key["sk"]["S"].removeprefix("SEND#")
    return f"{message_id}/{int(number)}"


def _sent(request: AWSPreparedRequest) -> bytes:
    assert isinstance(request.body, bytes)
    return request.body


def _raw(request: AWSPreparedRequest, status: int, body: bytes) -> AWSResponse:
    headers: Any = HeadersDict({"Content-Type": "application/x-amz-json-1.0"})  # botocore's class
    return AWSResponse(request.url, status, headers, _Body(body))


def _answer(request: AWSPreparedRequest, status: int, document: object) -> AWSResponse:
    return _raw(request, status, json.dumps(document).encode())


def _order(url: httpx.URL, then: str, response: Json | None = None) -> None:
    """Make the simulator play a fault, or give a response, for the next call."""
    callee = _callee(url)
    route = "send" if callee == "upstream" else callee
    fault: Json = {"route": route, "then": then, "retryAfter": RETRY_AFTER}
    if response:
        fault["response"] = response
    order = urllib.request.Request(  # noqa: S310 - the simulator's own address
        f"{url.scheme}://{url.netloc.decode()}/_control/faults",
        data=json.dumps([fault]).encode(),
        headers={"Content-Type": "application/json"},
    )
    with _opener.open(order, timeout=5) as answer:
        answer.read()
