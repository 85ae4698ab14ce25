"""What can happen to a process and to its calls, and what a send can become by it.

The matrix, the state machine and the soak share these lists. None of them comes from the code
under test: the effects are those of the tables in docs/delivery-guarantees.md.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from enum import Enum
from fnmatch import fnmatchcase
from typing import Any, Final, Self

from tools.mobileconnect_simulator.faults import Then

Json = dict[str, Any]

DIE, MEANWHILE = "die", "meanwhile"
"""SIGKILL, which is how Lambda ends a function; another process runs from end to end."""

CLOCK_JUMPS: Final[Mapping[str, float]] = {"clock-ahead": 600.0, "clock-back": -600.0}
"""Seconds by which the wall clock of a process is set; its monotonic clock goes on."""


class Effect(Enum):
    """What a fault of the upstream says about the send of the call."""

    NOT_SENT = "not sent"
    DOUBT = "doubt"
    REFUSED = "refused"
    ACCEPTED = "accepted"


UPSTREAM_FAULTS: Final[Mapping[str, Effect]] = {
    # The simulator's own.
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
    # What happens on the way.
    "connection-refused": Effect.NOT_SENT,
    "connect-time-out": Effect.NOT_SENT,
    "pool-time-out": Effect.NOT_SENT,
    "write-time-out": Effect.DOUBT,
    "write-error": Effect.DOUBT,
    "garbled-after": Effect.DOUBT,
    "slow": Effect.ACCEPTED,
    "very-slow": Effect.DOUBT,
}
"""By name. Those of the simulator are ordered there; its hangs are played without waiting."""
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
"""Those named `after`, and `slow`, happen when the call has been carried out."""
READ_FAULTS: Final = tuple(
    fault
    for fault in UPSTREAM_FAULTS
    if fault not in {Then.NO_TOKEN, Then.TRAILING_COMMA, Then.EMPTY, "202-long-token"}
)
"""Those of the upstream's other routes, which send nothing."""
RECEIVER_HOST: Final = "shop.example"
"""The host that callbacks go to; there is none."""
CALLBACK_FAULTS: Final = (
    "refused",
    "connection-refused",
    "connect-time-out",
    "write-error",
    "garbled-after",
    "very-slow",
)
"""Those of a client's receiver; at `refused` it answers 500."""
HTTP_FAULTS: Final[Mapping[str, tuple[str, ...]]] = {
    "upstream": tuple(UPSTREAM_FAULTS),
    "deliveries": READ_FAULTS,
    "token": READ_FAULTS,
    "callback": CALLBACK_FAULTS,
}
"""By whom is called: a send's call is `upstream`."""
SPECIAL_FAULTS: Final[Mapping[str, tuple[str, ...]]] = {
    "dynamodb.TransactWriteItems": ("cancelled",),
    "sqs.SendMessageBatch": ("entries-refused",),
    "secrets-manager.GetSecretValue": ("no-value", "no-token"),
    "eventbridge.PutEvents": ("entries-refused",),
}
"""What only these operations know."""
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
    """Whether AWS does what it was asked for before the fault happens."""
    return fault.endswith("-after") or fault == "slow"


def aws_error(service: str, fault: str) -> tuple[int, str] | None:
    """The status and the code that a service answers; None: this fault is no error answer."""
    if fault == "throttled":
        return 400, _THROTTLED.get(service, "ThrottlingException")
    return _ERRORS.get(fault)


@dataclass(frozen=True)
class Checkpoint:
    """A point that a process passes: its name, and how often it has come by, from 1.

    The name is that of a call and `before` or `after`, as `sqs.SendMessageBatch before`; it may be
    a pattern of such names.
    """

    name: str
    occurrence: int = 1

    def __str__(self) -> str:
        return f"{self.name} #{self.occurrence}"

    def matches(self, name: str) -> bool:
        return fnmatchcase(name, self.name)


def service_of(name: str) -> str:
    """The service of a call, as botocore names it, or a name of HTTP_FAULTS; `answer` is none."""
    return name.partition(" ")[0].partition(".")[0]


def faults_at(name: str) -> tuple[str, ...]:
    """What can go wrong with the call that begins at a checkpoint."""
    service = service_of(name)
    if not name.endswith(" before") or service == "answer":
        return ()
    if service in HTTP_FAULTS:
        return HTTP_FAULTS[service]
    return AWS_FAULTS + SPECIAL_FAULTS.get(name.removesuffix(" before"), ())


@dataclass(frozen=True)
class Injection:
    """What happens at a checkpoint; if it lasts, in each later call of the same service, too.

    It lasts as long as the process: the next one finds the service as it should be.
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
