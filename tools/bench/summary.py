"""The results as a table, and what they have to be."""

from collections.abc import Mapping, Sequence
from typing import Any, Final, NamedTuple


class Target(NamedTuple):
    """A figure by its place in the results, and the most or least that it may be."""

    place: str
    bound: float
    least: bool = False

    def met(self, value: float) -> bool:
        """Whether a figure is good enough."""
        return value >= self.bound if self.least else value <= self.bound


TARGETS: Final = (
    Target("cold.api.vs_naive_as_built", 0.22),
    Target("cold.api.vs_naive_bytecode", 0.50),
    Target("cold.api.vs_bound", 1.6),
    Target("cold.worker.vs_naive_as_built", 0.22),
    Target("cold.worker.vs_naive_bytecode", 0.50),
    Target("cold.worker.vs_bound", 1.6),
    Target("warm.r1.vs_naive", 0.50),
    Target("warm.r1.vs_bound", 1.8),
    Target("warm.r250.vs_naive", 0.50),
    Target("calls.dynamodb", 2),
    Target("calls.secretsmanager", 0),
    Target("calls.upstream", 1),
    Target("batch10.vs_ideal", 1.10),
    Target("drain.vs_ideal", 0.90, least=True),
    Target("memory.peak_mb", 64),
    Target("layer.zip_mb", 9),
)


def value_of(results: Mapping[str, Any], place: str) -> float | None:
    """A figure by its place, dots between the levels; None: it was not measured."""
    found: Any = results
    for name in place.split("."):
        if not isinstance(found, Mapping) or name not in found:
            return None
        found = found[name]
    return found if isinstance(found, int | float) else None


def table(results: Mapping[str, Any]) -> tuple[Sequence[str], Sequence[Target]]:
    """Lines to print, and the targets that are missed or not measured."""
    lines, missed = [""], []
    for target in TARGETS:
        value = value_of(results, target.place)
        good = value is not None and target.met(value)
        if not good:
            missed.append(target)
        sign = "≥" if target.least else "≤"
        shown = "?" if value is None else f"{value:g}"
        lines.append(
            f"{target.place:32} {shown:>8}   {sign} {target.bound:<5g} {'ok' if good else 'MISSED'}"
        )
    for function in ("api", "worker"):
        lines += _programs(results, f"cold.{function}", ("cold_cpu_ms", "init_cpu_ms", "modules"))
    for many in ("r1", "r250"):
        lines += _programs(results, f"warm.{many}", ("cpu_ms", "peak_mb"))
    return lines, missed


def _programs(results: Mapping[str, Any], place: str, columns: Sequence[str]) -> Sequence[str]:
    found: Any = results
    for name in place.split("."):
        found = found.get(name, {})
    rows = found.get("programs", {})
    if not rows:
        return []
    lines = ["", f"{place:24}" + "".join(f"{column:>28}" for column in columns)]
    for name, row in rows.items():
        lines.append(f"{name:24}" + "".join(f"{_shown(row[column]):>28}" for column in columns))
    return lines


def _shown(value: Any) -> str:  # noqa: ANN401 - a figure or a spread
    if isinstance(value, Mapping):
        return f"{value['middle']:.2f} ({value['low']:.2f} to {value['high']:.2f})"
    return f"{value:g}"
