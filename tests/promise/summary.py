"""Counts injected faults and violations, for the progress and the end of a test run."""

import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Final

import pytest

from tests.promise.campaigns import CAMPAIGNS, Run

SAY_EVERY: Final = 15.0
"""Seconds between two progress lines of a campaign."""


@dataclass
class Summary:
    """The counts of the campaigns and mutations that were run."""

    say: Callable[[str], object] = lambda _: None
    """Prints a progress line."""
    _runs: dict[tuple[str, str], Counter[str]] = field(
        default_factory=lambda: defaultdict(Counter), init=False
    )
    _violations: Counter[tuple[str, str]] = field(default_factory=Counter, init=False)
    mutations: dict[str, list[str | None]] = field(default_factory=dict, init=False)
    """For each mutation of the relay, the violations by which it was caught."""

    def watch(
        self, scenario: str, choice: str, campaign: str, runs: Iterable[Run]
    ) -> Iterator[str]:
        """Count the runs with an injection as they come, and yield their violations."""
        play, name = (scenario, choice), f"{campaign.replace('_', ' ')} of {scenario} ({choice})"
        began = reported = time.monotonic()
        steps = violations = 0
        for run in runs:
            steps += bool(run.plan.injections)
            violations += len(run.violations)
            yield from run.violations
            if time.monotonic() - reported > SAY_EVERY:
                reported = time.monotonic()
                self.say(f"{name}: {steps} steps so far …")
        self._runs[play][campaign] += steps
        self._violations[play] += violations
        took = time.monotonic() - began
        self.say(f"{name}: {steps} steps, {violations} violations, {took:.0f} s")

    def add_mutation(self, name: str, caught: str | None) -> None:
        """Record the violation by which a mutation was caught, or None."""
        self.mutations.setdefault(name, []).append(caught)
        self.say(f"{name}: {caught or 'NOT CAUGHT'}")

    @property
    def has_begun(self) -> bool:
        """Whether anything was run."""
        return bool(self._runs or self.mutations)

    @property
    def violations(self) -> int:
        return self._violations.total()

    def lines(self) -> Iterator[str]:
        """Yield all tables, each followed by its total."""
        if self.mutations:
            yield from self._mutation_table()
            yield self.mutation_total()
        if self._runs:
            yield from self._table()
            yield self.total()

    def total(self) -> str:
        """Return the summary line of the injections."""
        steps = sum(runs.total() for runs in self._runs.values())
        return f"faults: {steps} steps, {len(self._runs)} scenarios, {self.violations} violations"

    def mutation_total(self) -> str:
        """Return the summary line of the mutations."""
        caught = sum(all(found) for found in self.mutations.values())
        return f"mutations: {caught} of {len(self.mutations)} caught"

    def _table(self) -> Iterator[str]:
        """Yield a line for each scenario and choice, with the runs of each campaign."""
        names = list(CAMPAIGNS)
        heads = [f"{name.replace('_', ' '):>15}" for name in names]
        yield f"{'scenario':<20} {'choice':<6} {''.join(heads)} {'violations':>11}"
        for (scenario, choice), runs in sorted(self._runs.items()):
            counts = "".join(f"{runs[name] or '':>15}" for name in names)
            broken = self._violations[scenario, choice]
            yield f"{scenario:<20} {choice:<6} {counts} {broken:>11}"

    def _mutation_table(self) -> Iterator[str]:
        """Yield a line for each mutation, with the violations by which it was caught."""
        for name, found in sorted(self.mutations.items()):
            for caught in found:
                yield f"{name:<26} {caught or 'NOT CAUGHT'}"


SUMMARY = pytest.StashKey[Summary]()
"""The key of the summary in pytest's stash."""
