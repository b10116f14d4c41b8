"""A sweep: many runs from one file, each a cell that is named by the hash of its config."""

import copy
import dataclasses
import itertools
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from attnkit.errors import ConfigError
from attnkit.experiment import config, folder, toml
from attnkit.experiment.config import SWEEP, Setting
from attnkit.experiment.diagnostics import InvalidConfig, Problem
from attnkit.experiment.footing import equalized
from attnkit.experiment.sweep_cell import Cell
from attnkit.experiment.sweep_table import MOST, SEED, Axis, SweepTable, TableReader
from attnkit.training.checkpoint import Checkpoints
from attnkit.training.load import FOLDER

INDEX = "sweep.json"
SWEEPS = "sweeps"
DONE, HALF, TODO = "finished", "half done", "to do"


@dataclasses.dataclass(frozen=True)
class Sweep:
    """A resolved sweep.

    Attributes:
        file: where it was read from.
        about: its purpose.
        table: its options.
        axes: what differs between its cells, the seed last.
        cells: its runs, in order.
    """

    file: Path
    about: str
    table: SweepTable
    axes: tuple[Axis, ...]
    cells: tuple[Cell, ...]

    def index(self) -> dict[str, Any]:
        """Contents of `sweep.json`: how the cells are compared, and which there are."""
        table = self.table.model_dump(
            include={"rows", "columns", "tune", "metric", "threshold", "baseline"}, mode="json"
        )
        return {
            "name": self.file.stem,
            "about": self.about,
            **table,
            "axes": {axis.name: [choice.label for choice in axis.choices] for axis in self.axes[:-1]},
            "cells": [{"hash": c.hash, "labels": dict(c.labels), "seed": c.seed} for c in self.cells],
        }


def is_sweep(file: Path) -> bool:
    """Whether a file has a `[sweep]` table."""
    return SWEEP in toml.read(file)[0]


def load(file: Path, overrides: Sequence[str] = (), imports: bool = True) -> Sweep:
    """Read, check and resolve a sweep and all of its cells.

    Args:
        file: a config with a `[sweep]` table.
        overrides: settings for every cell, as on the command line; those of the sweep's axes come after them.
            Those that begin with `sweep.` change the table of the sweep.
        imports: as in `config.load`.

    Raises:
        ConfigError: with everything that is wrong, a line each.
    """
    data, lines = toml.read(file)
    if SWEEP not in data:
        raise ConfigError(f"{file}: has no [{SWEEP}] table; add one, or use attnkit train {file}")
    problems: list[Problem] = []
    given = config.settings(overrides, problems)
    changes = [one for one in given if one.key[0] != SWEEP]
    of_table = [one for one in given if one.key[0] == SWEEP]
    config.override(data, of_table, problems)
    if any(one.key == (SWEEP,) for one in of_table):
        raise ConfigError(f"{config.COMMAND_LINE}: {SWEEP}: is a table; name the option, as in sweep.seeds=1")
    reader = TableReader(file, lines, {one.key: one.place for one in of_table})
    table, axes = reader.read(data.pop(SWEEP))
    varied = {s.key for axis in axes for choice in axis.choices for s in choice.settings}
    problems += [
        Problem(one.place, config.dotted(one.key), "", f"is an axis of the sweep; change it in {file}")
        for one in changes
        if one.key in varied
    ]
    count = 1
    for axis in axes:
        count *= len(axis.choices)
    if count > MOST:
        raise ConfigError(f"{file}:{lines[SWEEP,]}: [{SWEEP}] has {count} cells; at most {MOST} are made")
    cells: list[Cell] = []
    for choices in itertools.product(*(axis.choices for axis in axes)):
        settings = [*changes, *(setting for choice in choices for setting in choice.settings)]
        labels = {axis.name: choice.label for axis, choice in zip(axes[:-1], choices[:-1], strict=True)}
        try:
            made = config.resolve(file, copy.deepcopy(data), lines, latest(settings), imports)
        except InvalidConfig as error:
            problems += error.problems
        else:
            cells.append(Cell(made, labels, int(choices[-1].label)))
    if problems:
        raise InvalidConfig(sorted(dict.fromkeys(problems), key=config.line_of))
    if table.equal:
        cells = equalized(cells, table.equal)
    refuse_twins(file, cells)
    return Sweep(file, cells[0].config.experiment.about, table, tuple(axes), tuple(cells))


def latest(settings: Sequence[Setting]) -> list[Setting]:
    """The settings in order, the last of those with the same key alone."""
    return list({setting.key: setting for setting in settings}.values())


def refuse_twins(file: Path, cells: Sequence[Cell]) -> None:
    """Raise `ConfigError` if two cells have the same config: they would be counted as two seeds."""
    seen: dict[str, Cell] = {}
    for cell in cells:
        if cell.hash in seen:
            raise ConfigError(
                f"{file}: the cells ({seen[cell.hash].title}) and ({cell.title}) have the same config; "
                "take one out, or let them differ"
            )
        seen[cell.hash] = cell


def choose_folder(sweep: Sweep, out: str | None) -> Path:
    """The folder of a sweep: `out`, or `sweeps/<file name>`, whose finished cells are kept."""
    place = folder.checked(f"{SWEEPS}/{sweep.file.stem}" if out is None else out)
    if place.exists() and not (place / INDEX).is_file() and any(place.iterdir()):
        raise ConfigError(f"--out {place}: is not empty and holds no sweep; give another folder")
    return place


def state(place: Path, cell: Cell) -> str:
    """Whether a cell is finished, half done or to do."""
    run = place / cell.hash
    if (run / folder.RESULT).is_file():
        return DONE
    return HALF if Checkpoints(run / FOLDER).steps() else TODO


def read_index(place: Path) -> dict[str, Any]:
    """`sweep.json` of a sweep's folder; `ConfigError` if it is none."""
    if not (place / INDEX).is_file():
        raise ConfigError(f"{place}: not a sweep's folder (no {INDEX} in it); make one with attnkit sweep")
    found: dict[str, Any] = folder.read_json(place / INDEX)
    return found


def chosen(sweep: Sweep, only: Sequence[str]) -> Sweep:
    """`sweep` with the cells of some hashes alone; `ConfigError` for a hash that it does not have."""
    known = {cell.hash: cell for cell in sweep.cells}
    if strange := [name for name in only if name not in known]:
        raise ConfigError(
            f"--only {strange[0]}: no cell of {sweep.file} has this hash; list them with --dry-run. The file "
            "or a default may have changed"
        )
    return dataclasses.replace(sweep, cells=tuple(known[name] for name in only))


def quick(sweep: Sweep) -> Sweep:
    """`sweep` with the cells alone that its table names in `quick`: one seed of those that decide."""
    kept = sweep.table.quick
    cells = [
        cell
        for cell in sweep.cells
        if all({**cell.labels, SEED: str(cell.seed)}[axis] in labels for axis, labels in kept.items())
    ]
    return dataclasses.replace(sweep, cells=tuple(cells))


def listing(sweep: Sweep, place: Path) -> Iterator[dict[str, Any]]:
    """A row for every cell: hash, labels, seed and state."""
    for cell in sweep.cells:
        yield {"hash": cell.hash, **cell.labels, SEED: cell.seed, "state": state(place, cell)}


def as_json(value: Any) -> str:
    """JSON for the terminal."""
    return json.dumps(value, indent=2, ensure_ascii=False)
