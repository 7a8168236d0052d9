"""Line charts as inline SVG: no file beside the page, and colours that follow the reader's light or dark mode."""

from __future__ import annotations

import math
from collections.abc import Sequence
from html import escape
from typing import NamedTuple

from hashcenters.report.words import clean

__all__ = ["DASHES", "N_STYLES", "Series", "line_chart"]

N_STYLES = 8  # colours in the page's style sheet; lines beyond differ in their dashes
DASHES = ("", "7 4", "2 3", "9 3 2 3")
_WIDTH, _HEIGHT = 400, 280
_LEFT, _RIGHT, _TOP, _BOTTOM = 52, 12, 12, 46


class Series(NamedTuple):
    """A line.

    Attributes:
        name: what it shows.
        points: x and y, in the order of drawing; None for y breaks the line.
        style: number of its colour and dashes.
    """

    name: str
    points: Sequence[tuple[float, float | None]]
    style: int


def line_chart(
    series: Sequence[Series], *, xlabel: str, ylabel: str, unit: bool = True, ticks: Sequence[float] | None = None
) -> str:
    """Draw lines.

    Args:
        series: the lines; those without a point are left out.
        xlabel: below the x axis.
        ylabel: beside the y axis.
        unit: y runs from 0 to 1; otherwise from 0, or the least value if negative, to the largest.
        ticks: where to mark the x axis; None chooses.

    Returns:
        An ``svg`` element; "" if there is nothing to draw.

    Examples:
        >>> line_chart([Series("a", [(0, 0.5), (1, 1.0)], 0)], xlabel="x", ylabel="y")[:30]
        '<svg class="chart" viewBox="0 '
    """
    drawn = [(one, [(x, y) for x, y in one.points if y is not None]) for one in series]
    drawn = [(one, points) for one, points in drawn if points]
    if not drawn:
        return ""
    xs = [x for _, points in drawn for x, _ in points] + list(ticks or ())
    ys = [y for _, points in drawn for _, y in points]
    first = min(0.0, *xs) if unit and not ticks else min(xs)
    x_ticks = list(ticks) if ticks else _ticks(first, max(xs), whole=all(float(x).is_integer() for x in xs))
    y_ticks = [0.0, 0.2, 0.4, 0.6, 0.8, 1.0] if unit else _ticks(min([0.0, *ys]), max(ys))
    x_low, x_high = _padded(min(*xs, *x_ticks[:1]), max(xs), margin=0.06 if ticks else 0.0)
    y_low, y_high = _padded(y_ticks[0], max(*ys, y_ticks[-1]), margin=0.0)

    def at(x: float, y: float) -> tuple[str, str]:
        across = _LEFT + (x - x_low) / (x_high - x_low) * (_WIDTH - _LEFT - _RIGHT)
        down = _HEIGHT - _BOTTOM - (y - y_low) / (y_high - y_low) * (_HEIGHT - _TOP - _BOTTOM)
        return f"{across:.1f}", f"{down:.1f}"

    names = ", ".join(one.name for one, _ in drawn)
    parts = [
        f'<svg class="chart" viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" '
        f'aria-label="{_attribute(f"{ylabel} against {xlabel}: {names}")}">'
    ]
    for tick in y_ticks:
        y = at(x_low, tick)[1]
        parts.append(f'<line class="grid" x1="{_LEFT}" x2="{_WIDTH - _RIGHT}" y1="{y}" y2="{y}"/>')
        parts.append(f'<text x="{_LEFT - 6}" y="{y}" dy="4" text-anchor="end">{tick:g}</text>')
    for tick in x_ticks:
        x = at(tick, y_low)[0]
        parts.append(f'<line class="grid" x1="{x}" x2="{x}" y1="{_TOP}" y2="{_HEIGHT - _BOTTOM}"/>')
        parts.append(f'<text x="{x}" y="{_HEIGHT - _BOTTOM + 16}" text-anchor="middle">{_short(tick)}</text>')
    middle = (_TOP + _HEIGHT - _BOTTOM) / 2
    parts.append(
        f'<text x="{(_LEFT + _WIDTH - _RIGHT) / 2}" y="{_HEIGHT - 8}" text-anchor="middle">{_attribute(xlabel)}</text>'
    )
    parts.append(
        f'<text x="14" y="{middle}" text-anchor="middle" transform="rotate(-90 14 {middle})">'
        f"{_attribute(ylabel)}</text>"
    )
    for one, points in drawn:
        title = f"<title>{_attribute(one.name)}</title>"
        dash = DASHES[one.style % len(DASHES)]
        pieces, pen = [], "M"
        for x_value, y_value in one.points:
            if y_value is None:
                pen = "M"
            else:
                pieces.append(pen + " ".join(at(x_value, y_value)))
                pen = "L"
        style = f'class="s{one.style % N_STYLES}"' + (f' stroke-dasharray="{dash}"' if dash else "")
        parts.append(f'<path {style} d="{" ".join(pieces)}">{title}</path>')
        if len(points) <= 12:  # few points are measurements that should be seen, a single one has no line
            for point in points:
                x, y = at(*point)
                parts.append(f'<circle class="s{one.style % N_STYLES}" cx="{x}" cy="{y}" r="3.5">{title}</circle>')
    return "".join([*parts, "</svg>"])


def _attribute(value: str) -> str:
    return escape(clean(value), quote=True)


def _ticks(low: float, high: float, *, whole: bool = False) -> list[float]:
    """Return about five round numbers that cover most of an interval; whole ones if asked to."""
    span = high - low
    if not 0 < span < math.inf:
        return [low]
    step = 10.0 ** math.floor(math.log10(span / 4))
    step *= next(factor for factor in (1, 2, 5, 10) if span / (step * factor) <= 5)
    if whole:
        step = max(step, 1.0)
    first = math.ceil(low / step - 1e-9)
    return [round(k * step, 12) for k in range(first, math.floor(high / step + 1e-9) + 1)]


def _padded(low: float, high: float, *, margin: float) -> tuple[float, float]:
    span = high - low
    if span <= 0:  # a share of huge values: they swallow a 1
        room = max(1.0, 0.1 * abs(high))
        return low - room, high + room
    return low - margin * span, high + margin * span


def _short(value: float) -> str:
    return f"{value / 1000:g}k" if value >= 10_000 else f"{value:g}"
