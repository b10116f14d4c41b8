"""Results, as HTML: headlines, a table of metrics by split, and confusion matrices."""

import math
from collections.abc import Sequence

import numpy as np

from attnkit.inspection.report import Confusion, Result
from attnkit.inspection.writing import DASH, number, percent, text

NOTES = (
    "Floor: what a model that learned nothing reaches on the same examples.",
    "Small: 95 % intervals over examples as a sample of all (Wilson for shares of examples, bootstrap for "
    "other scores); losses and tokens have none, as the tokens of an example depend on each other.",
)


def cards(results: Sequence[Result]) -> str:
    """The headlines as cards; empty without one."""
    headlines = [result for result in results if result.headline]
    return f'<div class="cards">{"".join(map(_card, headlines))}</div>' if headlines else ""


def _card(result: Result) -> str:
    beside = []
    if result.interval is not None:
        beside.append(f"95 %: <b>{_between(result)}</b>")
    if result.floor is not None:
        beside.append(f"floor <b>{_value(result, result.floor)}</b>")
    if result.ceiling is not None:
        beside.append(f"ceiling <b>{_value(result, result.ceiling)}</b>")
    note = f"<br>{text(result.note)}" if result.note else ""
    split = f'<span class="split">{text(result.split)}</span>' if result.split else ""
    return (
        f'<div class="card"><h3>{text(result.name)} {split}</h3>'
        f'<p class="value">{_value(result, result.value)}</p>{_bar(result)}'
        f'<p class="beside">{" · ".join(beside) or "floor not known"}{note}</p></div>'
    )


def _bar(result: Result) -> str:
    if result.unit != "fraction" or not math.isfinite(result.value):
        return ""
    filled = 100 * min(max(result.value, 0.0), 1.0)
    floor = result.floor
    known = floor is not None and math.isfinite(floor)
    mark = f'<i style="left:{100 * min(max(floor or 0.0, 0.0), 1.0):.1f}%"></i>' if known else ""
    return f'<div class="bar" aria-hidden="true"><b style="width:{filled:.1f}%"></b>{mark}</div>'


def _value(result: Result, value: float) -> str:
    if result.unit == "fraction":
        return _whole(percent(value))
    return _whole(number(value)) + (f" <small>{text(result.unit)}</small>" if result.unit != "number" else "")


def _between(result: Result) -> str:
    low, high = result.interval or (math.nan, math.nan)
    if result.unit == "fraction":
        return f"{_whole(percent(low))} to {_whole(percent(high))}"
    return f"{_whole(number(low))} to {_whole(number(high))}"


def _whole(digits: str) -> str:
    """A number that is not broken into lines."""
    return f'<span class="number">{text(digits)}</span>'


def table(results: Sequence[Result]) -> str:
    """Every metric on a row and every split in a column, with floor and ceiling of the metric."""
    if not results:
        return ""
    splits = list(dict.fromkeys(result.split for result in results))
    rows: dict[str, list[Result]] = {}
    for result in results:
        rows.setdefault(result.name, []).append(result)
    topped = any(
        result.ceiling not in (None, 1.0 if result.unit == "fraction" else 0.0) for result in results
    )
    head = '<th scope="col">metric</th><th scope="col" class="figure">floor</th>'
    head += '<th scope="col" class="figure">ceiling</th>' if topped else ""
    head += "".join(f'<th scope="col" class="figure">{text(split)}</th>' for split in splits)
    body = "".join(_row(name, found, splits, topped) for name, found in rows.items())
    made = f"<table class='pivot'><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"
    said = NOTES if any(result.interval for result in results) else NOTES[:1]
    return (
        f'<div class="scroll" tabindex="0" role="region" aria-label="Results">{made}</div>'
        f'<p class="small-print">{" ".join(said)}</p>'
    )


def _row(name: str, found: list[Result], splits: list[str], topped: bool) -> str:
    unit = found[0].unit
    shown = "" if unit in ("fraction", "number") else f" <small>{text(unit)}</small>"
    notes = "; ".join(dict.fromkeys(result.note for result in found if result.note))
    note = f'<small class="note">{text(notes)}</small>' if notes else ""
    cells = [_bound(found, "floor")] + ([_bound(found, "ceiling")] if topped else [])
    by_split: dict[str, list[str]] = {}
    for result in found:
        by_split.setdefault(result.split, []).append(_cell(result))
    cells += ["<br>".join(by_split.get(split, [DASH])) for split in splits]
    columns = "".join(f"<td>{cell}</td>" for cell in cells)
    return f'<tr><th scope="row">{text(name)}{shown}{note}</th>{columns}</tr>'


def _cell(result: Result) -> str:
    between = f"<small>{_between(result)}</small>" if result.interval is not None else ""
    return f"<b>{_bare(result, result.value)}</b>{between}"


def _bound(found: list[Result], name: str) -> str:
    values = (getattr(result, name) for result in found)
    value = next((value for value in values if value is not None), None)
    return DASH if value is None else _bare(found[0], value)


def _bare(result: Result, value: float) -> str:
    return _whole(percent(value) if result.unit == "fraction" else number(value))


def matrices(found: Sequence[Confusion]) -> str:
    """Confusion matrices: that of `test`, or the first, and the others folded."""
    order = sorted(found, key=lambda one: one.split != "test")
    shown = [_matrix(one) for one in order]
    folded = (
        f'<details class="folded"><summary>{text(one.split)}</summary>{drawn}</details>'
        for one, drawn in zip(order[1:], shown[1:], strict=True)
    )
    return "".join([*shown[:1], *folded])


def _matrix(one: Confusion) -> str:
    counts = np.asarray(one.counts)
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    head = "".join(f'<th scope="col" class="figure">{text(name)}</th>' for name in one.classes)
    rows = "".join(
        f'<tr><th scope="row">{text(name)}</th>'
        + "".join(
            f'<td class="heat" style="--w:{share:.2f}">{number(int(count))}</td>'
            for count, share in zip(row, part, strict=True)
        )
        + "</tr>"
        for name, row, part in zip(one.classes, counts, shares, strict=True)
    )
    return (
        f"<h3>Answers on {text(one.split)}</h3>"
        '<div class="scroll" tabindex="0" role="region" aria-label="Answers by class">'
        '<table class="confusion"><thead><tr><th scope="col">true ↓ answered →</th>'
        f"{head}</tr></thead><tbody>{rows}</tbody></table></div>"
    )
