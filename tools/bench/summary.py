"""The targets, and the results as a table."""

from collections.abc import Mapping, Sequence
from typing import Any, Final, NamedTuple


class Target(NamedTuple):
    """The place of a figure in the results, and its highest (or lowest) acceptable value."""

    place: str
    limit: float
    at_least: bool = False

    def is_met(self, value: float) -> bool:
        return value >= self.limit if self.at_least else value <= self.limit


TARGETS: Final = (
    Target("cold.api.vs_typical_as_built", 0.22),
    Target("cold.api.vs_typical_with_bytecode", 0.50),
    Target("cold.api.vs_lean", 1.6),
    Target("cold.worker.vs_typical_as_built", 0.22),
    Target("cold.worker.vs_typical_with_bytecode", 0.50),
    Target("cold.worker.vs_lean", 1.6),
    Target("warm.1.vs_typical_with_bytecode", 0.50),
    Target("warm.1.vs_lean", 1.8),
    Target("warm.250.vs_typical_with_bytecode", 0.50),
    Target("calls.dynamodb", 2),
    Target("calls.secretsmanager", 0),
    Target("calls.upstream", 1),
    Target("batch.vs_ideal", 1.10),
    Target("drain.vs_ideal", 0.90, at_least=True),
    Target("memory.peak_mb", 64),
    Target("memory.layer_zip_mb", 9),
)
COLUMNS: Final = {
    "cold.api": ("cold_cpu_ms", "init_cpu_ms", "modules"),
    "cold.worker": ("cold_cpu_ms", "init_cpu_ms", "modules"),
    "warm.1": ("cpu_ms", "peak_mb"),
    "warm.250": ("cpu_ms", "peak_mb"),
    "batch": ("wall_ms",),
}


def value_at(results: Mapping[str, Any], place: str) -> Any:  # noqa: ANN401 - JSON
    """Return the value at a place such as `cold.api`, or None if it was not measured."""
    value: Any = results
    for name in place.split("."):
        value = value.get(name) if isinstance(value, Mapping) else None
    return value


def table(results: Mapping[str, Any]) -> list[str]:
    """Return lines with the targets, whether they are met, and the figures of all programs."""
    lines = [""]
    for target in TARGETS:
        value = value_at(results, target.place)
        verdict = "not measured" if value is None else "met" if target.is_met(value) else "MISSED"
        shown = "?" if value is None else f"{value:g}"
        sign = "≥" if target.at_least else "≤"
        lines.append(f"{target.place:38} {shown:>8}   {sign} {target.limit:<5g} {verdict}")
    for place, columns in COLUMNS.items():
        rows = value_at(results, f"{place}.programs")
        if rows is None:
            continue
        lines += ["", f"{place:22}" + "".join(f"{column:>30}" for column in columns)]
        for name, row in rows.items():
            lines.append(f"{name:22}" + "".join(f"{_shown(row[column]):>30}" for column in columns))
    return lines


def _shown(value: Any) -> str:  # noqa: ANN401 - a figure or a spread
    if isinstance(value, Mapping):
        return f"{value['median']:.2f} ({value['low']:.2f} to {value['high']:.2f})"
    return f"{value:g}"


def missed(results: Mapping[str, Any]) -> Sequence[Target]:
    """Return the targets that were measured and not met."""
    return [
        target
        for target in TARGETS
        if (value := value_at(results, target.place)) is not None and not target.is_met(value)
    ]
