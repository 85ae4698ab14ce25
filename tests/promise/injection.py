"""Faults of AWS and of the upstream, put between the real clients and the servers."""

import io
import json
import traceback
import urllib.request
from collections.abc import Callable, Iterable, Iterator, Mapping
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
from tests.promise.clock import ShiftedTime
from tests.promise.faults import SIMULATED

SLOW = 1.9
"""Seconds: an answer of AWS just before the relay's own read time-out."""
AWS_READ_TIMEOUT = 2.0
UPSTREAM_SLOW, UPSTREAM_VERY_SLOW = 12.0, 100.0

_THROTTLED = {
    "dynamodb": "ProvisionedThroughputExceededException",
    "sqs": "RequestThrottled",
    "secrets-manager": "ThrottlingException",
    "ssm": "ThrottlingException",
    "lambda": "TooManyRequestsException",
}

# Not through a proxy, whatever the environment says.
_opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))


class AwsInjection:
    """Hooks into the relay's AWS clients by their event emitters."""

    def __init__(self, points: Checkpoints, clock: ShiftedTime) -> None:
        self._points = points
        self._clock = clock
        self._http = URLLib3Session()

    def watch(self, emitters: Iterable[Any]) -> None:
        for events in emitters:
            events.register("before-send", self._asked)
            events.register("response-received", self._answered)

    def _asked(
        self, event_name: str, request: AWSPreparedRequest, **_: object
    ) -> AWSResponse | None:
        operation = event_name.partition(".")[2]
        fault = self._points.reach(f"{operation} before")
        try:
            return self._strike(fault, operation, request) if fault else None
        except BotoCoreError:
            raise
        except Exception:  # botocore takes every exception for one of its transport
            self._points.fail(traceback.format_exc())
            raise

    def _answered(self, event_name: str, **_: object) -> None:
        self._points.reach(f"{event_name.partition('.')[2]} after")

    def _strike(  # noqa: C901, PLR0911, PLR0912 - a table of what can happen
        self, fault: str, operation: str, request: AWSPreparedRequest
    ) -> AWSResponse:
        service = operation.partition(".")[0]
        if fault.endswith("-after") or fault == "slow":
            response = self._http.send(request)
            _ = response.content  # it has been carried out, and it is answered
        match fault:
            case "throttled":
                return _refusal(request, 400, _THROTTLED[service])
            case "server-error" | "server-error-after":
                return _refusal(request, 500, "InternalServerError")
            case "denied":
                return _refusal(request, 400, "AccessDeniedException")
            case "no-value":
                return _refusal(request, 400, "ResourceNotFoundException")
            case "no-token":
                return _answer(request, 200, {"SecretString": "{}"})
            case "cancelled":
                reasons = [{"Code": "ThrottlingError"}, {"Code": "None"}]
                return _refusal(
                    request, 400, "TransactionCanceledException", CancellationReasons=reasons
                )
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
                self._clock.advance(SLOW)
                return response
        raise AssertionError(fault)


class UpstreamInjection:
    """Hooks into httpx's transport."""

    def __init__(
        self, points: Checkpoints, clock: ShiftedTime, on_unauthorised: Callable[[], None]
    ) -> None:
        """`on_unauthorised` is called when the upstream has answered 401."""
        self._points = points
        self._clock = clock
        self._on_unauthorised = on_unauthorised
        self._handle = httpx.HTTPTransport.handle_request

    def watch(self) -> None:
        """Never undone: the process is made for one run."""

        def handled(transport: httpx.HTTPTransport, request: httpx.Request) -> httpx.Response:
            fault = self._points.reach("upstream before")
            try:
                response = self._call(transport, request, fault)
                if response.status_code == httpx.codes.UNAUTHORIZED:
                    self._on_unauthorised()
                return response
            finally:  # a failure is an answer, too
                self._points.reach("upstream after")

        patch.object(httpx.HTTPTransport, "handle_request", handled).start()

    def _call(
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
                self._clock.advance(timeouts["read"])  # of the whole call
                raise httpx.WriteTimeout(fault)
            case "write-error":
                raise httpx.WriteError(fault)
            case "garbled-after":
                self._handle(transport, request).read()
                raise httpx.RemoteProtocolError(fault)
            case "slow" | "very-slow":
                response = self._handle(transport, request)
                takes = UPSTREAM_SLOW if fault == "slow" else UPSTREAM_VERY_SLOW
                self._clock.advance(min(takes, timeouts["read"]))
                if takes > timeouts["read"]:
                    response.read()
                    raise httpx.ReadTimeout(fault)
                return response
        if fault in SIMULATED:
            _order(request.url, fault)
        return self._handle(transport, request)


class _Body(io.BytesIO):
    def stream(self, **_: object) -> Iterator[bytes]:
        yield self.read()


def _sent(request: AWSPreparedRequest) -> bytes:
    assert isinstance(request.body, bytes)
    return request.body


def _raw(request: AWSPreparedRequest, status: int, body: bytes) -> AWSResponse:
    headers: Any = HeadersDict({"Content-Type": "application/x-amz-json-1.0"})  # as botocore has it
    return AWSResponse(request.url, status, headers, _Body(body))


def _answer(request: AWSPreparedRequest, status: int, document: object) -> AWSResponse:
    return _raw(request, status, json.dumps(document).encode())


def _refusal(request: AWSPreparedRequest, status: int, code: str, **more: object) -> AWSResponse:
    return _answer(request, status, {"__type": code, "message": "injected", **more})


def _order(url: httpx.URL, then: str) -> None:
    """Order a fault of the simulator for the call that comes now."""
    order = urllib.request.Request(  # noqa: S310 - the simulator's own address
        f"{url.scheme}://{url.netloc.decode()}/_control/faults",
        data=json.dumps([{"route": "send", "then": then, "retryAfter": 0}]).encode(),
        headers={"Content-Type": "application/json"},
    )
    with _opener.open(order, timeout=5) as response:
        response.read()
