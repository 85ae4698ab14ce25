"""Checks that the fault tests catch relays that break the promise."""

import os
import re
from collections.abc import Iterable, Iterator

import pytest

from tests.promise.campaigns import CAMPAIGNS, Plan, Run, Sample
from tests.promise.harness import Harness
from tests.promise.mutations import MUTATIONS
from tests.promise.scenarios import SCENARIOS
from tests.promise.summary import Summary

CASES = [
    ("send_before_claim", "deaths", "worker", "hold", "got 2 SMS"),
    ("send_before_claim", "deaths", "api-key-repeated", "hold", "got 2 SMS"),
    ("broken_answer_is_not_sent", "deaths", "worker-answer-lost", "hold", "got 2 SMS"),
    ("lapsed_is_queued", "deaths", "worker", "hold", "got 2 SMS"),
    ("accepted_before_call", "deaths", "worker", "resend", "is accepted, and got no SMS"),
    ("forgotten_token", "deaths", "api", "hold", "lost the tokenId"),
    ("deleted_unread", "deaths", "worker", "hold", "is in no ledger"),
    ("nothing_lapses", "deaths", "api", "hold", "stays sending"),
    ("lost_queued", "deaths", "sweeper-queued", "hold", "stays queued"),
    ("failed_silently", "deaths", "worker-given-up", "hold", "without a dead letter"),
    ("unconditional_claim", "meanwhiles", "worker-two-sends", "hold", "got 2 SMS"),
    ("stranger_to_itself", "faults", "api", "hold", "left in sending"),
    ("believed_anybody", "faults", "worker-throttled", "hold", "got 2 SMS"),
    ("overwritten_result", "meanwhiles", "api", "resend", "lost the tokenId"),
    ("kept_body", "deaths", "api", "hold", "keeps its body"),
    ("dropped_body", "faults", "worker", "hold", "rejected without its body"),
    (
        "abandoned_refusal",
        "deaths",
        "worker-refused",
        "hold",
        "is gone from the queue|is not in the dead-letter queue",
    ),
    ("swapped_results", "deaths", "api-two-sends", "hold", "not its own"),
    ("unconditional_creation", "deaths", "api-key-repeated", "hold", "got . SMS"),
    ("overdue_is_unknown", "deaths", "sweeper-queued", "hold", "is unknown, and none"),
    ("empty_dead_letters", "deaths", "worker-given-up", "hold", "without a dead letter"),
    ("failed_without_body", "deaths", "worker-given-up", "hold", "failed without its body"),
    ("accepted_is_resent", "deaths", "worker", "resend", "got 2 SMS"),
    ("no_waiting", "deaths", "worker-throttled", "hold", "instead of 30 s"),
    ("cancelled_while_sending", "meanwhiles", "api-cancelled", "hold", "is cancelled, and arrived"),
    ("pause_ignored", "deaths", "worker-paused", "hold", "after an operator paused"),
    ("identity_of_deployment", "deaths", "worker-redeployed", "hold", "in the ledger are"),
    ("each_503_is_not_sent", "faults", "worker", "hold", "a call of it left a doubt"),
    ("forbidden_is_rejected", "faults", "worker", "hold", "the upstream refused no call"),
    ("forgets_before_the_queue", "deaths", "api", "hold", "may be deleted"),
    ("deletes_unfinished", "faults", "worker", "hold", "is unknown, and may be deleted"),
    ("gone_is_stored", "meanwhiles", "api-item-lost", "hold", "is lost, and so is"),
    ("moved_without_key", "deaths", "worker-moved", "hold", "in the ledger are"),
    ("doubt_pauses_nothing", "deaths", "worker-outage", "hold", "after a doubtful one"),
    ("forgotten_retry_after", "deaths", "worker-throttled", "hold", "instead of 30 s"),
    ("one_refusal_ends", "deaths", "worker-throttled", "hold", "is failed, and is not too old"),
    ("refused_before_looking", "deaths", "api-named-repeated", "hold", "and then refused"),
    ("overflow", "deaths", "worker-throttled", "hold", "is unknown, and none"),
    ("unreadable_stops_all", "deaths", "sweeper-newer-item", "hold", "a handler raised"),
    ("token_without_end", "faults", "worker", "hold", "which is not its own"),
    ("deadline_unheeded", "faults", "api", "hold", "ran out of time"),
    ("changed_retry", "deaths", "worker-throttled", "hold", "with another body"),
    ("wrong_status_logged", "faults", "api", "hold", "lost the tokenId"),
    ("unreported_delivery", "deaths", "api-polled", "hold", "awaits its report|was reported"),
    ("unpublished_end", "deaths", "api-events", "hold", "no event says so"),
    ("callback_taken_for_done", "faults", "api-events", "hold", "no callback says so"),
    ("unwritten_token", "deaths", "api-token-function", "hold", "token is not good"),
    ("new_webhook_each_time", "deaths", "webhook", "hold", "in the ledger are"),
    ("expiry_not_stored", "deaths", "worker-expiring", "hold", "after its expiresAt"),
]

ONLY = {
    "believed_anybody": "garbled",
    "dropped_body": "at upstream before",
    "no_waiting": "at dynamodb.PutItem after",
    "send_before_claim": "at upstream after",
    "overwritten_result": "at dynamodb.PutItem after",
    "stranger_to_itself": "after at dynamodb.PutItem",
    "cancelled_while_sending": "at dynamodb.Query after",
    "each_503_is_not_sent": "503-html at upstream before",
    "forbidden_is_rejected": "403 at upstream before",
    "deletes_unfinished": "502-html at upstream before",
    "token_without_end": "202-long-token at upstream before",
    "deadline_unheeded": "slow at upstream before",
    "wrong_status_logged": "from at dynamodb.PutItem before #2",
    "callback_taken_for_done": "refused at callback before",
}
"""Text that a plan must contain to be run; running all earlier plans would take a minute."""


PLAYED = CASES if os.environ.get("SMSRELAY_THOROUGH") == "1" else CASES[::3]
"""`make test` runs a third of the cases, `make faults-mutations` all."""


@pytest.mark.parametrize(("mutation", "campaign", "name", "choice", "words"), PLAYED)
def test_the_campaigns_catch_a_relay_that_breaks_the_promise(
    world: Harness,
    summary: Summary,
    mutation: str,
    campaign: str,
    name: str,
    choice: str,
    words: str,
) -> None:
    scenario, only = SCENARIOS[name].with_choice(choice), ONLY.get(mutation, "")

    def play(plans: Iterable[Plan]) -> Iterator[Run]:
        chosen = (plan for plan in plans if only in str(plan) or plan == Plan())
        return world.play(scenario, chosen, mutation)

    found = (
        violation
        for run in CAMPAIGNS[campaign](play, Sample(1))
        for violation in run.violations
        if re.search(words, violation)
    )
    caught = next(found, None)
    summary.add_mutation(mutation, caught)
    assert caught is not None


def test_every_mutation_is_tried() -> None:
    assert {mutation for mutation, *_ in CASES} == set(MUTATIONS)
