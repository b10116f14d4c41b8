"""Figures of a comparison: learning curves with bands, and a metric against length."""

import io
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from attnkit.studies.comparison import Comparison, Group
from attnkit.studies.statistics import Estimate, estimate

FORMATS = ("png", "svg")
# Okabe and Ito 2008: told apart with any kind of color vision.
COLORS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000", "#999933")
MARKERS = "os^Dv<>P"

Points = Mapping[float, Estimate]


def curves(comparison: Comparison) -> Any:
    """A panel for each column: held-out accuracy (or loss) over steps, mean and interval over seeds."""
    panels = {}
    for column in comparison.columns:
        groups = [group for group in comparison.groups if group.column == column]
        name = "accuracy" if groups[0].higher else "loss"
        lines = {group.row: over_steps(group, name, comparison) for group in groups}
        panels[column] = lines, name, name == "accuracy"
    return drawn(panels, "step")


def by_length(comparison: Comparison) -> Any:
    """A panel for each column whose splits have lengths: the metric against length; `None` without any."""
    panels = {}
    for column in comparison.columns:
        groups = [group for group in comparison.groups if group.column == column]
        lines = {group.row: over_lengths(group, comparison) for group in groups}
        if any(len(points) > 1 for points in lines.values()):
            panels[column] = lines, groups[0].metric.replace("_", " "), groups[0].unit == "fraction"
    return drawn(panels, "length") if panels else None


def over_steps(group: Group, name: str, comparison: Comparison) -> Points:
    """The mean over seeds at every step at which all were evaluated."""
    found: dict[float, list[float | None]] = {}
    for run in group.runs:
        for step, value in zip(*run.curve(name), strict=True):
            found.setdefault(step, []).append(value)
    return {
        s: estimate(v, comparison.plan.interval)
        for s, v in sorted(found.items())
        if len(v) == len(group.runs)
    }


def over_lengths(group: Group, comparison: Comparison) -> Points:
    """The metric on every split that has a length."""
    lengths: Mapping[str, float] = group.runs[0].result.get("lengths") or {}
    found = {}
    for split, length in sorted(lengths.items(), key=lambda item: item[1]):
        values = [run.value(split, group.metric) for run in group.runs]
        if any(value is not None for value in values):
            found[float(length)] = estimate(values, comparison.plan.interval)
    return found


def drawn(panels: Mapping[str, tuple[Mapping[str, Points], str, bool]], horizontal: str) -> Any:
    """The figure of some panels: their lines, what these show, and whether that is a fraction of 1."""
    from matplotlib.figure import Figure

    count = max(len(panels), 1)
    figure = Figure(figsize=(0.8 + 3.6 * count, 3.2), layout="constrained")
    axes = figure.subplots(1, count, squeeze=False)[0]
    names = list(dict.fromkeys(row for lines, *_ in panels.values() for row in lines))
    handles: dict[str, Any] = {}
    for axis, (title, (lines, vertical, fraction)) in zip(axes, panels.items(), strict=False):
        for row, points in lines.items():
            number = names.index(row)
            style = {"color": COLORS[number % len(COLORS)], "marker": MARKERS[number % len(MARKERS)]}
            x, means = list(points), [found.mean for found in points.values()]
            (line,) = axis.plot(x, means, label=row, markersize=3.5, linewidth=1.4, **style)
            low = [found.low if math.isfinite(found.low) else found.mean for found in points.values()]
            high = [found.high if math.isfinite(found.high) else found.mean for found in points.values()]
            axis.fill_between(x, low, high, color=style["color"], alpha=0.18, linewidth=0)
            handles.setdefault(row, line)
        axis.set(title=title, xlabel=horizontal, ylabel=vertical)
        if fraction:
            # An interval of a mean may leave it, but no accuracy does.
            axis.set_ylim(-0.03, 1.03)
        if horizontal == "length":
            ticks = sorted({x for points in lines.values() for x in points})
            axis.set_xscale("log", base=2)
            axis.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
            axis.minorticks_off()
        axis.grid(alpha=0.25)
        axis.spines[["top", "right"]].set_visible(False)
    if handles:
        figure.legend(handles.values(), handles.keys(), loc="outside right upper", frameon=False, fontsize=8)
    return figure


def save(figure: Any, path: Path, formats: Sequence[str] = FORMATS) -> list[Path]:
    """Write a figure beside `path` in some formats; equal figures give equal files."""
    found = []
    for kind in formats:
        found.append(path.with_suffix(f".{kind}"))
        found[-1].write_bytes(rendered(figure, kind))
    return found


def rendered(figure: Any, kind: str) -> bytes:
    """A figure as the bytes of a file."""
    import matplotlib

    data = io.BytesIO()
    meta = {"Date": None} if kind == "svg" else {"Software": None}
    with matplotlib.rc_context({"svg.hashsalt": "attnkit"}):
        figure.savefig(data, format=kind, dpi=160, metadata=meta)
    return data.getvalue()


def is_empty(figure: Any) -> bool:
    """Whether a figure shows no point."""
    lines = (line for axis in figure.axes for line in axis.lines)
    return not any(np.isfinite(line.get_ydata()).any() for line in lines)
