"""The findings of `attnkit inspect` as a table for the terminal, and as a page."""

import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from attnkit.errors import ConfigError
from attnkit.experiment import attention
from attnkit.experiment.highlight import spelled
from attnkit.experiment.inspect import Inspection
from attnkit.experiment.session import Session
from attnkit.inspection import head_scores, page
from attnkit.inspection.heads_page import Attribution, Change, HeadFinding, HeadReport, Matrix
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
        between = "{:.3f} to {:.3f}".format(*row.interval) if row.interval else "-"
        cells = [str(row.head), f"{row.effect:.3f}", between]
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


def sentences(found: Inspection) -> Iterator[str]:
    """Sentences beside the table."""
    plural = "" if found.count == 1 else "s"
    lost = "nats of the answer's log-probability lost by resampling the head"
    yield f"{found.count} example{plural}; effect: {lost}"
    if found.edges is not None:
        whole = found.edges
        yield (
            f"log-probability of the answer {whole.whole:.3f}; without attention to the evidence "
            f"{whole.without:.3f}; with attention to the evidence alone {whole.alone:.3f}"
        )
    if found.control is not None:
        yield (
            f"before training, the best head finds the evidence in {found.control.accuracy:.1%} of rows "
            f"(uniform attention {found.control.chance:.1%})"
        )
    for path, why in found.reasons.items():
        yield f"{layer_name(path)} has no map: {why}"


def write(session: Session, found: Inspection, file: Path) -> None:
    """Write the page. Raises `ConfigError` if the file cannot be written."""
    order = list(dict.fromkeys(row.head.map for row in found.rows))
    examples = tuple(example(session, one, order, found) for one in found.reads[:PICTURES])
    made = Report(
        title=f"Heads of {session.name}",
        about="What each head looks at, and what the answer loses without it. Layers and heads are counted "
        "from 0.",
        heads=report(session, found),
        attention=tuple(one for one in examples if one.maps),
    )
    try:
        file.write_text(page.render(made), encoding="utf-8")
    except OSError as error:
        raise ConfigError(f"--page {file}: cannot be written: {error.strerror}") from None


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


def report(session: Session, found: Inspection) -> HeadReport:
    """The findings as the page draws them."""
    heads = tuple(
        HeadFinding(
            str(row.head),
            row.looks_at,
            row.evidence.accuracy if row.evidence else None,
            row.evidence.mass if row.evidence else None,
            row.evidence.chance if row.evidence else None,
            row.effect,
            row.interval,
            row.verdict,
        )
        for row in found.rows
    )
    changes: list[Change] = []
    if found.edges is not None:
        changes = [
            Change("attention to the evidence cut", found.edges.whole, found.edges.without),
            Change("all other attention of these rows cut", found.edges.whole, found.edges.alone),
        ]
    return HeadReport(
        heads,
        tuple(matrices(found)),
        tuple(changes),
        tuple(attributions(session, found)),
        tuple(sentences(found)),
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


def attributions(session: Session, found: Inspection) -> Iterator[Attribution]:
    """For some examples, weights of the head with the largest effect beside gradient times input."""
    best = next((row.head for row in found.rows), None)
    for n, one in enumerate(found.reads[:PICTURES]):
        source = bool(one.example.source_size)
        if one.example.source_features is not None:
            continue
        tokens = spelled(session, one.example)[0]
        methods = []
        if best is not None and best.map in one.maps and attention.is_cross(best.map) == source:
            rows = head_scores.shares(one.maps[best.map][best.head])
            methods.append((f"weights of {best}", rows.mean(axis=0)[: len(tokens)]))
        if n < len(found.gradients):
            methods.append(("gradient times input", found.gradients[n][: len(tokens)]))
        if methods:
            yield Attribution(one.example.prompt, tokens, tuple(methods))
