"""The ports: interfaces of the outside world, which adapters and the tests' fakes implement."""

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
"""Returns the seconds left of this invocation."""


class ClaimResult(NamedTuple):
    """Whether this process has claimed the send, and the send in the ledger."""

    won: bool
    send: Send


class CreateResult(NamedTuple):
    """Whether this request stored the sends, or an earlier one did."""

    created: bool
    sends: Sequence[Send]


class ReplaceResult(Enum):
    """Result of a conditional replacement. True only if the send is stored."""

    STORED = "stored"
    CHANGED = "changed"  # another attempt has begun, or the send has ended
    GONE = "gone"  # the ledger no longer has the item

    def __bool__(self) -> bool:
        return self is ReplaceResult.STORED


class Ledger(Protocol):
    """Stores one item per send. All methods raise `LedgerUnavailableError`."""

    def create(self, sends: Sequence[Send]) -> CreateResult:
        """Store the sends of a new message, all or none; the first item is the message's lock."""

    def claim(
        self, key: SendKey, *, written_by: str, now: float, lease_until: float
    ) -> ClaimResult | None:
        """Claim a queued send that is due, unless another process has; None: it does not exist."""

    def replace_if_unchanged(self, before: Send, after: Send) -> ReplaceResult:
        """Write a send if it is still as `before`. Never creates an item.

        With the same `written_by`, it also replaces an `unknown` that another process stored for
        this attempt: the claiming process knows the result, the other one only that it is late.
        """

    def load(self, message_id: str, *, bodies: bool = True) -> Sequence[Send]:
        """Return the sends of a message, by number; none if the message does not exist.

        Sends loaded without bodies must not be written: that would remove the stored bodies.
        """

    def load_one(self, key: SendKey) -> Send | None:
        """Read one send, consistently; None: it does not exist."""

    def stalled(self, before: float) -> Iterator[SendKey]:
        """Yield queued sends that are due, and sends with expired leases, the first due first."""

    def count_unknown(self, limit: int) -> int:
        """Count unknown sends, at most `limit` in each partition."""

    def due_polls(self, now: float, limit: int) -> "DuePolls":
        """Return at most `limit` sends to poll, the most important first, and the late ones."""

    def find_by_token_id(self, token_id: str) -> SendKey | None: ...

    def find_by_reference(
        self, client: str, reference: str, after: "MessagePosition | None" = None
    ) -> "Iterator[MessagePosition]":
        """Yield a client's messages with a reference, the newest first, from `after` on."""

    def record_refusal(
        self, message_id: str, client: str, refusals: Sequence[Refusal], now: float
    ) -> None:
        """Store why a queue message was refused."""

    def load_refusal(self, message_id: str) -> "RefusedMessage | None": ...


class MessagePosition(NamedTuple):
    """The position of a message among those with its reference."""

    created_at: str
    """Seconds since the epoch, in the ledger's notation."""
    message_id: str


class OperatorPauses(Protocol):
    def current(self) -> Sequence[OperatorPause]:
        """Return the pauses, ended ones too, read at most 30 seconds ago.

        If they can't be read, return the last known ones; raise `LedgerUnavailableError` if they
        were never read.
        """


class DuePolls(NamedTuple):
    """Accepted sends that await a report, and whose next poll is due."""

    on_time: Sequence[Send]
    """First polls before later ones, then more recipients first, then oldest due first."""
    late: Sequence[Send]
    """Sends that could not be polled within 72 hours."""


class RefusedMessage(NamedTuple):
    """A queue message that was refused."""

    client: str
    refusals: Sequence[Refusal]
    created_at: float


class Credentials(NamedTuple):
    """The access token and the tenant's base URL, for calls of the upstream."""

    access_token: str
    base_url: str


class TokenSource(Protocol):
    """Provides the access token. Both methods raise `TokenUnavailableError`."""

    def current(self) -> Credentials:
        """Return the credentials, cached until shortly before the token expires."""

    def renewed(self, refused: Credentials) -> Credentials:
        """Read the credentials again after the upstream refused these."""


class TokenRenewal(Protocol):
    """Requests a new token; `token` is the old one's fingerprint. Doesn't wait for it or raise."""

    def ask(self, reason: RenewalReason, token: str) -> None: ...


class TokenStore(Protocol):
    """Stores the access token. Both methods raise `SecretUnavailableError`."""

    def load(self, *, previous: bool = False) -> StoredToken | None:
        """Return the stored token, or the previous one; None: it can't be used."""

    def write(self, token: "AccessToken") -> None:
        """Replace the stored token; if this fails, the old one remains."""


class CredentialsSource(Protocol):
    """Reads the client credentials. Raises `CredentialsUnusableError`, `SecretUnavailableError`."""

    def load(self) -> "ClientCredentials": ...


class TokenIssuer(Protocol):
    """Requests a new token from the upstream, once. Raises nothing."""

    def fetch(self, credentials: "ClientCredentials") -> "AccessToken | TokenError": ...


class RenewalReport(Protocol):
    """Stores the facts of the last token renewals. Raises `LedgerUnavailableError`."""

    def record(self, result: str, facts: Mapping[str, object]) -> None:
        """Store the facts of a `renewed` or `failed` renewal; they contain no secret."""


class Upstream(Protocol):
    """MobileConnect. Raises nothing, and never repeats a call that may have been processed."""

    def send(self, upstream_message_id: str, body: str, timeout: float) -> Outcome:
        """Make one call within `timeout` seconds."""


class DeliveryReports(Protocol):
    """Reads a send's report; an `Outcome` is the reason why there is none. Raises nothing."""

    def report(
        self, upstream_message_id: str, token_id: str, timeout: float
    ) -> DeliveryReport | Outcome: ...


class RecipientResult(NamedTuple):
    """The delivery result of one recipient."""

    hash: str
    """The keyed hash of the phone number."""
    code: int
    """The upstream's standard status code."""


class RecipientResults(Protocol):
    """Stores the delivery result of each recipient. Both methods raise `LedgerUnavailableError`."""

    def record(self, send: Send, codes: Mapping[str, int]) -> None:
        """Store the code of each number of a send that has ended, by the number's keyed hash."""

    def load(self, message_id: str) -> Mapping[int, Sequence[RecipientResult]]:
        """Return the results of a message's recipients, by the number of the send."""


class ApiCalls(Protocol):
    """The daily budget of API calls. All methods raise `LedgerUnavailableError`."""

    def left(self, now: float) -> int:
        """Return the calls that may still be made today."""

    def reserve(self, calls: int, now: float) -> Reservation:
        """Reserve at most `calls` calls. Calls that are not given back count as made."""

    def give_back(self, reservation: Reservation, unused: int) -> None:
        """Return the calls of a reservation that were not made."""


class RetryQueue(Protocol):
    """Delivers each send after its delay in seconds. Raises `QueueUnavailableError`."""

    def put(self, sends: Mapping[SendKey, float]) -> None: ...


class DeadLetterQueue(Protocol):
    """Stores a body, with the reason as attributes. Raises `QueueUnavailableError`."""

    def put(self, body: str, attributes: Mapping[str, str], trace: str | None) -> None:
        """`trace` is AWS's trace header of the message."""


class Metrics(Protocol):
    def count(self, name: str, value: int = 1) -> None: ...

    def time(self, name: str, seconds: float) -> None: ...


class ClientNames(Protocol):
    """Finds the client of an API key or IAM principal. Raises `LedgerUnavailableError`."""

    def client_of(self, credential: str) -> str | None: ...


class RecipientCounter(Protocol):
    """Counts the recipients that clients post. Raises `LedgerUnavailableError`."""

    def count(self, client: str, begins: int, recipients: int, at_most: int) -> bool:
        """Count recipients in the minute that begins at `begins` (seconds since the epoch).

        Returns False, without counting them, if the minute would have more than `at_most`.
        """


class StoredLimits(Protocol):
    """Reads the limits that operators store. Raises `LedgerUnavailableError`."""

    def limits_of(self, client: str) -> "ClientLimits | None": ...


class CatalogueSource(Protocol):
    """Reads the message catalogue. Raises `LedgerUnavailableError` if it never read a valid one."""

    def current(self) -> "Catalogue": ...


class SigningSecrets(Protocol):
    """Reads the secrets that sign a client's webhooks or callbacks, at most two at a time."""

    def current(self, client: str) -> Sequence[str]:
        """Return the secrets; empty if the client has none. Raises `SecretUnavailableError`."""

    def refresh(self, client: str) -> Sequence[str]:
        """Read the secrets again if they were not just read. Raises nothing."""


class EventBus(Protocol):
    """Publishes events, in this order. Raises `PublishError` if the bus did not accept all."""

    def put(self, events: Sequence[Mapping[str, Any]]) -> None: ...


class Callbacks(Protocol):
    """The queue of callbacks. Raises `QueueUnavailableError` if it did not accept all."""

    def put(self, bodies: Sequence[str]) -> None: ...


class CallbackClient(Protocol):
    """Posts once to a client; returns the status, or the error's name. Raises nothing."""

    def post(self, url: str, body: str, headers: Mapping[str, str]) -> int | str: ...
