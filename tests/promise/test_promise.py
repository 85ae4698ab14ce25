"""Faults at any step of a process: no message is lost, none is sent twice automatically.

Every I/O call of the real handlers has two points: before it, and after it happened but before
the answer is seen. The points are found by running, then faults are injected at each of them.
`make test` plays a sample of it, `make faults` the whole.
"""

import os
from functools import partial

import pytest

from tests.promise.campaigns import CAMPAIGNS, Plan, Sample
from tests.promise.faults import Checkpoint, Effect, Injection, service_of
from tests.promise.harness import Harness, Phase, Story
from tests.promise.scenarios import SCENARIOS, WORK, Message
from tests.promise.summary import Summary

THOROUGH = os.environ.get("SMSRELAY_THOROUGH") == "1"
# The others never come into doubt in a way of their own.
RESENDS = (
    "api",
    "api-key-repeated",
    "api-throttled",
    "worker",
    "worker-two-sends",
    "worker-throttled",
    "worker-answer-lost",
    "worker-expiring",
    "sweeper-lapsed",
)
SMALLEST = ("api", "worker")
"""What meets two deaths."""
PAIRED = (("api", "hold"), ("worker", "resend"))
"""What meets two faults."""
PLAYS = [(name, "hold") for name in SCENARIOS] + [(name, "resend") for name in RESENDS]
PLAYED = [
    (campaign, name, choice)
    for campaign in CAMPAIGNS
    for name, choice in PLAYS
    if (campaign != "second_deaths" or name in SMALLEST)
    and (campaign != "pairs" or (name, choice) in PAIRED)
    # Without the other process it is the same as `api`.
    and (name != "api-item-lost" or "meanwhile" in campaign)
]
SAMPLED = {
    "deaths": 20,
    "faults": 200,
    "meanwhiles": 60,
    "clock_jumps": 40,
    "three_at_once": 500,
    "second_deaths": 200,
    "pairs": 800,
}
"""Of which so many `make test` plays one."""


@pytest.mark.parametrize(("campaign", "name", "choice"), PLAYED)
def test_no_fault_breaks_the_promise(
    world: Harness, summary: Summary, campaign: str, name: str, choice: str
) -> None:
    sample = Sample(1 if THOROUGH else SAMPLED[campaign])
    play = partial(world.play, SCENARIOS[name].with_choice(choice))
    runs = CAMPAIGNS[campaign](play, sample)
    assert list(summary.watch(name, choice, campaign, runs)) == []


@pytest.mark.parametrize(
    ("name", "service"),
    [
        ("worker", "dynamodb"),
        ("worker", "secrets-manager"),
        ("worker", "upstream"),
        ("worker", "answer"),
        ("worker-throttled", "sqs"),
        ("webhook", "secrets-manager"),
        ("api-polled", "deliveries"),
        ("api-events", "eventbridge"),
        ("api-events", "callback"),
        ("api-token-function", "token"),
        ("worker-named", "ssm"),
        ("api-token-refused", "lambda"),
    ],
)
def test_each_service_is_called(world: Harness, name: str, service: str) -> None:
    """Else the test above would prove nothing."""
    [run] = world.play(SCENARIOS[name].with_choice("hold"), [Plan()])
    assert service in {service_of(step.name) for step in run.steps}


@pytest.mark.parametrize(
    ("name", "fault"),
    [
        # Else its send becomes unknown when the lease ends, although nothing was sent.
        ("api-async", "garbled-after"),
        # It was refused, because the message is cancelled: nothing was claimed.
        ("api-cancelled", "time-out-after"),
    ],
)
def test_a_claim_whose_response_is_lost_leaves_no_doubt(
    world: Harness, name: str, fault: str
) -> None:
    injection = Injection(Checkpoint("dynamodb.UpdateItem before"), fault)
    [run] = world.play(SCENARIOS[name].with_choice("hold"), [Plan((injection,))])
    assert run.violations == []


def test_thousands_of_throttled_calls_in_one_environment_leave_nothing_behind(
    world: Harness,
) -> None:
    messages = [Message(f"throttled-{n}", [f"12125550{n:03d}"]) for n in range(100, 130)]
    count = 50 if THOROUGH else 5
    rounds = [*[WORK] * 3, {"do": "wait", "seconds": 700.0}] * count
    script = [*({"do": "enqueue", "reference": it.reference} for it in messages), *rounds]
    story = Story(messages, [Phase(script, None)], faults=[("429-50100", 24 * count)])

    result = world.run(story)

    assert result.violations == []
    assert sum(it.effect is Effect.NOT_SENT for it in result.history.attempts) == 24 * count
    assert {send.status for send in result.end.sends} == {"accepted"}
