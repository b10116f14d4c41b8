"""The findings of `attnkit inspect` as a table for the terminal, and as a page."""

import sys
from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import starmap
from pathlib import Path

import numpy as np

from attnkit.errors import ConfigError
from attnkit.experiment import attention
from attnkit.experiment.inspect import HeadRow, Inspection
from attnkit.experiment.inspect_attribution import attributions
from attnkit.experiment.session import Session
from attnkit.inspection import page
from attnkit.inspection.heads_page import Beside, Change, HeadFinding, HeadReport, Matrix
from attnkit.inspection.maps import layer_name
from attnkit.inspection.report import MapExample, Report

PICTURES = 3
#: Columns where there is no terminal.
WIDE = 160


def show(found: Inspection) -> None:
    """Print the findings."""
    from rich.console import Console
    from rich.table import Table

    table = Table(box=None, pad_edge=False)
    known = any(row.evidence for row in found.rows)
    columns = ["head", "effect", "95 %"] + (["evidence", "mass", "uniform"] if known else [])
    for name in columns:
        table.add_column(name, justify="left" if name == "head" else "right", no_wrap=True)
    for name in ("verdict", "looks at"):
        table.add_column(name, no_wrap=True)
    for row in found.rows:
        between = "{:z.3f} to {:z.3f}".format(*row.interval) if row.interval else "-"
        cells = [str(row.head), f"{row.effect:z.3f}", between]
        if known:
            one = row.evidence
            cells += (
                ["", "", ""] if one is None else [f"{v:.1%}" for v in (one.accuracy, one.mass, one.chance)]
            )
        table.add_row(*cells, row.verdict, row.looks_at)
    console = Console(width=None if sys.stdout.isatty() else WIDE)
    console.print(table)
    for line in sentences(found):
        console.print(line, markup=False, highlight=False)


def show_beside(names: Sequence[str], results: Sequence[Inspection]) -> None:
    """Print the findings of several runs, one row for each head."""
    from rich.console import Console
    from rich.table import Table

    table = Table(box=None, pad_edge=False)
    table.add_column("head", no_wrap=True)
    for n, _ in enumerate(names):
        for column in ("effect", "mass", "verdict"):
            table.add_column(
                f"{column} {n + 1}", no_wrap=True, justify="left" if column == "verdict" else "right"
            )
    for name, found in rows_beside(results):
        cells = []
        for one in found:
            if one is None:
                cells += ["", "", "no such head"]
            else:
                cells += [f"{one.effect:z.3f}", "" if one.mass is None else f"{one.mass:.1%}", one.verdict]
        table.add_row(name, *cells)
    console = Console(width=None if sys.stdout.isatty() else WIDE)
    console.print(table)
    for n, (name, result) in enumerate(zip(names, results, strict=True)):
        for line in sentences(result):
            console.print(f"{n + 1}, {name}: {line}", markup=False, highlight=False)


def rows_beside(results: Sequence[Inspection]) -> tuple[tuple[str, tuple[HeadFinding | None, ...]], ...]:
    """The heads of all runs by name, those of the first run first, with what each run has found."""
    found = [{str(row.head): finding(row) for row in one.rows} for one in results]
    every = dict.fromkeys(name for one in found for name in one)
    return tuple((name, tuple(one.get(name) for one in found)) for name in every)


def sentences(found: Inspection) -> Iterator[str]:
    """Sentences beside the table."""
    plural = "" if found.count == 1 else "s"
    lost = "nats of the answer's log-probability lost by resampling the head"
    yield f"{found.count} example{plural}; effect: {lost}"
    if found.edges is not None:
        whole = found.edges
        yield (
            f"log-probability of the answer {whole.whole:z.3f}; without attention to the evidence "
            f"{whole.without:z.3f}; with attention to the evidence alone {whole.alone:z.3f}"
        )
    if found.control is not None:
        yield (
            f"before training, the best head finds the evidence in {found.control.accuracy:.1%} of rows "
            f"(uniform attention {found.control.chance:.1%})"
        )
    if found.circuit is not None:
        yield "circuit: " + (", ".join(map(str, found.circuit.edges)) or "no edge has an effect")
    for path, why in found.reasons.items():
        yield f"{layer_name(path)} has no map: {why}"


def write(sessions: Sequence[Session], results: Sequence[Inspection], file: Path) -> None:
    """Write the page of one run, or of two on the same examples.

    Raises:
        ConfigError: if the file cannot be written.
    """
    runs = list(zip(sessions, results, strict=True))
    reports = [report(*one) for one in runs]
    names = tuple(session.name for session in sessions)
    pictures = [examples(*one) for one in runs]
    if len(runs) > 1:
        pictures = [
            tuple(replace(one, title=f"{name}: {one.title}") for one in some)
            for name, some in zip(names, pictures, strict=True)
        ]
    made = Report(
        title=f"Heads of {' and '.join(names)}",
        about="What each head looks at, and what the answer loses without it. Layers and heads are counted "
        "from 0.",
        heads=reports[0] if len(runs) == 1 else merged(names, reports, results),
        attention=pictures[0] if len(runs) == 1 else tuple(starmap(beside, zip(*pictures, strict=True))),
    )
    try:
        file.write_text(page.render(made), encoding="utf-8")
    except OSError as error:
        raise ConfigError(f"--page {file}: cannot be written: {error.strerror}") from None


def beside(first: MapExample, second: MapExample) -> MapExample:
    """The same example in two runs."""
    return replace(first, beside=second)


def merged(names: Sequence[str], reports: Sequence[HeadReport], results: Sequence[Inspection]) -> HeadReport:
    """The findings of several runs, each part under the name of its run."""
    named = list(zip(names, reports, strict=True))
    return HeadReport(
        beside=Beside(tuple(names), rows_beside(results)),
        matrices=tuple(replace(m, title=f"{n}: {m.title}") for n, r in named for m in r.matrices),
        changes=tuple(replace(c, name=f"{n}: {c.name}") for n, r in named for c in r.changes),
        attributions=tuple(replace(a, title=f"{n}: {a.title}") for n, r in named for a in r.attributions),
        circuits=tuple((f"{n}: {title}", circuit) for n, r in named for title, circuit in r.circuits),
        notes=tuple(f"{n}: {note}" for n, r in named for note in r.notes),
    )


def examples(session: Session, found: Inspection) -> tuple[MapExample, ...]:
    """The pictures of some examples."""
    order = list(dict.fromkeys(row.head.map for row in found.rows))
    made = (example(session, one, order, found) for one in found.reads[:PICTURES])
    return tuple(one for one in made if one.maps)


def example(session: Session, one: attention.Read, order: list[str], found: Inspection) -> MapExample:
    """The maps of one example, layers with the most important heads first."""
    made = attention.map_example(session, one, None)
    names = sorted(one.maps, key=lambda name: (not attention.is_cross(name), attention.of_encoder(name)))
    place = sorted(
        range(len(names)), key=lambda n: order.index(names[n]) if names[n] in order else len(order)
    )
    maps = tuple(made.maps[n] for n in place)
    best = next((row.head for row in found.rows if row.head.map in names), None)
    selected = (0, best.head) if best is not None and maps else (0, 0)
    return MapExample(made.title, maps, selected, "Layers whose heads matter most come first.")


def finding(row: HeadRow) -> HeadFinding:
    """The row of one head as the page draws it."""
    known = row.evidence
    return HeadFinding(
        str(row.head),
        row.looks_at,
        known.accuracy if known else None,
        known.mass if known else None,
        known.chance if known else None,
        row.effect,
        row.interval,
        row.verdict,
    )


def report(session: Session, found: Inspection) -> HeadReport:
    """The findings as the page draws them."""
    changes: list[Change] = []
    if found.edges is not None:
        changes = [
            Change("attention to the evidence cut", found.edges.whole, found.edges.without),
            Change("all other attention of these rows cut", found.edges.whole, found.edges.alone),
        ]
    return HeadReport(
        heads=tuple(map(finding, found.rows)),
        matrices=tuple(matrices(found)),
        changes=tuple(changes),
        attributions=tuple(attributions(session, found, PICTURES)),
        circuits=() if found.circuit is None else (("Circuit", found.circuit),),
        notes=tuple(sentences(found)),
    )


def matrices(found: Inspection) -> Iterator[Matrix]:
    """Effect and evidence of every head, by layer."""
    paths = sorted({row.head.map for row in found.rows})
    most = max(row.head.head for row in found.rows) + 1
    numbers = {
        "Effect of resampling, nats": {row.head: row.effect for row in found.rows},
        "Weight on the evidence": {row.head: row.evidence.mass for row in found.rows if row.evidence},
    }
    for title, values in numbers.items():
        if values:
            table = np.full((len(paths), most), np.nan)
            for head, value in values.items():
                table[paths.index(head.map), head.head] = value
            yield Matrix(title, tuple(map(layer_name, paths)), table)
