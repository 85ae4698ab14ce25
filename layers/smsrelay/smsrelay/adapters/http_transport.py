"""Connections that are kept alive for the next call, as long as they can be trusted.

An environment is frozen between invocations, and a connection that died meanwhile takes a call
along whose outcome nobody can know. So what was idle for long is not used again, by either of two
clocks: the monotonic one, which httpcore looks at, may stand still while a machine is frozen.
"""

import ssl
import time
from collections.abc import Iterable, Mapping
from typing import Final

import httpcore
import httpx

from smsrelay.adapters.trust_store import trusted
from smsrelay.ports import Clock
from smsrelay.sends.call_outcome import Failure

KEEP_ALIVE: Final = 3.0
"""Seconds that a connection may be idle: less than servers commonly wait before they close one."""


# From the most special to the most general: an exception found by its base class only leaves the
# result most uncertain. A test walks httpx's own exceptions.
FAILURES: Mapping[type[httpx.HTTPError | httpx.InvalidURL], Failure] = {
    httpx.ConnectTimeout: Failure.CONNECT_TIMEOUT,
    httpx.PoolTimeout: Failure.NO_CONNECTION,
    httpx.ConnectError: Failure.NO_CONNECTION,
    httpx.UnsupportedProtocol: Failure.NO_CONNECTION,
    httpx.InvalidURL: Failure.NO_CONNECTION,
    httpx.ReadTimeout: Failure.READ_TIMEOUT,
    httpx.ReadError: Failure.READ_FAILED,
    httpx.WriteTimeout: Failure.WRITE_FAILED,
    httpx.WriteError: Failure.WRITE_FAILED,
    httpx.HTTPError: Failure.PROTOCOL_ERROR,
}


class DeadlinePassedError(httpx.ConnectTimeout):
    """The deadline of a call passed before the first byte of its request was written."""


def failure_of(error: httpx.HTTPError | httpx.InvalidURL) -> Failure:
    """What an exception of httpx says about the request."""
    return next(failure for kind, failure in FAILURES.items() if isinstance(error, kind))


class KeepAliveTransport(httpx.HTTPTransport):
    """HTTP over connections that are fresh. Safe to be used by several threads.

    The read time-out of a request is for the whole call: from its start to the last byte of its
    response. The write time-out has no meaning.
    """

    def __init__(self, max_connections: int, clock: Clock) -> None:
        """`clock` is the wall clock; it may be set back."""
        super().__init__(verify=trusted())
        # httpx has no public way to give its pool a network backend, and the age of a connection by
        # the wall clock needs one. A test fails if the attribute disappears from HTTPTransport.
        self._pool = _Pool(
            ssl_context=trusted(),
            max_connections=max_connections,
            keepalive_expiry=KEEP_ALIVE,
            network_backend=_Network(clock),
        )

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        """Make a call; an answer that was there before its request belongs to another one."""
        response = super().handle_request(request)
        stream = response.extensions["network_stream"]
        if isinstance(stream, _Stream) and stream.is_begun:
            response.close()
            raise httpx.RemoteProtocolError("more than one answer to a request", request=request)
        return response


def http_client(max_connections: int, clock: Clock) -> httpx.Client:
    """A client with this transport that follows no redirect and uses no proxy."""
    transport = KeepAliveTransport(max_connections, clock)
    return httpx.Client(transport=transport, follow_redirects=False, trust_env=False)


class _Pool(httpcore.ConnectionPool):
    """Connections whose `read` and `write` get the deadline of the call as their time-out."""

    def handle_request(self, request: httpcore.Request) -> httpcore.Response:
        timeout = request.extensions["timeout"]
        deadline = time.monotonic() + timeout["read"]
        request.extensions["timeout"] = {**timeout, "read": deadline, "write": deadline}
        return super().handle_request(request)


class _Network(httpcore.SyncBackend):
    """The network, with a wall clock beside every stream."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[httpcore.SOCKET_OPTION] | None = None,
    ) -> httpcore.NetworkStream:
        stream = super().connect_tcp(host, port, timeout, local_address, socket_options)
        return _Stream(stream, self._clock)


class _Stream(httpcore.NetworkStream):
    """A connection that knows since when it has been idle.

    The time-outs of `read` and `write` are deadlines: moments of the monotonic clock.
    """

    def __init__(self, stream: httpcore.NetworkStream, clock: Clock) -> None:
        self._stream = stream
        self._clock = clock
        self._read_at: float | None = None
        """When the answer before the next request was read; None: no answer is complete."""
        self.is_begun = False
        """Whether a byte of a request was written, and nothing read since."""

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        data = self._stream.read(max_bytes, _time_left(timeout, httpcore.ReadTimeout))
        self._read_at, self.is_begun = self._clock(), False
        return data

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        if self.is_begun:
            time_left = _time_left(timeout, httpcore.WriteTimeout)
        else:
            # The last moment at which it is certain that nothing of a request was sent: the pool
            # takes another connection then. It has looked before, but the end may have come since,
            # by the server or by another thread that found the connection too old.
            if self._read_at is not None and self._has_ended():
                raise httpcore.ConnectionNotAvailable
            # A lookup of the address has no time-out, and each address has one of its own.
            time_left = _time_left(timeout, DeadlinePassedError)
            self._read_at, self.is_begun = None, True
        self._stream.write(buffer, time_left)

    def close(self) -> None:
        self._stream.close()

    def start_tls(
        self,
        ssl_context: ssl.SSLContext,
        server_hostname: str | None = None,
        timeout: float | None = None,
    ) -> httpcore.NetworkStream:
        return _Stream(self._stream.start_tls(ssl_context, server_hostname, timeout), self._clock)

    def get_extra_info(self, info: str) -> object:
        # The pool asks for this of every idle connection: readable means ended by the server.
        return self._has_ended() if info == "is_readable" else self._stream.get_extra_info(info)

    def _has_ended(self) -> bool:
        # A clock that was set back tells nothing, so that is too old as well.
        read_at = self._read_at
        is_too_old = read_at is not None and not 0 <= self._clock() - read_at <= KEEP_ALIVE
        return is_too_old or bool(self._stream.get_extra_info("is_readable"))


def _time_left(deadline: float | None, passed: type[Exception]) -> float | None:
    """The seconds until a deadline; raises `passed` if there are none."""
    if deadline is None:
        return None
    time_left = deadline - time.monotonic()
    if time_left <= 0:
        raise passed("the deadline has passed")
    return time_left
