"""`compare`: runs or the cells of a sweep side by side, as tables, figures and a page."""

import argparse
from pathlib import Path
from typing import Any

from attnkit.experiment.commands.run import declare

PAGE = "comparison.html"
WIDE = 160


def add(groups: Any) -> None:
    """Declare the command."""
    command = declare(
        groups,
        "compare",
        compare,
        "compare runs over seeds: tables with intervals and tests, figures, a page",
        "compare sweeps/recall_and_copy --threshold 0.9",
    )
    command.add_argument(
        "folders", metavar="RUN|SWEEP", nargs="+", type=Path, help="run folders, or one sweep's"
    )
    command.add_argument("--metric", help="metric or split.metric, as in test.exact_match")
    command.add_argument("--threshold", type=float, help="value from which a run counts as a success")
    command.add_argument("--baseline", help="row that the others are tested against (default: the first)")
    command.add_argument("--rows", help="axes whose choices are rows, with commas")
    command.add_argument("--columns", help="axes whose choices are columns, with commas")
    command.add_argument(
        "--tune", help="axes of which the best choice on validation is reported, with commas"
    )
    command.add_argument("--interval", choices=("t", "bootstrap"), help="how 95 %% intervals are made")
    command.add_argument(
        "--out",
        metavar="DIR",
        help="folder for the files (default: SWEEP/comparison; of runs, none is written)",
    )


def compare(arguments: argparse.Namespace) -> int:
    """Print a comparison and write its files."""
    import dataclasses

    from attnkit.errors import ConfigError
    from attnkit.experiment import runs

    found = runs.read(arguments.folders)
    given: dict[str, Any] = {
        name: getattr(arguments, name)
        for name in ("metric", "threshold", "baseline", "interval")
        if getattr(arguments, name) is not None
    }
    given |= {
        name: tuple(part for part in getattr(arguments, name).split(",") if part)
        for name in ("rows", "columns", "tune")
        if getattr(arguments, name) is not None
    }
    from attnkit.studies import comparison as studies

    try:
        made = studies.compare(found.runs, dataclasses.replace(found.plan, **given))
    except ValueError as error:
        raise ConfigError(str(error)) from None
    if found.unfinished:
        note = f"Runs that are not finished and not here: {len(found.unfinished)}."
        made = dataclasses.replace(made, notes=(note, *made.notes))
    place = out(arguments)
    written = write(place, found.name, found.about, made) if place else []
    if arguments.json:
        print_json(made, written)
    else:
        show(made)
        for path in written:
            print(path)
    return 0


def out(arguments: argparse.Namespace) -> Path | None:
    """Where the files go. Raises `ConfigError` if it holds something else."""
    from attnkit.errors import ConfigError
    from attnkit.experiment import folder, sweep

    if arguments.out is not None:
        place = folder.checked(arguments.out)
        if place.exists() and not (place / PAGE).is_file() and any(place.iterdir()):
            raise ConfigError(f"--out {place}: is not empty and holds no comparison; give another folder")
        return place
    first: Path = arguments.folders[0]
    return first / "comparison" if (first / sweep.INDEX).is_file() else None


def write(place: Path, name: str, about: str, made: Any) -> list[Path]:
    """Write tables, figures and the page of a comparison."""
    from attnkit.experiment import folder
    from attnkit.studies import figures, page, tables

    place.mkdir(parents=True, exist_ok=True)
    every = list(tables.every_table(made))
    texts = {
        "runs.csv": tables.as_csv(made),
        "table.md": tables.as_markdown(every, made.notes),
        "table.tex": tables.as_latex(every[0], made.notes),
    }
    drawn = {"curves": figures.curves(made), "length": figures.by_length(made)}
    drawn = {
        key: figure for key, figure in drawn.items() if figure is not None and not figures.is_empty(figure)
    }
    titles = {"curves": "Learning curves", "length": "Against length"}
    pictures = {titles[key]: figures.rendered(figure, "svg") for key, figure in drawn.items()}
    texts[PAGE] = page.render(name, about, every, made.notes, pictures)
    for file, content in texts.items():
        folder.write(place / file, content)
    saved = [path for key, figure in drawn.items() for path in figures.save(figure, place / key)]
    return [*(place / file for file in texts), *saved]


def show(made: Any) -> None:
    """Print the tables."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    from attnkit.studies import tables

    console = Console()
    if not console.is_terminal:
        console = Console(width=WIDE)
    for table in tables.every_table(made):
        drawn = Table(title=table.title, title_justify="left", box=None)
        for number, name in enumerate(table.header):
            drawn.add_column(name, justify="right" if number else "left", overflow="fold")
        for row in table.rows:
            drawn.add_row(*map(Text, row))
        console.print(drawn)
        console.print()
    for note in made.notes:
        console.print(Text(note, "dim"))


def print_json(made: Any, written: list[Path]) -> None:
    """Print groups and tests as JSON."""
    import dataclasses
    import json

    from attnkit.experiment import folder

    groups = [
        {
            "row": group.row,
            "column": group.column,
            "tuned": {name: group.runs[0].labels.get(name) for name in made.plan.tune},
            "tried": group.tried,
            "split": group.split,
            "metric": group.metric,
            "runs": [run.name for run in group.runs],
            **dataclasses.asdict(group.value),
        }
        for group in made.groups
    ]
    tests = [dataclasses.asdict(test) for test in made.tests]
    value = {"groups": groups, "tests": tests, "notes": made.notes, "files": [str(path) for path in written]}
    print(json.dumps(folder.finite(value), indent=2, ensure_ascii=False))
