"""Lines over hours as an SVG, readable on a light and on a dark page."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from html import escape
from math import log2
from typing import Final, NamedTuple

WIDTH: Final = 860
HEIGHT: Final = 250
"""Of a panel."""
LEFT: Final = 52
RIGHT: Final = 12
TOP: Final = 34
BOTTOM: Final = 34
LEGEND: Final = 24
"""Height of a line of the legend."""

# Colours that people with the usual colour blindnesses tell apart, on either ground.
_STYLE: Final = """
text { font: 13px system-ui, sans-serif; fill: #1f2328; }
.small { font-size: 12px; fill: #59636e; }
.page { fill: #ffffff; }
.grid { stroke: #d1d9e0; stroke-width: 1; }
path { fill: none; stroke-width: 2; stroke-linejoin: round; }
.overload { fill: #d1d9e0; opacity: 0.45; }
.naive { stroke: #bc4c00; stroke-dasharray: 6 3; }
.oversized { stroke: #8250df; stroke-dasharray: 2 2; }
.fitted { stroke: #0969da; }
@media (prefers-color-scheme: dark) {
  text { fill: #f0f6fc; } .small { fill: #9198a1; }
  .page { fill: #0d1117; } .grid { stroke: #3d444d; } .overload { fill: #3d444d; }
  .naive { stroke: #f0883e; } .oversized { stroke: #ab7df8; } .fitted { stroke: #4493f8; }
}
"""


class Line(NamedTuple):
    """A line: points of hours and values."""

    name: str
    style: str
    points: Sequence[tuple[float, float]]


@dataclass(frozen=True)
class Panel:
    """Lines over one another."""

    title: str
    lines: Sequence[Line]
    ticks: Sequence[float]
    """The first is the least that is shown, the last the most."""
    is_log: bool = False


def picture(panels: Sequence[Panel], *, overload_hours: float) -> str:
    """The panels below one another, above them what the lines are."""
    hours = max(point[0] for panel in panels for line in panel.lines for point in line.points)
    legend = panels[0].lines
    head = LEGEND * len(legend) + 16
    height = head + HEIGHT * len(panels)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" role="img">',
        "<title>Calls of the upstream, and sends that wait: during the overload, and after</title>",
        f"<style>{_STYLE}</style>",
        f'<rect class="page" width="{WIDTH}" height="{height}"/>',
    ]
    for place, line in enumerate(legend):
        y = 20 + LEGEND * place
        parts += [
            f'<path class="{line.style}" d="M{LEFT} {y}h40"/>',
            f'<text x="{LEFT + 50}" y="{y + 4}">{escape(line.name)}</text>',
        ]
    for place, panel in enumerate(panels):
        parts += _drawn(panel, head + HEIGHT * place, hours, overload_hours)
    return "\n".join([*parts, "</svg>", ""])


def _drawn(panel: Panel, top: int, hours: float, overload_hours: float) -> list[str]:
    upper, lower = top + TOP, top + HEIGHT - BOTTOM
    scale: Callable[[float], float] = log2 if panel.is_log else float
    least, most = scale(panel.ticks[0]), scale(panel.ticks[-1])
    if panel.is_log:
        least -= 1

    def x(hour: float) -> float:
        return LEFT + hour / hours * (WIDTH - LEFT - RIGHT)

    def y(value: float) -> float:
        given = scale(max(value, 1e-9))
        share = (min(max(given, least), most) - least) / (most - least)
        return lower - share * (lower - upper)

    end = x(overload_hours)
    parts = [
        f'<path class="overload" d="M{LEFT} {upper}H{end:.1f}V{lower}H{LEFT}z"/>',
        f'<text x="{LEFT}" y="{top + 22}">{escape(panel.title)}</text>',
        f'<text class="small" x="{LEFT + 6}" y="{lower - 8}">overload</text>',
    ]
    for tick in panel.ticks:
        parts += [
            f'<path class="grid" d="M{LEFT} {y(tick):.1f}H{WIDTH - RIGHT}"/>',
            _label(LEFT - 8, y(tick) + 4, f"{tick:g}", "end"),
        ]
    for hour in range(int(hours) + 1):
        parts.append(_label(x(hour), lower + 18, f"{hour} h", "middle"))
    for line in panel.lines:
        points = "L".join(f"{x(hour):.1f} {y(value):.1f}" for hour, value in line.points)
        parts.append(f'<path class="{line.style}" d="M{points}"/>')
    return parts


def _label(x: float, y: float, words: str, anchor: str) -> str:
    return f'<text class="small" x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{words}</text>'
