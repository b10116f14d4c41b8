"""Learning curves as HTML: lines in SVG that stretches, words in HTML that does not.

Drawn here and not by a plotting library, because the words keep their size on a phone, the colors follow the
reader's light or dark mode, and a curve of any length costs a few kilobytes.
"""

import itertools
import math
from dataclasses import dataclass

import numpy as np

from attnkit.inspection.report import Curve, Line
from attnkit.inspection.writing import MINUS, number, text

POINTS = 240
BANDS = 80
STYLES = 6
#: most points of a line whose points are marked
MARKED = 24


@dataclass(frozen=True)
class Axis:
    """Positions 0 to 1 along one axis."""

    low: float
    high: float
    log: bool = False

    def at(self, values: np.ndarray | float) -> np.ndarray:
        """Where `values` lie."""
        return (self._flat(values) - self._flat(self.low)) / (self._flat(self.high) - self._flat(self.low))

    def ticks(self, count: int) -> list[float]:
        """About `count` round values inside the axis."""
        if self.log and self.high / self.low >= 20:
            first, last = math.ceil(math.log10(self.low)), math.floor(math.log10(self.high))
            every = max(1, (last - first + 1) // count)
            factors = (1, 2, 5) if last - first < 2 else (1, 3) if last - first < 3 else (1,)
            marks = [f * 10.0**power for power in range(first - 1, last + 1, every) for f in factors]
            return [mark for mark in marks if self.low <= mark <= self.high]
        rough = (self.high - self.low) / count
        power = 10.0 ** math.floor(math.log10(rough))
        step = next(power * m for m in (1, 2, 5, 10) if power * m >= rough * 0.8)
        first = math.ceil(self.low / step - 1e-9)
        return [k * step for k in range(first, math.floor(self.high / step + 1e-9) + 1)]

    def _flat(self, values: np.ndarray | float) -> np.ndarray:
        return np.log10(values) if self.log else np.asarray(values, dtype=np.float64)


@dataclass(frozen=True)
class Summary:
    """A line in at most `POINTS` buckets of steps: mean, least and greatest finite value of each."""

    steps: np.ndarray
    mean: np.ndarray
    least: np.ndarray
    greatest: np.ndarray
    wrong: np.ndarray


def draw(curve: Curve) -> str:
    """The figure of one curve, with a legend, and the numbers as a table for those who cannot see it."""
    lines = [summarize(line, curve.log) for line in curve.lines]
    finite = [line for line in lines if np.isfinite(line.mean).any()]
    if not finite:
        return _figure(curve, '<p class="empty">No finite values.</p>', lines)
    levels = [v for v in (curve.floor, curve.ceiling) if v is not None and math.isfinite(v)]
    horizontal = _axis(np.concatenate([line.steps for line in lines]), False)
    values = np.concatenate(
        [
            [np.nanmin(f.least) for f in finite],
            [np.nanmax(f.greatest) for f in finite],
            [v for v in levels if v > 0 or not curve.log],
        ]
    )
    vertical = Axis(0.0, 1.0) if curve.share else _axis(values, curve.log, margin=0.04)
    shapes = "".join(_shape(line, index, horizontal, vertical) for index, line in enumerate(lines))
    plot = (
        f'<div class="plot">{_ticks(horizontal, vertical)}'
        '<svg viewBox="0 0 1000 1000" preserveAspectRatio="none" role="img" '
        f'aria-label="{text(_description(curve, lines))}">{_grid(vertical)}{shapes}{_level(levels, vertical)}'
        f"{_hover(curve, lines, horizontal)}</svg></div>"
        f'<div class="axis-name">{text(curve.horizontal)}</div>'
    )
    return _figure(curve, plot, lines)


def summarize(line: Line, positive: bool = False) -> Summary:
    """`line` in at most `POINTS` buckets; only finite (and if asked positive) values enter the averages."""
    steps = np.asarray(line.steps, dtype=np.float64)
    values = np.asarray(line.values, dtype=np.float64)
    parts = [
        part for part in np.array_split(np.arange(len(steps)), min(POINTS, max(len(steps), 1))) if len(part)
    ]
    rows = []
    for part in parts:
        usable = values[part][np.isfinite(values[part]) & ((values[part] > 0) | (not positive))]
        stats = (usable.mean(), usable.min(), usable.max()) if len(usable) else (np.nan,) * 3
        rows.append((steps[part[-1]], *stats, np.count_nonzero(~np.isfinite(values[part]))))
    return Summary(*np.array(rows, dtype=np.float64).reshape(-1, 5).T)


def _axis(values: np.ndarray, log: bool, margin: float = 0.0) -> Axis:
    low, high = float(np.min(values)), float(np.max(values))
    if log:
        room = (high / low) ** margin * (1.1 if high == low else 1.0)
        return Axis(low / room, high * room, True)
    room = (high - low) * margin or (max(abs(high), 1.0) * 0.05 if high == low else 0.0)
    return Axis(low - room, high + room)


def _shape(line: Summary, index: int, horizontal: Axis, vertical: Axis) -> str:
    x = 1000 * horizontal.at(line.steps)
    parts = []
    style = f"line{index % STYLES}"
    for run in _runs(np.isfinite(line.mean)):
        top, low, mean = (1000 - 1000 * vertical.at(v[run]) for v in (line.greatest, line.least, line.mean))
        if np.max(low - top) > 2:
            edge = _points(np.r_[x[run], x[run][::-1]], np.r_[top, low[::-1]])
            parts.append(f'<polygon class="band {style}" points="{edge}"/>')
        if len(mean) > 1:
            parts.append(f'<polyline class="line {style}" points="{_points(x[run], mean)}"/>')
        if len(mean) == 1 or len(line.steps) <= MARKED:
            dots = "".join(f"M{a:.1f} {b:.1f}h.01" for a, b in zip(x[run], mean, strict=True))
            parts.append(f'<path class="line dot {style}" d="{dots}"/>')
    for at in np.flatnonzero(line.wrong):
        parts.append(f'<path class="wrong" d="M{x[at]:.1f} 0v1000"/>')
    return "".join(parts)


def _runs(usable: np.ndarray) -> list[np.ndarray]:
    places = np.flatnonzero(usable)
    return np.split(places, np.flatnonzero(np.diff(places) > 1) + 1) if len(places) else []


def _points(x: np.ndarray, y: np.ndarray) -> str:
    return " ".join(f"{a:.1f},{b:.1f}" for a, b in zip(x, y, strict=True))


def _ticks(horizontal: Axis, vertical: Axis) -> str:
    marks = [(f"left:{100 * horizontal.at(v):.2f}%", "x", v) for v in horizontal.ticks(4) if v == round(v)]
    marks += [(f"bottom:{100 * vertical.at(v):.2f}%", "y", v) for v in vertical.ticks(5)]
    return "".join(
        f'<span class="tick {axis}" style="{place}" aria-hidden="true">{_tick(value)}</span>'
        for place, axis, value in marks
    )


def _tick(value: float) -> str:
    return f"{value:.10g}".replace("-", MINUS) if abs(value) < 1e6 else number(value)


def _grid(vertical: Axis) -> str:
    heights = [1000 - 1000 * float(vertical.at(tick)) for tick in vertical.ticks(5)]
    return '<path class="grid" d="' + "".join(f"M0 {y:.1f}h1000" for y in heights) + '"/>'


def _level(levels: list[float], vertical: Axis) -> str:
    inside = [v for v in levels if v > 0 or not vertical.log]
    return "".join(
        f'<path class="level" d="M0 {1000 - 1000 * float(vertical.at(v)):.1f}h1000"/>' for v in inside
    )


def _hover(curve: Curve, lines: list[Summary], horizontal: Axis) -> str:
    bounds = np.linspace(0, 1, BANDS + 1)
    parts = []
    for left, right in itertools.pairwise(bounds):
        step = horizontal.low + (left + right) / 2 * (horizontal.high - horizontal.low)
        said = [
            f"{line.name} {number(float(_nearest(summary, step)))}"
            for line, summary in zip(curve.lines, lines, strict=True)
            if len(summary.steps)
        ]
        title = text(f"{curve.horizontal} {number(round(step))}: " + ", ".join(said))
        parts.append(
            f'<rect x="{1000 * left:.1f}" width="{1000 * (right - left):.1f}" height="1000">'
            f"<title>{title}</title></rect>"
        )
    return f'<g class="hovers">{"".join(parts)}</g>'


def _nearest(line: Summary, step: float) -> np.float64:
    return line.mean[np.argmin(np.abs(line.steps - step))]


def _description(curve: Curve, lines: list[Summary]) -> str:
    ends = [
        f"{line.name} from {number(float(s.mean[0]))} to {number(float(s.mean[-1]))}"
        for line, s in zip(curve.lines, lines, strict=True)
        if len(s.steps)
    ]
    return f"{curve.title} over {curve.horizontal}: " + "; ".join(ends)


def _figure(curve: Curve, plot: str, lines: list[Summary]) -> str:
    return (
        f'<figure class="chart"><figcaption><h3>{text(curve.title)}</h3>{_legend(curve, lines)}</figcaption>'
        f"{plot}{_table(curve, lines)}</figure>"
    )


def _legend(curve: Curve, lines: list[Summary]) -> str:
    items = []
    for index, (line, summary) in enumerate(zip(curve.lines, lines, strict=True)):
        last = number(float(np.asarray(line.values)[-1])) if len(line.values) else "no values"
        said = f"<li>{_swatch(f'line{index % STYLES}')}{text(line.name)} <b>{last}</b>"
        wrong = int(summary.wrong.sum())
        if wrong:
            first = np.asarray(line.steps)[~np.isfinite(np.asarray(line.values, dtype=np.float64))][0]
            said += f' <em class="bad">{wrong} NaN or infinite, first at {number(float(first))}</em>'
        items.append(said + "</li>")
    if curve.floor is not None:
        items.append(f"<li>{_swatch('level')}{text(curve.floor_name)} <b>{number(curve.floor)}</b></li>")
    if curve.ceiling is not None:
        drawn = _swatch("level") if curve.ceiling > 0 or not curve.log else ""
        items.append(f"<li>{drawn}best possible <b>{number(curve.ceiling)}</b></li>")
    return f'<ul class="legend">{"".join(items)}</ul>'


def _swatch(style: str) -> str:
    kind = "" if style == "level" else "line "
    path = f'<path class="{kind}{style}" d="M1 4h22"/>'
    return f'<svg class="swatch" viewBox="0 0 24 8" aria-hidden="true">{path}</svg>'


def _table(curve: Curve, lines: list[Summary]) -> str:
    steps = np.unique(np.concatenate([line.steps for line in lines]))
    if not len(steps):
        return ""
    chosen = steps[np.unique(np.linspace(0, len(steps) - 1, 12).round().astype(int))]
    head = "".join(f'<th scope="col">{text(line.name)}</th>' for line in curve.lines)
    rows = "".join(
        f'<tr><th scope="row">{number(round(step))}</th>'
        + "".join(
            f"<td>{number(float(_nearest(s, step)))}</td>" if len(s.steps) else "<td></td>" for s in lines
        )
        + "</tr>"
        for step in chosen.tolist()
    )
    return (
        '<details class="numbers"><summary>Numbers</summary><div class="scroll" tabindex="0" role="region" '
        f'aria-label="{text(curve.title)}, numbers"><table><thead><tr>'
        f'<th scope="col">{text(curve.horizontal)}</th>{head}</tr></thead><tbody>{rows}</tbody></table></div>'
        "</details>"
    )
