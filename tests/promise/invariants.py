"""Judges a world in which nothing moves any more, from outside."""

import json
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any

from tests.promise.scenarios import Scenario
from tools.mobileconnect_simulator.call_log import SentEntry

Json = dict[str, Any]

ENDED = {"accepted", "rejected", "failed", "unknown"}
DOCUMENTED = {202, 409, 422, 503, 504}
"""What the API may answer to a well-formed post, whatever is broken behind it."""


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


def violations(
    scenario: Scenario, seen: Aftermath, *, may_end: Collection[str], withheld: bool
) -> list[str]:
    """Each way in which the promise is broken.

    Args:
        scenario: What was played.
        seen: What came of it.
        may_end: In which states a send may have ended whose SMS did not arrive.
        withheld: Whether the upstream kept a tokenId to itself.
    """
    numbers = scenario.numbers
    took = any(status // 100 == 2 for status in seen.answers)
    gone = scenario.enqueued and not seen.waiting
    found = [f"an answer was {status}" for status in seen.answers if status not in DOCUMENTED]

    arrived = {number: sum(number in entry["raw"] for entry in seen.sent) for number in numbers}
    if scenario.holds:
        found += [f"{number} got {count} SMS" for number, count in arrived.items() if count > 1]
    missing = [number for number, count in arrived.items() if count < 1]
    # Who answered nobody and kept the send must still go on with it, so that counts as a promise.
    promised = took or gone or bool(seen.sends)
    if promised and len(missing) > sum(_status(item) in may_end for item in seen.sends):
        found += [f"{number} got no SMS" for number in missing]
    if sum(_status(item) == "accepted" for item in seen.sends) > len(numbers) - len(missing):
        found.append("more sends are called accepted than arrived")

    if numbers:
        if (took or gone) and len(seen.sends) != len(numbers):
            found.append(f"promised, but {len(seen.sends)} sends are in the ledger")
    elif gone and not (seen.letters and any(item["sk"]["S"] == "REFUSED" for item in seen.items)):
        found.append("a refused message is neither recorded nor in the dead-letter queue")

    found += [
        f"{_name(item)} stays {_status(item)}" for item in seen.sends if _status(item) not in ENDED
    ]
    found += [
        f"{_name(item)} {_status(item)} without a dead letter"
        for item in seen.sends
        if _status(item) in {"failed", "rejected"}
        and "body" in item
        and not _has_letter(item, seen.letters)
    ]
    found += [
        f"{_name(item)} keeps its body"
        for item in seen.sends
        if _status(item) == "accepted" and "body" in item
    ]
    # Only an API call that responds 422 at once removes the body of a rejected send.
    needs_body = {"failed", "rejected"} if scenario.enqueued else {"failed"}
    found += [
        f"{_name(item)} {_status(item)} without its body"
        for item in seen.sends
        if _status(item) in needs_body and "body" not in item
    ]
    if not withheld:
        found += [
            f"the token {entry['tokenId']} is lost"
            for entry in seen.sent
            if not _is_known(entry, seen, holds=scenario.holds)
        ]
    return found


def _status(item: Json) -> str:
    status: str = item["status"]["S"]
    return status


def _name(item: Json) -> str:
    return f"{item['pk']['S']}/{item['sk']['S']}"


def _has_letter(item: Json, letters: Sequence[Json]) -> bool:
    message_id = item["pk"]["S"].removeprefix("MSG#")
    return any(
        letter.get("MessageAttributes", {}).get("messageId", {}).get("StringValue") == message_id
        for letter in letters
    )


def _is_known(entry: SentEntry, seen: Aftermath, *, holds: bool) -> bool:
    """Whether a receipt is stored, or logged to be put back, or nobody can know, and that is said.

    With `resend` the second attempt says it: the first one's receipt was not waited for.
    """
    if any(entry["tokenId"] in line for line in seen.log.splitlines() if "put it back" in line):
        return True
    for item in seen.sends:
        if item.get("tokenId", {}).get("S") == entry["tokenId"]:
            return True
        status, body = _status(item), item.get("body", {}).get("S", "null")
        if status == "unknown" and json.loads(body) == entry["body"]:
            return True
        if not holds and int(item["attempts"]["N"]) > 1:
            return True
    return False
