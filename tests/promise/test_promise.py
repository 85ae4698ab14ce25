"""Whatever strikes a process at whatever step: no message is lost, none is sent twice by itself.

Every I/O call of the real handlers has two points: before it, and after it happened but before
anybody sees the answer. The points are found by running, and then each of them is struck.
`make test` plays a sample of it, `make faults` the whole.
"""

import os
from functools import partial

import pytest

from tests.promise.campaigns import CAMPAIGNS, Plan, Sample
from tests.promise.harness import Harness
from tests.promise.scenarios import SCENARIOS
from tests.promise.summary import Summary

# The others never come into doubt in a way of their own.
RESENDS = (
    "api",
    "api-key-repeated",
    "api-throttled",
    "worker",
    "worker-two-sends",
    "worker-throttled",
    "worker-answer-lost",
    "sweeper-lapsed",
)
SMALLEST = ("api", "worker")
"""What is struck twice."""
PLAYS = [(name, "hold") for name in SCENARIOS] + [(name, "resend") for name in RESENDS]
PLAYED = [
    (campaign, name, choice)
    for campaign in CAMPAIGNS
    for name, choice in PLAYS
    if name in SMALLEST or campaign not in {"pairs", "second_deaths"}
]
SAMPLED = {"deaths": 5, "faults": 70, "meanwhiles": 30, "second_deaths": 64, "pairs": 225}
"""Of which so many `make test` plays one."""


@pytest.mark.parametrize(("campaign", "name", "choice"), PLAYED)
def test_no_strike_breaks_the_promise(
    world: Harness, summary: Summary, campaign: str, name: str, choice: str
) -> None:
    thorough = os.environ.get("SMSRELAY_THOROUGH") == "1"
    sample = Sample(1 if thorough else SAMPLED[campaign])
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
        ("worker-named", "ssm"),
        ("api-token-refused", "lambda"),
    ],
)
def test_there_is_something_to_strike(world: Harness, name: str, service: str) -> None:
    """Else the test above would prove nothing."""
    [run] = world.play(SCENARIOS[name].with_choice("hold"), [Plan()])
    assert service in {step.service for step in run.steps}
