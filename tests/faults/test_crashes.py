"""A process that dies at any step loses no message, and sends none twice by itself.

Every I/O call of the real handlers has two points: before it, and after it happened but before
anybody sees the answer. The points are found by running, and then a process is killed at each.
"""

import pytest

from tests.faults.mutations import MUTATIONS
from tests.faults.report import Line, Report
from tests.faults.scenarios import SCENARIOS
from tests.faults.world import World

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
PLAYS = [(name, "hold") for name in SCENARIOS] + [(name, "resend") for name in RESENDS]


@pytest.mark.parametrize(("name", "choice"), PLAYS)
def test_no_death_breaks_the_promise(world: World, report: Report, name: str, choice: str) -> None:
    runs = list(world.crashes(SCENARIOS[name].with_choice(choice)))
    broken = [violation for run in runs for violation in run.violations]
    letterless = sum(run.letterless for run in runs)
    report.add(Line(name, choice, len(runs) - 1, len(broken), letterless))
    assert len(runs) > 1, "nothing was struck"
    assert broken == []
    assert letterless == 0


@pytest.mark.parametrize(
    ("mutation", "name", "choice", "words"),
    [
        ("send_before_claim", "worker", "hold", "got 2 SMS"),
        ("send_before_claim", "api-key-repeated", "hold", "got 2 SMS"),
        ("broken_answer_is_not_sent", "worker-answer-lost", "hold", "got 2 SMS"),
        ("lapsed_is_queued", "worker", "hold", "got 2 SMS"),
        ("accepted_before_call", "worker", "resend", "got no SMS"),
        ("forgotten_token", "api", "hold", "is lost"),
        ("deleted_unread", "worker", "hold", "in the ledger"),
        ("nothing_lapses", "api", "hold", "stays sending"),
    ],
)
def test_a_relay_that_breaks_the_promise_is_found_out(
    world: World, mutation: str, name: str, choice: str, words: str
) -> None:
    """Else the test above would prove nothing."""
    scenario = SCENARIOS[name].with_choice(choice)
    assert any(
        words in violation
        for run in world.crashes(scenario, mutation)
        for violation in run.violations
    )


def test_every_mutation_is_tried() -> None:
    [marks] = test_a_relay_that_breaks_the_promise_is_found_out.pytestmark  # type: ignore[attr-defined] # pytest's own attribute
    assert {mutation for mutation, *_ in marks.args[1]} == set(MUTATIONS)
