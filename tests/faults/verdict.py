"""Judges a world in which nothing moves any more, from outside."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from local.simulator.journal import SentEntry
from tests.faults.scenarios import Scenario

Json = dict[str, Any]

ENDED = {"accepted", "rejected", "failed", "unknown"}


@dataclass(frozen=True)
class Aftermath:
    """All that can be seen when the dust has settled."""

    answers: Sequence[int]
    """HTTP statuses that callers got."""
    items: Sequence[Json]
    """The ledger's, in the low-level notation."""
    waiting: int
    """Messages in the queue."""
    letters: Sequence[Json]
    """Dead letters, as SQS gives them."""
    sent: Sequence[SentEntry]
    log: str

    @property
    def sends(self) -> list[Json]:
        return [item for item in self.items if item["sk"]["S"].startswith("SEND#")]


def violations(scenario: Scenario, seen: Aftermath, *, struck: bool) -> list[str]:
    """Each way in which the promise is broken; `struck` if a process was killed."""
    holds = scenario.message["onUnknown"] == "hold"
    numbers = scenario.numbers
    given_up = ("503-50300", -1) in scenario.faults
    took = any(status // 100 == 2 for status in seen.answers)
    gone = scenario.enqueued and not seen.waiting
    found = []

    arrived = {number: sum(number in entry["raw"] for entry in seen.sent) for number in numbers}
    # Who answered nobody and kept the send must still go on with it, so that counts as a promise.
    promised = took or gone or bool(seen.sends)
    for number, count in arrived.items():
        if holds and count > 1:
            found.append(f"{number} got {count} SMS")
        if promised and not given_up and count < 1 and not (holds and struck):
            found.append(f"{number} got no SMS")

    if numbers:
        if (took or gone) and len(seen.sends) != len(numbers):
            found.append(f"promised, but {len(seen.sends)} sends are in the ledger")
    elif gone and not (seen.letters and any(item["sk"]["S"] == "REFUSED" for item in seen.items)):
        found.append("a refused message is neither recorded nor in the dead-letter queue")

    found += [
        f"{_name(item)} stays {item['status']['S']}"
        for item in seen.sends
        if item["status"]["S"] not in ENDED
    ]
    found += [
        f"the token {entry['tokenId']} is lost"
        for entry in seen.sent
        if not _is_known(entry, seen, holds=holds)
    ]
    return found


def letterless(seen: Aftermath) -> int:
    """How many sends failed without a dead letter: the ledger shows them, the queue does not."""
    return sum(
        item["status"]["S"] == "failed" and not _has_letter(item, seen.letters)
        for item in seen.sends
    )


def _name(item: Json) -> str:
    return f"{item['pk']['S']}/{item['sk']['S']}"


def _has_letter(item: Json, letters: Sequence[Json]) -> bool:
    message_id = item["pk"]["S"].removeprefix("MSG#")
    return any(
        letter.get("MessageAttributes", {}).get("messageId", {}).get("StringValue") == message_id
        for letter in letters
    )


def _is_known(entry: SentEntry, seen: Aftermath, *, holds: bool) -> bool:
    """Whether a receipt is stored or logged, or its send says that nobody can know.

    With `resend` the second attempt says it: the first one's receipt was not waited for.
    """
    if entry["tokenId"] in seen.log:
        return True
    for item in seen.sends:
        if item.get("tokenId", {}).get("S") == entry["tokenId"]:
            return True
        status, body = item["status"]["S"], item.get("body", {}).get("S", "null")
        if status == "unknown" and json.loads(body) == entry["body"]:
            return True
        if not holds and int(item["attempts"]["N"]) > 1:
            return True
    return False
