"""`check`: whether a variant computes the same thing in every form, and behaves as attention must."""

import argparse
import json
from typing import Any

BASES = ("Score", "Position", "Normalizer", "Selection", "Mask", "TokenMixer", "FeatureMap")


def add(groups: Any) -> None:
    """Declare the command."""
    command = groups.add_parser(
        "check",
        help="prove that every form of a variant agrees with its definition",
        description="Check a variant or a part of one: every form against the definition, with derivatives, "
        "and everything that attention must do; of a mask, what it says of blocks against all pairs. "
        "Exit code 6 if something fails.",
        epilog="example: attnkit check alibi strength=2.0 --full",
    )
    command.add_argument("name", metavar="NAME", help="a kind, or path/to/file.py:Class")
    command.add_argument("words", metavar="dotted.key=value", nargs="*", help="options of it, as TOML")
    command.add_argument("--full", action="store_true", help="more block shapes, precisions and lengths")
    command.add_argument("--brief", action="store_true", help="only the definition and the form by blocks")
    command.add_argument("--json", action="store_true", help="print JSON")
    command.add_argument(
        "--allow-import", action="store_true", help="let kinds run code of installed packages"
    )
    command.set_defaults(run=check)


def check(arguments: argparse.Namespace) -> int:
    """Check one variant, print the matrix, and fail if a cell fails."""
    from attnkit.errors import CheckFailed, ConfigError
    from attnkit.experiment import resolve

    thing = None if arguments.words else resolve.without_options(arguments.name, BASES)
    if thing is None:
        thing = resolve.made(arguments.name, arguments.words, BASES, arguments.allow_import)
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
        show(matrix)
    if not matrix.ok:
        failed = "; ".join(f"{rule} in {form}" for (rule, form), cell in matrix.cells.items() if not cell.ok)
        raise CheckFailed(f"{arguments.name} fails: {failed}")
    return 0


def show(matrix: Any) -> None:
    """The matrix as a table, what failed with its numbers, and what is not claimed with the reasons."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(title=matrix.name, title_justify="left")
    table.add_column("property", no_wrap=True)
    for column in matrix.columns:
        table.add_column(column, justify="right")
    for row in matrix.rows:
        cells = [matrix.cells[row, column] for column in matrix.columns]
        styles = ["dim" if cell.worst is None else "green" if cell.ok else "bold red" for cell in cells]
        shown = ["-" if cell.worst is None else str(cell) for cell in cells]
        table.add_row(row, *(Text(word, style) for word, style in zip(shown, styles, strict=True)))
    console = Console()
    console.print(table)
    for line in matrix.failures():
        console.print(Text(f"FAIL  {line}", "bold red"))
    for line in matrix.reasons():
        console.print(Text(f"not claimed  {line}", "dim"))
