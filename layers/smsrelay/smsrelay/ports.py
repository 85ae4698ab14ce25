"""What the relay needs of the world. Adapters implement these; tests have fakes."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from enum import Enum
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from smsrelay.messages.refusals import Refusal
from smsrelay.sends.call_budget import Reservation
from smsrelay.sends.call_outcome import Outcome
from smsrelay.sends.delivery_report import DeliveryReport
from smsrelay.sends.operator_pause import OperatorPause
from smsrelay.sends.send import Send, SendKey
from smsrelay.tokens.renewal_timing import RenewalReason, StoredToken

if TYPE_CHECKING:  # only some functions import these
    from smsrelay.messages.message_catalogue import Catalogue
    from smsrelay.messages.request import ClientLimits
    from smsrelay.tokens.token_response import AccessToken, ClientCredentials, TokenError

Clock = Callable[[], float]
"""Seconds since the epoch."""
Random = Callable[[], float]
"""Numbers between 0 and 1."""
Deadline = Callable[[], float]
"""Seconds that are left of this invocation."""


class ClaimResult(NamedTuple):
    """Whether a send is ours to send now, and how it stands in the ledger."""

    won: bool
    send: Send


class CreateResult(NamedTuple):
    """Whether the sends of a message were stored, or another request stored them before."""

    created: bool
    sends: Sequence[Send]


class ReplaceResult(Enum):
    """Result of a conditional replacement. True only if the send is stored."""

    STORED = "stored"
    CHANGED = "changed"  # another attempt has begun, or the send has ended
    GONE = "gone"  # the ledger has no such item any more

    def __bool__(self) -> bool:
        return self is ReplaceResult.STORED


class Ledger(Protocol):
    """One item per send. All methods raise `LedgerUnavailableError` if the store is down."""

    def create(self, sends: Sequence[Send]) -> CreateResult:
        """Store the sends of a new message, all or none; the first one's item is the lock."""

    def claim(
        self, key: SendKey, *, written_by: str, now: float, lease_until: float
    ) -> ClaimResult | None:
        """Turn a queued send that is due into a sending one, if nobody else has; None: no such."""

    def replace_if_unchanged(self, before: Send, after: Send) -> ReplaceResult:
        """Write what became of a send, if it still is as it was before. Never creates an item."""

    def load(self, message_id: str, *, bodies: bool = True) -> Sequence[Send]:
        """The sends of a message, by number; none if there is no such message.

        Sends without their bodies are for readers only: a write would remove the stored ones.
        """

    def load_one(self, key: SendKey) -> Send | None:
        """One send, consistently; None: no such."""

    def stalled(self, before: float) -> Iterator[SendKey]:
        """Overdue queued sends and expired leases, oldest first, as they are read."""

    def count_unknown(self, limit: int) -> int:
        """How many sends are unknown; it stops counting at `limit` in each partition."""

    def due_polls(self, now: float, limit: int) -> "DuePolls":
        """At most `limit` sends to poll, the most important first, and those that are too late."""

    def find_by_token_id(self, token_id: str) -> SendKey | None:
        """The send that was accepted with this tokenId."""

    def find_by_reference(
        self, client: str, reference: str, after: "MessagePosition | None" = None
    ) -> "Iterator[MessagePosition]":
        """A client's messages with a reference, the newest first; `after` skips those before."""

    def record_refusal(
        self, message_id: str, client: str, refusals: Sequence[Refusal], now: float
    ) -> None:
        """Store that a message can never work, and why."""

    def load_refusal(self, message_id: str) -> "RefusedMessage | None":
        """What `record_refusal` stored."""


class MessagePosition(NamedTuple):
    """Where a message is among those with its reference."""

    created_at: str
    """Seconds since the epoch, as the ledger writes them."""
    message_id: str


class OperatorPauses(Protocol):
    """The pauses that operators have begun and ended."""

    def current(self) -> Sequence[OperatorPause]:
        """The pauses as they were at most 30 seconds ago.

        Raises `LedgerUnavailableError` if they were never read; later the last ones count.
        """


class DuePolls(NamedTuple):
    """Accepted sends that await a report, and whose next poll is due."""

    on_time: Sequence[Send]
    """First polls before later ones, then more recipients first, then oldest due first."""
    late: Sequence[Send]
    """Those that could not be polled within 72 hours."""


class RefusedMessage(NamedTuple):
    """A message from the queue that can never work."""

    client: str
    refusals: Sequence[Refusal]
    created_at: float


class Credentials(NamedTuple):
    """What a call of the upstream needs: an access token, and the tenant's base URL."""

    access_token: str
    base_url: str


class TokenSource(Protocol):
    """Where the access token comes from. Both methods raise `TokenUnavailableError` without one."""

    def current(self) -> Credentials:
        """The credentials, from the cache while they last."""

    def renewed(self, refused: Credentials) -> Credentials:
        """The credentials as they stand in the store now, since the upstream refused these."""


class TokenRenewal(Protocol):
    """Asks for a new token; `token` is the old one's fingerprint. Neither waits nor raises."""

    def ask(self, reason: RenewalReason, token: str) -> None: ...


class TokenStore(Protocol):
    """Stores the access token. Both methods raise `SecretUnavailableError`; the old one stays."""

    def load(self, *, previous: bool = False) -> StoredToken | None:
        """The stored token, or the one before it; None: no usable one."""

    def write(self, token: "AccessToken") -> None:
        """Put a new token in the place of the old one, which can be read until then."""


class CredentialsSource(Protocol):
    """The client credentials. Raises `CredentialsUnusableError` or `SecretUnavailableError`."""

    def load(self) -> "ClientCredentials": ...


class TokenIssuer(Protocol):
    """The upstream's token endpoint, asked once for a new token. Raises nothing."""

    def fetch(self, credentials: "ClientCredentials") -> "AccessToken | TokenError": ...


class RenewalReport(Protocol):
    """Keeps what the last renewal of the access token saw. Raises `LedgerUnavailableError`."""

    def record(self, result: str, facts: Mapping[str, object]) -> None:
        """Store the facts of a `renewed` or `failed` renewal; none of them is secret."""


class Upstream(Protocol):
    """MobileConnect. Raises nothing, and repeats no call that the upstream may have taken."""

    def send(self, upstream_message_id: str, body: str, timeout: float) -> Outcome:
        """Make one call within `timeout` seconds."""


class DeliveryReports(Protocol):
    """MobileConnect's report of one send; an outcome: why there is none. Raises nothing."""

    def report(
        self, upstream_message_id: str, token_id: str, timeout: float
    ) -> DeliveryReport | Outcome: ...


class RecipientResult(NamedTuple):
    """How it ended for one recipient."""

    hash: str
    """Stands for the number; only who has the key can tell which."""
    code: int
    """The upstream's standard status code."""


class RecipientResults(Protocol):
    """How it ended for each recipient. Both methods raise `LedgerUnavailableError`."""

    def record(self, send: Send, codes: Mapping[str, int]) -> None:
        """Keep the state of each number of a send that has ended, by a keyed hash of it."""

    def load(self, message_id: str) -> Mapping[int, Sequence[RecipientResult]]:
        """What was kept of a message's recipients, by the numbers of its sends."""


class ApiCalls(Protocol):
    """The API calls that a day may make. All methods raise `LedgerUnavailableError`."""

    def left(self, now: float) -> int:
        """How many calls may still be made today."""

    def reserve(self, calls: int, now: float) -> Reservation:
        """Reserve at most so many calls. Calls that are not given back count as made."""

    def give_back(self, reservation: Reservation, unused: int) -> None:
        """Return the calls of a reservation that were not made."""


class RetryQueue(Protocol):
    """Delivers sends after their seconds. Raises `QueueUnavailableError` if it did not take all."""

    def put(self, sends: Mapping[SendKey, float]) -> None: ...


class DeadLetterQueue(Protocol):
    """Keeps a body, with the reason as attributes. Raises `QueueUnavailableError`."""

    def put(self, body: str, attributes: Mapping[str, str], trace: str | None) -> None:
        """`trace` is AWS's trace header of the message that ended here."""


class Metrics(Protocol):
    """Counts and durations of one invocation."""

    def count(self, name: str, value: int = 1) -> None: ...

    def time(self, name: str, seconds: float) -> None: ...


class ClientNames(Protocol):
    """Which client an API key or IAM principal belongs to. Raises `LedgerUnavailableError`."""

    def name_of(self, credential: str) -> str | None: ...


class RecipientCounter(Protocol):
    """How many recipients a client has posted. Raises `LedgerUnavailableError`."""

    def count(self, client: str, begins: int, recipients: int, at_most: int) -> bool:
        """Count more recipients in the minute that begins then (seconds since the epoch).

        False: with them the minute would have more than `at_most`; they are not counted.
        """


class StoredLimits(Protocol):
    """The limits that operators store. Raises `LedgerUnavailableError`."""

    def limits_of(self, client: str) -> "ClientLimits | None":
        """What one request of the client may have; None: nothing is stored."""


class CatalogueSource(Protocol):
    """The message catalogue. Raises `LedgerUnavailableError` if there never was a valid one."""

    def current(self) -> "Catalogue": ...


class SigningSecrets(Protocol):
    """The secrets that a client's webhooks are signed with, at most two at a time."""

    def current(self, client: str) -> Sequence[str]:
        """The secrets, none if the client has none. Raises `SecretUnavailableError`."""

    def refresh(self, client: str) -> Sequence[str]:
        """The secrets as they are stored, if it is time to look again. Raises nothing."""


class EventBus(Protocol):
    """Publishes events, in this order. Raises `PublishError` if some were not taken."""

    def put(self, events: Sequence[Mapping[str, Any]]) -> None: ...


class Callbacks(Protocol):
    """The queue of callbacks to clients. Raises `QueueUnavailableError` if it did not take all."""

    def put(self, bodies: Sequence[str]) -> None: ...


class CallbackClient(Protocol):
    """Posts once to a client: the answer's status, or None without an answer. Raises nothing."""

    def post(self, url: str, body: str, headers: Mapping[str, str]) -> int | None: ...
