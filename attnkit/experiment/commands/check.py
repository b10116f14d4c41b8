"""`check`: whether a variant computes the same thing in every form, and behaves as attention must."""

import argparse
import json
from typing import Any

from attnkit.experiment.diagnostics import printable

#: Failures that the last line names.
NAMED = 3
#: Columns of a screen on which every table fits.
WIDEST = 1000
BASES = ("Score", "Position", "Normalizer", "Selection", "Mask", "TokenMixer", "FeatureMap")


def add(groups: Any) -> None:
    """Declare the command."""
    command = groups.add_parser(
        "check",
        help="prove that every form of a variant agrees with its definition",
        description="Check a variant or a part of one: every form against the definition, with derivatives, "
        "and everything that attention must do; of a mask, what it says of blocks against all pairs. "
        "Exit code 6 if something fails.",
        epilog="Class attributes say what a variant of your own stands for: claims = ('translation', "
        "'permutation', 'causality') are symmetries that are then checked, unclaimed = {'row': 'reason'} "
        "takes a row out, checked_with = {'option': value} gives options for few tokens. The page "
        "docs/own_variants.md lists every method that a variant may define, with its parameters. "
        "example: attnkit check rotary base=500.0 --full",
    )
    command.add_argument("name", metavar="NAME", help="a kind, or path/to/file.py:Class")
    command.add_argument("words", metavar="dotted.key=value", nargs="*", help="options of it, as TOML")
    command.add_argument("--full", action="store_true", help="more block shapes, precisions and lengths")
    command.add_argument("--brief", action="store_true", help="only the definition and the form by blocks")
    command.add_argument("--verbose", action="store_true", help="every form, and what is not claimed")
    command.add_argument("--json", action="store_true", help="print JSON")
    command.set_defaults(run=check)


def check(arguments: argparse.Namespace) -> int:
    """Check one variant, print the matrix, and fail if a cell fails."""
    from attnkit.errors import CheckFailed, ConfigError
    from attnkit.experiment import resolve

    thing = None if arguments.words else resolve.without_options(arguments.name, BASES)
    if thing is None:
        thing = resolve.made(arguments.name, arguments.words, BASES)
    from attnkit import conformance

    if arguments.full and arguments.brief:
        raise ConfigError("--full and --brief exclude each other; give one")
    level: Any = "full" if arguments.full else "brief" if arguments.brief else "quick"
    try:
        matrix = conformance.check(thing, level=level)
    except (TypeError, ValueError) as error:
        raise ConfigError(f"{arguments.name}: cannot be checked: {' '.join(str(error).split())}") from error
    if arguments.json:
        print(json.dumps({"level": level, **matrix.facts()}, indent=2))
    else:
        show(matrix, arguments.verbose)
    if not matrix.ok:
        failed = [f"{rule} in {form}" for (rule, form), cell in matrix.cells.items() if not cell.ok]
        told = list(matrix.errors) or failed
        more = [f"and {len(told) - NAMED} more"] if len(told) > NAMED else []
        raise CheckFailed(f"{arguments.name} fails: {'; '.join(told[:NAMED] + more)}")
    return 0


def show(matrix: Any, verbose: bool) -> None:
    """A line for each property, with its meaning; then what failed, and what may be a mistake."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    from attnkit.conformance.meanings import LEGEND, MEANINGS

    console = Console()
    columns = matrix.columns if verbose else ("",)
    table = Table(title=matrix.name, title_justify="left", box=None)
    table.add_column("property", no_wrap=True)
    for column in columns:
        table.add_column(column, justify="right", no_wrap=True)
    table.add_column("" if verbose else "meaning", style="dim", overflow="fold")
    for row in matrix.rows:
        cells = [matrix.cells[row, column] for column in matrix.columns]
        cells = cells if verbose else [max(cells, key=severity)]
        styles = ["dim" if cell.worst is None else "green" if cell.ok else "bold red" for cell in cells]
        shown = ["-" if cell.worst is None else str(cell) for cell in cells]
        words = (Text(word, style) for word, style in zip(shown, styles, strict=True))
        table.add_row(row, *words, MEANINGS.get(row, ""))
    needed = console.measure(table, options=console.options.update(width=WIDEST)).minimum
    console.width = max(console.width, needed)  # on a narrow screen the terminal wraps, and no number is cut
    if matrix.rows:
        console.print(table)
    for line in matrix.notes():
        kind = line.split("  ")[0]
        if verbose or kind != "not claimed":
            style = {"warning": "yellow", "not claimed": "dim"}.get(kind, "bold red")
            console.print(Text(printable(line), style))
    console.print(Text(LEGEND, "dim"))


def severity(cell: Any) -> tuple[bool, bool, float]:
    """Order of the cells of a row: the failure, else the number nearest to its limit."""
    return not cell.ok, cell.worst is not None, cell.worst.share if cell.worst else 0.0
