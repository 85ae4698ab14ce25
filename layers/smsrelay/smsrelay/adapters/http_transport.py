"""HTTP transport that reuses a connection only if it was idle for a short time.

An environment is frozen between invocations. A call on a connection that was closed meanwhile would
have an unknown outcome. So the idle time is checked by two clocks: the monotonic clock, which
httpcore uses, may not run while a machine is frozen.
"""

import ssl
import time
from collections.abc import Iterable, Mapping
from http.cookiejar import CookieJar, DefaultCookiePolicy
from typing import Final

import httpcore
import httpx

from smsrelay.adapters.trust_store import trusted
from smsrelay.ports import Clock
from smsrelay.sends.call_outcome import Failure

KEEP_ALIVE: Final = 3.0
"""The most seconds that a connection may be idle; servers usually close one later."""


# From the most specific to the most general class: an exception that matches only a base class gets
# the least certain result. A test covers all of httpx's exceptions.
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
    """Map an exception of httpx to a failure."""
    return next(failure for kind, failure in FAILURES.items() if isinstance(error, kind))


class KeepAliveTransport(httpx.HTTPTransport):
    """Reuses only connections that were idle for at most `KEEP_ALIVE` seconds. Thread-safe.

    The read time-out of a request is for the whole call: from its start to the last byte of its
    response. The write time-out is ignored.
    """

    def __init__(self, max_connections: int, clock: Clock) -> None:
        """`clock` is the wall clock; it may be set back."""
        super().__init__(verify=trusted())
        # httpx has no public way to set the pool's network backend, which the wall clock needs.
        # A test fails if the attribute disappears from HTTPTransport.
        self._pool = _Pool(
            ssl_context=trusted(),
            max_connections=max_connections,
            keepalive_expiry=KEEP_ALIVE,
            network_backend=_Network(clock),
        )

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        """Make a call; reject a response that arrived before its request was written."""
        response = super().handle_request(request)
        stream = response.extensions["network_stream"]
        if isinstance(stream, _Stream) and stream.is_begun:
            response.close()
            raise httpx.RemoteProtocolError("more than one answer to a request", request=request)
        return response


def http_client(max_connections: int, clock: Clock) -> httpx.Client:
    """Create a client with this transport that uses no redirects, proxies or cookies."""
    return httpx.Client(
        transport=KeepAliveTransport(max_connections, clock),
        follow_redirects=False,
        trust_env=False,
        # Several receivers share a client; one may set cookies for the domain of another.
        cookies=CookieJar(DefaultCookiePolicy(allowed_domains=())),
    )


class _Pool(httpcore.ConnectionPool):
    """A pool whose connections get the deadline of the call as the time-out of reads and writes."""

    def handle_request(self, request: httpcore.Request) -> httpcore.Response:
        timeout = request.extensions["timeout"]
        deadline = time.monotonic() + timeout["read"]
        request.extensions["timeout"] = {**timeout, "read": deadline, "write": deadline}
        return super().handle_request(request)


class _Network(httpcore.SyncBackend):
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
    """A connection that records since when it has been idle.

    The time-outs of `read` and `write` are deadlines: times of the monotonic clock.
    """

    def __init__(self, stream: httpcore.NetworkStream, clock: Clock) -> None:
        self._stream = stream
        self._clock = clock
        self._read_at: float | None = None
        """When the last response was read; None: a request was written since, or none yet."""
        self.is_begun = False
        """Whether a request was written, and nothing read since."""

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        data = self._stream.read(max_bytes, _time_left(timeout, httpcore.ReadTimeout))
        self._read_at, self.is_begun = self._clock(), False
        return data

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        if self.is_begun:
            time_left = _time_left(timeout, httpcore.WriteTimeout)
        else:
            # The last moment at which nothing of the request was sent, so the pool can still use
            # another connection. The pool has checked this one before, but the server or another
            # thread may have closed it since.
            if self._read_at is not None and self._has_ended():
                raise httpcore.ConnectionNotAvailable
            # Checked here because the DNS lookup has no time-out, and each address has its own.
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
        # The pool asks this about each idle connection: readable means closed by the server.
        return self._has_ended() if info == "is_readable" else self._stream.get_extra_info(info)

    def _has_ended(self) -> bool:
        # If the clock was set back, the age is unknown: the connection counts as too old.
        read_at = self._read_at
        is_too_old = read_at is not None and not 0 <= self._clock() - read_at <= KEEP_ALIVE
        return is_too_old or bool(self._stream.get_extra_info("is_readable"))


def _time_left(deadline: float | None, passed: type[Exception]) -> float | None:
    """Return the seconds until a deadline. Raises `passed` if it has passed."""
    if deadline is None:
        return None
    time_left = deadline - time.monotonic()
    if time_left <= 0:
        raise passed("the deadline has passed")
    return time_left
