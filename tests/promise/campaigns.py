"""The campaigns: ways to inject faults at each point of a scenario, which a first run finds."""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import product
from math import isqrt

from tests.promise.faults import CLOCK_JUMPS, DIE, MEANWHILE, Checkpoint, Injection, faults_at

INNER_STEPS = (6,)
"""The points of the other process at which a third one runs, or at which it dies: mid-way."""
SKEWS = (0.0, 600.0, -600.0)
"""Seconds by which the clock of the process that runs meanwhile is ahead."""


@dataclass(frozen=True)
class Plan:
    """The faults to inject into the processes of one run."""

    injections: tuple[Injection, ...] = ()
    recovery: tuple[Injection, ...] | None = None
    """The faults of the process after the first one; None: its points are not recorded."""
    skew: float = 0.0
    inner: tuple[Injection, ...] = ()
    """The faults of the process that runs meanwhile."""

    def __str__(self) -> str:
        parts = [str(injection) for injection in (*self.injections, *(self.recovery or ()))]
        parts += [f"inside: {injection}" for injection in self.inner]
        if self.skew:
            parts.append(f"with a clock {self.skew:+g} s away")
        return ", then ".join(parts) or "nothing"


@dataclass(frozen=True)
class Run:
    """The result of one run of a scenario."""

    plan: Plan
    points: Sequence[str]
    """The names of the points that the first process passed."""
    recovery_points: Sequence[str]
    violations: Sequence[str]

    @property
    def steps(self) -> list[Checkpoint]:
        return _steps(self.points)

    @property
    def recovery_steps(self) -> list[Checkpoint]:
        return _steps(self.recovery_points)


@dataclass
class Sample:
    """Keeps every n-th item, with n = `every`."""

    every: int
    _seen: int = field(default=0, init=False)

    def __call__[T](self, items: Iterable[T]) -> Iterator[T]:
        for item in items:
            self._seen += 1
            if self._seen % self.every == 0:
                yield item

    def split(self) -> tuple["Sample", "Sample"]:
        """Return two samples for nested loops, which together keep about the same share."""
        root = isqrt(self.every)
        return Sample(root), Sample(root)


Play = Callable[[Iterable[Plan]], Iterator[Run]]
"""Runs plans in parallel, and yields their results in order."""
Campaign = Callable[[Play, Sample], Iterator[Run]]


def deaths(play: Play, sample: Sample) -> Iterator[Run]:
    """A run without a fault, then a death at each point."""
    calm = _calm(play)
    yield calm
    yield from play(Plan((Injection(step, DIE),)) for step in sample(calm.steps))


def faults(play: Play, sample: Sample) -> Iterator[Run]:
    """At each call, each fault that can occur there: once, and for the rest of the process."""
    calm = _calm(play)
    injections = sample(_single_faults(calm.steps, (False, True)))
    yield from play(Plan((injection,)) for injection in injections)


def meanwhiles(play: Play, sample: Sample) -> Iterator[Run]:
    """Another process runs at each point: with the same message, the same key, or the sweeper."""
    calm = _calm(play)
    yield from play(
        Plan((Injection(step, MEANWHILE),), skew=skew)
        for step, skew in sample(product(calm.steps, SKEWS))
    )


def clock_jumps(play: Play, sample: Sample) -> Iterator[Run]:
    """The wall clock of the process is set ahead or back at each point."""
    calm = _calm(play)
    yield from play(
        Plan((Injection(step, jump),)) for step, jump in sample(product(calm.steps, CLOCK_JUMPS))
    )


def three_at_once(play: Play, sample: Sample) -> Iterator[Run]:
    """At each point another process runs, which dies mid-way or is interrupted by a third one."""
    calm = _calm(play)
    yield from play(
        Plan((Injection(step, MEANWHILE),), inner=(Injection(Checkpoint("*", inner), fault),))
        for step, inner, fault in sample(product(calm.steps, INNER_STEPS, (MEANWHILE, DIE)))
    )


def second_deaths(play: Play, sample: Sample) -> Iterator[Run]:
    """A death at each point, and a second death at each point of the recovery."""
    calm = _calm(play)
    outer, inner = sample.split()
    firsts = [(Injection(step, DIE),) for step in outer(calm.steps)]
    for once in play(Plan(first, recovery=()) for first in firsts):
        yield from play(
            Plan(once.plan.injections, recovery=(Injection(second, DIE),))
            for second in inner(once.recovery_steps)
        )


def pairs(play: Play, sample: Sample) -> Iterator[Run]:
    """Each fault at each call, then each fault and a death at each later point."""
    calm = _calm(play)
    outer, inner = sample.split()
    firsts = outer(_single_faults(calm.steps, (False,)))
    for once in play(Plan((first,)) for first in firsts):
        [first] = once.plan.injections
        later = once.steps[once.steps.index(first.checkpoint) + 1 :]
        seconds = (*_single_faults(later, (False,)), *(Injection(step, DIE) for step in later))
        yield from play(Plan((first, second)) for second in inner(seconds))


CAMPAIGNS: dict[str, Campaign] = {
    campaign.__name__: campaign
    for campaign in (
        deaths,
        faults,
        meanwhiles,
        clock_jumps,
        three_at_once,
        second_deaths,
        pairs,
    )
}


def _calm(play: Play) -> Run:
    """Run the scenario without a fault; its points are those at which faults are injected."""
    [calm] = play([Plan()])
    assert calm.steps, f"the scenario passes no points: {calm.violations}"
    return calm


def _single_faults(steps: Iterable[Checkpoint], lasting: Sequence[bool]) -> Iterator[Injection]:
    for step in steps:
        for fault in faults_at(step.name):
            for lasts in lasting:
                yield Injection(step, fault, lasting=lasts)


def _steps(points: Iterable[str]) -> list[Checkpoint]:
    passed: Counter[str] = Counter()
    steps = []
    for name in points:
        passed[name] += 1
        steps.append(Checkpoint(name, passed[name]))
    return steps
