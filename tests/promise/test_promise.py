"""Injects faults at each point of a process: no message is lost or automatically sent twice.

Each I/O call of the real handlers has two points: before the call, and after it but before the
process sees the response. A first run finds the points, then faults are injected at each point.
`make test` runs a sample, `make faults` all of them.
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
# The other scenarios get into doubt in the same ways as these.
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
"""The scenarios of `second_deaths`."""
PAIRED = (("api", "hold"), ("worker", "resend"))
"""The scenarios and choices of `pairs`."""
PLAYS = [(name, "hold") for name in SCENARIOS] + [(name, "resend") for name in RESENDS]
PLAYED = [
    (campaign, name, choice)
    for campaign in CAMPAIGNS
    for name, choice in PLAYS
    if (campaign != "second_deaths" or name in SMALLEST)
    and (campaign != "pairs" or (name, choice) in PAIRED)
    # Without the other process, `api-item-lost` is the same as `api`.
    and (name != "api-item-lost" or "meanwhile" in campaign)
]
SAMPLED = {
    "deaths": 30,
    "faults": 300,
    "meanwhiles": 90,
    "clock_jumps": 60,
    "three_at_once": 500,
    "second_deaths": 200,
    "pairs": 800,
}
"""`make test` runs one of so many."""


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
    """The scenarios call each service; otherwise the test above would prove nothing."""
    [run] = world.play(SCENARIOS[name].with_choice("hold"), [Plan()])
    assert service in {service_of(step.name) for step in run.steps}


@pytest.mark.parametrize(
    ("name", "fault"),
    [
        # The send must not become unknown at the lease's end: nothing was sent.
        ("api-async", "garbled-after"),
        # The claim was refused because the message is cancelled.
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
