"""The faults of processes and of their calls, and the effect of each fault on a send.

The matrix, the state machine and the soak share these lists. The effects come from the tables in
docs/delivery-guarantees.md, not from the code under test.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from enum import Enum
from fnmatch import fnmatchcase
from typing import Any, Final, Self

from tools.mobileconnect_simulator.faults import Then

Json = dict[str, Any]

DIE, MEANWHILE = "die", "meanwhile"
"""DIE sends SIGKILL, as Lambda does; MEANWHILE runs another process from start to end."""

CLOCK_JUMPS: Final[Mapping[str, float]] = {"clock-ahead": 600.0, "clock-back": -600.0}
"""Seconds by which a process's wall clock is set; its monotonic clock does not change."""


class Effect(Enum):
    """What a fault of the upstream means for the send that the call belongs to."""

    NOT_SENT = "not sent"
    DOUBT = "doubt"
    REFUSED = "refused"
    ACCEPTED = "accepted"


UPSTREAM_FAULTS: Final[Mapping[str, Effect]] = {
    # Faults of the simulator.
    Then.UNAUTHORIZED: Effect.NOT_SENT,
    Then.RATE_LIMITED: Effect.NOT_SENT,
    Then.BLOCKED: Effect.NOT_SENT,
    Then.UNAVAILABLE: Effect.NOT_SENT,
    Then.FORBIDDEN: Effect.NOT_SENT,
    Then.NOT_FOUND: Effect.NOT_SENT,
    Then.BAD_REQUEST: Effect.REFUSED,
    Then.NO_TOKEN: Effect.ACCEPTED,
    "202-long-token": Effect.ACCEPTED,
    Then.TRAILING_COMMA: Effect.ACCEPTED,
    Then.EMPTY: Effect.DOUBT,
    Then.SERVER_ERROR: Effect.DOUBT,
    Then.BAD_GATEWAY_HTML: Effect.DOUBT,
    Then.UNAVAILABLE_HTML: Effect.DOUBT,
    Then.BAD_GATEWAY_EMPTY: Effect.DOUBT,
    Then.GATEWAY_TIMEOUT_HTML: Effect.DOUBT,
    Then.RESET_BEFORE_READ: Effect.DOUBT,
    Then.HANG_BEFORE_READ: Effect.DOUBT,
    Then.RESET_AFTER_ACCEPT: Effect.DOUBT,
    Then.HANG_AFTER_ACCEPT: Effect.DOUBT,
    # Faults of the connection.
    "connection-refused": Effect.NOT_SENT,
    "connect-time-out": Effect.NOT_SENT,
    "pool-time-out": Effect.NOT_SENT,
    "write-time-out": Effect.DOUBT,
    "write-error": Effect.DOUBT,
    "garbled-after": Effect.DOUBT,
    "slow": Effect.ACCEPTED,
    "very-slow": Effect.DOUBT,
}
"""By name. The simulator plays its own faults, except the hangs, which need no real waiting."""
SIMULATED: Final = UPSTREAM_FAULTS.keys() & set(Then) - {
    Then.HANG_BEFORE_READ,
    Then.HANG_AFTER_ACCEPT,
}

AWS_FAULTS: Final = (
    "throttled",
    "server-error",
    "server-error-after",
    "time-out",
    "time-out-after",
    "reset-after",
    "no-connection",
    "denied",
    "garbled-after",
    "slow",
)
"""Faults that end in `-after`, and `slow`, happen after AWS carried out the call."""
READ_FAULTS: Final = tuple(
    fault
    for fault in UPSTREAM_FAULTS
    if fault not in {Then.NO_TOKEN, Then.TRAILING_COMMA, Then.EMPTY, "202-long-token"}
)
"""The faults of the upstream's other routes, which send nothing."""
RECEIVER_HOST: Final = "shop.example"
"""The host of the callbacks; it does not exist."""
CALLBACK_FAULTS: Final = (
    "refused",
    "connection-refused",
    "connect-time-out",
    "write-error",
    "garbled-after",
    "very-slow",
)
"""The faults of a client's receiver; with `refused` it responds 500."""
HTTP_FAULTS: Final[Mapping[str, tuple[str, ...]]] = {
    "upstream": tuple(UPSTREAM_FAULTS),
    "deliveries": READ_FAULTS,
    "token": READ_FAULTS,
    "callback": CALLBACK_FAULTS,
}
"""By destination; `upstream` is the call of a send."""
SPECIAL_FAULTS: Final[Mapping[str, tuple[str, ...]]] = {
    "dynamodb.TransactWriteItems": ("cancelled",),
    "sqs.SendMessageBatch": ("entries-refused",),
    "secrets-manager.GetSecretValue": ("no-value", "no-token"),
    "eventbridge.PutEvents": ("entries-refused",),
}
"""The faults that only these operations can have."""
_THROTTLED: Final = {
    "dynamodb": "ProvisionedThroughputExceededException",
    "sqs": "RequestThrottled",
    "lambda": "TooManyRequestsException",
}
_ERRORS: Final = {
    "server-error": (500, "InternalServerError"),
    "server-error-after": (500, "InternalServerError"),
    "denied": (400, "AccessDeniedException"),
    "no-value": (400, "ResourceNotFoundException"),
    "cancelled": (400, "TransactionCanceledException"),
}


def is_carried_out(fault: str) -> bool:
    """Whether AWS carries out the call before the fault happens."""
    return fault.endswith("-after") or fault == "slow"


def aws_error(service: str, fault: str) -> tuple[int, str] | None:
    """Return the status and code of the error response, or None if the fault isn't one."""
    if fault == "throttled":
        return 400, _THROTTLED.get(service, "ThrottlingException")
    return _ERRORS.get(fault)


@dataclass(frozen=True)
class Checkpoint:
    """A point that a process passes: its name, and how often the process passed it, from 1.

    The name consists of a call and `before` or `after`, such as `sqs.SendMessageBatch before`, or
    is a pattern of such names.
    """

    name: str
    occurrence: int = 1

    def __str__(self) -> str:
        return f"{self.name} #{self.occurrence}"

    def matches(self, name: str) -> bool:
        return fnmatchcase(name, self.name)


def service_of(name: str) -> str:
    """Return the service in a point's name: botocore's, a key of HTTP_FAULTS, or `answer`."""
    return name.partition(" ")[0].partition(".")[0]


def faults_at(name: str) -> tuple[str, ...]:
    """Return the faults of the call that begins at a point; no call begins at `answer`."""
    service = service_of(name)
    if not name.endswith(" before") or service == "answer":
        return ()
    if service in HTTP_FAULTS:
        return HTTP_FAULTS[service]
    return AWS_FAULTS + SPECIAL_FAULTS.get(name.removesuffix(" before"), ())


@dataclass(frozen=True)
class Injection:
    """A fault at a checkpoint; a lasting one affects each later call of the same service, too.

    It ends with the process: the next process finds the service healthy.
    """

    checkpoint: Checkpoint
    fault: str
    lasting: bool = False

    def __str__(self) -> str:
        return f"{self.fault}{' from' if self.lasting else ''} at {self.checkpoint}"

    def to_json(self) -> Json:
        return asdict(self)

    @classmethod
    def from_json(cls, value: Json) -> Self:
        return cls(Checkpoint(**value["checkpoint"]), value["fault"], value["lasting"])
