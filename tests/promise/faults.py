"""What can happen to a process at one of its steps, and what may come of it."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from enum import Enum
from typing import Any, Final

from tools.mobileconnect_simulator.faults import Then

Json = dict[str, Any]

DIE, MEANWHILE = "die", "meanwhile"
"""SIGKILL, which is how Lambda ends a function; another process runs in the very middle of this."""


@dataclass(frozen=True)
class Step:
    """A point that a process passes: which one, and the how manyeth of this name, from 1."""

    name: str
    occurrence: int = 1

    def __str__(self) -> str:
        return f"{self.name} #{self.occurrence}"

    @property
    def service(self) -> str:
        """As botocore calls it (`dynamodb`, `sqs`, …), or `upstream`; `answer` is none."""
        return self.name.partition(" ")[0].partition(".")[0]

    @property
    def is_before(self) -> bool:
        return self.name.endswith(" before")


@dataclass(frozen=True)
class Strike:
    """What happens at a step, and from then on in each call of the same service if it is lasting.

    Lasting is as long as the process: who comes after it finds the service as it should be.
    """

    step: Step
    do: str
    lasting: bool = False

    def __str__(self) -> str:
        return f"{self.do}{' from' if self.lasting else ''} at {self.step}"

    def as_json(self) -> Json:
        return asdict(self)

    @classmethod
    def of_json(cls, given: Json) -> "Strike":
        return cls(Step(**given["step"]), given["do"], given["lasting"])


class Leaves(Enum):
    """What a fault may leave at most: how a send may end whose SMS did not arrive."""

    NOTHING = "nothing"  # it is certain that nothing was sent: the SMS arrives after all
    DOUBT = "doubt"
    REFUSAL = "refusal"


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
"""Those named `after` happen when the call has been carried out."""
SPECIAL_FAULTS: Final[Mapping[str, tuple[str, ...]]] = {
    "dynamodb.TransactWriteItems": ("cancelled",),
    "sqs.SendMessageBatch": ("entries-refused",),
    "secrets-manager.GetSecretValue": ("no-value", "no-token"),
}
"""What only these operations know."""

UPSTREAM_FAULTS: Final[Mapping[str, Leaves]] = {
    # The simulator's own.
    Then.UNAUTHORIZED: Leaves.NOTHING,
    Then.RATE_LIMITED: Leaves.NOTHING,
    Then.BLOCKED: Leaves.NOTHING,
    Then.UNAVAILABLE: Leaves.NOTHING,
    Then.NO_TOKEN: Leaves.NOTHING,
    Then.TRAILING_COMMA: Leaves.NOTHING,
    Then.FORBIDDEN: Leaves.NOTHING,
    Then.NOT_FOUND: Leaves.NOTHING,
    Then.BAD_REQUEST: Leaves.REFUSAL,
    Then.EMPTY: Leaves.DOUBT,
    Then.SERVER_ERROR: Leaves.DOUBT,
    Then.BAD_GATEWAY_HTML: Leaves.DOUBT,
    Then.UNAVAILABLE_HTML: Leaves.DOUBT,
    Then.BAD_GATEWAY_EMPTY: Leaves.DOUBT,
    Then.GATEWAY_TIMEOUT_HTML: Leaves.DOUBT,
    Then.RESET_BEFORE_READ: Leaves.DOUBT,
    Then.HANG_BEFORE_READ: Leaves.DOUBT,
    Then.RESET_AFTER_ACCEPT: Leaves.DOUBT,
    Then.HANG_AFTER_ACCEPT: Leaves.DOUBT,
    # What happens on the way.
    "connection-refused": Leaves.NOTHING,
    "connect-time-out": Leaves.NOTHING,
    "pool-time-out": Leaves.NOTHING,
    "write-time-out": Leaves.DOUBT,
    "write-error": Leaves.DOUBT,
    "garbled-after": Leaves.DOUBT,
    "slow": Leaves.NOTHING,
    "very-slow": Leaves.DOUBT,
}
SIMULATED: Final = frozenset(Then) & UPSTREAM_FAULTS.keys()
WITHHELD: Final = {Then.NO_TOKEN, Then.EMPTY}
"""Accepted, and nobody hears the tokenId."""
HANGS: Final = {Then.HANG_BEFORE_READ, Then.HANG_AFTER_ACCEPT}


def faults_of(step: Step) -> tuple[str, ...]:
    """What can go wrong with the call that begins at a step."""
    if not step.is_before or step.service == "answer":
        return ()
    if step.service == "upstream":
        return tuple(UPSTREAM_FAULTS)
    return AWS_FAULTS + SPECIAL_FAULTS.get(step.name.removesuffix(" before"), ())


def leaves(strike: Strike) -> Leaves:
    """What a strike may leave at most."""
    if strike.step.service == "upstream" and strike.do in UPSTREAM_FAULTS:
        return UPSTREAM_FAULTS[strike.do]
    if strike.do == MEANWHILE:
        return Leaves.NOTHING
    if strike.do == DIE or strike.lasting:
        return Leaves.DOUBT
    return Leaves.NOTHING  # a service that fails once is asked again


def hides_a_claim(strikes: Sequence[Strike]) -> bool:
    """Whether nobody may hear of a claim that was made: its answer, and the look after it, failed.

    Its lease runs out then, and for whoever finds it a process died in the middle of the call.
    """
    match strikes:
        case [first, second]:
            is_hidden = first.step.name in _WRITES and first.do.endswith("-after")
            return is_hidden and second.step.name == "dynamodb.Query before"
    return False


_WRITES = {f"dynamodb.{name} before" for name in ("PutItem", "UpdateItem", "TransactWriteItems")}
