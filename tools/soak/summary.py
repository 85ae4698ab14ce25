"""What a soak tells at its end, as tables."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence

from tools.local_stack.samples import Way
from tools.soak.checks import Seen, Violation
from tools.soak.findings import Scene
from tools.soak.run import Played
from tools.soak.scenario import Request

MOST_SHOWN = 40


def lines(requests: Sequence[Request], played: Played, scene: Scene, seen: Seen) -> Iterator[str]:
    """All numbers, each with what it was counted from."""
    yield from _table(
        "requests posted",
        {
            "over HTTP": sum(request.way is Way.API for request in requests),
            "through SQS": sum(request.way is Way.QUEUE for request in requests),
            "of these, to send again when nobody knows": sum(not r.hold for r in requests),
            "of these, answered at once (respond-async)": sum(r.deferred for r in requests),
            "of these, posted the other way too": sum(r.repeated for r in requests),
            "taken: answered 2xx, or in the queue": len(played.poster.taken),
            "repetitions with the same key": played.poster.repetitions,
            "without a final answer when the soak ended": played.unanswered,
        },
    )
    yield from _table("answers over HTTP", played.poster.answers)
    yield from _table("final answers over HTTP", Counter(played.poster.ends.values()))
    struck = scene.upstream_faults()
    calls = len(scene.calls)
    yield from _table(
        f"faults of the upstream: struck in {calls} calls (laid out)",
        {f"{kind} ({played.ordered[kind]})": struck[kind] for kind in sorted(played.ordered)}
        | _total(struck, calls),
    )
    aws_calls = sum(played.aws.calls.values())
    yield from _table(
        f"faults of AWS, in {aws_calls} calls of the functions "
        f"({', '.join(f'{name} {count}' for name, count in played.aws.calls.most_common())})",
        dict(sorted(played.aws.struck.items())) | _total(played.aws.struck, aws_calls),
    )
    yield from _table(
        "kills",
        {
            "workers": played.workers.kills,
            "processes of the API's function": played.apis.kills,
            "seconds in which every worker was still starting": played.missed_kills,
        }
        | {f"batches that failed: {why}": n for why, n in scene.broken_batches().most_common()},
    )
    yield from _table(
        "sends in the ledger",
        dict(sorted(Counter(send.status for send in seen.stored.values()).items())),
    )
    twice = [
        promise
        for promise in seen.promises
        if not promise.hold and len(seen.arrived.get(promise.key, ())) > 1
    ]
    yield from _table(
        "sends that went out",
        {
            "arrived": sum(len(arrivals) for arrivals in seen.arrived.values()),
            "tokenIds that the upstream told": sum(
                arrival.told for arrivals in seen.arrived.values() for arrival in arrivals
            ),
            "more than once, as their callers chose (resend)": len(twice),
            "unknown, and arrived": _unknown(seen, arrived=True),
            "unknown, and not arrived": _unknown(seen, arrived=False),
        },
    )
    yield from _table(
        "to get to the end",
        {
            "sweeps": played.sweeps,
            "sweeps that met faults and failed": played.failed_sweeps,
            "sends without a message, put forward by 5 min": played.put_forward,
            "messages left in the queue, of sends that have ended": played.left_in_queue,
            "dead letters of failed sends": len(seen.letters),
            "other dead letters": len(seen.refused),
        },
    )
    posted = max(played.posted_after, 0.001)
    yield (
        f"{len(requests) / posted:.1f} requests a second for {posted:.0f} s; killed for "
        f"{played.stormed_for:.0f} s; nothing moved any more after {played.calmed_after:.0f} s"
    )


def _unknown(seen: Seen, *, arrived: bool) -> int:
    return sum(
        stored.status == "unknown" and bool(seen.arrived.get(key)) is arrived
        for key, stored in seen.stored.items()
    )


def _total(struck: Mapping[str, int], calls: int) -> dict[str, int]:
    total = sum(struck.values())
    return {f"all of them: {total / max(calls, 1):.1%} of the calls": total}


def _table(title: str, rows: Mapping[str, int]) -> Iterator[str]:
    yield title
    width = max((len(name) for name in rows), default=0)
    for name, count in rows.items():
        yield f"  {name:<{width}}  {count:>6}"
    yield ""


def broken(found: Sequence[Violation]) -> Iterator[str]:
    """What is broken; not all of it if it is a lot."""
    for violation in found[:MOST_SHOWN]:
        yield f"BROKEN: {violation}"
    if len(found) > MOST_SHOWN:
        yield f"BROKEN: and {len(found) - MOST_SHOWN} more"
