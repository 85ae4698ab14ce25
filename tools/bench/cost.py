"""`python -m tools.bench.cost`: what messages cost, from what was measured and the list prices.

It writes the tables of the section "Costs" in docs/capacity.md. Prices are those of us-east-1 as
published in November 2026, without free tiers and taxes.
"""

import json
import re
import sys
from collections.abc import Mapping, Sequence
from typing import Any, Final, NamedTuple

from tools.local_stack import ROOT

RESULTS: Final = ROOT / "tools/bench/results/latest.json"
PAGE: Final = ROOT / "docs/capacity.md"

A_DAY: Final = (1_000, 100_000, 10_000_000)
DAYS: Final = 30
MILLION: Final = 1_000_000

# USD, each for a million unless its name says otherwise.
GATEWAY: Final = 3.50
INVOCATIONS: Final = 0.20
WRITES: Final = 0.625
READS: Final = 0.125
QUEUE_REQUESTS: Final = 0.40
SECRET_CALLS: Final = 5.00
TRACES: Final = 5.00
LOG_GB: Final = 0.50
STORED_GB: Final = 0.25 + 0.20
"""A month, with point-in-time recovery."""
METRIC: Final = 0.30
ALARM: Final = 0.10
SECRET: Final = 0.40
DASHBOARD: Final = 3.00
"""A month each, as the three before it."""

USD_PER_GB_SECOND: Final = 0.0000133334
"""Lambda on arm64, first tier."""

AWS_WAIT: Final = 0.010
"""Seconds that two writes of DynamoDB take, which answered at once where this was measured."""
ITEM_KB: Final = 0.6
KEPT_DAYS: Final = 90
SAMPLED: Final = 0.05
LOOKS: Final = 3
"""How often a delivery is asked for until it is known, in the usual case."""
LOOK_SECONDS: Final = 0.2 / 5
"""Of the status function; it asks five at a time."""
MOST_FOLLOWED: Final = 300 * 60 * 24
"""Looks a day that `DeliveryCallsPerMinute` allows by default."""
BATCH: Final = 10
MEMORY_MB: Final = 512
"""What template.yaml gives the functions."""
EVENTS: Final = 1.00
DESTINATIONS: Final = 0.20
TRANSITIONS: Final = 25.00
"""EventBridge: a custom event, a call of an API destination. Step Functions: a transition."""
STEPS: Final = 3
"""Of a standard workflow: the start counts, the HTTP task, and a task that keeps the tokenId."""
HOSTED: Final = (
    (10_000, "free"),
    (50_000, "39 (Hookdeck Team) to 490 (Svix)"),
    (100_000_000, "from 490, and by volume"),
    (10**12, "on request"),
)
"""Messages a month at most, and what hosted webhook services ask for, as told in 2026."""
METRICS: Final = 34
ALARMS: Final = 31
SECRETS: Final = 2
SCHEDULED: Final = DAYS * 24 * 60 * 3
"""Invocations of sweeper, status and token function in a month."""
IDLE_SECONDS: Final = 0.5
"""Of one of them: a sweep asks 80 partitions of an index."""
IDLE_READS: Final = DAYS * 24 * 60 * 96 * 0.5
TOKEN_CHECKS: Final = DAYS * 24 * 60
"""Calls of Secrets Manager: the token function reads the token every minute."""


class Measured(NamedTuple):
    """What tools/bench/results/latest.json says of one way in, at one memory size."""

    memory_mb: int
    seconds: float
    """That a message takes of a function, the upstream's answer included."""
    log_bytes: float


class Share(NamedTuple):
    """One line of a bill."""

    name: str
    usd: float
    """For a million messages."""


def over_http(measured: Measured, *, follows: bool = True) -> list[Share]:
    """A million messages posted to the API, one recipient each."""
    return [
        Share("API Gateway", GATEWAY),
        *_function(measured, invocations=1.0),
        *_ledger(follows=follows),
        *_following(measured.memory_mb, follows=follows),
        *_seen(measured),
    ]


def over_the_queue(measured: Measured, *, follows: bool = True) -> list[Share]:
    """A million messages put into the queue one by one, and read in batches of ten."""
    return [
        Share("SQS", QUEUE_REQUESTS * (1 + 2 / BATCH)),
        *_function(measured, invocations=1 / BATCH),
        *_ledger(follows=follows),
        *_following(measured.memory_mb, follows=follows),
        *_seen(measured),
    ]


def fixed() -> list[Share]:
    """What a month costs before the first message."""
    compute = SCHEDULED * IDLE_SECONDS * 0.5 * USD_PER_GB_SECOND
    idle_calls = (IDLE_READS * READS + TOKEN_CHECKS * SECRET_CALLS) / MILLION
    return [
        Share(f"{METRICS} metrics, if all are emitted", METRICS * METRIC),
        Share("dashboard", DASHBOARD),
        Share(f"{ALARMS} metrics in alarms", ALARMS * ALARM),
        Share(f"{SECRETS} secrets", SECRETS * SECRET),
        Share("sweeper, status and token function", compute + idle_calls),
    ]


def _function(measured: Measured, invocations: float) -> list[Share]:
    seconds = measured.seconds + AWS_WAIT * invocations
    return [
        Share("Lambda, time", _compute(seconds, measured.memory_mb)),
        Share("Lambda, requests", INVOCATIONS * invocations),
    ]


def _compute(seconds: float, memory_mb: int) -> float:
    return seconds * memory_mb / 1024 * USD_PER_GB_SECOND * MILLION


def _ledger(*, follows: bool) -> list[Share]:
    """Two writes of the item, and what they change in two sparse indexes.

    Claimed: a new entry of `unfinished`. Ended: one of `tokens`, and the entry of `unfinished`
    goes; if the delivery is followed it comes again under another key.
    """
    writes = 2 + 2 + (2 if follows else 1)
    gigabytes = ITEM_KB * 1_000 * MILLION / 1e9
    return [
        Share("DynamoDB, writes", WRITES * writes),
        Share("DynamoDB, storage", gigabytes * STORED_GB * KEPT_DAYS / DAYS),
    ]


def _following(memory_mb: int, *, follows: bool) -> list[Share]:
    if not follows:
        return []
    writes = 3 * (LOOKS - 1) + 2  # a look that finds nothing final moves an entry of the index
    return [
        Share("deliveries, writes and reads", WRITES * writes + READS * 1.5 * LOOKS),
        Share("deliveries, Lambda's time", _compute(LOOK_SECONDS * LOOKS, memory_mb)),
    ]


def _seen(measured: Measured) -> list[Share]:
    return [
        Share("CloudWatch Logs", measured.log_bytes * MILLION / 1e9 * LOG_GB),
        Share("X-Ray", TRACES * SAMPLED),
    ]


def total(shares: Sequence[Share]) -> float:
    """What they cost together."""
    return sum(share.usd for share in shares)


def measured(results: Mapping[str, Any], memory_mb: int) -> tuple[Measured, Measured]:
    """By HTTP, and of a batch of the queue, at a memory size of the curve."""
    size = results["memory"]["curve"]["sizes"][str(memory_mb)]
    log_bytes = results["warm"]["r1"]["programs"]["smsrelay"]["log_bytes"]
    return (
        Measured(memory_mb, size["warm_wall_ms"] / 1e3, log_bytes),
        Measured(memory_mb, size["batch10_wall_ms"] / 1e3 / BATCH, log_bytes),
    )


def tables(results: Mapping[str, Any]) -> dict[str, str]:
    """The tables of the page, by their names."""
    http, queue = measured(results, MEMORY_MB)
    return {
        "a million": _bill(http, queue),
        "a month": _months(http, queue),
        "before the first message": _table(
            ["USD a month", ""], [[share.name, f"{share.usd:.2f}"] for share in fixed()]
        ),
        "memory": _sizes(results),
    }


def _bill(http: Measured, queue: Measured) -> str:
    ways = {"over HTTP": over_http(http), "through the queue": over_the_queue(queue)}
    names = dict.fromkeys(share.name for shares in ways.values() for share in shares)
    rows = []
    for name in names:
        cells = []
        for shares in ways.values():
            usd = sum(share.usd for share in shares if share.name == name)
            cells.append(f"{usd:.2f} ({usd / total(shares):.0%})" if usd else "–")  # noqa: RUF001 - a dash
        rows.append([name, *cells])
    rows.append(["**together**", *(f"**{total(shares):.2f}**" for shares in ways.values())])
    return _table(["USD for a million messages", *ways], rows)


def _months(http: Measured, queue: Measured) -> str:
    rows = []
    for a_day in A_DAY:
        month = a_day * DAYS / MILLION
        # More than the status function asks for in a day nobody follows: docs/capacity.md.
        follows = a_day * LOOKS <= MOST_FOLLOWED
        cells = []
        for shares in (over_http(http, follows=follows), over_the_queue(queue, follows=follows)):
            usd = total(shares) * month
            cells.append(f"{usd + total(fixed()):,.2f}")
        api, steps, hosted = others(a_day)
        rows.append([f"{a_day:,}", *cells, f"{api:,.2f}", f"{steps:,.2f}", hosted])
    head = ["messages a day", "smsrelay over HTTP", "through the queue"]
    return _table(
        [*head, "EventBridge API destination", "Step Functions HTTP task", "hosted webhooks"], rows
    )


def others(a_day: int) -> tuple[float, float, str]:
    """USD a month of three that could make the same calls; none of them does the same work."""
    month = a_day * DAYS / MILLION
    rows = next(price for most, price in HOSTED if a_day * DAYS <= most)
    return (
        # The event, and its delivery.
        month * (EVENTS + DESTINATIONS),
        # Start, the call, and a write of the result.
        month * TRANSITIONS * STEPS,
        rows,
    )


def _sizes(results: Mapping[str, Any]) -> str:
    rows = []
    sizes = results["memory"]["curve"]["sizes"]
    for size, row in sorted(sizes.items(), key=lambda it: int(it[0])):
        http, queue = measured(results, int(size))
        rows.append(
            [
                f"**{size}**" if int(size) == MEMORY_MB else size,
                f"{row['cold_wall_ms']:.0f}",
                f"{row['warm_wall_ms']:.0f}",
                f"{row['batch10_wall_ms']:.0f}",
                f"{_function(http, 1.0)[0].usd:.2f}",
                f"{_function(queue, 1 / BATCH)[0].usd:.2f}",
            ]
        )
    head = ["MB", "cold start, ms", "one request, ms", "a batch of ten, ms"]
    return _table([*head, "USD for a million over HTTP", "through the queue"], rows)


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [head, ["---", *["---:"] * (len(head) - 1)], *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def page(text: str, results: Mapping[str, Any]) -> str:
    """The page with its tables written anew, each between two comments with its name."""
    for name, table in tables(results).items():
        begin, end = f"<!-- {name} -->", f"<!-- end of {name} -->"
        pattern = re.compile(re.escape(begin) + ".*?" + re.escape(end), re.DOTALL)
        places = pattern.findall(text)
        if len(places) != 1:
            raise ValueError(f"{name} stands {len(places)} times on the page")
        text = text.replace(places[0], f"{begin}\n{table}\n{end}")
    return text


def main() -> int:
    """Write the page anew."""
    results = json.loads(RESULTS.read_text())
    PAGE.write_text(page(PAGE.read_text(), results))
    print(f"written: {PAGE.relative_to(ROOT)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
