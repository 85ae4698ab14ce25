"""What was struck, and what broke: the lines at the end of a test run."""

from collections.abc import Iterator
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Line:
    """One scenario with one choice."""

    name: str
    choice: str
    steps: int
    violations: int
    letterless: int
    """Runs that left a failed send without a dead letter."""


@dataclass
class Report:
    """All scenarios that were played whole."""

    lines: list[Line] = field(default_factory=list)

    def add(self, line: Line) -> None:
        self.lines.append(line)

    def text(self) -> Iterator[str]:
        yield f"{'scenario':<20} {'choice':<7} {'steps':>5} {'violations':>10} {'letterless':>10}"
        for line in self.lines:
            counts = f"{line.steps:>5} {line.violations:>10} {line.letterless:>10}"
            yield f"{line.name:<20} {line.choice:<7} {counts}"
        steps = sum(line.steps for line in self.lines)
        violations = sum(line.violations for line in self.lines)
        yield f"faults: {steps} steps, {len(self.lines)} scenarios, {violations} violations"
