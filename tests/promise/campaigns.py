"""Ways to inject faults at each step of a scenario. The steps are found by running it."""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import product
from math import isqrt

from tests.promise.faults import CLOCK_JUMPS, DIE, MEANWHILE, Checkpoint, Injection, faults_at

INNER_STEPS = (6,)
SKEWS = (0.0, 600.0, -600.0)
"""Seconds by which the clock of the process that runs meanwhile goes ahead."""


@dataclass(frozen=True)
class Plan:
    """What happens to the processes of one play."""

    injections: tuple[Injection, ...] = ()
    recovery: tuple[Injection, ...] | None = None
    """What happens to the process after the first one; None: its steps are not looked at."""
    skew: float = 0.0
    inner: tuple[Injection, ...] = ()
    """What happens to the process that runs meanwhile."""

    def __str__(self) -> str:
        parts = [str(injection) for injection in (*self.injections, *(self.recovery or ()))]
        parts += [f"inside: {injection}" for injection in self.inner]
        if self.skew:
            parts.append(f"with a clock {self.skew:+g} s away")
        return ", then ".join(parts) or "nothing"


@dataclass(frozen=True)
class Run:
    """One play, and how it broke the promise."""

    plan: Plan
    points: Sequence[str]
    """Those that the first process passed."""
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
    """Keeps one of so many, evenly."""

    every: int
    _seen: int = field(default=0, init=False)

    def __call__[T](self, items: Iterable[T]) -> Iterator[T]:
        for item in items:
            self._seen += 1
            if self._seen % self.every == 0:
                yield item

    def split(self) -> tuple["Sample", "Sample"]:
        """Two that keep as few together, for steps within steps."""
        root = isqrt(self.every)
        return Sample(root), Sample(root)


Play = Callable[[Iterable[Plan]], Iterator[Run]]
"""Plays plans side by side, and gives their runs in order."""
Campaign = Callable[[Play, Sample], Iterator[Run]]


def deaths(play: Play, sample: Sample) -> Iterator[Run]:
    """First none, then one at each step."""
    calm = _calm(play)
    yield calm
    yield from play(Plan((Injection(step, DIE),)) for step in sample(calm.steps))


def faults(play: Play, sample: Sample) -> Iterator[Run]:
    """Each fault at each call that knows it, once and lasting."""
    calm = _calm(play)
    injections = sample(_single_faults(calm.steps, (False, True)))
    yield from play(Plan((injection,)) for injection in injections)


def meanwhiles(play: Play, sample: Sample) -> Iterator[Run]:
    """Another process runs at each step: with the same message, the same key, or the sweeper."""
    calm = _calm(play)
    yield from play(
        Plan((Injection(step, MEANWHILE),), skew=skew)
        for step, skew in sample(product(calm.steps, SKEWS))
    )


def clock_jumps(play: Play, sample: Sample) -> Iterator[Run]:
    """The wall clock of the process is set at each step."""
    calm = _calm(play)
    yield from play(
        Plan((Injection(step, jump),)) for step, jump in sample(product(calm.steps, CLOCK_JUMPS))
    )


def three_at_once(play: Play, sample: Sample) -> Iterator[Run]:
    """Another process runs at each step, and a third one, or a death, at some steps of that."""
    calm = _calm(play)
    yield from play(
        Plan((Injection(step, MEANWHILE),), inner=(Injection(Checkpoint("*", inner), fault),))
        for step, inner, fault in sample(product(calm.steps, INNER_STEPS, (MEANWHILE, DIE)))
    )


def second_deaths(play: Play, sample: Sample) -> Iterator[Run]:
    """A death at each step, and another one at each step of the recovery from it."""
    calm = _calm(play)
    outer, inner = sample.split()
    firsts = [(Injection(step, DIE),) for step in outer(calm.steps)]
    for once in play(Plan(first, recovery=()) for first in firsts):
        yield from play(
            Plan(once.plan.injections, recovery=(Injection(second, DIE),))
            for second in inner(once.recovery_steps)
        )


def pairs(play: Play, sample: Sample) -> Iterator[Run]:
    """Each fault at each call, and after it each fault, and a death, at each later step."""
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
    """The run in which nothing happens; its steps are those of the others."""
    [calm] = play([Plan()])
    assert calm.steps, f"it passes no steps: {calm.violations}"
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
