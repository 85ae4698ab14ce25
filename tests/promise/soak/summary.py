"""Builds the tables and the last line that a soak prints at its end."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence

from tests.promise.history import History
from tests.promise.observation import Observation
from tests.promise.soak.evidence import Evidence
from tests.promise.soak.requests import Request
from tests.promise.soak.run import Played
from tools.local_stack.samples import Way

MOST_SHOWN = 40
LOST = ("is in no ledger", "got no SMS", "without a dead letter")
"""Parts of the violations that are losses."""


def lines(
    requests: Sequence[Request],
    played: Played,
    evidence: Evidence,
    history: History,
    seen: Observation,
) -> Iterator[str]:
    """Yield all tables."""
    yield from _table(
        "requests posted",
        {
            "over HTTP": sum(request.way is Way.API for request in requests),
            "through SQS": sum(request.way is Way.QUEUE for request in requests),
            "of these, with onUnknown resend": sum(
                not request.message.holds for request in requests
            ),
            "of these, answered at once (respond-async)": sum(
                request.deferred for request in requests
            ),
            "of these, posted the other way too": sum(request.repeated for request in requests),
            "taken: answered 2xx, or in the queue": len(played.poster.taken),
            "repetitions with the same key": played.poster.repetitions,
            "without a final answer when the soak ended": played.unanswered,
        },
    )
    yield from _table("answers over HTTP", played.poster.answers)
    yield from _table("final answers over HTTP", Counter(played.poster.ends.values()))
    faults = evidence.upstream_faults()
    calls = len(evidence.calls)
    yield from _table(
        f"faults of the upstream, in {calls} calls (planned)",
        {f"{kind} ({played.ordered[kind]})": faults[kind] for kind in sorted(played.ordered)}
        | _total(faults, calls),
    )
    aws_calls = sum(played.aws.calls.values())
    yield from _table(
        f"faults of AWS, in {aws_calls} calls of the functions "
        f"({', '.join(f'{name} {count}' for name, count in played.aws.calls.most_common())})",
        dict(sorted(played.aws.faults.items())) | _total(played.aws.faults, aws_calls),
    )
    yield from _table(
        "kills",
        {
            "workers": played.workers.kills,
            "processes of the API's function": played.apis.kills,
            "seconds in which every worker was still starting": played.missed_kills,
        }
        | {f"batches that failed: {why}": n for why, n in evidence.broken_batches().most_common()},
    )
    yield from _table(
        "sends in the ledger",
        dict(sorted(Counter(send.status for send in seen.sends).items())),
    )
    arrived = Counter(it.content for it in seen.arrivals)
    owns = {
        send.name: history.messages[send.reference].contents[send.number - 1] for send in seen.sends
    }
    unknown = Counter(owns[it.name] in arrived for it in seen.sends if it.status == "unknown")
    yield from _table(
        "sends that went out",
        {
            "arrived": arrived.total(),
            "tokenIds in responses of the upstream": sum(
                it.is_token_known for it in history.attempts
            ),
            "more than once, as their callers chose (resend)": sum(
                count > 1 for count in arrived.values()
            ),
            "unknown, and arrived": unknown[True],
            "unknown, and not arrived": unknown[False],
        },
    )
    yield from _table(
        "until all sends ended",
        {
            "sweeps": played.sweeps,
            "sweeps that met faults and failed": played.failed_sweeps,
            "sends without a message, made due 5 min earlier": played.put_forward,
            "messages left in the queue, of sends that have ended": played.left_in_queue,
            "dead letters": len(seen.dead_letters),
        },
    )
    posted = max(played.posted_after, 0.001)
    yield (
        f"{len(requests) / posted:.1f} requests a second for {posted:.0f} s; killed for "
        f"{played.stressed_for:.0f} s; all sends ended after {played.calmed_after:.0f} s"
    )


def _total(faults: Mapping[str, int], calls: int) -> dict[str, int]:
    total = sum(faults.values())
    return {f"all of them: {total / max(calls, 1):.1%} of the calls": total}


def _table(title: str, rows: Mapping[str, int]) -> Iterator[str]:
    yield title
    width = max((len(name) for name in rows), default=0)
    for name, count in rows.items():
        yield f"  {name:<{width}}  {count:>6}"
    yield ""


def broken(found: Sequence[str]) -> Iterator[str]:
    """Yield the first violations, and the number of the others."""
    for violation in found[:MOST_SHOWN]:
        yield f"BROKEN: {violation}"
    if len(found) > MOST_SHOWN:
        yield f"BROKEN: and {len(found) - MOST_SHOWN} more"


def total(requests: int, seen: Observation, found: Sequence[str]) -> str:
    """Return the last line; it counts lost and repeated sends by the text of the violations."""
    lost = sum(any(words in it for words in LOST) for it in found)
    twice = sum(" SMS to " in it for it in found)
    unknown = sum(send.status == "unknown" for send in seen.sends)
    share = unknown / max(len(seen.sends), 1)
    return (
        f"soak: {requests} requests, {len(seen.sends)} sends, {lost} lost, {twice} twice, "
        f"{len(found) - lost - twice} other violations, {unknown} unknown ({share:.1%})"
    )
