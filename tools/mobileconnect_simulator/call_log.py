"""Bounded logs of calls, sends and posts, for the control routes."""

from collections import deque
from itertools import islice
from typing import Final, TypedDict

MOST_ENTRIES: Final = 50_000
# Parsed recipients need about seven times the memory of their text.
MOST_CHARACTERS: Final = 32 * 1024 * 1024


class SentEntry(TypedDict):
    """An accepted send."""

    id: str
    headers: dict[str, str]
    raw: str
    body: dict[str, object]
    tokenId: str
    at: str


class CallEntry(TypedDict):
    """A call to the upstream's routes and its response, which is None if none was sent."""

    n: int
    at: str
    route: str | None
    method: str
    path: str
    id: str | None
    headers: dict[str, str]
    raw: str | None
    status: int | None
    answer: str | None
    accepted: bool
    tokenId: str | None
    fault: str | None


class PhoneMessage(TypedDict):
    """A message as a phone shows it; `state` is arrived, waiting or undelivered."""

    tokenId: str
    messageId: str
    text: str
    media: str | None
    subscriberKey: str | None
    keyword: str | None
    at: str
    sendAt: str
    scheduledFor: str | None
    quietUntil: str | None
    state: str
    code: int
    description: str


class PostEntry(TypedDict):
    """A request that the phone page's form posted to the relay, and its result."""

    n: int
    at: str
    request: str
    headers: dict[str, str]
    status: int | None
    answerHeaders: dict[str, str]
    answer: str | None
    problem: str | None
    """Why there is no response."""
    messageId: str | None
    """The relay's id of the message."""
    tokenIds: list[str]
    open: bool
    """Whether the relay may still make calls for it."""
    firstCall: int
    lastCall: int
    """Number of the last call during the request; `firstCall` is that of the first one."""


class ReceivedEntry(TypedDict):
    """An event or a callback that the relay sent."""

    n: int
    at: str
    way: str
    """`event` or `callback`."""
    eventId: str
    timestamp: str
    """When the status changed."""
    data: dict[str, object]
    raw: str


class ClockState(TypedDict):
    now: str
    aheadSeconds: float


class TokenCounts(TypedDict):
    fetches: int
    calls: int


class BoundedLog[Entry]:
    """Stores the newest entries, up to a number of entries and of characters."""

    def __init__(
        self, most_entries: int = MOST_ENTRIES, most_characters: int = MOST_CHARACTERS
    ) -> None:
        self._entries: deque[tuple[Entry, int]] = deque()
        self._most_entries = most_entries
        self._most_characters = most_characters
        self._characters = 0

    def add(self, entry: Entry, characters: int) -> list[Entry]:
        """Add an entry, and return the old entries that were removed for it."""
        self._entries.append((entry, characters))
        self._characters += characters
        dropped = []
        while (
            len(self._entries) > self._most_entries or self._characters > self._most_characters
        ) and len(self._entries) > 1:
            oldest, size = self._entries.popleft()
            self._characters -= size
            dropped.append(oldest)
        return dropped

    def __len__(self) -> int:
        return len(self._entries)

    def entries(self, newest: int | None = None) -> list[Entry]:
        """Return all entries, or the newest ones, oldest first."""
        skipped = 0 if newest is None else max(0, len(self._entries) - newest)
        return [entry for entry, _ in islice(self._entries, skipped, None)]

    def clear(self) -> None:
        self._entries.clear()
        self._characters = 0
