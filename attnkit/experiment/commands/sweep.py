"""`sweep`: training all cells of a sweep."""

import argparse
from typing import Any

from attnkit.experiment.commands.config import config_arguments
from attnkit.experiment.commands.run import allowed, changed_code, changed_data, declare


def add(groups: Any) -> None:
    """Declare the command."""
    command = declare(
        groups,
        "sweep",
        sweep,
        "train every cell of a sweep; finished cells are skipped, half-done ones resumed",
        "sweep configs/sweeps/recall_and_copy.toml --jobs 2",
    )
    config_arguments(command)
    command.add_argument("--out", metavar="DIR", help="the sweep's folder (default: sweeps/<config name>)")
    command.add_argument("--dry-run", action="store_true", help="list the cells and train none")
    command.add_argument(
        "--engine",
        choices=("local", "print", "submitit"),
        default="local",
        help="where cells are trained: here, under submitit (Slurm), or print a command for each job",
    )
    command.add_argument("--jobs", type=int, default=1, metavar="N", help="processes of --engine local")
    some = command.add_mutually_exclusive_group()
    some.add_argument("--only", default="", metavar="HASH,...", help="these cells alone")
    some.add_argument(
        "--quick",
        action="store_true",
        help="the cells of the table's quick alone, by default one seed of all",
    )
    command.add_argument(
        "--one-by-one", action="store_true", help="train each cell alone, not as part of a population"
    )
    changed_code(command)
    changed_data(command)
    command.add_argument("--quiet", action="store_true", help="show no progress")


def sweep(arguments: argparse.Namespace) -> int:
    """Train the cells of a sweep that are not finished; the exit code says whether all are."""
    from attnkit.errors import ConfigError, RunsFailed
    from attnkit.experiment import folder
    from attnkit.experiment import sweep as sweeps

    if arguments.jobs < 1:
        raise ConfigError(f"--jobs {arguments.jobs}: expected at least 1")
    whole = sweeps.load(arguments.config, arguments.words)
    only = [name for name in arguments.only.split(",") if name]
    some = sweeps.quick(whole) if arguments.quick else sweeps.chosen(whole, only) if only else whole
    place = sweeps.choose_folder(whole, arguments.out)
    if arguments.dry_run:
        show(list(sweeps.listing(some, place)), arguments.json)
        return 0
    from attnkit.experiment.sweep_display import Tally, shown
    from attnkit.experiment.sweep_engines import ENGINES, Place
    from attnkit.experiment.sweep_run import jobs

    todo = jobs(some.cells, place, arguments.one_by_one)
    where = Place(arguments.config, arguments.words, place, arguments.jobs, allowed(arguments))
    if arguments.engine == "print":
        ENGINES["print"](todo, where, lambda news: None)
        return 0
    place.mkdir(parents=True, exist_ok=True)
    if not only:
        folder.write_json(place / sweeps.INDEX, whole.index())
    tally = Tally(todo)
    with shown(tally, arguments.quiet) as tell:
        ENGINES[arguments.engine](todo, where, tell)
    rows = list(sweeps.listing(some, place))
    finished = sum(row["state"] == sweeps.DONE for row in rows)
    if arguments.json:
        print(sweeps.as_json({"sweep": str(place), "finished": finished, "cells": rows}))
    else:
        print(f"{finished} of {len(rows)} cells are finished in {place}")
    if failed := tally.failed():
        raise RunsFailed("\n".join(f"cell {cell.hash} ({cell.title}): {why}" for cell, why in failed))
    return 0


def show(rows: list[dict[str, Any]], as_json: bool) -> None:
    """Print the cells."""
    if as_json:
        from attnkit.experiment.sweep import as_json as text

        print(text(rows))
        return
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None)
    for name in rows[0]:
        table.add_column(name, overflow="fold")
    for row in rows:
        table.add_row(*(Text(str(value)) for value in row.values()))
    Console().print(table)
    states = [row["state"] for row in rows]
    counted = ", ".join(f"{states.count(state)} {state}" for state in dict.fromkeys(states))
    print(f"{len(rows)} cells: {counted}")
