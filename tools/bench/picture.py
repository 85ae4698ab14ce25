"""The results as a picture: bars, ours against each rival's."""

from collections.abc import Mapping, Sequence
from html import escape
from typing import Any, Final, NamedTuple

from tools.bench.compared_programs import AS_BUILT, BYTECODE, FLOOR, LEAN, LENT, OURS

ORDER: Final = (AS_BUILT, LENT, BYTECODE, OURS, LEAN, FLOOR)
WIDTH, LABEL, VALUE, BAR, GAP, HEAD = 760, 170, 90, 16, 6, 34
STYLE: Final = """
text { font: 13px system-ui, sans-serif; fill: #24292f }
.head { font-weight: 600 }
.bar { fill: #9aa7b4 } .ours { fill: #0a7d4f } .whisker { stroke: #57606a }
@media (prefers-color-scheme: dark) {
  text { fill: #e6edf3 }
  .bar { fill: #55606c } .ours { fill: #2ea86f } .whisker { stroke: #9aa7b4 }
}
"""


class Chart(NamedTuple):
    """One group of bars: a title, and where its spreads lie in the results."""

    title: str
    place: Sequence[str]
    column: str


CHARTS: Final = (
    Chart("Cold start of the api: ms of processor", ("cold", "api"), "cold_cpu_ms"),
    Chart("Cold start of the worker: ms of processor", ("cold", "worker"), "cold_cpu_ms"),
    Chart("Warm request, 1 recipient: ms of processor", ("warm", "r1"), "cpu_ms"),
    Chart("Warm request, 250 recipients: ms of processor", ("warm", "r250"), "cpu_ms"),
)


def svg(results: Mapping[str, Any]) -> str:
    """A picture of the charts whose figures are there."""
    lines: list[str] = []
    top = 8
    for chart in CHARTS:
        rows = _rows(results, chart)
        if not rows:
            continue
        lines.append(f'<text class="head" x="8" y="{top + 18}">{escape(chart.title)}</text>')
        top += HEAD
        most = max(spread["high"] for _, spread in rows)
        for name, spread in rows:
            lines += _bar(name, spread, most, top)
            top += BAR + GAP
        top += 14
    body = "\n".join(lines)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {top}" role="img" '
        f'aria-label="Benchmark of smsrelay and of three programs that do the same work">\n'
        f"<style>{STYLE}</style>\n{body}\n</svg>\n"
    )


def _rows(results: Mapping[str, Any], chart: Chart) -> Sequence[tuple[str, Mapping[str, float]]]:
    found: Any = results
    for name in chart.place:
        found = found.get(name, {})
    programs = found.get("programs", {})
    return [(name, programs[name][chart.column]) for name in ORDER if name in programs]


def _bar(name: str, spread: Mapping[str, float], most: float, top: int) -> Sequence[str]:
    scale = (WIDTH - LABEL - VALUE) / most
    low, middle, high = (LABEL + spread[part] * scale for part in ("low", "middle", "high"))
    kind = "bar ours" if name == OURS else "bar"
    line = top + BAR / 2
    return [
        f'<text x="8" y="{top + 13}">{escape(name)}</text>',
        f'<rect class="{kind}" x="{LABEL}" y="{top}" width="{middle - LABEL:.1f}" height="{BAR}"/>',
        f'<line class="whisker" x1="{low:.1f}" x2="{high:.1f}" y1="{line}" y2="{line}"/>',
        f'<text x="{high + 6:.1f}" y="{top + 13}">{_shown(spread["middle"])}</text>',
    ]


def _shown(milliseconds: float) -> str:
    digits = 0 if milliseconds >= 100 else 2  # noqa: PLR2004 - as exact as one would say it
    return f"{milliseconds:,.{digits}f}"
