"""Faults that a test sets up: their kind, their route and their number."""

from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any, Final, TypedDict

from tools.mobileconnect_simulator import error_messages, responses
from tools.mobileconnect_simulator.responses import Manner, Reply

UNTIL_RESET: Final = -1
DEFAULT_RETRY_AFTER: Final = 5
_RANGES: Final = {
    "times": (UNTIL_RESET, 1_000_000),
    "delayMs": (0, 3_600_000),
    "retryAfter": (0, 86_400),
    "response.status": (200, 999),
}


class Route(StrEnum):
    SEND = "send"
    TOKEN = "token"  # noqa: S105  a route's name, no secret # nosec B105
    DELIVERIES = "deliveries"


class Then(StrEnum):
    BAD_REQUEST = "400"
    UNAUTHORIZED = "401"
    FORBIDDEN = "403"
    NOT_FOUND = "404"
    RATE_LIMITED = "429-50100"
    BLOCKED = "429-50200"
    SERVER_ERROR = "500"
    BAD_GATEWAY_HTML = "502-html"
    BAD_GATEWAY_EMPTY = "502-empty"
    UNAVAILABLE = "503-50300"
    UNAVAILABLE_HTML = "503-html"
    GATEWAY_TIMEOUT_HTML = "504-html"
    RESET_BEFORE_READ = "reset-before-read"
    HANG_BEFORE_READ = "hang-before-read"
    RESET_AFTER_ACCEPT = "reset-after-accept"
    HANG_AFTER_ACCEPT = "hang-after-accept"
    NO_TOKEN = "202-no-token"  # noqa: S105  a fault's name, no secret # nosec B105
    TRAILING_COMMA = "202-trailing-comma"
    EMPTY = "202-empty"
    OK = "ok"

    @property
    def accepts(self) -> bool:
        """Whether the request is carried out, even if the response is wrong or missing."""
        return self in _SPOILERS


class FaultEntry(TypedDict, total=False):
    """A fault as the control route shows it."""

    route: str
    then: str
    times: int
    delayMs: int
    retryAfter: int
    response: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Fault:
    route: Route
    then: Then
    times: int = 1
    delay_ms: int = 0
    retry_after: int | None = None
    response: dict[str, Any] | None = None
    """Status, body and headers that replace those of the response."""

    def entry(self) -> FaultEntry:
        entry = FaultEntry(
            route=self.route.value,
            then=self.then.value,
            times=self.times,
            delayMs=self.delay_ms,
        )
        if self.retry_after is not None:
            entry["retryAfter"] = self.retry_after
        if self.response is not None:
            entry["response"] = self.response
        return entry


class BadFaultsError(ValueError):
    """The faults are not valid; `errors` has the reasons for each entry."""

    def __init__(self, errors: list[str]) -> None:
        super().__init__("; ".join(errors))
        self.errors = errors


class FaultQueue:
    """A queue of faults for each route."""

    def __init__(self) -> None:
        self._waiting: dict[Route, deque[Fault]] = {route: deque() for route in Route}

    def add(self, faults: list[Fault]) -> None:
        for fault in faults:
            self._waiting[fault.route].append(fault)

    def remove(self, route: Route | None, then: Then | None) -> None:
        """Remove the faults of a route, of a kind, or all."""
        for each, waiting in self._waiting.items():
            if route in {None, each}:
                left = [fault for fault in waiting if then not in {None, fault.then}]
                waiting.clear()
                waiting.extend(left)

    def peek(self, route: Route) -> Fault | None:
        waiting = self._waiting[route]
        return waiting[0] if waiting else None

    def take(self, route: Route) -> None:
        """Count one use of the route's first fault, and remove it after the last."""
        waiting = self._waiting[route]
        first = waiting[0]
        if first.times == UNTIL_RESET:
            return
        if first.times > 1:
            waiting[0] = replace(first, times=first.times - 1)
        else:
            waiting.popleft()

    def left(self) -> list[FaultEntry]:
        return [fault.entry() for waiting in self._waiting.values() for fault in waiting]

    def clear(self) -> None:
        for waiting in self._waiting.values():
            waiting.clear()


def read_faults(value: object) -> list[Fault]:
    """Parse the faults of a control call.

    Raises:
        BadFaultsError: an entry is not valid; no fault is set up.
    """
    if not isinstance(value, list):
        raise BadFaultsError(["The body must be a list of faults."])
    errors: list[str] = []
    faults = [_read_fault(entry, f"[{index}]", errors) for index, entry in enumerate(value)]
    if errors:
        raise BadFaultsError(errors)
    return [fault for fault in faults if fault is not None]


def _read_fault(entry: object, place: str, errors: list[str]) -> Fault | None:
    if not isinstance(entry, dict):
        errors.append(f"{place} must be an object.")
        return None
    errors += [
        f"{place}.{name} is unknown; use {', '.join(FaultEntry.__annotations__)}."
        for name in entry
        if name not in FaultEntry.__annotations__
    ]
    route = _choice(entry, "route", list(Route), place, errors)
    then = _choice(entry, "then", list(Then), place, errors)
    times = _whole(entry, "times", place, errors)
    delay_ms = _whole(entry, "delayMs", place, errors)
    retry_after = _whole(entry, "retryAfter", place, errors)
    response = _response(entry, place, errors)
    if times == 0:
        errors.append(f"{place}.times must be at least 1, or -1 until the next reset.")
    if route is None or then is None:
        return None
    return Fault(route, then, 1 if times is None else times, delay_ms or 0, retry_after, response)


def _choice[Name: StrEnum](
    entry: Mapping[str, object], name: str, known: list[Name], place: str, errors: list[str]
) -> Name | None:
    # A status such as 401 can also be a JSON number.
    given = str(entry.get(name))
    for choice in known:
        if choice.value == given:
            return choice
    errors.append(f"{place}.{name} must be one of {', '.join(known)}.")
    return None


def _response(entry: Mapping[str, object], place: str, errors: list[str]) -> dict[str, Any] | None:
    """Parse the optional response of a fault."""
    if "response" not in entry:
        return None
    given = entry["response"]
    response = {"body": "", "headers": {}} | (given if isinstance(given, dict) else {})
    headers = response["headers"]
    texts = (response["body"], *(headers.values() if isinstance(headers, dict) else [None]))
    if response.keys() == {"status", "body", "headers"} and all(
        isinstance(it, str) for it in texts
    ):
        _whole({"response.status": response["status"]}, "response.status", place, errors)
        return response
    errors.append(f"{place}.response needs a status; its optional body and headers must be text.")
    return None


def _whole(entry: Mapping[str, object], name: str, place: str, errors: list[str]) -> int | None:
    """Parse an optional whole number."""
    least, most = _RANGES[name]
    value = entry.get(name)
    if name not in entry:
        return None
    if isinstance(value, int) and not isinstance(value, bool) and least <= value <= most:
        return value
    errors.append(f"{place}.{name} must be a whole number from {least} to {most}.")
    return None


def refusal(fault: Fault) -> Reply:
    """Return the response of a fault that prevents the request."""
    if fault.then is Then.UNAUTHORIZED and fault.route is Route.TOKEN:
        reply = responses.oauth_error(401, "invalid_client", "Invalid client credentials.")
    else:
        reply = _REFUSALS[fault.then](fault)
    return _as_ordered(fault, reply)


def spoil(fault: Fault, reply: Reply) -> Reply:
    """Return the wrong response to a request that was carried out."""
    return _as_ordered(fault, _SPOILERS[fault.then](reply))


def _as_ordered(fault: Fault, reply: Reply) -> Reply:
    """Return the reply with the delay of the fault, and with its response if it has one."""
    if fault.response is not None:
        text, headers = fault.response["body"], fault.response["headers"]
        reply = replace(reply, status=fault.response["status"], text=text, headers=headers)
    return replace(reply, delay_ms=fault.delay_ms)


def _retry_after(fault: Fault) -> int:
    return DEFAULT_RETRY_AFTER if fault.retry_after is None else fault.retry_after


_REFUSALS: Mapping[Then, Callable[[Fault], Reply]] = {
    Then.BAD_REQUEST: lambda _: responses.refused([error_messages.PHONE_INVALID]),
    Then.UNAUTHORIZED: lambda _: responses.NOT_AUTHORIZED,
    Then.FORBIDDEN: lambda _: responses.MISSING_SCOPE,
    Then.NOT_FOUND: lambda _: responses.NOT_FOUND,
    Then.RATE_LIMITED: lambda fault: responses.rate_limited(_retry_after(fault)),
    # The documented response has no Retry-After; a test can add it.
    Then.BLOCKED: lambda fault: responses.platform_error(
        429, "Your requests are temporarily blocked.", 50200, fault.retry_after
    ),
    Then.SERVER_ERROR: lambda _: responses.platform_error(500, "Internal Server Error"),
    Then.BAD_GATEWAY_HTML: lambda _: responses.gateway_page(502, "Bad Gateway"),
    Then.BAD_GATEWAY_EMPTY: lambda _: Reply(502),
    Then.UNAVAILABLE: lambda fault: responses.platform_error(
        503, "Service Unavailable", 50300, _retry_after(fault)
    ),
    Then.UNAVAILABLE_HTML: lambda _: responses.gateway_page(503, "Service Unavailable"),
    Then.GATEWAY_TIMEOUT_HTML: lambda _: responses.gateway_page(504, "Gateway Timeout"),
    Then.RESET_BEFORE_READ: lambda _: Reply(manner=Manner.RESET),
    Then.HANG_BEFORE_READ: lambda _: Reply(manner=Manner.HANG),
}

_SPOILERS: Mapping[Then, Callable[[Reply], Reply]] = {
    Then.RESET_AFTER_ACCEPT: lambda reply: replace(reply, manner=Manner.RESET),
    Then.HANG_AFTER_ACCEPT: lambda reply: replace(reply, manner=Manner.HANG),
    Then.NO_TOKEN: lambda reply: replace(reply, text='{"tokenId":null}'),
    # The example in the reference has this trailing comma.
    Then.TRAILING_COMMA: lambda reply: replace(reply, text=reply.text.removesuffix("}") + ",}"),
    Then.EMPTY: lambda reply: replace(reply, text=""),
    Then.OK: lambda reply: reply,
}
