"""Findings about heads as HTML: a table, matrices of layers and heads, interventions, attribution."""

import html
import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from attnkit.errors import DataError
from attnkit.inspection import notebook
from attnkit.inspection.writing import DASH, cut, number, percent, text, visible

if TYPE_CHECKING:
    from attnkit.inspection.circuits import Circuit

MOST_TOKENS = 1024


@dataclass(frozen=True)
class HeadFinding:
    """One head.

    Attributes:
        name: `L1H3`.
        looks_at: in words; empty if nothing stands out.
        accuracy: share of the rows whose heaviest key is evidence; `None` without evidence.
        mass: weight on the evidence, likewise.
        uniform: the same of uniform attention.
        effect: what resampling the head costs, in nats.
        interval: of the effect; `None` of a single example.
        verdict: in words.
    """

    name: str
    looks_at: str
    accuracy: float | None
    mass: float | None
    uniform: float | None
    effect: float
    interval: tuple[float, float] | None
    verdict: str


@dataclass(frozen=True)
class Matrix:
    """One number for each head, rows are layers: values of a score, NaN where there is no such head."""

    title: str
    rows: tuple[str, ...]
    values: np.ndarray = field(repr=False)


@dataclass(frozen=True)
class Change:
    """An intervention: what it is, and the log-probability of the answer before and after."""

    name: str
    before: float
    after: float


@dataclass(frozen=True)
class Attribution:
    """Numbers of several methods for the tokens of one example.

    Attributes:
        title: of the example.
        tokens: their spelling.
        methods: name and one number a token, of any sign.
    """

    title: str
    tokens: tuple[str, ...]
    methods: tuple[tuple[str, np.ndarray], ...]

    def __post_init__(self) -> None:
        for name, values in self.methods:
            if np.shape(values) != (len(self.tokens),):
                raise DataError(
                    f"attribution {name!r} has shape {np.shape(values)}; expected one number for each of "
                    f"{len(self.tokens)} tokens"
                )


@dataclass(frozen=True)
class Beside:
    """The same heads in several runs.

    Attributes:
        runs: their names.
        heads: name of a head, and what each run has found; `None` where it has no such head.
    """

    runs: tuple[str, ...]
    heads: tuple[tuple[str, tuple[HeadFinding | None, ...]], ...]

    def __post_init__(self) -> None:
        for name, found in self.heads:
            if len(found) != len(self.runs):
                raise DataError(f"head {name}: {len(found)} findings; expected one for each of {self.runs}")


@dataclass(frozen=True)
class HeadReport:
    """Everything that the page says about heads.

    Attributes:
        heads: the most important first.
        beside: the same in several runs.
        matrices: scores by layer and head.
        changes: interventions.
        attributions: of some examples.
        circuits: with their titles, which may be empty.
        notes: what else must be said, such as layers without a map, and the untrained control.
    """

    heads: tuple[HeadFinding, ...] = ()
    beside: Beside | None = None
    matrices: tuple[Matrix, ...] = ()
    changes: tuple[Change, ...] = ()
    attributions: tuple[Attribution, ...] = ()
    circuits: tuple[tuple[str, "Circuit"], ...] = ()
    notes: tuple[str, ...] = ()

    def _repr_html_(self) -> str:
        return notebook.frame(heads=self)


def draw(report: HeadReport) -> str:
    """The section."""
    notes = "".join(f"<li>{text(note)}</li>" for note in report.notes)
    return (
        (f'<ul class="notes">{notes}</ul>' if notes else "")
        + _table(report.heads)
        + (_beside(report.beside) if report.beside else "")
        + "".join(map(_matrix, report.matrices))
        + _changes(report.changes)
        + "".join(_circuit(*one) for one in report.circuits)
        + "".join(map(_attribution, report.attributions))
    )


def _table(heads: Sequence[HeadFinding]) -> str:
    if not heads:
        return ""
    known = any(head.accuracy is not None for head in heads)
    columns = ["effect in nats", "95 % interval"]
    columns += ["heaviest key is evidence", "weight on evidence", "uniform"] if known else []
    figures = "".join(f'<th scope="col" class="figure">{name}</th>' for name in columns)
    head = f'<th scope="col">head</th><th scope="col">verdict</th>{figures}<th scope="col">looks at</th>'
    rows = "".join(_row(one, known) for one in heads)
    return _scrolled(
        f"<table class='pivot'><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table>", "Heads"
    ) + (
        '<p class="small-print">Effect: what the answer loses when the head\'s output is that of another '
        "example.</p>"
    )


def _beside(beside: Beside) -> str:
    runs = "".join(f'<th scope="colgroup" colspan="3" class="words">{text(run)}</th>' for run in beside.runs)
    names = (
        '<th scope="col" class="figure">effect in nats</th><th scope="col" class="figure">weight on evidence'
        '</th><th scope="col">verdict</th>'
    ) * len(beside.runs)
    rows = "".join(
        f'<tr><th scope="row">{text(name)}</th>{"".join(map(_cells, found))}</tr>'
        for name, found in beside.heads
    )
    head = f'<tr><td></td>{runs}</tr><tr><th scope="col">head</th>{names}</tr>'
    table = f"<table class='pivot'><thead>{head}</thead><tbody>{rows}</tbody></table>"
    return "<h3>The same examples in each run</h3>" + _scrolled(table, "Heads of each run")


def _cells(found: HeadFinding | None) -> str:
    if found is None:
        return f'<td>{DASH}</td><td>{DASH}</td><td class="words">no such head</td>'
    mass = DASH if found.mass is None else text(percent(found.mass))
    return f'<td>{number(found.effect)}</td><td>{mass}</td><td class="words">{text(found.verdict)}</td>'


def _circuit(title: str, circuit: "Circuit") -> str:
    # Imported here, as a circuit needs jax and the rest of a page does not.
    from attnkit.inspection import circuit_picture

    return f"<h3>{text(title)}</h3>{circuit_picture.draw(circuit)}"


def _row(head: HeadFinding, known: bool) -> str:
    cells = [number(head.effect), " to ".join(map(number, head.interval)) if head.interval else DASH]
    if known:
        cells += [
            DASH if value is None else percent(value) for value in (head.accuracy, head.mass, head.uniform)
        ]
    numbers = "".join(f"<td>{text(cell)}</td>" for cell in cells)
    return (
        f'<tr><th scope="row">{text(head.name)}</th><td class="words">{text(head.verdict)}</td>{numbers}'
        f'<td class="words">{text(head.looks_at) or DASH}</td></tr>'
    )


def _matrix(matrix: Matrix) -> str:
    largest = np.nanmax(np.abs(matrix.values), initial=0.0) or 1.0
    columns = "".join(f'<th scope="col" class="figure">H{n}</th>' for n in range(matrix.values.shape[1]))
    rows = "".join(
        f'<tr><th scope="row">{text(name)}</th>'
        + "".join(_cell(value, float(value) / largest) for value in row)
        + "</tr>"
        for name, row in zip(matrix.rows, matrix.values, strict=True)
    )
    table = (
        f"<table class='confusion'><thead><tr><td></td>{columns}</tr></thead><tbody>{rows}</tbody></table>"
    )
    return f"<h3>{text(matrix.title)}</h3>{_scrolled(table, matrix.title)}"


def _cell(value: float, share: float) -> str:
    if not math.isfinite(value):
        return f"<td>{DASH if math.isnan(value) else number(float(value))}</td>"
    return f'<td class="heat" style="--w:{min(abs(share), 1.0):.2f}">{number(float(value))}</td>'


def _changes(changes: Sequence[Change]) -> str:
    if not changes:
        return ""
    rows = "".join(
        f'<tr><th scope="row">{text(one.name)}</th><td>{number(one.before)}</td><td>{number(one.after)}</td>'
        f"<td>{number(one.after - one.before)}</td></tr>"
        for one in changes
    )
    figures = "".join(f'<th scope="col" class="figure">{name}</th>' for name in ("before", "after", "change"))
    head = f'<th scope="col">intervention</th>{figures}'
    table = f"<table><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table>"
    return "<h3>Interventions: log-probability of the answer, nats per token</h3>" + _scrolled(
        table, "Interventions"
    )


def _attribution(one: Attribution) -> str:
    rows = "".join(
        f'<p class="small-print">{text(name)}</p>'
        f'<p class="marked" dir="auto">{_marked(one.tokens, values)}</p>'
        for name, values in one.methods
    )
    title = text(cut(one.title))
    return f'<details class="look"><summary>Attribution: <bdi>{title}</bdi></summary>{rows}</details>'


def _marked(tokens: Sequence[str], values: np.ndarray) -> str:
    sizes = np.abs(np.nan_to_num(np.asarray(values, np.float64)))
    largest = float(sizes.max(initial=0.0)) or 1.0
    shown = [
        f'<span class="heat" style="--w:{size / largest:.3f}" title="{html.escape(number(float(value)))}">'
        f"{text(visible(token))}</span>"
        for token, size, value in zip(tokens[:MOST_TOKENS], sizes, values, strict=False)
    ]
    more = f" … {len(tokens) - MOST_TOKENS} more" if len(tokens) > MOST_TOKENS else ""
    return " ".join(shown) + more


def _scrolled(content: str, name: str) -> str:
    return f'<div class="scroll" tabindex="0" role="region" aria-label="{text(name)}">{content}</div>'
